"""Work that may take long or go wrong, in a thread beside the keeper's own.

An engine may never answer and a log may be a flood; the keeper must be able to stop an engine all the same. A job
that raises is an answer too, and a thread that does not come back is replaced.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

#: Seconds after which a thread is taken for lost, and another one does what is asked.
PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Done:
    """The result of a job: its value, or the exception that ended it."""

    kind: str
    value: Any = None
    fault: BaseException | None = None


class Worker:
    """Does jobs one after the other, of each kind one at a time. `wake_read` can be read when there is an answer."""

    def __init__(self, name: str, *, patience: float = PATIENCE, prepare: Callable[[], None] | None = None) -> None:
        self._name, self._patience, self._prepare = name, patience, prepare
        self._answers: queue.SimpleQueue[tuple[object, Done]] = queue.SimpleQueue()
        self._asked: dict[str, float] = {}
        self.wake_read, self._wake_write = os.pipe()
        os.set_blocking(self.wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._begin()

    def _begin(self) -> None:
        self._jobs: queue.SimpleQueue[tuple[str, Callable[[], Any]]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, args=(self._jobs,), name=self._name, daemon=True)
        self._thread.start()

    def ask(self, kind: str, job: Callable[[], Any]) -> bool:
        """Queue a job; return False where one of its kind is still under way."""
        now = time.monotonic()
        if not self._thread.is_alive() or any(now - since > self._patience for since in self._asked.values()):
            self._asked.clear()
            with contextlib.suppress(RuntimeError):  # no thread can be had: the next time, perhaps
                self._begin()
        if kind in self._asked:
            return False
        self._asked[kind] = now
        self._jobs.put((kind, job))
        return True

    def pending(self, kind: str) -> bool:
        return kind in self._asked

    def answers(self) -> list[Done]:
        """Return what has come since; empties the wake pipe. Of a thread that was replaced nothing counts any more."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self.wake_read, 512):
                pass
        found = []
        while not self._answers.empty():
            jobs, done = self._answers.get()
            if jobs is self._jobs:
                self._asked.pop(done.kind, None)
                found.append(done)
        return found

    def _work(self, jobs: queue.SimpleQueue[tuple[str, Callable[[], Any]]]) -> None:
        with contextlib.suppress(Exception):  # what cannot be imported now fails the jobs that need it
            if self._prepare is not None:
                self._prepare()
        while jobs is self._jobs:
            kind, job = jobs.get()
            try:
                done = Done(kind, job())
            except BaseException as fault:  # noqa: BLE001, RUF100
                done = Done(kind, fault=fault)
            self._answers.put((jobs, done))
            with contextlib.suppress(BlockingIOError):  # full: the keeper is awake anyway
                os.write(self._wake_write, b".")
