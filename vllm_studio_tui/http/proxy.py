"""The life of a request for a model: from its arrival, through its wait, to the row that says how it ended."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiohttp import web

from vllm_studio_tui.domain.serving import Arrival, Endpoint, Phase, Refusal
from vllm_studio_tui.http.engine_endings import not_reached
from vllm_studio_tui.http.errors import as_refusal, in_short
from vllm_studio_tui.http.exchange import NotSent, ask, break_off, pass_on
from vllm_studio_tui.http.live import LiveRequest, client_of
from vllm_studio_tui.http.loading import wait_ready
from vllm_studio_tui.http.route import Call
from vllm_studio_tui.services.serving.answer_reading import READERS, AnswerReader

if TYPE_CHECKING:
    from aiohttp import ClientResponse

#: Seconds after which an engine to which there is no connection is asked once more: its keeper may have restarted it.
ONCE_MORE = 0.5
#: Seconds that a client may take to be told why its stream ends.
LAST_WORD = 1.0


@dataclass(frozen=True, slots=True)
class Api:
    """A path of the engines' that is passed on.

    Attributes:
        path: Below `/v1`; beginning with `//`: beside it.
        protocol: How its answers are read: `chat`, `messages` or `responses`.
        asks_usage: A stream tells its tokens where `stream_options` asks for it.
        thinks: A stream may show loading as thinking.
        named: How the request log calls it; empty: as its route.
    """

    path: str
    protocol: str = "chat"
    asks_usage: bool = False
    thinks: bool = False
    named: str = ""


@dataclass(slots=True)
class Question:
    """What a client wants of a model.

    Attributes:
        body: Makes what is sent to an engine; the flag says whether to ask for the usage of a stream.
        ask_usage: The client streams and did not say whether it wants the usage.
        check: Raises a `Refusal` for an engine that cannot answer this; None: any can.
        once: Its body cannot be sent a second time.
        endpoint: Who is asked, whichever model is named; None: who has the model.
        reader: Reads the answer; None: as its protocol is read.
    """

    model: str | None
    streamed: bool
    size: int
    body: Callable[[Endpoint, bool], Any]
    ask_usage: bool = False
    check: Callable[[Endpoint], None] | None = None
    once: bool = False
    endpoint: Endpoint | None = None
    reader: AnswerReader | None = None


async def forward(call: Call, api: Api, read: Callable[[], Any], method: str = "POST") -> web.StreamResponse:
    """Answer a request for a model.

    Args:
        read: Returns, awaited, the `Question`.

    Raises:
        Refusal: It is not answered.
    """
    context = call.context
    live = LiveRequest(
        call.id, api.named or call.route.path, call.key.id, call.key.name, client_of(call.request), call.started,
        task=asyncio.current_task(),
    )  # fmt: skip
    finish = "failed"
    admitted = False
    response: web.StreamResponse | None = None
    context.live.add(live)
    try:
        context.keys.admit(call.key)
        admitted = True
        question: Question = await read()
        live.model, live.streamed, live.bytes_in = question.model, question.streamed, question.size
        context.tell("start", live)
        hide = question.ask_usage and api.asks_usage
        live.reader = question.reader or READERS[api.protocol](hide_usage=hide)
        if question.streamed:
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream", **_headers(live)})
        answer, begun = await _answer(call, api, question, live, response, method)
        try:
            response = await pass_on(call, answer, live, begun, _headers(live), hide_usage=hide)
        finally:
            answer.close()
        if live.error is None and (live.status or 200) < 400:
            finish = live.reader.finish or "stop"
        return response
    except Refusal as error:
        return await _refused(call, live, error)
    except (asyncio.CancelledError, ConnectionError) as error:
        finish = "cancelled"
        live.error = live.cancelled or "the client left"
        if live.cancelled is None or not isinstance(error, asyncio.CancelledError):
            raise
        task = asyncio.current_task()
        if task is not None:
            task.uncancel()
        return await _refused(call, live, Refusal(499, "cancelled", f"the request was {live.cancelled}"))
    finally:
        # Nothing here waits: what is cancelled may be cancelled again.
        if live.phase is Phase.REFUSED and finish != "cancelled":
            finish = "refused"
        live.phase = _PHASES.get(finish, Phase.DONE)
        if live.admission is not None:
            live.admission.leave()
        context.live.remove(live)
        if admitted:
            context.keys.release(call.key, counts=finish != "refused")
            context.keys.spent(call.key, live.tokens)
        context.ended(live, finish)
        context.tell("end", live)


_PHASES = {"failed": Phase.FAILED, "cancelled": Phase.CANCELLED, "refused": Phase.REFUSED}


async def _answer(
    call: Call, api: Api, question: Question, live: LiveRequest, response: web.StreamResponse | None, method: str
) -> tuple[ClientResponse, web.StreamResponse | None]:
    """Find an engine and ask it, once more where it could not be reached; return its answer."""
    context = call.context
    begun: web.StreamResponse | None = None
    mode = call.key.loading or context.settings.loading
    if mode == "reasoning" and not api.thinks:
        mode = "comment"
    arrival = Arrival(call.id, question.model, call.key.launches, call.key.models)
    for attempt in (1, 2):
        if question.endpoint is not None:
            endpoint = question.endpoint
            live.admission = context.dispatcher.enter_run(arrival, endpoint)
        else:
            live.admission = context.dispatcher.enter(arrival)
            endpoint, now_begun = await wait_ready(
                context, live.admission, call.request, live, None if begun is not None else response, mode
            )
            begun = begun or now_begun
        if begun is not None:
            live.status = 200
        live.target = endpoint
        if question.check is not None:
            question.check(endpoint)
        body = question.body(endpoint, question.ask_usage and api.asks_usage)
        try:
            return await ask(call, endpoint, api.path, body, live, method), begun
        except NotSent as error:
            live.leave_for_another()
            if attempt == 2 or question.once:
                raise not_reached(endpoint, str(error)) from error
            await asyncio.sleep(ONCE_MORE)
            await context.dispatcher.refresh()  # what its keeper has seen: that it ended, say
    raise AssertionError


async def _refused(call: Call, live: LiveRequest, error: Refusal) -> web.StreamResponse:
    """Say that a request is not answered: by its status, inside of a stream that has begun, or by the connection's end.

    Raises:
        Refusal: Nothing was sent yet.
    """
    if live.phase in (Phase.QUEUED, Phase.LOADING):
        live.phase = Phase.REFUSED
    response = live.response
    if response is None:
        live.status = error.status
        live.error = live.error or in_short(error)
        raise as_refusal(error)
    if response.content_type == "text/event-stream":
        with contextlib.suppress(TimeoutError):  # who does not read on is told nothing
            async with asyncio.timeout(LAST_WORD):
                await break_off(call, live, response, error)
                await response.write_eof()
                return response
    live.status, live.error = error.status, in_short(error)
    if call.request.transport is not None:
        call.request.transport.abort()  # nothing can be said in the middle of it, and a part is not the whole
    return response


def _headers(live: LiveRequest) -> dict[str, str]:
    headers = {"x-vllm-studio-request": live.id}
    if live.target is not None and live.target.run_id is not None:
        headers["x-vllm-studio-run"] = live.target.run_id
    overhead = live.overhead_seconds
    if overhead is not None:
        headers["x-vllm-studio-queued-ms"] = f"{live.waited_seconds * 1000:.0f}"
        headers["x-vllm-studio-overhead-ms"] = f"{overhead * 1000:.2f}"
    return headers
