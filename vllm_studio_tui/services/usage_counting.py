"""Add up tokens, requests and energy, each counted once, into rows by model, recipe, day and session.

A run's tokens are its engine's counters where it has them, else the requests that we saw; never the sum. Of each
attempt the larger one counts: the requests are a lower bound of it, and a crash can lose the last of an engine's
counters. Energy is what the GPUs of a run drew; a GPU that several runs had at once is split equally.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field

from vllm_studio_tui.domain.usage import CUT, SUCCESSES, WHOLE, UsageRow, date_of, percentiles_of
from vllm_studio_tui.store.database import Reader
from vllm_studio_tui.store.runs import COUNTERS
from vllm_studio_tui.store.usage import EnergyPart, Part, counter_parts, request_parts, seen_requests


@dataclass(frozen=True, slots=True)
class Cell:
    """A figure from a single source: `name` is one of `COUNTERS`, or `cache_prompt`."""

    name: str
    value: int
    model: str | None
    recipe_id: str | None
    day: int
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    """A request of the window, with its times and how it ended."""

    model: str | None
    recipe_id: str | None
    day: int
    session_id: str | None
    title: str | None
    finish: str
    ttft: float | None
    total_seconds: float | None
    tokens_per_second: float | None
    cells: tuple[Cell, ...]


@dataclass(slots=True)
class Sums:
    """The sums of a row while it is added up."""

    title: str | None = None
    values: dict[str, int] = field(default_factory=dict)
    watt_hours: float | None = None
    estimated: bool = False
    tokens_estimated: bool = False
    seen: list[Seen] = field(default_factory=list)

    def add(self, cell: Cell) -> None:
        self.values[cell.name] = self.values.get(cell.name, 0) + cell.value
        self.tokens_estimated = self.tokens_estimated or (cell.estimated and cell.name == "generation_tokens")

    def add_energy(self, part: EnergyPart) -> None:
        self.watt_hours = (self.watt_hours or 0.0) + part.watt_hours
        self.estimated = self.estimated or part.estimated

    def row(self, key: str) -> UsageRow:
        """Return the finished row."""
        speeds = [one.tokens_per_second for one in self.seen if one.tokens_per_second is not None]
        return UsageRow(
            key,
            self.title,
            self.values.get("prompt_tokens"),
            self.values.get("generation_tokens"),
            self.values.get("requests"),
            len(self.seen),
            sum(one.finish in CUT for one in self.seen),
            sum(one.finish not in SUCCESSES for one in self.seen),
            self.values.get("cached_tokens"),
            self.values.get("cache_prompt"),
            self.watt_hours,
            self.estimated,
            percentiles_of([one.ttft for one in self.seen if one.ttft is not None]),
            # A refused or interrupted answer does not show how long a whole one takes.
            percentiles_of(
                [one.total_seconds for one in self.seen if one.finish in WHOLE and one.total_seconds is not None]
            ),
            statistics.median(speeds) if speeds else None,
            self.tokens_estimated,
        )


# --- reading --------------------------------------------------------------------------------------------


def read_cells(reader: Reader, since: float | None, until: float | None) -> Iterator[Cell]:
    """Yield the figures of the window, each from one source alone."""
    groups: dict[Hashable, tuple[list[Part], list[Part]]] = {}
    for side, parts in enumerate((counter_parts(reader, since, until), request_parts(reader, since, until))):
        for part in parts:
            # External servers have no counters: each of their parts is a group of its own.
            key: Hashable = (part.run_id, part.attempt) if part.run_id is not None else id(part)
            groups.setdefault(key, ([], []))[side].append(part)
    for counted, seen in groups.values():
        for name in COUNTERS:
            # The choice is made over all of the attempt, so that a window cannot mix the two sources.
            for part in _larger(counted, seen, name):
                value = part.values[name]
                if part.inside and value is not None:
                    yield Cell(name, value, part.model, part.recipe_id, part.day, part.estimated)
                if name == "cached_tokens" and part.inside and part.cache_prompt is not None:
                    yield Cell("cache_prompt", part.cache_prompt, part.model, part.recipe_id, part.day)


def _larger(counted: list[Part], seen: list[Part], name: str) -> list[Part]:
    """Return the parts of the source that knows more; estimates never outweigh what was counted."""
    known = [value for part in counted if (value := part.values[name]) is not None]
    sure = (part.values[name] or 0 for part in seen if name == "requests" or not part.estimated)
    return counted if known and sum(known) >= sum(sure) else seen


def read_seen(reader: Reader, since: float | None, until: float | None) -> list[Seen]:
    """Return the requests of the window that we saw ourselves, oldest first."""
    found = []
    for row in seen_requests(reader, since, until):
        model, recipe_id, day = row["model"], row["recipe_id"], row["day"]
        names = {"prompt_tokens": "prompt_tokens", "completion_tokens": "generation_tokens"}
        guess = bool(row["estimated"])
        cells = [Cell(names[name], row[name], model, recipe_id, day, guess) for name in names if row[name] is not None]
        if row["cached_tokens"] is not None:
            cells.append(Cell("cached_tokens", row["cached_tokens"], model, recipe_id, day))
            cells.append(Cell("cache_prompt", row["prompt_tokens"] or 0, model, recipe_id, day))
        cells.append(Cell("requests", 1, model, recipe_id, day))
        found.append(
            Seen(
                model,
                recipe_id,
                day,
                row["session_id"],
                row["title"],
                row["finish"],
                row["ttft"],
                row["total_seconds"],
                row["tokens_per_second"],
                tuple(cells),
            )
        )
    return found


# --- rows -----------------------------------------------------------------------------------------------


def group(
    cells: Iterable[Cell],
    energy: Iterable[EnergyPart],
    seen: Iterable[Seen],
    key: Callable[[Cell | EnergyPart | Seen], str | int],
) -> dict[str | int, Sums]:
    """Add up figures, energy and requests by a key of each."""
    groups: dict[str | int, Sums] = {}
    for cell in cells:
        groups.setdefault(key(cell), Sums()).add(cell)
    for part in energy:
        groups.setdefault(key(part), Sums()).add_energy(part)
    for one in seen:
        groups.setdefault(key(one), Sums()).seen.append(one)
    return groups


def largest_first(groups: dict[str | int, Sums]) -> tuple[UsageRow, ...]:
    """Return rows by tokens, then by energy, the largest first."""
    rows = [sums.row(str(key)) for key, sums in groups.items()]
    return tuple(sorted(rows, key=lambda row: (-(row.total_tokens or 0), -(row.energy_wh or 0.0), row.key)))


def latest_first(groups: dict[str | int, Sums]) -> tuple[UsageRow, ...]:
    """Return rows of days, the latest first."""
    return tuple(groups[day].row(date_of(int(day))) for day in sorted(groups, key=int, reverse=True))


def group_by_session(seen: Iterable[Seen]) -> tuple[UsageRow, ...]:
    """Return rows of sessions, the one with the last request first."""
    groups: dict[str, Sums] = {}
    for one in seen:
        # Removed and inserted again: a session stands where its last request stands.
        key = one.session_id or ""
        sums = groups[key] = groups.pop(key, Sums())
        sums.title = one.title or sums.title
        sums.seen.append(one)
        for cell in one.cells:
            sums.add(cell)
    return tuple(sums.row(key) for key, sums in reversed(groups.items()))
