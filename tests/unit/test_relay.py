"""A port of this machine that leads to a server elsewhere."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.ports import free_port
from vllm_studio_tui.followers.relay import MOST_WAITING, Relay


class Server:
    """Answers each connection in a thread, as it is told to."""

    def __init__(self, answer: Callable[[socket.socket], None], path: Path | None = None) -> None:
        self._answer = answer
        if path is None:
            self.socket = socket.create_server(("127.0.0.1", 0))
            self.address: tuple[str, int] = self.socket.getsockname()
        else:
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.socket.bind(str(path))
            self.socket.listen()
            self.address = (str(path), 0)
        self.seen: list[socket.socket] = []
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                one, _ = self.socket.accept()
                self.seen.append(one)
                threading.Thread(target=self._answer, args=(one,), daemon=True).start()

    def close(self) -> None:
        self.socket.close()


def whole(one: socket.socket) -> bytes:
    found = b""
    while piece := one.recv(65536):
        found += piece
    return found


def echo(one: socket.socket) -> None:
    """Send back what comes, after its end."""
    with contextlib.suppress(OSError), one:
        one.sendall(whole(one)[::-1])


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def relay(port: int) -> Iterator[Relay]:
    one = Relay("127.0.0.1", port)
    yield one
    one.close()


def test_it_refuses_before_there_is_where_to_lead_to_and_nobody_else_gets_the_port(relay: Relay, port: int) -> None:
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    with pytest.raises(OSError, match="in use"), socket.socket() as other:
        other.bind(("127.0.0.1", port))


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=st.lists(st.binary(max_size=50_000), max_size=6))
def test_both_ways_every_byte_arrives_in_order_and_an_end_is_an_end(pieces: list[bytes]) -> None:
    server, port = Server(echo), free_port()
    relay = Relay("127.0.0.1", port)
    try:
        relay.lead_to(server.address)
        with socket.create_connection(("127.0.0.1", port), timeout=10) as one:
            for piece in pieces:
                one.sendall(piece)
            one.shutdown(socket.SHUT_WR)
            assert whole(one) == b"".join(pieces)[::-1]
    finally:
        relay.close()
        server.close()


def test_it_leads_to_a_unix_socket_too(relay: Relay, port: int, tmp_path: Path) -> None:
    server = Server(echo, tmp_path / "s")
    relay.lead_to(server.address)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as one:
        one.sendall(b"abc")
        one.shutdown(socket.SHUT_WR)
        assert whole(one) == b"cba"
    server.close()


def test_a_server_that_refuses_and_nowhere_to_lead_to_end_the_connection(relay: Relay, port: int) -> None:
    relay.lead_to(("127.0.0.1", free_port()))
    for _ in range(2):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as one:
            assert whole(one) == b""
        relay.lead_to(None)


def test_who_goes_away_is_told_to_the_other_end(relay: Relay, port: int) -> None:
    gone = threading.Event()

    def wait(one: socket.socket) -> None:
        with one:
            assert whole(one) == b""
            gone.set()

    server = Server(wait)
    relay.lead_to(server.address)
    socket.create_connection(("127.0.0.1", port), timeout=10).close()
    assert gone.wait(10)
    server.close()


def test_a_reader_that_does_not_read_holds_the_writer_back_and_nobody_else(relay: Relay, port: int) -> None:
    sent: list[int] = [0]
    full = threading.Event()

    def flood(one: socket.socket) -> None:
        one.settimeout(1.0)
        with contextlib.suppress(OSError), one:
            for _ in range(10_000):
                sent[0] += one.send(b"x" * 65536)
        full.set()

    server = Server(flood)
    relay.lead_to(server.address)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with socket.create_connection(("127.0.0.1", port), timeout=10):
        assert full.wait(30)
        buffers = 64 * 1024 * 1024  # of the kernel, on four sockets
        assert sent[0] < buffers + MOST_WAITING
        assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < buffers
        other = Server(echo)
        relay.lead_to(other.address)
        with socket.create_connection(("127.0.0.1", port), timeout=10) as one:
            one.shutdown(socket.SHUT_WR)
            assert whole(one) == b""
        other.close()
    server.close()


def test_a_hundred_connections_at_once_and_none_is_left_open(relay: Relay, port: int) -> None:
    server = Server(echo)
    relay.lead_to(server.address)
    before = len(os.listdir("/proc/self/fd"))
    ends = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(100)]
    for number, one in enumerate(ends):
        one.sendall(b"%03d" % number)
        one.shutdown(socket.SHUT_WR)
    for number, one in enumerate(ends):
        with one:
            assert whole(one) == (b"%03d" % number)[::-1]
    deadline = time.monotonic() + 10
    while len(os.listdir("/proc/self/fd")) > before:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    server.close()
