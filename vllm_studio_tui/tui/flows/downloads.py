"""Downloads that go on while the person is at any screen: how far each is, how fast, and how to end it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.models.progress import Progress

T = TypeVar("T")
#: Seconds over which the rate is measured.
WINDOW = 8.0


class Cancelled(StudioError):
    """The person ended a download."""


class Download:
    """One download, and how far it is.

    Attributes:
        what: What is being done.
        done: Bytes so far.
        total: Bytes in all; None while that is not known.
    """

    def __init__(self, what: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.what = what
        self.done = 0
        self.total: int | None = None
        self.cancelled = False
        self._clock = clock
        self._seen: deque[tuple[float, int]] = deque()

    def take(self, progress: Progress) -> None:
        """Take in how far it is; called from the thread that downloads.

        Raises:
            Cancelled: The person ended it.
        """
        if self.cancelled:
            raise Cancelled(f"{self.what} was cancelled", advice="What has come is kept: it goes on from there.")
        now = self._clock()
        if progress.what != self.what or progress.done < self.done:
            self._seen.clear()  # another file, or unpacking: its speed is another one
        self.what, self.done, self.total = progress.what, progress.done, progress.total
        self._seen.append((now, progress.done))
        while len(self._seen) > 2 and now - self._seen[0][0] > WINDOW:
            self._seen.popleft()

    @property
    def share(self) -> float | None:
        """How much of it is done, 0-1; None while its size is not known."""
        return min(1.0, self.done / self.total) if self.total else None

    @property
    def rate(self) -> float | None:
        """Bytes a second of the last seconds; None until there are two figures."""
        seen = list(self._seen)  # the thread that downloads may add to it
        if len(seen) < 2 or seen[-1][0] - seen[0][0] < 0.2:
            return None
        return (seen[-1][1] - seen[0][1]) / (seen[-1][0] - seen[0][0])

    @property
    def seconds_left(self) -> float | None:
        rate = self.rate
        return (self.total - self.done) / rate if rate and self.total else None


class Downloads:
    """The downloads that go on.

    Args:
        changed: Called on the event loop when one begins or ends.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self.active: list[Download] = []
        self._changed = changed

    async def follow(self, what: str, work: Callable[[Callable[[Progress], None]], T]) -> T:
        """Run blocking work that reports its progress, and show it until it ends.

        Raises:
            Cancelled: The person ended it.
        """
        one = Download(what)
        self.active.append(one)
        self._changed()
        try:
            return await _in_daemon(lambda: work(one.take))
        finally:
            self.active.remove(one)
            self._changed()

    def cancel(self) -> bool:
        """End all of them; False where none goes on. What has come is kept."""
        going = [one for one in self.active if not one.cancelled]
        for one in going:
            one.cancelled = True
        return bool(going)


async def _in_daemon(work: Callable[[], T]) -> T:
    """Run blocking work in a thread that does not hold up the end of the program: a server may be silent for long."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]  # None is of T where there is no error

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except BaseException as raised:  # noqa: BLE001, RUF100
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop is closed: the program has ended
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, name="download", daemon=True).start()
    return await future
