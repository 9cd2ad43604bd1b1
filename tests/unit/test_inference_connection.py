"""Streams as real servers frame them: all that has arrived is read, the figures are the wire's, and the end is told."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import select
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import h11
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.test_inference_reading import JSON
from vllm_studio_tui.domain.chat import ChatRequest, Delta, Ended, StreamEvent, Target
from vllm_studio_tui.inference import client, connection, sse
from vllm_studio_tui.inference.client import stream_chat
from vllm_studio_tui.inference.connection import ChunkedDecoder
from vllm_studio_tui.inference.deltas import DeltaReader
from vllm_studio_tui.inference.sse import EventSplitter
from vllm_studio_tui.inference.thinking import ThinkingSplitter

ASK = ChatRequest(({"role": "user", "content": "go"},))
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
Script = Callable[[Callable[[bytes], Any]], None]


def event(**choice: Any) -> bytes:
    return b"data: " + json.dumps({"choices": [{"index": 0, **choice}]}).encode() + b"\n\n"


def usage(**more: Any) -> bytes:
    return b"data: " + json.dumps({"choices": [], "usage": more}).encode() + b"\n\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def words(count: int) -> list[bytes]:
    return [chunk(event(delta={"content": f"w{number} "})) for number in range(count)]


ENDING = chunk(event(delta={}, finish_reason="stop")) + chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


class Server(socketserver.ThreadingTCPServer):
    """Answers every request with what a script writes."""

    allow_reuse_address = True
    daemon_threads = True
    script: Script


class Handler(socketserver.BaseRequestHandler):
    server: Server

    def handle(self) -> None:
        got = b""
        while b"\r\n\r\n" not in got:
            got += self.request.recv(65536)
        with contextlib.suppress(OSError):
            self.server.script(self.request.sendall)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as one:
        threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield one
        one.shutdown()


async def asked(server: Server, script: Script, request: ChatRequest = ASK, **limits: Any) -> list[StreamEvent]:
    """All events of an answer; there must be an end, one, and nothing behind it."""
    server.script = script
    target = Target(f"http://127.0.0.1:{server.server_address[1]}/v1", "m", backend="vllm")
    async with asyncio.timeout(30):
        events = [one async for one in stream_chat(target, request, **limits)]
    assert [isinstance(one, Ended) for one in events] == [False] * (len(events) - 1) + [True]
    return events


def end(events: list[StreamEvent]) -> Ended:
    assert isinstance(events[-1], Ended)
    return events[-1]


def text(events: list[StreamEvent]) -> str:
    return "".join(one.content for one in events if isinstance(one, Delta))


def at_once(*parts: bytes) -> Script:
    return lambda send: send(HEAD + b"transfer-encoding: chunked\r\n\r\n" + b"".join(parts))


# --- what has arrived is read -------------------------------------------------------------------------------


async def test_chunks_that_have_arrived_are_read_without_a_pause_between_them(server: Server) -> None:
    events = await asked(server, at_once(*words(1000), ENDING))
    assert text(events).split() == [f"w{number}" for number in range(1000)]
    assert len(events) < 100, "a wake-up, and perhaps a pause, for all that came: not for each chunk"


async def test_a_fast_stream_is_not_held_back_and_its_speed_is_the_engines(server: Server) -> None:
    sent: list[float] = []

    def script(send: Callable[[bytes], Any]) -> None:
        send(HEAD + b"transfer-encoding: chunked\r\n\r\n")
        begin = time.monotonic()
        for number, one in enumerate(words(500)):
            time.sleep(max(0.0, begin + number / 500 - time.monotonic()))
            send(one)
            sent.append(time.monotonic())
        send(chunk(usage(completion_tokens=500)) + ENDING)

    events = await asked(server, script)
    speed = end(events).timings.tokens_per_second
    assert speed is not None
    assert speed == pytest.approx(499 / (sent[-1] - sent[0]), rel=0.4), "a pause after each would show 60"
    assert sum(one.tokens for one in events if isinstance(one, Delta)) == 500, "events are counted, not reads"


@pytest.mark.skipif(not hasattr(socket, "TCP_INFO"), reason="this kernel does not tell when bytes came")
async def test_figures_do_not_count_that_we_were_late(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reading thread gets its turn half a second after the last bytes came, as on a machine that is busy."""
    late = Late()
    sent: list[float] = []

    def script(send: Callable[[bytes], Any]) -> None:
        send(HEAD + b"transfer-encoding: chunked\r\n\r\n")
        first, *others = words(100)
        send(first)
        sent.append(time.monotonic())
        time.sleep(0.5)
        late.on = True
        send(b"".join(others))
        sent.append(time.monotonic())
        time.sleep(0.8)
        late.on = False
        send(chunk(usage(completion_tokens=100)) + ENDING)

    monkeypatch.setattr(connection.Connection, "_receive", late.receive)
    ended = end(await asked(server, script))
    assert ended.timings.tokens_per_second is not None
    took = 99 / ended.timings.tokens_per_second
    assert took < sent[1] - sent[0] + 0.25, "99 tokens in half a second, not in the second that we took"


class Late:
    """A read that returns long after the bytes came."""

    on = False

    def __init__(self) -> None:
        original = connection.Connection._receive
        late = self

        def receive(self: connection.Connection) -> bytes:
            assert self._socket is not None
            select.select([self._socket], [], [], 20)
            if late.on:
                time.sleep(0.5)
            return original(self)

        self.receive = receive


async def test_a_body_with_a_length_or_none_is_read_to_its_end(server: Server) -> None:
    body = event(delta={"content": "Hi"}) + event(delta={}, finish_reason="stop") + b"data: [DONE]\n\n"
    for head in (HEAD + b"content-length: %d\r\n\r\n" % len(body), HEAD + b"connection: close\r\n\r\n"):
        events = await asked(server, lambda send, head=head: send(head + body))  # type: ignore[misc]
        assert (text(events), end(events).finish) == ("Hi", "stop")


async def test_headers_may_come_byte_by_byte_and_after_a_hundred(server: Server) -> None:
    raw = b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD + b"transfer-encoding: chunked\r\n\r\n" + b"".join(words(3)) + ENDING

    def script(send: Callable[[bytes], Any]) -> None:
        for place in range(0, len(raw), 3):
            send(raw[place : place + 3])
            time.sleep(0.0002)

    assert text(await asked(server, script)) == "w0 w1 w2 "


@given(st.lists(st.binary(max_size=60), max_size=12), st.lists(st.integers(0, 900), max_size=30), st.booleans())
def test_chunks_are_unpacked_as_h11_does_it_however_they_are_cut(
    parts: list[bytes], cuts: list[int], odd: bool
) -> None:
    size = b"%X;name=value\r\n%b\r\n" if odd else b"%x\r\n%b\r\n"
    raw = b"".join(size % (len(part), part) for part in parts if part) + b"0\r\n\r\n"
    unpacked = ChunkedDecoder()
    places = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]
    ours = b"".join(unpacked.feed(raw[begin:finish]) for begin, finish in itertools.pairwise(places))
    theirs = h11.Connection(h11.CLIENT)
    theirs.send(h11.Request(method="GET", target="/", headers=[("host", "x")]))
    theirs.send(h11.EndOfMessage())
    theirs.receive_data(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + raw)
    found = b""
    while not isinstance(one := theirs.next_event(), h11.EndOfMessage):
        found += bytes(one.data) if isinstance(one, h11.Data) else b""
    assert (ours, unpacked.over) == (found, True)


# --- whatever goes wrong, there is one end, with what came --------------------------------------------------


@pytest.mark.parametrize("number", ["1" + "0" * 400, "Infinity", "NaN", "-5", "1e400", "1" + "0" * 5000, "true", '"9"'])
@pytest.mark.parametrize(
    "field", ['"usage": {"completion_tokens_per_sec": %s}', '"timings": {"predicted_per_second": %s}']
)
async def test_a_speed_that_is_none_is_never_shown_and_hangs_nobody(server: Server, field: str, number: str) -> None:
    odd = b'data: {"choices": [], ' + (field % number).encode() + b"}\n\n"
    events = await asked(server, at_once(*words(2), chunk(odd), ENDING))
    assert (text(events), end(events).finish) == ("w0 w1 ", "stop")
    assert end(events).timings.tokens_per_second is None


async def test_llamacpps_speed_of_one_token_in_no_time_is_none(server: Server) -> None:
    timings = json.dumps({"choices": [], "timings": {"predicted_n": 1, "predicted_per_second": 1e6 - 1}}).encode()
    events = await asked(server, at_once(*words(1), chunk(b"data: " + timings + b"\n\n"), ENDING))
    assert end(events).timings.tokens_per_second is None


@pytest.mark.parametrize("place", ["read", "close", "take"])
async def test_a_fault_of_ours_ends_the_answer_with_what_came(
    server: Server, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    def broken(*_: Any) -> Any:
        raise KeyError("a fault of ours")

    if place == "read":
        original = DeltaReader.read
        monkeypatch.setattr(DeltaReader, "read", lambda self, one: original(self, one) if "w" in str(one) else broken())
    elif place == "close":
        monkeypatch.setattr(ThinkingSplitter, "close", broken)
    else:
        monkeypatch.setattr(client._Reading, "_over", broken)
    events = await asked(server, at_once(*words(5), ENDING))
    assert text(events).startswith("w0 w1 w2 w3 w4")
    if place != "close":
        assert end(events).finish == "interrupted"
        assert "KeyError" in (end(events).error or "")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(JSON.map(json.dumps) | st.text(max_size=30), max_size=6), st.booleans())
def test_any_json_in_events_ends_the_answer_once(server: Server, payloads: list[str], done: bool) -> None:
    parts = [chunk(b"data: " + one.encode("utf-8", "surrogatepass") + b"\n\n") for one in payloads]
    finish = end(asyncio.run(asked(server, at_once(*parts, ENDING if done else b"0\r\n\r\n")))).finish
    assert finish in ("stop", "length", "tool_calls", "failed", "interrupted")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n", HEAD + b"\r\n", HEAD + b"transfer-encoding: chunked\r\n\r\n"]),
)
def test_any_bytes_end_the_answer_once(server: Server, raw: bytes, head: bytes) -> None:
    ended = end(asyncio.run(asked(server, lambda send: send(head + raw))))
    assert ended.finish in ("failed", "interrupted", "stop")


async def test_framing_that_breaks_is_said_and_what_came_is_kept(server: Server) -> None:
    events = await asked(server, at_once(*words(4), b"no size\r\n"))
    assert text(events) == "w0 w1 w2 w3 "
    assert end(events).finish in ("failed", "interrupted")
    assert end(events).error


async def test_an_event_that_is_too_long_is_told(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MAX_EVENT", 4000)
    long = chunk(event(delta={"content": "x" * 5000}))
    events = await asked(server, at_once(*words(2), long, *words(1), ENDING))
    assert text(events).startswith("w0 w1 ")
    assert end(events).finish == "interrupted"
    assert "an event of more than" in (end(events).error or "")
    events = await asked(server, at_once(long, ENDING))
    assert end(events).finish == "failed", "nothing came: this is no answer"


async def test_a_document_without_an_end_is_not_read_on(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MAX_DOCUMENT", 200_000)

    def endless(head: bytes) -> Script:
        def script(send: Callable[[bytes], Any]) -> None:
            send(head)
            while True:
                send(b"x" * 65536)

        return script

    for head in (b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n", b"HTTP/1.1 500 No\r\n\r\n"):
        ended = end(await asked(server, endless(head)))
        assert ended.finish == "failed"
        assert "more than" in (ended.error or "")


async def test_silence_before_and_within_an_answer_ends_it(server: Server) -> None:
    hold = threading.Event()

    def script(send: Callable[[bytes], Any]) -> None:
        send(HEAD + b"transfer-encoding: chunked\r\n\r\n" + words(1)[0])
        hold.wait(20)

    events = await asked(server, script, idle_timeout=0.3)
    assert (text(events), end(events).finish) == ("w0 ", "interrupted")
    assert "nothing came for 0.3 s" in (end(events).error or "")
    ended = end(await asked(server, lambda send: (send(HEAD + b"\r\n"), hold.wait(20)), first_token_timeout=0.3))  # type: ignore[arg-type]
    assert ended.finish == "failed"
    hold.set()


# --- events out of bytes ------------------------------------------------------------------------------------


def test_a_long_line_in_small_pieces_costs_what_its_length_does() -> None:
    splitter = EventSplitter()
    begin = time.process_time()
    assert not list(splitter.feed(b"data: "))
    for _ in range(4000):
        assert not list(splitter.feed(b"x" * 4096))
    assert [len(one) for one in splitter.feed(b"\n\n")] == [4000 * 4096]
    assert time.process_time() - begin < 4, "were each piece to copy all before it, it would be 60 GB"


@given(st.lists(st.sampled_from([b"data: " + b"x" * 30, b"\n", b"\r\n", b"data: y\n\n", b"zz", b": c"]), max_size=30))
def test_dropping_a_long_event_loses_that_event_alone(parts: list[bytes]) -> None:
    whole, small = EventSplitter(), EventSplitter()
    raw = b"".join(parts)
    expected = [one for one in (*whole.feed(raw), *whole.close()) if len(one) <= 20]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sse, "MAX_EVENT", 32)
        found: list[str] = []
        for place in range(len(raw)):
            found += small.feed(raw[place : place + 1])
        found += small.close()
    assert [one for one in found if len(one) <= 20] == expected or small.dropped


# --- calls that stand in the text ---------------------------------------------------------------------------

WITH_TOOL = ChatRequest(ASK.messages, tools=({"type": "function", "function": {"name": "weather"}},))
CALL = 'I look.\n<tool_call>{"name": "weather", "arguments": {"city": "Paris"}}</tool_call>'


def said(words: str, finish: str = "stop") -> Script:
    pieces = [chunk(event(delta={"content": words[at : at + 5]})) for at in range(0, len(words), 5)]
    return at_once(*pieces, chunk(event(delta={}, finish_reason=finish)) + chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")


async def test_a_call_that_the_engine_left_in_the_text_is_read_and_said_to_be(server: Server) -> None:
    events = await asked(server, said(CALL), WITH_TOOL)
    ended = end(events)
    assert text(events) == "I look."
    assert [(one.name, json.loads(one.arguments)) for one in ended.tool_calls] == [("weather", {"city": "Paris"})]
    assert (ended.finish, ended.details["recovered"]) == ("tool_calls", "hermes")
    assert "set tool_call_parser hermes" in (ended.advice or "")


async def test_without_tools_a_text_stays_a_text(server: Server) -> None:
    events = await asked(server, said(CALL))
    assert (text(events), end(events).finish) == (CALL, "stop")


async def test_a_call_of_an_answer_that_was_cut_is_not_made(server: Server) -> None:
    events = await asked(server, said(CALL, "length"), WITH_TOOL)
    assert (text(events), end(events).finish, end(events).tool_calls) == (CALL, "length", ())


async def test_where_the_engine_parsed_calls_a_text_is_none(server: Server) -> None:
    call = {"index": 0, "id": "a", "function": {"name": "weather", "arguments": "{}"}}
    parts = [chunk(event(delta={"content": CALL})), chunk(event(delta={"tool_calls": [call]}))]
    events = await asked(server, at_once(*parts, ENDING), WITH_TOOL)
    assert [one.arguments for one in end(events).tool_calls] == ["{}"]
    assert "recovered" not in end(events).details
    assert text(events) == CALL


async def test_calls_of_a_stream_without_an_end_are_not_made(server: Server) -> None:
    call = {"index": 0, "id": "a", "function": {"name": "weather", "arguments": "{}"}}
    events = await asked(server, at_once(chunk(event(delta={"tool_calls": [call]})), b"0\r\n\r\n"), WITH_TOOL)
    assert end(events).finish == "interrupted"
