"""What `serve` costs: a request and a chunk through it, beside the least that passes on, and many at once.

Engine, what passes on, server and client are processes of their own; only the CPU of what passes on is counted.
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
from dataclasses import dataclass
from pathlib import Path

from tests.bench.figure import Figure
from tests.bench.serve_programs import BARE, ENGINE, PUMP, RELAY
from tests.ports import free_port
from tests.process.house import House

ROOT = Path(__file__).resolve().parents[2]
#: What LiteLLM is asked with; nobody else minds it.
KEY = "sk-bench-4c1f60d2a97e4b83"
ASK = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


@dataclass(frozen=True)
class Passing:
    """A program that passes requests on to the engine.

    Attributes:
        where: Its address, as `HOST:PORT`.
    """

    where: str
    pid: int


@dataclass(frozen=True)
class Cost:
    """What a program takes of a request and of a chunk: seconds at p50 and p95, and CPU in milliseconds."""

    p50: float
    p95: float
    request: float
    chunk: float


def serving(home: House, quick: bool = False) -> list[Figure]:
    """What a request and a chunk cost, how 500 streams at once fare, and whether memory grows."""
    with servers(home) as (engine, passing):
        costs, direct = measure(engine, passing, quick)
        serve, pump, bare, relay = (costs[name] for name in ("serve", "pump", "bare", "relay"))
        served, pid = passing["serve"].where, passing["serve"].pid
        many = 500
        begin = time.perf_counter()
        ended = asyncio.run(_streams(served, many, 20, 4))
        took = time.perf_counter() - begin
        asyncio.run(requests(served, 1000))
        before_rss = rss(pid)
        count = 3000 if quick else 100_000
        asyncio.run(requests(served, count))
        grown = rss(pid) - before_rss
        return [
            Figure("serve: added to a request at p50", (serve.p50 - direct.p50) * 1000, "ms", None, 0.6),
            Figure("the same by a bare aiohttp proxy", (bare.p50 - direct.p50) * 1000, "ms", None, 0.6),
            Figure("the same by a bare byte pump", (pump.p50 - direct.p50) * 1000, "ms", None, 0.6),
            Figure("serve: a request at p95, beside bare aiohttp", serve.p95 * 1000, "ms", bare.p95 * 1000, 2),
            Figure("serve: CPU of a request, beside bare aiohttp", serve.request, "ms", bare.request, 2.5),
            Figure("serve: CPU of a chunk, beside bare aiohttp", serve.chunk, "ms", bare.chunk, 2.5),
            Figure("serve: CPU of a chunk, beside a byte pump", serve.chunk, "ms", pump.chunk, 3),
            Figure("follower: added to a request at p50", (relay.p50 - direct.p50) * 1000, "ms", None, 0.6),
            Figure("follower: CPU of a chunk, beside a byte pump", relay.chunk, "ms", pump.chunk, 1.5),
            Figure(f"serve: {many} streams at once, broken", many - ended, "", None, 0),
            Figure(f"serve: {many} streams of 5 s, wall", took, "s", 5.0, 1.5),
            Figure("serve: RSS with that behind it", before_rss, "MB", None, 120),
            Figure(f"serve: RSS after {count} more requests", grown, "MB", None, 5),
        ]


def measure(engine: str, passing: dict[str, Passing], quick: bool) -> tuple[dict[str, Cost], Cost]:
    """Return what each program costs, and what the engine alone takes: asked in turn, so that drift hits all alike."""
    rounds, each = 10, 20 if quick else 100
    for one in passing.values():
        asyncio.run(requests(one.where, 300))
    time.sleep(2.0)  # what a program does once has been done
    taken: dict[str, list[float]] = {name: [] for name in ("", *passing)}
    spent = dict.fromkeys(passing, 0.0)
    for _ in range(rounds):
        taken[""] += asyncio.run(requests(engine, each))
        for name, one in passing.items():
            before = cpu(one.pid)
            taken[name] += asyncio.run(requests(one.where, each))
            spent[name] += cpu(one.pid) - before
    streams, chunks, turns = 10, 100 if quick else 250, 4
    streamed = dict.fromkeys(passing, 0.0)
    for _ in range(turns):
        for name, one in passing.items():
            before = cpu(one.pid)
            asyncio.run(_streams(one.where, streams, chunks, 100))
            streamed[name] += cpu(one.pid) - before
    costs = {
        name: Cost(
            statistics.median(taken[name]),
            statistics.quantiles(taken[name], n=20)[-1],
            spent[name] / (rounds * each) * 1000,
            streamed[name] / (turns * streams * chunks) * 1000,
        )
        for name in passing
    }
    return costs, Cost(statistics.median(taken[""]), statistics.quantiles(taken[""], n=20)[-1], 0.0, 0.0)


@contextlib.contextmanager
def servers(home: House) -> Iterator[tuple[str, dict[str, Passing]]]:
    """Start the engine and all that pass on to it, and yield where they are."""
    ports = [free_port() for _ in range(5)]
    recipe = home.root / "bench.yaml"
    home.root.mkdir(exist_ok=True)
    recipe.write_text(
        f"id: m\nname: m\nbackend: external\nbase_url: http://127.0.0.1:{ports[0]}/v1\nserved_model_name: m\n"
    )
    subprocess.run(
        [*STUDIO, "recipes", "import", str(recipe)], env=environ(home), check=True, stdout=subprocess.DEVNULL
    )
    started = [subprocess.Popen([sys.executable, "-c", ENGINE, str(ports[0])])]
    started += [
        subprocess.Popen([sys.executable, "-c", program, str(port), str(ports[0])])
        for program, port in zip((PUMP, BARE, RELAY), ports[1:], strict=False)
    ]
    started.append(start_serve(home, ports[4]))
    try:
        for port, one in zip(ports, started, strict=True):
            wait_for(port, one)
        where = [f"127.0.0.1:{port}" for port in ports]
        names = ("pump", "bare", "relay", "serve")
        passing = {name: Passing(where[number], started[number].pid) for number, name in enumerate(names, 1)}
        yield where[0], passing
    finally:
        for one in reversed(started):
            one.terminate()
            one.wait(timeout=30)


STUDIO = (sys.executable, "-m", "vllm_studio_tui")


def environ(home: House) -> dict[str, str]:
    """Return the environment of programs that use this home."""
    return {**os.environ, "VLLM_STUDIO_HOME": str(home.root), "PYTHONPATH": str(ROOT)}


def start_serve(home: House, port: int) -> subprocess.Popen[bytes]:
    """Start `serve`, and return it when it listens."""
    serve = subprocess.Popen([*STUDIO, "serve", "--port", str(port)], env=environ(home), stdout=subprocess.PIPE)
    assert serve.stdout is not None
    serve.stdout.readline()
    return serve


def wait_for(port: int, started: subprocess.Popen[bytes], seconds: float = 20) -> None:
    """Wait until a program answers a chat."""
    deadline = time.monotonic() + seconds
    while True:
        assert started.poll() is None, f"{started.args!r:.200} has ended"
        try:
            asyncio.run(requests(f"127.0.0.1:{port}", 1))
            return
        except (OSError, EOFError, AssertionError):
            assert time.monotonic() < deadline
            time.sleep(0.1)


def head(body: bytes) -> bytes:
    """Return the head of a chat, with its body."""
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Authorization: Bearer %b\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (KEY.encode(), len(body), body)
    )


async def requests(where: str, count: int) -> list[float]:
    """Ask one after the other over one connection, and return the seconds of each."""
    host, port = where.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    asked = head(json.dumps(ASK).encode())
    taken = []
    for _ in range(count):
        begin = time.perf_counter()
        writer.write(asked)
        came = await reader.readuntil(b"\r\n\r\n")
        assert came.startswith(b"HTTP/1.1 200"), came
        lines = [line.partition(b":") for line in came.lower().split(b"\r\n")]
        length = next(int(value) for name, _, value in lines if name == b"content-length")
        await reader.readexactly(length)
        taken.append(time.perf_counter() - begin)
    writer.close()
    return taken


async def _stream(where: str, chunks: int, speed: float) -> bool:
    host, port = where.split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=64 * 1024 * 1024)
    body = {**ASK, "stream": True, "max_tokens": chunks, "seed": speed, "stream_options": {"include_usage": True}}
    writer.write(head(json.dumps(body, separators=(",", ":")).encode()))
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


def cpu(pid: int) -> float:
    """CPU seconds of a process so far, of all its threads."""
    return sum(int(one.read_text().split()[0]) for one in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


def rss(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
