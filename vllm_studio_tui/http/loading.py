"""Wait until somebody answers, and let the client see that it waits."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import web

from vllm_studio_tui.domain.serving import Endpoint, Phase, Refusal, Waiting
from vllm_studio_tui.kit.json_body import json_bytes

if TYPE_CHECKING:
    from vllm_studio_tui.http.context import ServeContext
    from vllm_studio_tui.http.live import LiveRequest
    from vllm_studio_tui.services.serving.dispatcher import Admission

#: Seconds between two signs of life while a model loads.
EVERY = 10.0


def words_of(waiting: Waiting) -> str:
    """Return what is waited for, in few words."""
    if waiting.phase is Phase.QUEUED:
        return f"queued, {waiting.position} before it" if waiting.position else "queued"
    parts = ["loading"]
    if waiting.stage:
        parts.append(waiting.stage)
    if waiting.progress is not None:
        parts.append(f"{waiting.progress:.0%}")
    if waiting.eta is not None:
        parts.append(f"about {waiting.eta:.0f} s more")
    return " ".join(parts)


async def wait_ready(
    context: ServeContext,
    admission: Admission,
    request: web.Request,
    live: LiveRequest,
    response: web.StreamResponse | None,
    mode: str,
) -> tuple[Endpoint, web.StreamResponse | None]:
    """Wait until an engine may be asked.

    Args:
        response: What a stream will be answered with; None: there is no stream, so nothing can be said meanwhile.
        mode: `comment`: a comment every ten seconds; `reasoning`: stages as thinking, for chats alone; `503`: nobody
            waits for a model that is not loaded.

    Returns:
        Who answers, and the response if its head has been sent.

    Raises:
        Refusal: Nobody will answer.
    """
    waiting = admission.status()
    if mode == "503" and waiting.phase in (Phase.LOADING, Phase.QUEUED):
        after = waiting.eta if waiting.eta is not None else 30.0
        title = f"the model is not loaded yet: {words_of(waiting)}"
        raise Refusal(503, "model_loading", title, retry_after=after)
    live.phase = waiting.phase
    if waiting.phase is not Phase.SENT:
        context.note(live)
    if response is None or waiting.phase is Phase.SENT:
        return await admission.wait(), None
    ready = asyncio.ensure_future(admission.wait())
    begun: web.StreamResponse | None = None
    told = ""
    every = 1.0 if mode == "reasoning" else EVERY
    try:
        while True:
            done, _ = await asyncio.wait((ready,), timeout=every)
            if done:
                return ready.result(), begun
            words = words_of(admission.status())
            if begun is None:
                await response.prepare(request)
                begun = live.response = response
            if mode != "reasoning":
                await response.write(f": {words}\n\n".encode())
            elif words != told:
                await response.write(_thought(live, words))
            told = words
    finally:
        ready.cancel()


def _thought(live: LiveRequest, words: str) -> bytes:
    """Return a stage as a piece of thinking, which clients show."""
    chunk = {
        "id": live.id,
        "object": "chat.completion.chunk",
        "created": int(live.at),
        "model": live.model,
        "choices": [{"index": 0, "delta": {"role": "assistant", "reasoning_content": f"{words}\n"}}],
    }
    return b"data: %b\n\n" % json_bytes(chunk)
