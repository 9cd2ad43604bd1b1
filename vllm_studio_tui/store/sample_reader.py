"""Read samples that are kept. A file that is gone, damaged or of another version has no samples; nothing raises."""

from __future__ import annotations

import contextlib
import math
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from vllm_studio_tui.domain.timeline import RangeFigures, Take
from vllm_studio_tui.store.sample_blocks import STEPS, TIERS, Block, Tier

T = TypeVar("T")

VERSION = 1
#: Steps of which the figures of a range are computed, at least.
FINE = 60
#: Names in one statement.
_NAMES = 500


class SampleReader:
    """The samples in a file."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock

    def over(
        self, names: Sequence[str], since: float, until: float, columns: int, *, take: Take = "mean"
    ) -> dict[str, list[float | None]]:
        """Return each series between two moments as columns of equal time, the newest last."""
        width = (until - since) / columns
        which = ("mean", "min", "max").index(take)
        made = {name: _Columns(since, width, columns, which) for name in names}
        self._look(names, since, until, width, lambda name, *where: made[name].add(*where))
        return {name: one.values() for name, one in made.items()}

    def figures(self, names: Sequence[str], since: float, until: float) -> dict[str, RangeFigures]:
        """Return the figures of each series between two moments."""
        made = {name: _Figures() for name in names}
        self._look(names, since, until, (until - since) / FINE, lambda name, *where: made[name].add(*where))
        return {name: one.made(until - since) for name, one in made.items()}

    def runs_of(self, recipe_id: str) -> list[str]:
        """Return the runs of a recipe that have samples."""
        query = "SELECT DISTINCT run FROM series WHERE recipe = ? AND run IS NOT NULL"
        return self._ask(lambda db: [str(row[0]) for row in db.execute(query, (recipe_id,))], [])

    def names(self) -> list[str]:
        """Return the names of all series that have samples."""
        return self._ask(lambda db: [str(row[0]) for row in db.execute("SELECT name FROM series ORDER BY name")], [])

    def _look(
        self,
        names: Sequence[str],
        since: float,
        until: float,
        width: float,
        use: Callable[[str, Tier, int, Block, int, int], None],
    ) -> None:
        """Hand out the blocks between two moments, oldest first: as fine as the width wants it and the age allows.

        Args:
            use: Called with the series, and the first step of the block that counts and the one after the last.
        """

        def look(db: sqlite3.Connection) -> None:
            ids = _ids(db, list(dict.fromkeys(names)))
            for tier, first, end in _stretches(db, since, until, width, self._clock()):
                for begin in range(math.floor(first / tier.block) * tier.block, math.ceil(end), tier.block):
                    least = max(0, math.ceil((first - begin) / tier.step))
                    most = min(STEPS, math.ceil((end - begin) / tier.step))
                    for series, block in _blocks(db, tier, begin, ids):
                        use(ids[series], tier, begin, block, least, most)

        self._ask(look, None)

    def _ask(self, question: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        """Return the answer of the file; the other one where it cannot be read."""
        with contextlib.suppress(sqlite3.Error, OSError, OverflowError, ValueError, TypeError):
            db = _connect(self._path)
            if db is not None:
                with contextlib.closing(db):
                    if db.execute("PRAGMA user_version").fetchone()[0] == VERSION:
                        return question(db)
        return otherwise


def _connect(path: Path) -> sqlite3.Connection | None:
    if path.exists():
        for mode in ("ro", "ro&immutable=1"):  # the second where the shared memory of its log cannot be made
            db = sqlite3.connect(f"file:{quote(str(path))}?mode={mode}", uri=True, timeout=1.0)
            try:
                db.execute("PRAGMA trusted_schema = OFF")
                db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
            except sqlite3.OperationalError:
                db.close()
                continue
            return db
    return None


def _ids(db: sqlite3.Connection, names: Sequence[str]) -> dict[int, str]:
    found: dict[int, str] = {}
    for begin in range(0, len(names), _NAMES):
        some = names[begin : begin + _NAMES]
        query = f"SELECT id, name FROM series WHERE name IN ({', '.join('?' * len(some))})"  # noqa: RUF100, S608
        found.update((int(row[0]), str(row[1])) for row in db.execute(query, some))
    return found


def _blocks(db: sqlite3.Connection, tier: Tier, begin: int, ids: dict[int, str]) -> Iterator[tuple[int, Block]]:
    wanted = list(ids)
    for first in range(0, len(wanted), _NAMES):
        some = wanted[first : first + _NAMES]
        marks = ", ".join("?" * len(some))
        query = f"SELECT series, data FROM blocks WHERE tier = ? AND start = ? AND series IN ({marks})"  # noqa: RUF100, S608
        for series, data in db.execute(query, (tier.step, begin, *some)):
            yield series, Block.read(data)


def _stretches(
    db: sqlite3.Connection, since: float, until: float, width: float, now: float
) -> list[tuple[Tier, float, float]]:
    """Return which samples answer for which part of a time, oldest first.

    The tier whose steps are as long as the columns at most; the coarser ones for what is older than it reaches, the
    finest for what was not put into it yet.
    """
    best = max((number for number, tier in enumerate(TIERS) if tier.step <= width), default=0)
    row = db.execute("SELECT value FROM facts WHERE name = 'folded'").fetchone()
    folded = float(row[0]) if row is not None else 0.0
    found: list[tuple[Tier, float, float]] = []
    end = min(until, now + TIERS[-1].step)
    if best and folded < end:
        found.append((TIERS[0], max(since, folded), end))
        end = folded
    for number in range(best, len(TIERS)):
        tier = TIERS[number]
        oldest = db.execute("SELECT MIN(start) FROM blocks WHERE tier = ?", (tier.step,)).fetchone()[0]
        if oldest is None:
            continue
        reach = max(float(oldest), now - tier.keep)
        if number + 1 < len(TIERS):  # where the coarser one goes on, it ends with a whole step
            coarser = TIERS[number + 1].step
            reach = math.ceil(reach / coarser) * coarser
        first = max(since, reach)
        if first < end:
            found.append((tier, first, end))
            end = first
    return found[::-1]


class _Columns:
    """Steps put into columns: one that is shorter than a column into that of its middle, a longer one into all."""

    def __init__(self, since: float, width: float, count: int, which: int) -> None:
        self._since, self._width, self._count, self._which = since, width, count, which
        self._sums, self._weights = [0.0] * count, [0.0] * count
        self._edges: list[float | None] = [None] * count

    def add(self, tier: Tier, begin: int, block: Block, least: int, most: int) -> None:
        values, step = block.values(self._which), tier.step
        if step > self._width:
            for index in range(least, most):
                start = (begin + index * step - self._since) / self._width - 0.5
                last = math.ceil(start + step / self._width) - 1
                for column in range(max(0, math.ceil(start)), min(self._count - 1, last) + 1):
                    self._put(column, values[index : index + 1], step)
            return
        index = least
        while index < most:
            column = math.floor((begin + (index + 0.5) * step - self._since) / self._width)
            end = math.ceil((self._since + (column + 1) * self._width - begin) / step - 0.5)
            end = max(index + 1, min(most, end))
            if 0 <= column < self._count:
                self._put(column, values[index:end], step)
            index = end

    def values(self) -> list[float | None]:
        if self._which:
            return self._edges
        return [one / weight if weight else None for one, weight in zip(self._sums, self._weights, strict=True)]

    def _put(self, column: int, values: Sequence[float], step: int) -> None:
        whole = sum(values)
        if whole != whole:  # noqa: PLR0124, RUF100  # one of them is unknown
            values = [one for one in values if one == one]  # noqa: PLR0124, RUF100
            whole = sum(values)
        if not values:
            return
        if self._which:
            take = min if self._which == 1 else max
            edge, value = self._edges[column], take(values)
            self._edges[column] = value if edge is None else take(edge, value)
        else:
            self._sums[column] += step * whole
            self._weights[column] += step * len(values)


class _Figures:
    """Mean, 95th percentile and largest value of steps."""

    def __init__(self) -> None:
        self._means: list[float] = []
        self._sum = self._weight = 0.0
        self._max: float | None = None

    def add(self, tier: Tier, begin: int, block: Block, least: int, most: int) -> None:
        means = [one for one in block.values(0)[least:most] if one == one]  # noqa: PLR0124, RUF100
        tops = [one for one in block.values(2)[least:most] if one == one]  # noqa: PLR0124, RUF100
        self._means += means
        self._sum += tier.step * sum(means)
        self._weight += tier.step * len(means)
        if tops:
            self._max = max(tops) if self._max is None else max(self._max, *tops)

    def made(self, seconds: float) -> RangeFigures:
        if not self._means:
            return RangeFigures()
        ordered = sorted(self._means)
        p95 = ordered[min(len(ordered) - 1, math.ceil(0.95 * len(ordered)) - 1)]
        return RangeFigures(self._sum / self._weight, p95, self._max, min(1.0, self._weight / seconds))
