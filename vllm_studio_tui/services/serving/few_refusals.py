"""Which refusals are rows: a client that asks again and again, and is refused each time, must not fill the log."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from vllm_studio_tui.domain.usage import CompletedRequest

MINUTE = 60.0
#: Rows of refusals that a key may have in a minute, by status: over a limit, each says the same.
ROWS = {429: 1}
#: The same for any other status.
OTHERS = 60
#: Keys and statuses that are remembered; the oldest is forgotten first.
MOST = 10_000


@dataclass(slots=True)
class _Minute:
    began: float
    rows: int = 0
    left_out: int = 0


class FewRefusals:
    """Lets a few refusals of a key pass in each minute, the first ones. One thread at a time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._minutes: dict[tuple[str | None, int | None], _Minute] = {}

    def row(self, request: CompletedRequest) -> CompletedRequest | None:
        """Return what is kept of a request that has ended: all but refusals that come in crowds.

        The first row after such a crowd says how many it stands for.
        """
        if request.finish != "refused":
            return request
        now, place = self._clock(), (request.key_id, request.status)
        minute = self._minutes.get(place)
        left_out = 0
        if minute is None or now - minute.began >= MINUTE:
            left_out = minute.left_out if minute is not None else 0
            self._minutes.pop(place, None)
            minute = self._minutes[place] = _Minute(now)
            if len(self._minutes) > MOST:
                del self._minutes[next(iter(self._minutes))]
        if minute.rows >= ROWS.get(request.status or 0, OTHERS):
            minute.left_out += 1
            return None
        minute.rows += 1
        if not left_out:
            return request
        words = f"{left_out} more of this key were refused with {request.status} since the last such row"
        return replace(request, error=f"{request.error} ({words})" if request.error else words)
