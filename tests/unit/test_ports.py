"""Ports: whether one can be had, holding it, and the words for why not."""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ports import free_port
from vllm_studio_tui.domain.errors import LaunchRefused
from vllm_studio_tui.domain.spec import RunSpec
from vllm_studio_tui.keeper.port import why_not
from vllm_studio_tui.keeper.verdict import port_unavailable
from vllm_studio_tui.kit import listeners, ports
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.runs import control, port_choice


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def shared(port: int) -> Iterator[socket.socket]:
    """Bound as servers bind, and not listening yet."""
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind(("127.0.0.1", port))
        yield one


def rest_of_a_connection(port: int, option: int = socket.SO_REUSEADDR) -> None:
    """Leave a connection of this port in TIME_WAIT, with nobody listening."""
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, option, 1)
        server.bind(("127.0.0.1", port))
        server.listen()
        client = socket.create_connection(("127.0.0.1", port))
        server.accept()[0].close()  # who closes first waits
        client.close()


def build(run_id: str, port: int) -> RunSpec:
    raise AssertionError(f"{run_id} was given port {port}")


def refusal(tmp_path: Path, host: str, port: int | None, first: int = 8000) -> LaunchRefused:
    with pytest.raises(LaunchRefused) as refused:
        control.launch(
            Places.under(tmp_path / "home"), build, "r", host=host, port=port, first_port=first, gpus=(), again=True
        )
    return refused.value


def test_a_port_that_is_bound_and_not_listening_is_taken(shared: socket.socket, port: int) -> None:
    assert not ports.port_free("127.0.0.1", port)
    assert not ports.port_free("0.0.0.0", port)  # noqa: S104


def test_a_held_port_cannot_be_bound_by_a_server(port: int) -> None:
    with ports.hold("127.0.0.1", port), socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        with pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port))
    assert ports.port_free("127.0.0.1", port)


def test_the_rest_of_closed_connections_is_in_nobodys_way_and_the_port_is_held_all_the_same(port: int) -> None:
    rest_of_a_connection(port)
    assert listeners.has_lingering_connections(port)
    with ports.hold("127.0.0.1", port), socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port))


def test_who_listens_there_is_named(shared: socket.socket, port: int, tmp_path: Path) -> None:
    refused = refusal(tmp_path, "127.0.0.1", port)
    assert refused.title == f"port {port} is taken by another program"
    assert "does not listen there yet" in refused.cause
    shared.listen()
    assert f"Process {os.getpid()} (" in refusal(tmp_path, "127.0.0.1", port).cause
    assert f"Process {os.getpid()} (" in refusal(tmp_path, "0.0.0.0", port).cause  # noqa: S104


def test_the_kernel_and_proc_tell_the_same_of_who_listens(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    """sock_diag is what is asked, because reading /proc goes through all connections; where it is refused, /proc."""
    with socket.create_server(("127.0.0.1", port)) as one:
        inode = os.fstat(one.fileno()).st_ino
        asked = listeners.listeners(port, "127.0.0.1")
        assert listeners._asked(port) == listeners._read(port)
        monkeypatch.setattr(listeners, "_NETLINK_SOCK_DIAG", 63)  # there is no such protocol
        assert listeners._asked(port) is None
        assert listeners.listeners(port, "127.0.0.1") == asked == [listeners.Listener(inode, os.getuid())]
        assert listeners.listeners(port, "127.0.0.2") == []
        assert listeners.listeners(port, None) == asked
    assert listeners.listeners(port, None) == []


def test_closed_connections_that_keep_a_port_are_not_called_a_program(tmp_path: Path, port: int) -> None:
    """A server that shared its port (SO_REUSEPORT) leaves it to others only when the system forgets it."""
    rest_of_a_connection(port, socket.SO_REUSEPORT)
    refused = refusal(tmp_path, "127.0.0.1", port)
    assert refused.title == f"port {port} is not free yet"
    assert "closed connections" in refused.cause
    assert "in a minute" in refused.advice
    taken = OSError(errno.EADDRINUSE, "Address already in use")
    assert port_unavailable(taken, "127.0.0.1", port).retry, "a run under a policy is not given up for it"
    assert not port_unavailable(taken, "127.0.0.1", free_port()).retry


def test_an_address_of_another_machine_is_said_at_once(tmp_path: Path) -> None:
    for port in (8123, None):
        refused = refusal(tmp_path, "203.0.113.7", port)
        assert refused.title == "203.0.113.7 is no address of this machine"


def test_a_name_that_nobody_answers_for_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo

    def slow(host: str, port: int, *, type: int, flags: int = 0) -> object:  # noqa: A002, RUF100
        if flags & socket.AI_NUMERICHOST:
            return real(host, port, type=type, flags=flags)
        time.sleep(60)
        raise socket.gaierror(socket.EAI_AGAIN, "nobody answered")

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    monkeypatch.setattr(ports.resolve, "__defaults__", (0.2,))
    refused = refusal(tmp_path, "gpu-host.example", None)
    assert refused.title == "the host name gpu-host.example does not resolve"
    assert "0.2 s" in refused.cause


@pytest.mark.parametrize("name", ["no such name", "x" * 300, "a..b", "\ud800"])
def test_what_is_no_name_is_said(tmp_path: Path, name: str) -> None:
    assert "does not resolve" in refusal(tmp_path, name, 8123).title


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody without rights")
def test_a_port_that_may_not_be_used_is_said_as_that() -> None:
    limit = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    if limit <= 80:
        pytest.skip("every port is open to everybody here")
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.setuid(65534)
        try:
            ports.hold("127.0.0.1", 80)
        except OSError as error:
            os.write(write, "|".join(why_not(error, "127.0.0.1", 80)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    reason, title, cause, advice = os.read(read, 4096).decode().split("|")
    assert (reason, title) == ("port_forbidden", "port 80 may not be used")
    assert "below 1024" in cause
    assert "1024 up" in advice


def test_without_a_port_the_next_is_tried_after_one_that_is_taken_or_forbidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    def hold(host: str, port: int) -> socket.socket:
        tried.append(port)
        raise OSError({500: errno.EACCES, 501: errno.EADDRINUSE}.get(port, errno.EADDRNOTAVAIL), "no")

    monkeypatch.setattr(port_choice, "hold", hold)
    assert "no address of this machine" in refusal(tmp_path, "127.0.0.1", None, first=500).title
    assert tried == [500, 501, 502]
