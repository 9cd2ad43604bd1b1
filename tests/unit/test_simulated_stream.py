"""The simulated engine's streams: framed, shaped and timed as the servers of real engines send theirs."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.test_simulated_engine import Running, engine
from vllm_studio_tui.domain.chat import ChatRequest, Delta, Ended, Target
from vllm_studio_tui.inference.client import stream_chat

__all__ = ["engine"]  # a fixture


def received(port: int, tokens: int = 12) -> tuple[bytes, list[bytes]]:
    """The head of a streamed answer, and what each read of the socket brought behind it."""
    body = {"messages": [{"role": "user", "content": "long"}], "max_tokens": tokens, "stream": True}
    data = json.dumps({**body, "stream_options": {"include_usage": True}}).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(data)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as one:
        one.sendall(head + data)
        reads: list[bytes] = []
        while not b"".join(reads[-3:]).endswith(b"0\r\n\r\n"):
            reads.append(one.recv(65536))
            assert reads[-1]
    head, _, first = reads[0].partition(b"\r\n\r\n")
    return head, [first, *reads[1:]]


def keys(value: Any) -> Any:
    """The shape of JSON: its keys in their order."""
    if isinstance(value, dict):
        return {name: keys(one) for name, one in value.items() if name not in ("timings", "system_fingerprint")}
    return [keys(one) for one in value] if isinstance(value, list) else None


CAPTURES = Path(__file__).parents[1] / "fixtures" / "sse"


@pytest.mark.parametrize("style", ["vllm", "llamacpp", "sglang"])
def test_its_events_have_the_shape_of_the_real_engines(engine: Callable[..., Running], style: str) -> None:
    def shapes(raw: str) -> list[Any]:
        chunks = [json.loads(line[6:]) for line in raw.split("\n") if line.startswith("data: {")]
        # Which details of the usage there are differs by request.
        return [keys({**one, "usage": None} if "usage" in one else one) for one in chunks]

    running = engine("--style", style, "--answer", "long:100", "--tokens-per-second", "0")
    _, reads = received(running.port)
    ours = shapes(b"".join(reads).decode())
    theirs = shapes((CAPTURES / f"{style}.txt").read_text())
    assert ours[0] == theirs[0], "the role"
    assert ours[5] == theirs[2], "a token"
    assert ours[-2] in theirs, "the finish"
    assert ours[-1] in theirs, "the usage"


@pytest.mark.parametrize(("style", "server"), [("vllm", b"server: uvicorn"), ("llamacpp", b"Server: llama.cpp")])
def test_each_event_is_a_chunk_of_its_own_and_goes_at_once(
    engine: Callable[..., Running], style: str, server: bytes
) -> None:
    running = engine("--style", style, "--answer", "long:100", "--tokens-per-second", "40")
    head, reads = received(running.port)
    assert server in head
    assert b"ransfer-" in head
    tokens = [one for one in reads if b'"content":"' in one]
    # A reader that was late sees two at once; most come alone.
    assert sum(one.count(b"\r\ndata: ") == 1 and one.endswith(b"\n\n\r\n") for one in tokens) >= len(tokens) // 2
    raw = b"".join(reads)
    assert raw.count(b"\r\ndata: ") + raw.startswith(b"data: ") >= raw.count(b"data: ") - 1, "no chunk has two events"


@pytest.mark.parametrize("framing", ["uvicorn", "llamacpp", "tiny", "gathered"])
async def test_every_framing_is_read_to_its_end(engine: Callable[..., Running], framing: str) -> None:
    running = engine("--framing", framing, "--answer", "long:300", "--tokens-per-second", "600")
    target = Target(f"http://127.0.0.1:{running.port}/v1", "sim")
    events = [one async for one in stream_chat(target, ChatRequest(({"role": "user", "content": "go"},)))]
    assert isinstance(ended := events[-1], Ended)
    assert (ended.finish, ended.usage.completion_tokens) == ("stop", 300)
    assert sum(one.tokens for one in events if isinstance(one, Delta)) == 300


async def test_the_time_to_the_first_token_is_the_same_in_its_metrics_and_its_stream(
    engine: Callable[..., Running],
) -> None:
    running = engine("--prefill-seconds", "0.3", "--answer", "long:30", "--tokens-per-second", "50")
    request = ChatRequest(({"role": "user", "content": "go"},))
    events = [one async for one in stream_chat(Target(f"http://127.0.0.1:{running.port}/v1", "sim"), request)]
    assert isinstance(ended := events[-1], Ended)
    text = (await asyncio.to_thread(running.get, "/metrics")).decode()
    line = next(one for one in text.splitlines() if one.startswith("vllm:time_to_first_token_seconds_sum"))
    told = float(line.split()[-1])
    assert ended.timings.ttft is not None
    assert told >= 0.3
    assert told <= ended.timings.ttft <= told + 2, "the engine's own, and the way here"
