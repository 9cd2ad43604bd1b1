"""Streams of values that a thread makes: readers that pause, that leave, and what is told where one fails."""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from vllm_studio_tui.domain.errors import NotFound
from vllm_studio_tui.http import studio_streams
from vllm_studio_tui.remote.errors import error_of

Begin = Callable[[Callable[[], bool]], Iterator[str]]
SHAPE: Any = SimpleNamespace(result=SimpleNamespace(encode=lambda value: value))


@contextlib.asynccontextmanager
async def asked(begin: Begin) -> AsyncIterator[aiohttp.ClientResponse]:
    """Have a server stream what an iterator yields; its answer, of which nothing is read yet."""
    streams = SimpleNamespace(stops={})
    context = SimpleNamespace(loop=asyncio.get_running_loop(), streams=streams, draining=False)

    async def handle(request: web.Request) -> web.StreamResponse:
        call: Any = SimpleNamespace(request=request, context=context)
        return await studio_streams.stream_lines(call, SHAPE, begin)

    app = web.Application()
    app.router.add_get("/", handle)
    # What a reader has left unread is not waited for.
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    with tempfile.TemporaryDirectory(prefix="vst-") as folder:
        path = str(Path(folder, "s"))
        await web.UnixSite(runner, path).start()
        try:
            async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(path)) as session:
                answer = await session.get("http://there/")
                try:
                    yield answer
                finally:
                    answer.close()
        finally:
            await runner.cleanup()


async def documents(answer: aiohttp.ClientResponse) -> list[Any]:
    async with asyncio.timeout(20):
        return [json.loads(line) async for line in answer.content if line.strip()]


class Lines:
    """More than all buffers hold, made as fast as they are taken."""

    def __init__(self, count: int = 300) -> None:
        self.count, self.made, self.at = count, 0, time.monotonic()
        self.ended = threading.Event()

    def begin(self, left: Callable[[], bool]) -> Iterator[str]:
        try:
            for number in range(self.count):
                self.made, self.at = number, time.monotonic()
                yield f"{number} {'x' * 30_000}"
        finally:
            self.ended.set()

    async def held(self, seconds: float) -> None:
        """Wait until nothing was taken for a while."""
        async with asyncio.timeout(20):
            while time.monotonic() - self.at < seconds:  # noqa: ASYNC110 - a thread moves it
                await asyncio.sleep(0.01)
        assert self.made < self.count - 1


async def test_a_reader_that_pauses_for_long_goes_on_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studio_streams, "LOOK_EVERY", 0.01)
    lines = Lines()
    async with asked(lines.begin) as answer:
        await lines.held(0.3)  # many times the wait of the thread
        *values, end = await documents(answer)
    assert end == {"end": True}
    assert [int(one["value"].partition(" ")[0]) for one in values] == list(range(300))


async def test_a_reader_that_leaves_while_it_pauses_lets_the_thread_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studio_streams, "LOOK_EVERY", 0.01)
    lines = Lines()
    async with asked(lines.begin):
        await lines.held(0.1)
    assert await asyncio.to_thread(lines.ended.wait, 20)
    assert lines.made < 299


def test_a_server_that_ends_lets_the_thread_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studio_streams, "LOOK_EVERY", 0.01)
    lines, loop = Lines(), asyncio.new_event_loop()
    context: Any = SimpleNamespace(loop=loop)
    stream = studio_streams._in_thread(context, lines.begin)
    loop.run_until_complete(stream.__aenter__())
    loop.run_until_complete(lines.held(0.1))
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    loop.close()
    assert lines.ended.wait(20)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("/home/ada/secret is no number"), "the studio there failed"),
        (TimeoutError(), "the studio there failed"),
        (NotFound("no run called x"), "no run called x"),
        (FileNotFoundError(2, "No such file or directory"), "No such file or directory"),
    ],
    ids=lambda one: type(one).__name__ if isinstance(one, Exception) else "",
)
async def test_whatever_fails_is_told_and_nothing_of_ours_in_it(error: Exception, told: str) -> None:
    def begin(left: Callable[[], bool]) -> Iterator[str]:
        yield "first"
        raise error

    async with asked(begin) as answer:
        first, failed, end = await documents(answer)
    assert (first, end) == ({"value": "first"}, {"end": True})
    words = json.dumps(failed)
    assert told in str(error_of(failed["error"]))
    assert "ValueError" not in words
    assert "TimeoutError" not in words
    assert "secret" not in words
