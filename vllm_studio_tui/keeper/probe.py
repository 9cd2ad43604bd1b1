"""Asking the engine, off the keeper's own thread: is it ready, is it healthy, what has it counted.

An engine may take 20 s to answer or never stop answering; the keeper must stop it all the same. So one thread asks,
one question at a time, and every question has an end.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from vllm_studio_tui.domain.spec import CounterNames, ReadyProbe
from vllm_studio_tui.kit import process, prometheus, secrets

MAX_BODY = 4 * 1024 * 1024
FIELDS = ("prompt_tokens", "generation_tokens", "cached_tokens", "requests", "running", "progress")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a question brought.

    Attributes:
        kind: ready or counters.
        attempt: The attempt it was asked for.
        ok: The engine answered as it should.
        detail: Why not.
        values: Cumulative counters by our names; those the engine lacks are absent.
    """

    kind: str
    attempt: int
    ok: bool
    detail: str = ""
    values: Mapping[str, float] = field(default_factory=dict)


def get(host: str, port: int, path: str, *, timeout: float, key: str | None = None) -> tuple[int, bytes]:
    """GET with an end: `timeout` seconds for all of it.

    Raises:
        OSError, http.client.HTTPException: No usable answer.
    """
    import http.client

    deadline = time.monotonic() + timeout
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        headers = {"Connection": "close", "User-Agent": "vllm-studio"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        body = b""
        while len(body) < MAX_BODY:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"no whole answer within {timeout:g} s")
            if connection.sock is not None:
                connection.sock.settimeout(left)
            piece = response.read1(64 * 1024)
            if not piece:
                break
            body += piece
        return response.status, body
    finally:
        connection.close()


def ready(probe: ReadyProbe, host: str, port: int, key: str | None) -> tuple[bool, str]:
    """Whether the engine serves, and why not."""
    import http.client

    try:
        status, _ = get(host, port, probe.path, timeout=probe.timeout, key=key)
        if status != 200:
            return False, f"{probe.path} answers {status}"
        if probe.models_path is None:
            return True, ""
        status, body = get(host, port, probe.models_path, timeout=probe.timeout, key=key)
        if status != 200:
            return False, f"{probe.models_path} answers {status}"
        if probe.model is None:
            return True, ""
        listed = json.loads(body)
        entries = listed.get("data") if isinstance(listed, dict) else None
        names = [one.get("id") for one in entries if isinstance(one, dict)] if isinstance(entries, list) else []
        if probe.model in names:
            return True, ""
        return False, f"{probe.models_path} does not list {probe.model}"
    except (OSError, http.client.HTTPException, ValueError) as error:
        return False, f"{type(error).__name__}: {error}"[:200]


def counters(names: CounterNames, host: str, port: int, key: str | None, timeout: float) -> dict[str, float] | None:
    """What the engine has counted since it started; None if it did not answer."""
    import http.client

    try:
        status, body = get(host, port, names.path, timeout=timeout, key=key)
    except (OSError, http.client.HTTPException):
        return None
    if status != 200:
        return None
    wanted = frozenset(name for one in FIELDS for name in getattr(names, one))
    samples = prometheus.parse(body, wanted=wanted)
    values = {one: prometheus.total(samples, getattr(names, one)) for one in FIELDS if getattr(names, one)}
    found = {one: value for one, value in values.items() if value is not None}
    if names.cached_apart and "prompt_tokens" in found:
        found["prompt_tokens"] += found.get("cached_tokens", 0.0)
    return found


def key(reference: str | None) -> str | None:
    """The key that probes send; None where there is none, or where it cannot be read any more."""
    if reference is None:
        return None
    try:
        return secrets.resolve(reference, os.environ)
    except ValueError:
        return None


def listeners(port: int) -> list[int | None]:
    """The processes that listen on a port; None stands for one that cannot be resolved (a container, another user)."""
    import psutil

    try:
        table = psutil.net_connections(kind="tcp")
    except (psutil.Error, OSError):
        return []
    return [one.pid for one in table if one.status == psutil.CONN_LISTEN and one.laddr and one.laddr.port == port]


def older_listener(port: int, members: set[int], start: int) -> int | None:
    """A process on this port that is not one of `members` and older than `start` (clock ticks); None if none."""
    for pid in listeners(port):
        if pid is not None and pid not in members:
            other = process.start_ticks(pid)
            if other is not None and other < start:
                return pid
    return None


def load() -> None:
    """Import what this thread will need, now: the installation may be replaced under us.

    In the thread, so that the engine does not wait for it.
    """
    import http.client

    import psutil

    assert http.client
    assert psutil


class Prober:
    """One thread that asks. Answers are taken with `answers()` after the wake pipe became readable."""

    def __init__(self, host: str, port: int, timeout: float) -> None:
        self._timeout = timeout
        self._host, self._port = ("127.0.0.1" if host in ("0.0.0.0", "", "::") else host), port  # noqa: S104
        self._questions: queue.SimpleQueue[tuple[str, int, object, str | None]] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self._asked: set[str] = set()
        self.wake_read, self._wake_write = os.pipe()
        os.set_blocking(self.wake_read, False)
        os.set_blocking(self._wake_write, False)
        threading.Thread(target=self._work, name="prober", daemon=True).start()

    def ask_ready(self, attempt: int, probe: ReadyProbe, key: str | None) -> None:
        self._ask("ready", attempt, probe, key)

    def ask_counters(self, attempt: int, names: CounterNames, key: str | None) -> None:
        self._ask("counters", attempt, names, key)

    def asking(self, kind: str) -> bool:
        return kind in self._asked

    def _ask(self, kind: str, attempt: int, what: object, key: str | None) -> None:
        if kind not in self._asked:
            self._asked.add(kind)
            self._questions.put((kind, attempt, what, key))

    def answers(self) -> list[Answer]:
        """What has come since; empties the wake pipe."""
        try:
            while os.read(self.wake_read, 512):
                pass
        except BlockingIOError:
            pass
        found = []
        while not self._answers.empty():
            answer = self._answers.get()
            self._asked.discard(answer.kind)
            found.append(answer)
        return found

    def _work(self) -> None:
        load()
        while True:
            kind, attempt, what, key = self._questions.get()
            if isinstance(what, ReadyProbe):
                ok, detail = ready(what, self._host, self._port, key)
                answer = Answer(kind, attempt, ok, detail)
            elif isinstance(what, CounterNames):
                values = counters(what, self._host, self._port, key, self._timeout)
                answer = Answer(kind, attempt, values is not None, values=values or {})
            else:
                continue
            self._answers.put(answer)
            with contextlib.suppress(BlockingIOError):  # full: the keeper is awake anyway
                os.write(self._wake_write, b".")
