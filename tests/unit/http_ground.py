"""A server in the event loop of a test, in front of an engine that does what the test says."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp

from tests.ports import free_port
from vllm_studio_tui.domain.serving import Arrival, Endpoint, Phase, Refusal, ServedModel, Waiting
from vllm_studio_tui.domain.usage import CompletedRequest
from vllm_studio_tui.http import server
from vllm_studio_tui.http.context import ServeContext
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.services.watching.snapshot import Snapshot
from vllm_studio_tui.studio import Studio

Script = Callable[["Asked", asyncio.StreamWriter], Awaitable[None]]


class Asked:
    """A request as the engine got it."""

    def __init__(self, head: str, body: bytes) -> None:
        first, *lines = head.split("\r\n")
        self.method, self.path, _ = first.split(" ")
        self.headers = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)
        }
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class ScriptedEngine:
    """Takes one request after the other on each connection, and answers as its script does.

    Attributes:
        open: How many requests are being answered.
        gone: Set when a client closed its connection while it was answered.
        arriving: What came of the last body of unknown length, also if it did not come to its end.
    """

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.script: Script = answer(
            {"id": "a-1", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 5}}
        )
        self.open = 0
        self.gone = asyncio.Event()
        self.arriving = bytearray()
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                asked = Asked(head, b"")
                if "content-length" in asked.headers:
                    asked.body = await reader.readexactly(int(asked.headers["content-length"]))
                elif asked.headers.get("transfer-encoding") == "chunked":
                    self.arriving = bytearray()
                    asked.body = await _chunks(reader, self.arriving)
                self.asked.append(asked)
                self.open += 1
                doing = asyncio.ensure_future(self.script(asked, writer))
                leaving = asyncio.ensure_future(reader.read(1))
                done, _ = await asyncio.wait((doing, leaving), return_when=asyncio.FIRST_COMPLETED)
                self.open -= 1
                if doing not in done:
                    self.gone.set()
                    doing.cancel()
                    break
                leaving.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await leaving
                doing.result()
        writer.close()


async def _chunks(reader: asyncio.StreamReader, body: bytearray) -> bytes:
    while size := int(await reader.readuntil(b"\n"), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readline()
    return bytes(body)


def answer(document: Any, status: int = 200, headers: str = "") -> Script:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()

    async def script(_: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(
            f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n{headers}"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        await writer.drain()

    return script


STREAM = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def event(data: Any) -> bytes:
    text = data if isinstance(data, str) else json.dumps(data)
    body = f"data: {text}\n\n".encode()
    return b"%x\r\n%b\r\n" % (len(body), body)


def delta(text: str) -> bytes:
    return event({"id": "a-1", "choices": [{"index": 0, "delta": {"content": text}}]})


def stream(*words: str, usage: int | None = None, cut: bool = False, pause: asyncio.Event | None = None) -> Script:
    """A stream of words; `cut`: the connection ends in the middle of it; `pause`: waited for after the first word."""

    async def script(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM.encode())
        for number, word in enumerate(words):
            writer.write(delta(word))
            await writer.drain()
            if number == 0 and pause is not None:
                await pause.wait()
        if cut:
            writer.transport.abort()
            return
        writer.write(event({"id": "a-1", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}))
        if usage is not None and asked.json.get("stream_options", {}).get("include_usage"):
            writer.write(event({"choices": [], "usage": {"prompt_tokens": 2, "completion_tokens": usage}}))
        writer.write(event("[DONE]") + b"0\r\n\r\n")
        await writer.drain()

    return script


class FixedAdmission:
    queued_seconds = 0.0
    load_seconds = 0.0
    waited_seconds = 0.0

    def __init__(self, dispatcher: FixedDispatcher) -> None:
        self._dispatcher = dispatcher
        self.left = 0

    async def wait(self) -> Endpoint:
        await self._dispatcher.ready.wait()
        if self._dispatcher.failure is not None:
            raise self._dispatcher.failure
        return self._dispatcher.endpoint

    def status(self) -> Waiting:
        return self._dispatcher.waiting if not self._dispatcher.ready.is_set() else Waiting(Phase.SENT, "rec")

    def leave(self) -> None:
        if not self.left:
            self._dispatcher.in_flight -= 1
        self.left += 1


class FixedDispatcher:
    """Sends everything to one endpoint, when it is told that it is ready."""

    made: FixedDispatcher

    def __init__(self, studio: Studio, *, primary: bool = True) -> None:
        FixedDispatcher.made = self
        self.endpoint = Endpoint("http://127.0.0.1:1/v1", "m", api_key="engine-key", run_id="run-1", recipe_id="rec")
        self.ready = asyncio.Event()
        self.ready.set()
        self.failure: Refusal | None = None
        self.refusal: Refusal | None = None
        self.waiting = Waiting(Phase.LOADING, "rec", stage="weights", progress=0.43)
        self.arrivals: list[Arrival] = []
        self.in_flight = 0
        self.listeners: list[Callable[[str, dict[str, Any]], None]] = []

    async def start(self) -> None: ...
    async def close(self) -> None: ...
    async def refresh(self) -> None: ...

    async def was_stopped(self, run_id: str | None) -> bool:
        return False

    def enter(self, arrival: Arrival) -> FixedAdmission:
        self.arrivals.append(arrival)
        if self.refusal is not None:
            raise self.refusal
        self.in_flight += 1
        return FixedAdmission(self)

    def enter_run(self, arrival: Arrival, endpoint: Endpoint) -> FixedAdmission:
        return self.enter(arrival)

    def models(self, patterns: tuple[str, ...] = ()) -> list[ServedModel]:
        return [ServedModel("m", ("alias",), "ready", "rec", "run-1", max_model_len=4096, created=1.0)]

    def document(self) -> dict[str, Any]:
        return {"queue": []}


class Ground:
    """The server, the engine behind it, and a client before it."""

    def __init__(self, context: ServeContext, engine: ScriptedEngine, client: aiohttp.ClientSession, url: str) -> None:
        self.context = context
        self.engine = engine
        self.client = client
        self.url = url
        self._rows: list[CompletedRequest] = []
        context.observers.append(self._rows.append)

    @property
    def rows(self) -> list[CompletedRequest]:
        """Return the rows of all that has ended until now."""
        self.context.notes.drain(10)
        return self._rows

    @property
    def dispatcher(self) -> FixedDispatcher:
        return FixedDispatcher.made

    async def post(self, path: str, body: Any, **options: Any) -> tuple[int, Any, aiohttp.ClientResponse]:
        """Send a body, and return the status, what came (as JSON where it is that), and the response."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", **options.pop("headers", {})}
        async with self.client.post(self.url + path, data=data, headers=headers, **options) as answered:
            raw = await answered.read()
            return answered.status, _json(raw), answered

    async def get(self, path: str, **options: Any) -> tuple[int, Any, aiohttp.ClientResponse]:
        async with self.client.get(self.url + path, **options) as answered:
            return answered.status, _json(await answered.read()), answered


def _json(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return raw


@contextlib.asynccontextmanager
async def serving(root: Path, monkeypatch: Any, *, settings: str = "", **options: Any) -> AsyncIterator[Ground]:
    """Serve a home of its own."""
    monkeypatch.setattr(server, "Dispatcher", FixedDispatcher)
    places = Places.under(root)
    if settings:
        places.config.mkdir(parents=True)
        places.settings_file.write_text(settings)
    engine = ScriptedEngine()
    upstream_port, port = free_port(), free_port()
    engine.url = f"http://127.0.0.1:{upstream_port}/v1"
    upstream = await asyncio.start_server(engine.serve, "127.0.0.1", upstream_port)
    with Studio.open_sync(places) as studio:
        given = server.Options(options.pop("host", "127.0.0.1"), port, **options)
        async with server.running(studio, given) as context, aiohttp.ClientSession() as client:
            made = FixedDispatcher.made
            made.endpoint = Endpoint(
                engine.url, "m", api_key="engine-key", run_id="run-1", attempt=1, recipe_id="rec", backend="vllm"
            )
            try:
                yield Ground(context, engine, client, f"http://127.0.0.1:{port}")
            finally:
                upstream.close()


async def until(condition: Callable[[], bool], what: str) -> None:
    deadline = asyncio.get_running_loop().time() + 30
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, f"not in time: {what}"
        await asyncio.sleep(0.005)


def still(ground: Ground, monkeypatch: Any, shown: Snapshot) -> None:
    """Have the server see this, whatever it looks at."""

    async def latest() -> Snapshot:
        return shown

    monkeypatch.setattr(ground.context.watching, "latest", latest)
