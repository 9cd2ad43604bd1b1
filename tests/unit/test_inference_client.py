"""One streamed answer against a server that behaves, breaks, hangs and refuses."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.ports import free_port
from vllm_studio_tui.domain.chat import ChatRequest, Delta, Ended, Relabel, Sampling, Target
from vllm_studio_tui.domain.errors import EngineUnreachable
from vllm_studio_tui.inference.client import stream_chat
from vllm_studio_tui.inference.request import body, list_models

ASK = ChatRequest(({"role": "user", "content": "markdown"},))


@pytest.fixture
def simulate() -> Iterator[Callable[..., Target]]:
    started = []

    def start(*flags: str) -> Target:
        port = free_port()
        argv = [sys.executable, "-m", "vllm_studio_tui.simulation.engine", "--port", str(port), "--model", "sim"]
        started.append(subprocess.Popen([*argv, *flags], stdout=subprocess.DEVNULL))
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):  # nobody listens yet, or it answers that it is loading
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1).close()
                return Target(f"http://127.0.0.1:{port}/v1", "sim")
            time.sleep(0.02)
        raise AssertionError("the simulated engine did not start")

    yield start
    for one in started:
        one.kill()
        one.wait()


async def collect(target: Target, request: ChatRequest = ASK, **limits: Any) -> tuple[str, str, Ended]:
    reasoning = content = ""
    ended: list[Ended] = []
    async for event in stream_chat(target, request, **limits):
        assert not ended, "nothing comes after the end"
        if isinstance(event, Delta):
            reasoning, content = reasoning + event.reasoning, content + event.content
        elif isinstance(event, Relabel):
            reasoning, content = content, ""
        else:
            ended.append(event)
    return reasoning, content, ended[0]


async def test_an_answer_comes_with_usage_and_timings(simulate: Callable[..., Target]) -> None:
    _, content, ended = await collect(simulate("--tokens-per-second", "500"))
    assert content.startswith("# What a KV cache is")
    assert ended.finish == "stop"
    assert ended.usage.completion_tokens
    assert ended.timings.ttft is not None
    assert ended.timings.tokens_per_second is not None
    assert 100 < ended.timings.tokens_per_second < 2000


@pytest.mark.parametrize("style", ["vllm", "llamacpp", "sglang"])
@pytest.mark.parametrize("how", ["field", "tags", "open"])
async def test_thinking_is_told_apart_however_it_is_sent(simulate: Callable[..., Target], style: str, how: str) -> None:
    target = simulate("--style", style, "--thinking", how, "--answer", "thinking", "--tokens-per-second", "0")
    reasoning, content, ended = await collect(target)
    assert reasoning.strip().startswith("The person wants"), ended
    assert content == "Paris."
    assert ended.finish == "stop"
    assert ended.timings.thinking is not None


async def test_a_tool_call_ends_the_answer(simulate: Callable[..., Target]) -> None:
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"properties": {"city": {}}}}}
    _, _, ended = await collect(simulate(), ChatRequest(ASK.messages, tools=(tool,)))
    assert ended.finish == "tool_calls", ended
    assert [(one.name, one.arguments) for one in ended.tool_calls] == [("weather", '{"city": "Paris"}')]


async def test_the_limit_of_tokens_is_told_from_a_whole_answer(simulate: Callable[..., Target]) -> None:
    _, _, ended = await collect(simulate(), ChatRequest(ASK.messages, Sampling(max_tokens=3)))
    assert (ended.finish, ended.usage.completion_tokens) == ("length", 3)


@pytest.mark.parametrize(
    ("style", "finish"),
    [("cut", "interrupted"), ("no-done", "interrupted"), ("error-object", "failed"), ("bad-json", "stop")],
)
async def test_a_broken_stream_keeps_what_came_and_says_what_happened(
    simulate: Callable[..., Target], style: str, finish: str
) -> None:
    _, content, ended = await collect(simulate("--break-stream-at", "20", "--break-style", style))
    assert content.startswith("# What")
    assert ended.finish == finish
    assert (ended.error is None) == (finish == "stop")


async def test_a_character_split_over_two_reads_stays_whole(simulate: Callable[..., Target]) -> None:
    _, content, _ = await collect(simulate("--break-stream-at", "5", "--break-style", "split-utf8"))
    assert "┌─┐" in content
    assert "\ufffd" not in content


async def test_an_engine_that_dies_interrupts_the_answer(simulate: Callable[..., Target]) -> None:
    _, content, ended = await collect(simulate("--crash-at-token", "30", "--tokens-per-second", "300"))
    assert content
    assert ended.finish == "interrupted"


async def test_a_server_that_is_not_there_is_said(simulate: Callable[..., Target]) -> None:
    _, _, ended = await collect(Target(f"http://127.0.0.1:{free_port()}/v1", "sim"))
    assert ended.finish == "failed"
    assert "cannot be reached" in (ended.error or "")


async def test_a_wrong_key_is_said_and_a_right_one_works(
    simulate: Callable[..., Target], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIM_KEY", "right-key")
    target = simulate("--api-key-env", "SIM_KEY")
    _, _, ended = await collect(Target(target.base_url, "sim", "wrong"))
    assert ended.finish == "failed"
    assert "401" in (ended.error or "")
    _, _, ended = await collect(Target(target.base_url, "sim", "right-key"))
    assert ended.finish == "stop"


async def test_closing_the_stream_closes_the_connection_and_the_engine_stops(simulate: Callable[..., Target]) -> None:
    target = simulate("--answer", "long:100000", "--tokens-per-second", "200")
    stream = stream_chat(target, ASK)
    async for event in stream:
        assert isinstance(event, Delta)
        break
    await stream.aclose()
    await idle(target)


async def test_closing_before_the_first_byte_closes_the_connection(simulate: Callable[..., Target]) -> None:
    target = simulate("--prefill-seconds", "1", "--answer", "long:100000", "--tokens-per-second", "200")
    stream = stream_chat(target, ASK)
    waiting = asyncio.ensure_future(anext(stream))
    await busy(target)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await stream.aclose()
    await idle(target)
    names = [thread.name for thread in threading.enumerate()]
    assert "chat-stream" not in names


async def running(target: Target) -> float:
    import urllib.request

    url = target.base_url.removesuffix("/v1") + "/metrics"
    text = (await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=5).read())).decode()
    return float(next(line for line in text.splitlines() if line.startswith("vllm:num_requests_running")).split()[-1])


async def busy(target: Target) -> None:
    async with asyncio.timeout(10):
        while not await running(target):  # noqa: ASYNC110, RUF100
            await asyncio.sleep(0.02)


async def idle(target: Target) -> None:
    async with asyncio.timeout(10):
        while await running(target) or any(  # noqa: ASYNC110, RUF100
            one.name == "chat-stream" for one in threading.enumerate()
        ):
            await asyncio.sleep(0.02)


class Scripted(BaseHTTPRequestHandler):
    """Sends whatever the test says."""

    answer: tuple[int, str, bytes] = (200, "text/event-stream", b"")
    hold: threading.Event | None = None
    seen: list[dict[str, Any]]

    def do_POST(self) -> None:
        self.seen.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        status, kind, body = self.answer
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()
        if self.hold is not None:
            self.hold.wait(20)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def scripted() -> Iterator[Callable[..., tuple[Target, type[Scripted]]]]:
    servers = []
    holds = []

    def start(status: int, kind: str, body: bytes, *, hold: bool = False) -> tuple[Target, type[Scripted]]:
        event = threading.Event() if hold else None
        if event is not None:
            holds.append(event)
        handler = type("One", (Scripted,), {"answer": (status, kind, body), "hold": event, "seen": []})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return Target(f"http://127.0.0.1:{server.server_address[1]}/v1", "m"), handler

    yield start
    for event in holds:
        event.set()
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "kind", "body"),
    [
        (500, "text/html", b"<h1>no</h1>\x1b[31m"),
        (400, "application/json", b'{"error": {"message": "context too long"}}'),
        (422, "application/json", b'{"detail": [{"msg": "extra"}]}'),
        (200, "text/event-stream", b"data: not json\n\n"),
        (200, "text/html", b"<html>hello</html>"),
        (200, "text/event-stream", b""),
        (200, "application/json", b"\xff\xfe"),
        (204, "text/plain", b""),
    ],
)
async def test_whatever_a_server_sends_there_is_one_end_and_a_reason(
    scripted: Callable[..., tuple[Target, type[Scripted]]], status: int, kind: str, body: bytes
) -> None:
    target, _ = scripted(status, kind, body)
    _, _, ended = await collect(target)
    assert ended.finish in ("failed", "interrupted")
    assert ended.error
    assert ended.advice


async def test_an_answer_that_is_no_stream_is_taken_all_the_same(
    scripted: Callable[..., tuple[Target, type[Scripted]]],
) -> None:
    whole = {"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 2}}
    target, _ = scripted(200, "application/json", json.dumps(whole).encode())
    _, content, ended = await collect(target)
    assert (content, ended.finish, ended.usage.prompt_tokens) == ("Hi", "stop", 2)


async def test_silence_in_the_middle_ends_the_wait(scripted: Callable[..., tuple[Target, type[Scripted]]]) -> None:
    piece = b'data: {"choices": [{"delta": {"content": "Hi"}}]}\n\n'
    target, _ = scripted(200, "text/event-stream", piece, hold=True)
    _, content, ended = await collect(target, idle_timeout=0.3)
    assert (content, ended.finish) == ("Hi", "interrupted")


async def test_nothing_of_the_users_openai_account_reaches_the_server(
    scripted: Callable[..., tuple[Target, type[Scripted]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-mine")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-mine")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-mine")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://example.invalid")
    headers: list[str] = []
    target, handler = scripted(200, "text/event-stream", b"data: [DONE]\n\n")
    original = handler.do_POST

    def spy(self: Scripted) -> None:
        headers.append(str(self.headers))
        original(self)

    monkeypatch.setattr(handler, "do_POST", spy)
    await collect(target)
    assert "mine" not in headers[0]


def test_standard_fields_only_go_to_transformers() -> None:
    request = ChatRequest(ASK.messages, Sampling(thinking=False, seed=1))
    plain = body(Target("x", "m", backend="transformers"), request)
    assert set(plain) == {"model", "messages", "stream", "seed"}
    full = body(Target("x", "m"), request)
    assert full["extra_body"]["chat_template_kwargs"]["enable_thinking"] is False
    assert full["stream_options"] == {"include_usage": True}


def test_models_are_listed_or_the_reason_is_said(simulate: Callable[..., Target]) -> None:
    assert list_models(simulate().base_url, None) == ["sim"]
    with pytest.raises(EngineUnreachable):
        list_models(f"http://127.0.0.1:{free_port()}/v1", None)
