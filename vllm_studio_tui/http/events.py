"""Streams of events (SSE): what happens in the studio, and logs as they are written."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from aiohttp import web

from vllm_studio_tui.domain.api_key import Scope
from vllm_studio_tui.domain.serving import Refusal
from vllm_studio_tui.http.answers import document, whole_number
from vllm_studio_tui.http.log_stream import LogStream
from vllm_studio_tui.http.route import Call, Route

if TYPE_CHECKING:
    from vllm_studio_tui.http.context import ServeContext

#: Seconds between two signs of life of a stream in which nothing happens.
PING = 15.0
#: Seconds between two looks at a log that is followed.
LOG_LOOK = 0.25
KINDS = ("status", "gpu", "metrics", "launch_progress", "run", "request", "queue", "recipe", "alert", "resync")
_HEADERS = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}


async def _events(call: Call) -> web.StreamResponse:
    hub = call.context.events
    kinds = _kinds(call)
    response = web.StreamResponse(headers=_HEADERS)
    await response.prepare(call.request)
    listener = hub.listen(kinds, call.request.headers.get("Last-Event-ID"))
    call.context.metrics.stream_opened("events")
    try:
        with contextlib.suppress(ConnectionError):  # it has left
            await hub.begun()
            await response.write(hub.first_lines())
            while not hub.closed:
                text = await listener.take(PING)
                if not hub.closed:
                    await response.write(text or b": ping\n\n")
            await response.write_eof()
    finally:
        hub.leave(listener)
        call.context.metrics.stream_closed("events")
    return response


def _kinds(call: Call) -> frozenset[str] | None:
    """Return which events are wanted.

    Raises:
        Refusal: There are none of this name.
    """
    asked = call.request.query.get("types", "")
    wanted = frozenset(one.strip() for one in asked.split(",") if one.strip())
    unknown = sorted(wanted.difference(KINDS))
    if unknown:
        title = f"there are no events {unknown[0][:40]}"
        raise Refusal(400, "invalid_query", title, advice=f"There are: {', '.join(KINDS)}.", param="types")
    return wanted | {"resync"} if wanted else None


async def _stats(call: Call) -> web.StreamResponse:
    return document(call.context.events.stats())


async def _log(call: Call) -> web.StreamResponse:
    """Send the end of a log, and what is added to it, until its run has ended."""
    context = call.context
    limit = whole_number(call, "limit", 2000, 0, 20_000)
    run = await context.read(context.studio.runs.find, call.request.match_info["id"])
    stream = LogStream(context.studio.runs, run, limit)
    text = await context.read(stream.begin, call.request.headers.get("Last-Event-ID"))
    if stream.over and not text and "Last-Event-ID" in call.request.headers:
        return web.Response(status=204)  # nothing more will come: a browser stops asking
    response = web.StreamResponse(headers=_HEADERS)
    await response.prepare(call.request)
    context.metrics.stream_opened(f"logs:{run.run_id}")
    try:
        with contextlib.suppress(ConnectionError):
            await _follow(context, stream, response, text)
    finally:
        context.metrics.stream_closed(f"logs:{run.run_id}")
    return response


async def _follow(context: ServeContext, stream: LogStream, response: web.StreamResponse, text: bytes) -> None:
    spoke = context.loop.time()
    await response.write(b"retry: 2000\n: log\n\n")
    while True:
        if text:
            await response.write(text)
            spoke = context.loop.time()
        elif stream.over or context.events.closed:
            break
        else:
            await asyncio.sleep(LOG_LOOK)
            if context.loop.time() - spoke >= PING:
                await response.write(b": ping\n\n")
                spoke = context.loop.time()
        text = await context.read(stream.more)
    await response.write_eof()


_STREAM = {"type": "string", "description": "text/event-stream"}
ROUTES = (
    Route(
        "GET", "/events", _events, Scope.READ, "What happens, as server-sent events", "Events",
        query={"types": f"Only these, with commas: {', '.join(KINDS)}."}, answer=_STREAM,
    ),
    Route("GET", "/events/stats", _stats, Scope.READ, "How many events there were, and who listens", "Events"),
    Route(
        "GET", "/logs/{id}/stream", _log, Scope.READ, "A log, and what is added to it, as server-sent events", "Logs",
        query={"limit": "So many last lines first (2000)."}, answer=_STREAM,
    ),
)  # fmt: skip
