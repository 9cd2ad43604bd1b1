"""Which refusals are rows: a client that asks again and again, and is refused each time, must not fill the log."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from vllm_studio_tui.domain.api_key import ANONYMOUS
from vllm_studio_tui.domain.usage import CompletedRequest

MINUTE = 60.0
#: Rows of refusals that a key may have in a minute, by status: over a limit, each says the same.
ROWS = {429: 1}
#: The same for any other status; and of all together that have no key: strangers must not fill the disk.
OTHERS, STRANGERS = 60, 5
#: Keys and statuses that are remembered; the oldest is forgotten first.
MOST = 10_000


@dataclass(slots=True)
class _Minute:
    began: float
    rows: int = 0
    left_out: int = 0
    last: CompletedRequest | None = None


class FewRefusals:
    """Lets a few refusals of a key pass in each minute, the first ones. One thread at a time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._minutes: dict[tuple[str | None, int | None], _Minute] = {}
        #: Minutes that are over, of which `due` has not told yet.
        self._over: list[_Minute] = []

    def row(self, request: CompletedRequest) -> CompletedRequest | None:
        """Return what is kept of a request that has ended: all but refusals that come in crowds.

        `due` has a further row for those that were left out.
        """
        if request.finish != "refused":
            return request
        now, place = self._clock(), (request.key_id, request.status)
        minute = self._minutes.get(place)
        if minute is None or now - minute.began >= MINUTE:
            if minute is not None and minute.last is not None:
                self._over.append(minute)
            self._minutes.pop(place, None)
            minute = self._minutes[place] = _Minute(now)
            if len(self._minutes) > MOST:
                del self._minutes[next(iter(self._minutes))]
        if minute.rows >= ROWS.get(request.status or 0, STRANGERS if request.key_id == ANONYMOUS.id else OTHERS):
            minute.left_out += 1
            minute.last = request
            return None
        minute.rows += 1
        return request

    def due(self, *, end: bool = False) -> list[CompletedRequest]:
        """Return a row for each crowd whose minute is over: the last of those that were left out, and how many.

        Args:
            end: Nothing comes any more.
        """
        now, rows = self._clock(), []
        over, self._over = self._over, []
        for place, minute in list(self._minutes.items()):
            if minute.last is not None and (end or now - minute.began >= MINUTE):
                del self._minutes[place]
                over.append(minute)
        for minute in over:
            if minute.last is not None:
                words = f"stands for {minute.left_out} refused with {minute.last.status} within a minute"
                error = f"{words}: {minute.last.error}" if minute.last.error else words
                rows.append(replace(minute.last, error=error))
        return rows

    def next_due(self) -> float | None:
        """Return for how many seconds `due` has nothing; None: until something comes."""
        if self._over:
            return 0.0
        over = [one.began + MINUTE for one in self._minutes.values() if one.last is not None]
        return max(0.0, min(over) - self._clock()) if over else None
