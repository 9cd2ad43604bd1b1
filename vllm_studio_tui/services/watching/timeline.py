"""Series over any time up to 30 days: samples that are in memory, before these what is kept.

Columns begin at whole multiples of their width: a chart moves by a column, and what is past does not change. Therefore
what was found of a column is kept for the next picture.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from vllm_studio_tui.domain.timeline import Take
from vllm_studio_tui.services.watching.history import History

#: Columns that are remembered, over all series.
REMEMBERED = 40_000
#: Seconds after which a column of kept samples that is not over is looked up again.
AGAIN = 30.0
#: The same of one without a sample: what is being read in may still bring some.
SOON = 5.0
#: Seconds after its end when a column of kept samples has all that it will ever have.
SETTLED = 900.0
MOST_COLUMNS = 2000

Columns = list[float | None]


class Kept(Protocol):
    """What has the samples that are no longer in memory."""

    def over(
        self, names: Sequence[str], since: float, until: float, columns: int, *, take: Take = "mean"
    ) -> dict[str, Columns]: ...


class Timeline:
    """Series over time.

    Args:
        history: The samples in memory; None where none are taken.
        kept: Those that are kept.
    """

    def __init__(
        self,
        history: Callable[[], History | None],
        kept: Kept | None = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._history = history
        self._kept = kept
        self._clock = clock
        self._known: dict[tuple[str, float, Take], dict[int, tuple[float | None, float]]] = {}
        self._count = 0
        self._lock = threading.Lock()

    def over(
        self, names: Sequence[str], since: float, until: float, columns: int, *, take: Take = "mean"
    ) -> dict[str, list[float | None]]:
        """Return each series between two moments as columns of equal time, the newest last; None where it is unknown.

        The last column is the one that holds `until`. Blocking where it goes beyond the samples in memory.
        """
        columns = min(columns, MOST_COLUMNS)
        if columns < 1 or not until > since or not math.isfinite(until - since):
            return {name: [None] * max(0, columns) for name in names}
        width = (until - since) / columns
        first = math.ceil(until / width - 1e-9) - columns
        now = self._clock()
        found: dict[str, Columns] = {}
        missing: list[str] = []
        for name in names:
            known = self._remembered(name, width, take, first, columns, now)
            found[name] = [None if one is None else one[0] for one in known]
            if None in known:
                missing.append(name)
        if missing:
            begin = min(first + self._first_missing(name, width, take, first, columns, now) for name in missing)
            count = first + columns - begin
            for name, values in self._look(missing, begin, width, count, take, now).items():
                found[name][columns - count :] = values
        return found

    def mean(self, name: str, since: float, until: float) -> float | None:
        """Return the mean of a series between two moments; None where nothing is known."""
        if not until > since:
            return None
        history, now = self._history(), self._clock()
        reach = history.reach if history is not None else None
        if history is not None and reach is not None and since >= reach:
            return history.columns(name, since, until - since, 1, "mean")[0]
        return self._older([name], since, until, 1, "mean", history, now)[name][0]

    def _look(
        self, names: Sequence[str], first: int, width: float, count: int, take: Take, now: float
    ) -> dict[str, Columns]:
        """Find columns by their number, and remember them."""
        history = self._history()
        reach = history.reach if history is not None else None
        #: Columns from here on are in memory as a whole.
        inside = count if reach is None else min(count, max(0, math.ceil(reach / width) - first))
        older = (
            self._older(names, first * width, (first + inside) * width, inside, take, history, now) if inside else {}
        )
        found: dict[str, Columns] = {}
        for name in names:
            values: Columns = list(older.get(name, ()))
            if history is not None and inside < count:
                values += history.columns(name, (first + inside) * width, width, count - inside, take)
            found[name] = values
            self._remember(name, width, take, first, values, inside, now)
        return found

    def _older(
        self,
        names: Sequence[str],
        since: float,
        until: float,
        columns: int,
        take: Take,
        history: History | None,
        now: float,
    ) -> dict[str, Columns]:
        found = self._kept.over(names, since, until, columns, take=take) if self._kept is not None else {}
        if history is None:
            return {name: found.get(name, [None] * columns) for name in names}
        width = (until - since) / columns
        out: dict[str, Columns] = {}
        for name in names:
            values = found.get(name, [None] * columns)
            if None in values:  # where nothing is kept, what is in memory of it
                fine = history.columns(name, since, width, columns, take)
                coarse = history.coarse_columns(name, since, width, columns, take)
                values = [
                    next((one for one in some if one is not None), None)
                    for some in zip(values, fine, coarse, strict=True)
                ]
            out[name] = values
        return out

    # --- what was found before -------------------------------------------------------------------------

    def _remembered(
        self, name: str, width: float, take: Take, first: int, count: int, now: float
    ) -> list[tuple[float | None, float] | None]:
        with self._lock:
            known = self._known.get((name, width, take), {})
            found = [known.get(number) for number in range(first, first + count)]
        return [one if one is not None and one[1] > now else None for one in found]

    def _first_missing(self, name: str, width: float, take: Take, first: int, count: int, now: float) -> int:
        return self._remembered(name, width, take, first, count, now).index(None)

    def _remember(
        self, name: str, width: float, take: Take, first: int, values: Sequence[float | None], older: int, now: float
    ) -> None:
        with self._lock:
            known = self._known.setdefault((name, width, take), {})
            before = len(known)
            for offset, value in enumerate(values):
                end = (first + offset + 1) * width
                if value is None:
                    known[first + offset] = value, now + SOON
                elif offset < older:
                    known[first + offset] = value, math.inf if end < now - SETTLED else now + AGAIN
                elif end < now - max(width, 10.0):
                    known[first + offset] = value, math.inf
            self._count += len(known) - before
            if self._count > REMEMBERED:
                self._known.clear()
                self._count = 0
