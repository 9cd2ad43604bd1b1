"""Streams for faces elsewhere: a JSON document a line, an empty line where nothing comes for a while.

A stream ends when its client leaves, when it is told to (`stop_stream`), and when the server is being stopped.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import threading
import traceback
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from concurrent.futures import wait
from typing import TYPE_CHECKING, Any

from aiohttp import web

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.kit.event_bus import Bus
from vllm_studio_tui.remote.errors import error_document
from vllm_studio_tui.remote.samples import SampleWriter
from vllm_studio_tui.services.chat.events import SampleSeen
from vllm_studio_tui.services.watching.sampler import Sampler
from vllm_studio_tui.services.watching.snapshot import Snapshot

if TYPE_CHECKING:
    from vllm_studio_tui.http.context import ServeContext
    from vllm_studio_tui.http.route import Call
    from vllm_studio_tui.remote.contract import CallShape

log = logging.getLogger(__name__)
#: Seconds after which an empty line says that the stream lives.
ALIVE_EVERY = 2.0
#: The header by which a client names its stream, to be able to stop it.
STREAM_HEADER = "x-vllm-studio-stream"
#: Values that a thread may be ahead of its client.
AHEAD = 64
#: Seconds after which a thread that waits for its client looks whether that has left.
LOOK_EVERY = 1.0
#: Seconds between two samples, at least and at most.
PACE = (0.1, 60.0)


async def stop_stream(call: Call, name: str) -> bool:
    """End a stream, and wait until it has ended and what came of it is kept; return whether there was one."""
    known = call.context.streams.stops.get(name)
    if known is None:
        return False
    stop, ended = known
    stop.set()
    await ended.wait()
    return True


async def stream_events(call: Call, shape: CallShape, events: AsyncGenerator[Any, None]) -> web.StreamResponse:
    """Send what an asynchronous generator yields."""
    async with contextlib.aclosing(events):
        return await _send(call, (shape.result.encode(event) async for event in events), events)


async def stream_lines(
    call: Call, shape: CallShape, begin: Callable[[Callable[[], bool]], Iterator[Any]]
) -> web.StreamResponse:
    """Send what an iterator yields that blocks, in a thread of its own."""
    async with _in_thread(call.context, lambda left: map(shape.result.encode, begin(left))) as values:
        return await _send(call, values, values)


async def stream_samples(call: Call) -> web.StreamResponse:
    """Send samples of everything; those that come faster than the client takes them are left out."""
    try:
        every = float(call.request.query.get("every", "1"))
    except ValueError:
        every = 1.0
    every = min(PACE[1], max(PACE[0], every))  # also what is no number
    context = call.context
    latest: list[Snapshot] = []
    news = asyncio.Event()

    def sampled(snapshot: Snapshot) -> None:
        latest[:] = [snapshot]
        with contextlib.suppress(RuntimeError):  # the loop is closed
            context.loop.call_soon_threadsafe(news.set)

    async def documents() -> AsyncGenerator[Any, None]:
        writer = SampleWriter()
        while True:
            await news.wait()
            news.clear()
            yield await context.call(writer.document, latest[0])

    async with _sampling(context, every, sampled), contextlib.aclosing(documents()) as values:
        return await _send(call, values, values)


@contextlib.asynccontextmanager
async def _sampling(context: ServeContext, every: float, sampled: Callable[[Snapshot], None]) -> AsyncIterator[None]:
    """Have samples taken while somebody looks; who look at the same pace share them."""
    samplers = context.streams.samplers
    if every not in samplers:
        bus = Bus()
        samplers[every] = (
            Sampler(
                context.studio.places,
                bus,
                every=every,
                alerts=context.studio.alert_watch(),
                peaks=context.studio.peak_watch(),
            ),
            bus,
            0,
        )
        # Answers that are asked for from there have their share of the energy told by these samples.
        bus.subscribe(Snapshot, lambda snapshot: context.studio.bus.publish(SampleSeen(snapshot)))
    sampler, bus, count = samplers[every]
    samplers[every] = (sampler, bus, count + 1)
    cancel = bus.subscribe(Snapshot, sampled)
    if sampler.latest is not None:
        sampled(sampler.latest)
    sampler.start()
    try:
        yield
    finally:
        cancel()
        sampler, bus, count = samplers[every]
        if count > 1:
            samplers[every] = (sampler, bus, count - 1)
        else:
            del samplers[every]
            context.streams.end(sampler)


async def _send(call: Call, documents: AsyncIterator[Any], source: AsyncGenerator[Any, None]) -> web.StreamResponse:
    """Send documents until there are no more, somebody stops the stream or the server is being stopped.

    Args:
        source: Closed before whoever stops the stream hears of it.
    """
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson", "Cache-Control": "no-store"})
    response.enable_chunked_encoding()
    await response.prepare(call.request)
    name = call.request.headers.get(STREAM_HEADER, "")
    stop, ended = asyncio.Event(), asyncio.Event()
    if name:
        call.context.streams.stops[name] = (stop, ended)
    stopping = asyncio.ensure_future(stop.wait())
    coming: asyncio.Future[Any] | None = None
    try:
        while not stop.is_set() and not call.context.draining:
            coming = coming or asyncio.ensure_future(anext(documents))
            await asyncio.wait({coming, stopping}, timeout=ALIVE_EVERY, return_when=asyncio.FIRST_COMPLETED)
            if not coming.done():
                await response.write(b"\n")
                continue
            done, coming = coming, None
            try:
                document = {"value": done.result()}
            except StopAsyncIteration:
                break
            except Exception as error:  # noqa: BLE001 - also one of ours is told: a cut line says nothing
                await response.write(json.dumps({"error": error_document(_as_told(error))}).encode() + b"\n")
                break
            await response.write(json.dumps(document).encode() + b"\n")
        await response.write(b'{"end": true}\n')
    finally:
        stopping.cancel()
        if coming is not None:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)
        await source.aclose()
        call.context.streams.stops.pop(name, None)
        ended.set()
    await response.write_eof()
    return response


def _as_told(error: Exception) -> Exception:
    """Return an error as a client may hear it: a fault of ours is told to the log alone."""
    if isinstance(error, StudioError) or (isinstance(error, OSError) and error.errno is not None):
        return error
    # Where it failed, not its words: those may repeat what was sent.
    log.error("a stream failed: %s\n%s", type(error).__name__, "".join(traceback.format_tb(error.__traceback__)))
    return StudioError("the studio there failed", cause="The log of its `vllm-studio serve` says where.")


@contextlib.asynccontextmanager
async def _in_thread(
    context: ServeContext, begin: Callable[[Callable[[], bool]], Iterator[Any]]
) -> AsyncIterator[AsyncGenerator[Any, None]]:
    """Yield what hands the values of a blocking iterator to the event loop."""
    values: asyncio.Queue[tuple[str, Any]] = asyncio.Queue(AHEAD)
    left = threading.Event()

    def put(what: str, value: Any) -> bool:
        """Hand a value over, however long its reader pauses; return whether there is a reader."""
        handing = values.put((what, value))
        try:
            given = asyncio.run_coroutine_threadsafe(handing, context.loop)
        except RuntimeError:  # the loop is closed
            handing.close()
            return False
        while not wait([given], LOOK_EVERY).done:
            if left.is_set() or context.loop.is_closed():
                return False
        return not given.cancelled()

    def iterate() -> None:
        try:
            for value in begin(left.is_set):
                if left.is_set() or not put("value", value):
                    return
            put("end", None)
        except Exception as error:  # noqa: BLE001 - it is for the reader, who would wait for ever
            put("error", error)

    async def taken() -> AsyncGenerator[Any, None]:
        while True:
            what, value = await values.get()
            if what == "end":
                return
            if what == "error":
                raise value
            yield value

    threading.Thread(target=iterate, name="stream", daemon=True).start()
    try:
        yield taken()
    finally:
        left.set()
        while not values.empty():  # lets a thread go on that waits for room
            values.get_nowait()
