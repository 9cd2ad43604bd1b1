"""What `serve` costs: a request and a chunk through it, beside the same through a bare byte pump, and many at once.

Engine, pump, server and client are processes of their own; only the server's and the pump's CPU is counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench.figure import Figure
from tests.ports import free_port
from tests.process.house import House

ROOT = Path(__file__).resolve().parents[2]
#: A server that answers at once, or streams N chunks, M a second: what an engine costs is not the question.
ENGINE = """
import asyncio, json, sys
BODY = json.dumps({"id": "a", "choices": [{"index": 0, "finish_reason": "stop", "message": {"content": "hi"}}],
                   "usage": {"prompt_tokens": 3, "completion_tokens": 1}}).encode()
EVENT = (b'data: {"id":"a","object":"chat.completion.chunk","created":1,"model":"m","choices":'
         b'[{"index":0,"delta":{"content":" word"},"finish_reason":null}]}\\n\\n')
CHUNK = b"%x\\r\\n%b\\r\\n" % (len(EVENT), EVENT)
HEAD = b"HTTP/1.1 200 OK\\r\\nContent-Type: text/event-stream\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n"
async def serve(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\\r\\n\\r\\n")
            lines = [line.partition(b":") for line in head.lower().split(b"\\r\\n")]
            length = next((int(value) for name, _, value in lines if name == b"content-length"), 0)
            body = await reader.readexactly(length) if length else b""
            if b'"stream":true' not in body:
                kind = b"HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\nContent-Length: %d\\r\\n\\r\\n"
                writer.write(kind % len(BODY) + BODY)
                continue
            asked = json.loads(body)
            writer.write(HEAD)
            pause, next_ = 1 / asked["seed"], asyncio.get_running_loop().time()
            for _ in range(asked["max_tokens"]):
                writer.write(CHUNK)
                next_ += pause
                await asyncio.sleep(max(0.0, next_ - asyncio.get_running_loop().time()))
            writer.write(b"e\\r\\ndata: [DONE]\\n\\n\\r\\n0\\r\\n\\r\\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()
async def main():
    async with await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]), backlog=1024) as server:
        await server.serve_forever()
asyncio.run(main())
"""
#: The floor: bytes from one socket to the other, nothing read or known of them.
PUMP = """
import asyncio, sys
try:
    import uvloop
    factory = uvloop.new_event_loop
except ImportError:
    factory = None
async def pump(reader, writer):
    try:
        while piece := await reader.read(65536):
            writer.write(piece)
            await writer.drain()
    except ConnectionError:
        pass
    writer.close()
async def serve(reader, writer):
    up, down = await asyncio.open_connection("127.0.0.1", int(sys.argv[2]))
    await asyncio.gather(pump(reader, down), pump(up, writer))
async def main():
    async with await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]), backlog=1024) as server:
        await server.serve_forever()
with asyncio.Runner(loop_factory=factory) as runner:
    runner.run(main())
"""
ASK = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def serving(home: House, quick: bool = False) -> list[Figure]:
    """What a request and a chunk cost, how 500 streams at once fare, and whether memory grows."""
    with _servers(home) as (engine, pump, served, pids):
        requests = 200 if quick else 1000
        _in_turn((engine, pump, served), 50)
        direct, pumped, through = _in_turn((engine, pump, served), requests)
        streams, chunks = 10, 100 if quick else 1000
        spent = {}
        for name, url in (("pump", pump), ("serve", served)):
            before = _cpu(pids[name])
            asyncio.run(_streams(url, streams, chunks, 100))
            spent[name] = (_cpu(pids[name]) - before) / (streams * chunks) * 1000
        many = 500
        begin = time.perf_counter()
        ended = asyncio.run(_streams(served, many, 20, 4))
        took = time.perf_counter() - begin
        asyncio.run(_requests(served, 1000))
        before_rss = _rss(pids["serve"])
        count = 3000 if quick else 100_000
        asyncio.run(_requests(served, count))
        grown = _rss(pids["serve"]) - before_rss
        return [
            Figure("serve: added to a request at p50", (through - direct) * 1000, "ms", None, 0.6),
            Figure("the same by a bare byte pump", (pumped - direct) * 1000, "ms", None, 0.6),
            Figure("serve: CPU of a chunk", spent["serve"], "ms", spent["pump"], 3),
            Figure(f"serve: {many} streams at once, broken", many - ended, "", None, 0),
            Figure(f"serve: {many} streams of 5 s, wall", took, "s", 5.0, 1.5),
            Figure("serve: RSS with that behind it", before_rss, "MB", None, 120),
            Figure(f"serve: RSS after {count} more requests", grown, "MB", None, 5),
        ]


@contextlib.contextmanager
def _servers(home: House) -> Iterator[tuple[str, str, str, dict[str, int]]]:
    ports = [free_port() for _ in range(3)]
    environ = {**os.environ, "VLLM_STUDIO_HOME": str(home.root), "PYTHONPATH": str(ROOT)}
    studio = (sys.executable, "-m", "vllm_studio_tui")
    recipe = home.root / "bench.yaml"
    home.root.mkdir(exist_ok=True)
    recipe.write_text(
        f"id: m\nname: m\nbackend: external\nbase_url: http://127.0.0.1:{ports[0]}/v1\nserved_model_name: m\n"
    )
    subprocess.run([*studio, "recipes", "import", str(recipe)], env=environ, check=True, stdout=subprocess.DEVNULL)
    engine = subprocess.Popen([sys.executable, "-c", ENGINE, str(ports[0])])
    pump = subprocess.Popen([sys.executable, "-c", PUMP, str(ports[1]), str(ports[0])])
    serve = subprocess.Popen([*studio, "serve", "--port", str(ports[2])], env=environ, stdout=subprocess.PIPE)
    try:
        assert serve.stdout is not None
        serve.stdout.readline()
        deadline = time.monotonic() + 20
        for port in ports:
            while True:
                try:
                    asyncio.run(_requests(f"127.0.0.1:{port}", 1))
                    break
                except (OSError, AssertionError):
                    assert time.monotonic() < deadline
                    time.sleep(0.1)
        first, second, third = (f"127.0.0.1:{port}" for port in ports)
        yield first, second, third, {"pump": pump.pid, "serve": serve.pid}
    finally:
        for one in (serve, pump, engine):
            one.terminate()
            one.wait(timeout=30)


def _head(body: bytes) -> bytes:
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    )


async def _requests(where: str, count: int) -> list[float]:
    """Ask one after the other over one connection, and return the seconds of each."""
    host, port = where.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    asked = _head(json.dumps(ASK).encode())
    taken = []
    for _ in range(count):
        begin = time.perf_counter()
        writer.write(asked)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        lines = [line.partition(b":") for line in head.lower().split(b"\r\n")]
        length = next(int(value) for name, _, value in lines if name == b"content-length")
        await reader.readexactly(length)
        taken.append(time.perf_counter() - begin)
    writer.close()
    return taken


def _in_turn(where: tuple[str, ...], count: int) -> list[float]:
    """Return the median seconds of a request to each, asked in turn so that drift hits all alike."""
    taken: list[list[float]] = [[] for _ in where]
    for _ in range(10):
        for place, one in enumerate(where):
            taken[place] += asyncio.run(_requests(one, count // 10))
    return [statistics.median(one) for one in taken]


async def _stream(where: str, chunks: int, speed: float) -> bool:
    host, port = where.split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=64 * 1024 * 1024)
    body = {**ASK, "stream": True, "max_tokens": chunks, "seed": speed, "stream_options": {"include_usage": True}}
    writer.write(_head(json.dumps(body, separators=(",", ":")).encode()))
    try:
        await reader.readuntil(b"data: [DONE]")
    except asyncio.IncompleteReadError:
        return False
    finally:
        writer.close()
    return True


async def _streams(where: str, count: int, chunks: int, speed: float) -> int:
    """Return how many of these streams came to their end."""
    return sum(await asyncio.gather(*(_stream(where, chunks, speed) for _ in range(count))))


def _cpu(pid: int) -> float:
    """CPU seconds of a process so far, of all its threads."""
    return sum(int(one.read_text().split()[0]) for one in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


def _rss(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
