"""Call into a library that may hang: a call that does not return keeps its thread, and the next ones are made."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

#: Seconds after which a call is taken as one that hangs.
HANGS = 0.3

Step = Callable[[], None]


def run_steps(steps: Iterator[Step], patience: float, hangs: float = HANGS) -> None:
    """Make the calls one after another in a thread, and return after `patience` seconds at the latest.

    A step that takes longer than `hangs` keeps its thread to itself, and another goes on with the next step; what it
    brings later is not lost. Steps must not raise. What hangs inside the kernel holds its thread for as long; the
    threads are daemons, so they do not hold the interpreter's end, but a process that must go leaves by `os._exit`.
    """
    work = _Work(steps)
    deadline = time.monotonic() + patience
    work.go_on()
    while (left := deadline - time.monotonic()) > 0:
        if work.done.wait(min(left, hangs)):
            return
        if time.monotonic() - work.since >= hangs:
            work.go_on()
    work.leave()


class _Work:
    """The steps, and the thread that takes the next one. `done` is set when all have returned."""

    def __init__(self, steps: Iterator[Step]) -> None:
        self.done = threading.Event()
        self.since = time.monotonic()
        self._steps = steps
        self._lock = threading.Lock()
        self._owner: threading.Thread | None = None
        self._under_way = 0
        self._ended = False

    def go_on(self) -> None:
        """Go on in a new thread; the one before ends with its present step."""
        with self._lock:
            if self._ended:
                return
            thread = self._owner = threading.Thread(target=self._work, name="nvml", daemon=True)
            self.since = time.monotonic()
        thread.start()

    def leave(self) -> None:
        """Start no further step."""
        with self._lock:
            self._owner = None

    def _work(self) -> None:
        step = self._next(done=0)
        while step is not None:
            step()
            step = self._next(done=1)

    def _next(self, done: int) -> Step | None:
        """Count steps that have returned, and return the one that this thread takes next; None: none."""
        with self._lock:
            self._under_way -= done
            step = None
            if self._owner is threading.current_thread():
                self.since = time.monotonic()
                step = next(self._steps, None)
                self._ended = self._ended or step is None
                self._under_way += step is not None
            if self._ended and not self._under_way:
                self.done.set()
            return step
