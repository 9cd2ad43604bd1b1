"""The prober reads whatever a server sends: bounded in time and size, and it never raises."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.ports import free_port
from vllm_studio_tui.domain.spec import CounterNames, ReadyProbe
from vllm_studio_tui.keeper import engine_http

Serve = Callable[[Callable[[socket.socket], None]], int]
OK = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture
def serve() -> Iterator[Serve]:
    """A server that does the same with each connection; its port."""
    ended = threading.Event()
    listening: list[socket.socket] = []

    def begin(answer: Callable[[socket.socket], None]) -> int:
        server = socket.create_server(("127.0.0.1", 0))
        listening.append(server)

        def one(link: socket.socket) -> None:
            with link, contextlib.suppress(OSError):
                link.settimeout(30)
                link.recv(65536)
                answer(link)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while not ended.is_set():
                    threading.Thread(target=one, args=(server.accept()[0],), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        return int(server.getsockname()[1])

    yield begin
    ended.set()
    for server in listening:
        server.close()


def drip(head: bytes) -> Callable[[socket.socket], None]:
    """A byte now and then, for ever: no single read ever waits long."""

    def send(link: socket.socket) -> None:
        link.sendall(head)
        while True:
            link.sendall(b"x")
            time.sleep(0.05)

    return send


@pytest.mark.parametrize(
    "head",
    [b"", b"HTTP/1.1 2", OK + b"X-Header: ", OK + b"Content-Length: 100000\r\n\r\n", OK + b"\r\n"],
    ids=["status", "status line", "header", "body", "body without length"],
)
def test_an_answer_that_drips_has_an_end(serve: Serve, head: bytes) -> None:
    port = serve(drip(head))
    began = time.monotonic()
    ok, words = engine_http.ready(ReadyProbe(timeout=0.5), "127.0.0.1", port, None)
    assert (ok, words) == (False, "/health does not answer within 0.5 s")
    assert time.monotonic() - began < 10


def test_an_answer_without_end_is_cut(serve: Serve) -> None:
    def flood(link: socket.socket) -> None:
        link.sendall(OK + b"Connection: close\r\n\r\n")
        while True:
            link.sendall(b"x" * 65536)

    status, body = engine_http.get("127.0.0.1", serve(flood), "/", timeout=30.0)
    assert (status, len(body)) == (200, engine_http.MAX_BODY)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"data": ' + b"[" * 200_000 + b"]" * 200_000 + b"}", "/v1/models answers something that is no JSON"),
        (b"\xff\xfe", "/v1/models answers something that is no JSON"),
        (b"[1, 2]", "/v1/models does not list m"),
        (b'{"data": {"id": "m"}}', "/v1/models does not list m"),
        (b'{"data": [1, {"id": 7}, {"id": ["m"]}, null]}', "/v1/models does not list m"),
        (b'{"data": [{"id": "m"}]}', ""),
    ],
    ids=["deep", "bytes", "list", "object", "odd entries", "good"],
)
def test_any_list_of_models_is_read(serve: Serve, body: bytes, words: str) -> None:
    port = serve(lambda link: link.sendall(OK + b"Content-Length: %d\r\n\r\n" % len(body) + body))
    probe = ReadyProbe(models_path="/v1/models", model="m")
    assert engine_http.ready(probe, "127.0.0.1", port, None) == (not words, words)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "/health: the connection is closed without an answer"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "/health does not answer in HTTP"),
        (OK + b"a: b\r\n" * 200 + b"\r\n", "/health does not answer in HTTP"),
        (OK + b"a: " + b"b" * 100_000 + b"\r\n\r\n", "/health does not answer in HTTP"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nzzz\r\n", "/health does not answer in HTTP"),
        (b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", "/health answers 500"),
    ],
    ids=["nothing", "another protocol", "many headers", "a long header", "bad chunks", "500"],
)
def test_what_is_no_answer_is_said_in_words(serve: Serve, answer: bytes, words: str) -> None:
    port = serve(lambda link: link.sendall(answer))
    assert engine_http.ready(ReadyProbe(), "127.0.0.1", port, None) == (False, words)
    assert engine_http.counters(CounterNames(requests=("r",)), "127.0.0.1", port, None, 5.0) is None


def test_nobody_there_is_said_in_words(serve: Serve) -> None:
    port = free_port()
    assert engine_http.ready(ReadyProbe(), "127.0.0.1", port, None) == (False, f"nothing listens on :{port}")
