"""Series over any time up to 30 days: samples that are in memory, before these what is kept.

Columns begin at whole multiples of their width: a chart moves by a column, and what is past does not change. Therefore
what was found of a column is kept for the next picture.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from vllm_studio_tui.domain.errors import StudioError, UsageError
from vllm_studio_tui.domain.series import RunSeries
from vllm_studio_tui.domain.timeline import NO_FIGURES, Pin, RangeFigures, SeriesChange, Take, TimelineEvent, of_samples
from vllm_studio_tui.kit.ring import average
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


#: Series of a recipe's runs of which several at once make a sum; of the others a mean.
SUMS = frozenset(
    {
        RunSeries.OUTPUT,
        RunSeries.INPUT,
        RunSeries.PREFILL,
        RunSeries.CACHED,
        RunSeries.RUNNING,
        RunSeries.WAITING,
        RunSeries.KV_TOKENS,
        RunSeries.PREEMPTIONS,
    }
)
#: Runs of a recipe that are put together, the latest.
MOST_RUNS = 300
#: Columns of which the figures of a recipe's series are computed.
PARTS = 240


class Kept(Protocol):
    """What has the samples that are no longer in memory."""

    def over(
        self, names: Sequence[str], since: float, until: float, columns: int, *, take: Take = "mean"
    ) -> dict[str, Columns]: ...
    def figures(self, names: Sequence[str], since: float, until: float) -> dict[str, RangeFigures]: ...
    def names(self) -> list[str]: ...
    def runs_of(self, recipe_id: str) -> list[str]: ...


class Record(Protocol):
    """What has events and pins."""

    def events(self, since: float, until: float) -> list[TimelineEvent]: ...
    def pins(self) -> list[Pin]: ...
    def pin(self, at: float, note: str = "") -> Pin: ...
    def unpin(self, pin_id: int) -> None: ...


class Timeline:
    """Series over time, and what happened.

    Args:
        history: The samples in memory; None where none are taken.
        kept: Those that are kept.
        record: What happened.
        recipes: Returns the recipe of each run that is known now.
    """

    def __init__(
        self,
        history: Callable[[], History | None],
        kept: Kept | None = None,
        *,
        record: Record | None = None,
        recipes: Callable[[], Mapping[str, str]] = dict,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._history = history
        self._kept = kept
        self._record = record
        self._recipes = recipes
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
        parts = {name: some for name in names if (some := self._parts(name)) is not None}
        if parts:
            every = [name for name in names if name not in parts] + [one for some in parts.values() for one in some]
            single = self.over(list(dict.fromkeys(every)), since, until, columns, take=take)
            made = {name: _together(name, [single[one] for one in some], columns) for name, some in parts.items()}
            return {name: made[name] if name in made else single[name] for name in names}
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
        return self.figures([name], since, until)[name].mean

    def figures(self, names: Sequence[str], since: float, until: float) -> dict[str, RangeFigures]:
        """Return the figures of each series between two moments. Blocking where they are not in memory."""
        if not until > since or not math.isfinite(until - since):
            return dict.fromkeys(names, NO_FIGURES)
        history = self._history()
        reach = history.reach if history is not None else None
        found: dict[str, RangeFigures] = {}
        left = []
        for name in names:
            if self._parts(name) is not None:
                found[name] = self._of_columns(name, since, until)
            elif history is not None and reach is not None and since >= reach - history.every:
                found[name] = of_samples(history.samples(name, since, until), history.every, until - since)
            else:
                left.append(name)
        if left:
            found |= self._kept.figures(left, since, until) if self._kept is not None else {}
            for name in left:
                if found.get(name, NO_FIGURES).mean is None:
                    found[name] = self._of_columns(name, since, until)
        return {name: found[name] for name in names}

    def compare(
        self, names: Sequence[str], before: tuple[float, float], after: tuple[float, float]
    ) -> list[SeriesChange]:
        """Return each series over two ranges, without those of which nothing is known in either."""
        first, second = self.figures(names, *before), self.figures(names, *after)
        made = (SeriesChange(name, first[name], second[name]) for name in dict.fromkeys(names))
        return [one for one in made if one.before.mean is not None or one.after.mean is not None]

    def names(self) -> list[str]:
        """Return the names of all series that there are samples of."""
        history = self._history()
        here = history.names() if history is not None else []
        return sorted({*here, *(self._kept.names() if self._kept is not None else [])})

    def runs_of(self, recipe_id: str) -> list[str]:
        """Return the runs of a recipe that may have samples, the latest last."""
        now = [run_id for run_id, recipe in self._recipes().items() if recipe == recipe_id]
        kept = self._kept.runs_of(recipe_id) if self._kept is not None else []
        return list(dict.fromkeys([*kept, *now]))[-MOST_RUNS:]

    def events(self, since: float, until: float) -> list[TimelineEvent]:
        """Return what happened between two moments, the oldest first. Blocking."""
        return self._record.events(since, until) if self._record is not None else []

    def pins(self) -> list[Pin]:
        """Return the moments that were pinned, the latest first. Blocking."""
        return self._record.pins() if self._record is not None else []

    def pin(self, at: float, note: str = "") -> Pin:
        """Pin a moment. Blocking.

        Raises:
            StudioError: It cannot be kept.
        """
        if self._record is None:
            raise UsageError("nothing can be pinned here")
        return self._record.pin(at, note)

    def unpin(self, pin_id: int) -> None:
        """Forget a pin. Blocking.

        Raises:
            StudioError: There is none of that number, or it cannot be taken away.
        """
        if self._record is None:
            raise UsageError("nothing is pinned here")
        self._record.unpin(pin_id)

    def _parts(self, name: str) -> list[str] | None:
        """Return the series of runs that a series of a recipe is made of; None of another series."""
        if not name.startswith("recipe/"):
            return None
        recipe_id, _, series = name.removeprefix("recipe/").rpartition("/")
        return [f"run/{run_id}/{series}" for run_id in self.runs_of(recipe_id)]

    def _of_columns(self, name: str, since: float, until: float) -> RangeFigures:
        means = self.over([name], since, until, PARTS)[name]
        known = [one for one in means if one is not None]
        tops = [one for one in self.over([name], since, until, PARTS, take="max")[name] if one is not None]
        made = of_samples(known, (until - since) / PARTS, until - since)
        return replace(made, max=max(tops, default=made.max))

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
        found: dict[str, Columns] = {}
        with contextlib.suppress(StudioError):  # a studio elsewhere that does not answer: what is here is shown
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


def _together(name: str, series: Sequence[Columns], count: int) -> Columns:
    """Return one value for each column of a recipe's runs."""
    whole = name.rpartition("/")[2] in SUMS
    found: Columns = []
    for column in range(count):
        known = [value for one in series if (value := one[column]) is not None]
        found.append((math.fsum(known) if whole else average(known)) if known else None)
    return found
