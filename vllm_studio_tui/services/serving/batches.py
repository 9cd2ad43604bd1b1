"""Hand requests that have ended to one receiver, in batches, from a thread of its own.

Whoever ends a request never waits: what the receiver does not take in time is dropped and counted.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from vllm_studio_tui.domain.usage import CompletedRequest
from vllm_studio_tui.kit.sanitize import clean_line
from vllm_studio_tui.services.serving.request_record import request_record

log = logging.getLogger(__name__)

Batch = list[dict[str, Any]]
Deliver = Callable[[Batch], object]
#: Requests of a batch, and seconds that the first one waits for others.
BATCH, GATHER = 100, 1.0
#: Requests that wait for a receiver; more are dropped.
MOST = 10_000
#: Seconds after which a receiver counts as hanging.
PATIENCE = 30.0


class BatchThread:
    """A receiver and the thread that calls it.

    Args:
        title: Who it is, for messages.
        make: Gives the function that takes a batch. It is called in the thread, for it may be foreign code.
        patience: Seconds after which a call counts as hanging.
    """

    def __init__(
        self,
        title: str,
        make: Callable[[], Deliver],
        *,
        batch: int = BATCH,
        gather: float = GATHER,
        most: int = MOST,
        patience: float = PATIENCE,
    ) -> None:
        self.title = title
        self._make = make
        self._batch, self._gather, self._most, self._patience = batch, gather, most, patience
        self._waiting: deque[CompletedRequest] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._called_at: float | None = None
        self._in_call = 0
        self._delivered = self._failed = self._dropped = 0
        self._error: str | None = None
        self._reported = False
        self._thread = threading.Thread(target=self._work, name=f"receiver {title}"[:60], daemon=True)
        self._thread.start()

    def put(self, request: CompletedRequest) -> None:
        """Take a request that has ended. Never waits, raises nothing."""
        with self._changed:  # held for a few instructions alone
            if len(self._waiting) >= self._most or not self._thread.is_alive():
                self._dropped += 1
            else:
                self._waiting.append(request)
                if len(self._waiting) in (1, self._batch):
                    self._changed.notify_all()
        self._look()

    def health(self) -> dict[str, Any]:
        """Return how many requests it got, and what is wrong with it."""
        self._look()
        with self._changed:
            return {
                "name": self.title,
                "delivered": self._delivered,
                "failed": self._failed,
                "dropped": self._dropped,
                "waiting": len(self._waiting) + self._in_call,
                "error": self._error,
            }

    def finish(self) -> None:
        """Let it hand over what waits, and end."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    def join(self, seconds: float) -> int:
        """Wait for its end, and return how many requests it did not get."""
        self._thread.join(max(0.0, seconds))
        with self._changed:
            return len(self._waiting) + self._in_call

    # --- the thread -------------------------------------------------------------------------------------

    def _work(self) -> None:
        deliver: Deliver | None = None
        while batch := self._next():
            try:
                deliver = deliver or self._make()
                deliver([request_record(one) for one in batch])
            # Foreign code: it may raise anything, also what would end a process.
            except BaseException as error:  # noqa: BLE001
                self._done(delivered=False)
                self._report(f"raises {_words(error)}")
            else:
                self._done(delivered=True)

    def _next(self) -> list[CompletedRequest]:
        """Return the next batch; empty when it is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            self._changed.wait_for(lambda: len(self._waiting) >= self._batch or self._closing, self._gather)
            batch = [self._waiting.popleft() for _ in range(min(self._batch, len(self._waiting)))]
            self._in_call, self._called_at = len(batch), time.monotonic()
            return batch

    def _done(self, *, delivered: bool) -> None:
        with self._changed:
            if delivered:
                self._delivered += self._in_call
                self._error = None
            else:
                self._failed += self._in_call
            self._in_call, self._called_at = 0, None

    def _look(self) -> None:
        called = self._called_at
        if called is not None and self._in_call and time.monotonic() - called > self._patience:
            self._report(f"has not come back for {self._patience:g} seconds")

    def _report(self, what: str) -> None:
        """Say what is wrong: once in the log, the latest in `health`."""
        self._error = clean_line(what, limit=300)
        if not self._reported:
            self._reported = True
            log.warning("%s %s; it is not said again, see /health", self.title, self._error)


def _words(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001, RUF100 - the text of a foreign error is foreign code too
        return type(error).__name__
