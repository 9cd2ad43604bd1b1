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
from vllm_studio_tui.store.sample_blocks import TIERS, Block, Step, Tier

T = TypeVar("T")

VERSION = 1
#: Steps of which the figures of a range are computed, at least.
FINE = 60
#: Names in one statement.
_NAMES = 500

#: Begin and seconds of a step, and its values.
Point = tuple[float, float, Step]


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
        points = self._points(names, since, until, width)
        which = ("mean", "min", "max").index(take)
        return {name: _columns(points.get(name, ()), since, width, columns, which) for name in names}

    def figures(self, names: Sequence[str], since: float, until: float) -> dict[str, RangeFigures]:
        """Return the figures of each series between two moments."""
        points = self._points(names, since, until, (until - since) / FINE)
        return {name: _figures(points.get(name, ()), since, until) for name in names}

    def runs_of(self, recipe_id: str) -> list[str]:
        """Return the runs of a recipe that have samples."""
        query = "SELECT DISTINCT run FROM series WHERE recipe = ? AND run IS NOT NULL"
        return self._ask(lambda db: [str(row[0]) for row in db.execute(query, (recipe_id,))], [])

    def names(self) -> list[str]:
        """Return the names of all series that have samples."""
        return self._ask(lambda db: [str(row[0]) for row in db.execute("SELECT name FROM series ORDER BY name")], [])

    def _points(self, names: Sequence[str], since: float, until: float, width: float) -> dict[str, list[Point]]:
        """Return the steps between two moments, oldest first: as fine as the width wants it and the age allows."""
        found: dict[str, list[Point]] = {name: [] for name in names}

        def look(db: sqlite3.Connection) -> None:
            ids = _ids(db, list(found))
            for tier, first, end in _stretches(db, since, until, width, self._clock()):
                for begin in range(math.floor(first / tier.block) * tier.block, math.ceil(end), tier.block):
                    for series, block in _blocks(db, tier, begin, ids):
                        points = found[ids[series]]
                        for index, step in block.known():
                            at = begin + index * tier.step
                            if first <= at < end:
                                points.append((at, tier.step, step))

        self._ask(look, None)
        return found

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


def _columns(points: Sequence[Point], since: float, width: float, count: int, which: int) -> list[float | None]:
    """Put steps into columns: one that is shorter than a column into that of its middle, a longer one into all."""
    sums, weights = [0.0] * count, [0.0] * count
    edges: list[float | None] = [None] * count
    better = min if which == 1 else max
    for begin, seconds, step in points:
        value = step[which]
        if seconds <= width:
            first = last = math.floor((begin + seconds / 2 - since) / width)
        else:
            first = math.ceil((begin - since) / width - 0.5)
            last = math.ceil((begin + seconds - since) / width - 0.5) - 1
        for column in range(max(0, first), min(count - 1, last) + 1):
            if which:
                edge = edges[column]
                edges[column] = value if edge is None else better(edge, value)
            else:
                sums[column] += seconds * value
                weights[column] += seconds
    return edges if which else [one / weight if weight else None for one, weight in zip(sums, weights, strict=True)]


def _figures(points: Sequence[Point], since: float, until: float) -> RangeFigures:
    if not points:
        return RangeFigures()
    weight = math.fsum(seconds for _, seconds, _ in points)
    means = sorted(step[0] for _, _, step in points)
    return RangeFigures(
        math.fsum(seconds * step[0] for _, seconds, step in points) / weight,
        means[min(len(means) - 1, math.ceil(0.95 * len(means)) - 1)],
        max(step[2] for _, _, step in points),
        min(1.0, weight / (until - since)),
    )
