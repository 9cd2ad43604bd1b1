"""Having the model write a summary of what was said, in as many pieces as its context needs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.chat import ROLE_TITLES, ChatRequest, Ended, Message, Sampling
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.inference.thinking import strip_thinking
from vllm_studio_tui.services.chat.asking_once import Record, ask_once, recorded

if TYPE_CHECKING:
    from vllm_studio_tui.domain.chat import Stream, Target

#: Tokens that a summary may have, and what is kept free for the question around it.
MOST_TOKENS, AROUND = 512, 256
#: Letters of a token, on the careful side; letters of one message that are read.
LETTERS, MOST_LETTERS = 2.5, 200_000
#: Tokens of a context that nobody knows.
UNKNOWN = 4096
_ASK = (
    "Summarize the conversation for the one who goes on with it: what was asked, found, decided and left open; keep"
    " names, numbers, file paths and code that later turns may need. Write only the summary,"
    " in the conversation's language."
)


def write_summary(
    target: Target,
    messages: Sequence[Message],
    *,
    before: str = "",
    limit: int | None = None,
    stream: Stream | None = None,
    record: Record | None = None,
) -> str:
    """Return a summary of messages. Blocking.

    Args:
        before: The summary of what was said before them.
        limit: Tokens that the model can take.

    Raises:
        StudioError: The model wrote none.
    """
    if stream is None:
        from vllm_studio_tui.inference.client import stream_chat

        stream = partial(stream_chat, first_token_timeout=300.0, idle_timeout=60.0)
    if record is not None:
        stream = recorded(stream, "chat", record)
    room = limit or UNKNOWN
    said_before = len(before) + sum(len(one.content) for one in messages)
    # Half of what it stands for at most: a small model writes on until it is cut, and the chat would become longer.
    answer = min(MOST_TOKENS, max(64, room // 4), max(64, int(said_before / LETTERS / 2)))
    letters = max(400, int((room - answer - AROUND) * LETTERS))
    summary = before
    for piece in _pieces(messages, letters):
        said = f"Summary so far:\n{summary[: letters // 3]}\n\nWhat followed:\n{piece}" if summary else piece
        asked = ({"role": "system", "content": _ASK}, {"role": "user", "content": f"{said}\n\nWrite the summary."})
        sampling = Sampling(temperature=0.2, max_tokens=answer, thinking=False)
        content, _, ended = asyncio.run(ask_once(target, stream, ChatRequest(asked, sampling)))
        summary = _written(content, ended)
    return summary


def _written(content: str, ended: Ended) -> str:
    text = strip_thinking(content).strip()
    if ended.finish in ("stop", "length") and text:
        return text
    raise StudioError(
        "the model wrote no summary",
        cause=ended.error or ("its answer is empty" if not text else ended.finish),
        advice="Try again, or leave the beginning out without a summary: chats compact --window.",
    )


def _pieces(messages: Sequence[Message], letters: int) -> list[str]:
    """Return what was said in pieces of so many letters, cut between messages where that can be."""
    pieces: list[str] = []
    now = ""
    for one in messages:
        text = strip_thinking(one.content).strip()[:MOST_LETTERS]
        calls = "".join(f"\n(calls {call.name} with {call.arguments[:500]})" for call in one.tool_calls)
        files = "".join(f"\n(file {file.name})" for file in one.files)
        if not (text or calls or files):
            continue
        said = f"{ROLE_TITLES.get(one.role, one.role)}: {text}{calls}{files}"
        if now and len(now) + len(said) > letters * 2 // 3:
            pieces.append(now)
            now = ""
        while len(said) > letters * 2 // 3:
            pieces.append(said[: letters * 2 // 3])
            said = said[letters * 2 // 3 :]
        now = f"{now}\n\n{said}" if now else said
    return [*pieces, now] if now else pieces
