"""Hosts of tests: servers that answer `/overview` with whatever a test says, and real ones of other homes."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.ports import free_port
from vllm_studio_tui.config.setting_types import Host
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.host_overview import read_overview
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.remote.host_state import HostState
from vllm_studio_tui.services.serving.here import private_socket

GIB = 1024**3
#: What a well host says.
WELL: dict[str, Any] = {
    "version": "0.4.0",
    "uptime": 3_542_400.0,
    "driver": "570.86",
    "gpus": [
        {"index": 0, "name": "NVIDIA A100 80GB", "utilization": 98, "memory_used": 60e9, "memory_total": 80e9,
         "power_draw": 390.0, "temperature": 78, "slowed": []},
        {"index": 1, "name": "NVIDIA A100 80GB", "utilization": 50, "memory_used": 20e9, "memory_total": 80e9,
         "power_draw": 110.0, "temperature": 41, "slowed": []},
    ],
    "runs": [
        {"id": "r1", "name": "qwen3-32b", "state": "ready", "gpus": ["0"], "tokens_per_second": 1842.0, "waiting": 3},
    ],
    "queue": 1,
}  # fmt: skip
#: What one says who would like to own the terminal.
HOSTILE: dict[str, Any] = {
    **WELL,
    "version": "\x1b]0;owned\x07\x9b2J",
    "gpus": [{"index": 10**30, "name": "\x1b[31mNVIDIA\u202eevil", "trouble": "\x1b[2J" + "x" * 100_000}] * 3,
    "runs": [{"name": "\x1b[31m\u202eevil[red]", "state": "\x1b[2Jready", "title": "x" * 2000, "progress": 1e300}]
    * 900,
}


def answer(body: bytes, status: str = "200 OK", more: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{more}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def document(data: Any) -> bytes:
    return answer(json.dumps(data).encode())


@contextlib.contextmanager
def speaking(talk: Callable[[socket.socket], None] | bytes) -> Iterator[str]:
    """Listen on loopback and treat each connection as told; the address of it.

    Args:
        talk: Speaks with one that has sent a request, or the answer to each request of it.
    """
    port, ended = free_port(), threading.Event()
    listener = socket.create_server(("127.0.0.1", port))
    listener.settimeout(0.1)
    open_: list[socket.socket] = []

    def serve(one: socket.socket) -> None:
        with contextlib.suppress(OSError), one:
            while not ended.is_set():
                if not one.recv(65536):
                    return
                if callable(talk):
                    talk(one)
                    return
                one.sendall(talk)

    def accept() -> None:
        while not ended.is_set():
            with contextlib.suppress(TimeoutError):
                one, _ = listener.accept()
                one.settimeout(60)
                open_.append(one)
                threading.Thread(target=serve, args=(one,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        ended.set()
        thread.join()
        listener.close()
        for one in open_:
            one.close()


def hangs(one: socket.socket) -> None:
    time.sleep(60)


def drips(one: socket.socket) -> None:
    """Begin an answer and never come to its end."""
    one.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n")
    for _ in range(600):
        one.sendall(b" ")
        time.sleep(0.1)


def floods(one: socket.socket) -> None:
    one.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    piece = b"10000\r\n" + b"[" * 65536 + b"\r\n"
    for _ in range(4000):
        one.sendall(piece)


@contextlib.contextmanager
def real_server(home: Path, *more: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run `serve` of another home; the address of its private socket, and its process."""
    home.mkdir(parents=True, exist_ok=True)
    socket_path = private_socket(Places.under(home))
    process = subprocess.Popen(
        [sys.executable, "-m", "vllm_studio_tui", "serve", *(more or ("--no-port",))],
        env={**os.environ, "VLLM_STUDIO_HOME": str(home)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 40
        while not socket_path.is_socket():
            assert process.poll() is None, "serve ended"
            assert time.monotonic() < deadline, "serve does not begin"
            time.sleep(0.05)
        yield f"unix://{socket_path}", process
    finally:
        process.terminate()
        process.wait(30)


def _gpus(name: str, uses: tuple[int, ...], used: float, whole: float, watts: float, heat: int) -> list[dict[str, Any]]:
    return [
        {"index": at, "name": f"NVIDIA {name}", "utilization": use, "memory_used": used * GIB if use > 5 else 0.4 * GIB,
         "memory_total": whole * GIB, "power_draw": watts * (0.2 + use / 125), "temperature": heat - 5 + at % 4}
        for at, use in enumerate(uses)
    ]  # fmt: skip


def still_states(hosts: dict[str, Host]) -> list[HostState]:
    """What is known of these hosts, which stands still; one without a part in it was not asked yet."""
    gone = "ssh: connect to host 10.0.4.14 port 22: No route to host"
    lost = StudioError("ssh cannot connect to h100-d", cause=gone, advice="See whether `ssh h100-d true` works.")
    hot = _gpus("A100 80GB", (99, 98, 99, 97, 99, 98, 12, 0), 62.1, 79.5, 400, 80)
    hot[2] |= {"temperature": 88, "slowed": ["software thermal"]}
    runs = [
        {"id": "q", "name": "qwen3-235b-awq", "state": "ready", "gpus": ["0", "1", "2", "3"], "waiting": 4,
         "tokens_per_second": 2400.0},
        {"id": "l", "name": "llama-3.3-70b", "state": "ready", "gpus": ["4", "5"], "tokens_per_second": 720.0},
        {"id": "w", "name": "whisper", "state": "unhealthy", "gpus": ["6"], "title": "no answer for 31 s"},
    ]  # fmt: skip
    ready = [{"id": str(at), "name": f"m{at}", "state": "ready", "tokens_per_second": 1336.7} for at in range(3)]
    said = {
        "a100-b": {**WELL, "gpus": hot, "runs": runs, "queue": 0},
        "l40s-a": {**WELL, "gpus": _gpus("L40S 48GB", (55, 3, 2, 0), 40, 44.6, 300, 52), "runs": ready[:1], "queue": 0},
        "h100-d": {**WELL, "runs": ready},
        "h100-c": LOOKED_AT,
        "evil": HOSTILE,
    }
    found = []
    for name, host in hosts.items():
        state = HostState(name, host)
        if name in said:
            at = time.time()
            state = replace(state, overview=read_overview(said[name]), seen_at=at, seconds=0.038)
        if name == "h100-d":
            state = replace(state, error=lost, since=time.time() - 252)
        found.append(state)
    return found


#: What is made of a host without a studio, whose engines nobody here launched.
LOOKED_AT: dict[str, Any] = {
    "uptime": 86_400.0 * 9,
    "driver": "590.48.01",
    "gpus": _gpus("H100 80GB HBM3", (94, 92, 88, 82), 75.2, 79.6, 590, 63),
    "runs": [
        {"id": "vllm:8000", "name": "Qwen/Qwen3-32B", "state": "seen", "stage": "vLLM, port 8000", "gpus": ["0", "1"],
         "running": 12, "waiting": 2, "tokens_per_second": 1490.0},
        {"id": "llamacpp:8080", "name": "gpt-oss-20b.gguf", "state": "seen", "gpus": ["2"],
         "stage": "llama.cpp, port 8080, no /metrics"},
    ],
    "cores": 96, "load": 11.4, "ram_used": 212 * GIB, "ram_total": 1007 * GIB,
}  # fmt: skip
#: The hosts of the stage: how they are reached.
STAGE: dict[str, dict[str, Any]] = {
    "a100-b": {"connect": "ssh://ada@a100-b"},
    "h100-d": {"connect": "ssh://h100-d"},
    "l40s-a": {"connect": "https://l40s-a:8080", "api_key": "env:KEY"},
    "h100-c": {"connect": "ssh://h100-c", "agentless": True},
}


class StillWatch:
    """Knows of hosts without asking them.

    Attributes:
        asked: Names of hosts that were to be asked again.
    """

    def __init__(self, hosts: dict[str, Host], changed: Callable[[], None]) -> None:
        self.states = still_states(hosts)
        self.changed = changed
        self.asked: list[str] = []
        self.started = self.closed = False

    @property
    def ended(self) -> bool:
        return self.closed

    def start(self) -> None:
        self.started = True

    def keep(self, states: dict[str, HostState]) -> None:
        """What is known stands still."""

    def retry(self, name: str) -> None:
        self.asked.append(name)

    def close(self, wait: float = 0.0) -> None:
        self.closed = True
