"""Whose server it is: found by the listening socket where that can be seen, else by what only our launch can answer."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.ports import free_port
from tests.process.house import until
from vllm_studio_tui.domain.spec import ReadyProbe, RunSpec
from vllm_studio_tui.keeper.port_owner import PortOwnership
from vllm_studio_tui.keeper.probe import Answer, Prober, Question
from vllm_studio_tui.keeper.tree import VARIABLE
from vllm_studio_tui.kit import listeners, process

SERVER = Path(__file__).parents[1] / "process" / "server.py"
Start = Callable[..., int]


@pytest.fixture
def start() -> Iterator[Start]:
    begun: list[subprocess.Popen[bytes]] = []

    def begin(port: int, *options: str, mark: str | None = None) -> int:
        env = {key: value for key, value in os.environ.items() if key != VARIABLE}
        # In a session of its own, and not below us: nothing but the mark tells whose it is.
        argv = ["setsid", sys.executable, str(SERVER), str(port), *options]
        one = subprocess.Popen(argv, env=env if mark is None else {**env, VARIABLE: mark})
        begun.append(one)
        until(lambda: bool(listeners.listeners(port, "127.0.0.1")), "it listens")
        return one.pid

    yield begin
    for one in begun:
        one.kill()
        one.wait()


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process is the keeper's stand-in, and must not be taken for the parent of everything here."""
    monkeypatch.setattr("vllm_studio_tui.keeper.port_owner.os.getpid", lambda: 2**30)


def test_a_server_is_known_by_its_mark_its_parent_or_its_number(start: Start, elsewhere: None) -> None:
    port = free_port()
    pid = start(port, mark="run-1")
    assert PortOwnership("run-1", "127.0.0.1", port).look().kind == "ours"
    assert PortOwnership("run-2", "127.0.0.1", port).look().kind == "stranger"
    known = {pid: process.start_ticks(pid) or 0}
    assert PortOwnership("run-2", "127.0.0.1", port, members=known).look().holder == pid
    parent = {os.getppid(): process.start_ticks(os.getppid()) or 0}
    assert PortOwnership("run-2", "127.0.0.1", port, members=parent).look().kind == "ours"
    reused = {os.getppid(): 1}
    assert PortOwnership("run-2", "127.0.0.1", port, members=reused).look().kind == "stranger", "a number used again"


def test_a_listener_on_another_address_does_not_answer_there() -> None:
    with socket.create_server(("127.0.0.2", 0)) as other:
        port = other.getsockname()[1]
        assert PortOwnership("r", "127.0.0.1", port).look().kind == "nobody"
        assert PortOwnership("r", "127.0.0.2", port).look().kind == "ours"


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")
def test_one_that_listens_on_all_addresses_of_both_kinds_answers() -> None:
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as other:
        port = other.getsockname()[1]
        assert PortOwnership("r", "127.0.0.1", port).look().kind == "ours"
        assert PortOwnership("r", "::1", port).look().kind == "ours"


def test_in_a_container_what_cannot_be_seen_is_not_known(
    start: Start, elsewhere: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    start(port)
    monkeypatch.setattr(listeners, "holders", lambda *_: [])
    assert PortOwnership("r", "127.0.0.1", port, contained=True).look().kind == "unknown"
    found = PortOwnership("r", "127.0.0.1", port).look()
    assert found.stranger is not None, "an engine of our own would be seen"
    assert found.stranger.pid is None
    assert found.stranger.user


def test_what_a_recipes_own_command_starts_in_a_container_is_not_called_a_stranger(
    start: Start, elsewhere: None, tmp_path: Path
) -> None:
    """`command: docker run ..`: the client is ours, the engine descends from the daemon and carries no mark."""
    port = free_port()
    start(port)
    client = tmp_path / "docker"
    client.symlink_to("/bin/sleep")
    with subprocess.Popen([str(client), "60"]) as one:
        until(lambda: (found := process.stat(one.pid)) is not None and found.name == "docker", "it is what it runs")
        members = {one.pid: process.start_ticks(one.pid) or 0}
        assert PortOwnership("r", "127.0.0.1", port, members=members).look().kind == "unknown"
        one.kill()
    assert PortOwnership("r", "127.0.0.1", port).look().kind == "stranger"


class Guarded(BaseHTTPRequestHandler):
    key: str | None = "right"

    def log_message(self, *_: Any) -> None: ...

    def do_GET(self) -> None:
        given = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        refused = self.path != "/health" and self.key is not None and given != self.key
        body = b'{"data": [{"id": "m"}]}'
        self.send_response(401 if refused else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("right", ""),
        ("other", "/v1/models answers 401"),
        (None, "/v1/models answers 200 without the run's key: it may be another server"),
    ],
)
def test_what_cannot_be_seen_must_know_the_key_of_the_run(
    monkeypatch: pytest.MonkeyPatch, key: str | None, words: str
) -> None:
    monkeypatch.setattr(listeners, "listeners", lambda *_: None)  # as where /proc tells nothing
    monkeypatch.setattr(Guarded, "key", key)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Guarded)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        port = int(server.server_address[1])
        probe = ReadyProbe(models_path="/v1/models", model="m", guarded="/v1/models")
        answer = asked(port, probe, "right")
    finally:
        server.shutdown()
        server.server_close()
    assert (answer.ok, answer.detail) == (not words, words)


def asked(port: int, probe: ReadyProbe, key: str) -> Answer:
    spec = RunSpec("r-1", "r", "r", "vllm", "m", ("x",), "127.0.0.1", port, "", 0.0, stop_argv=("docker", "stop"))
    return Prober(spec)._answer(Question("ready", 1, probe, key, {}))
