"""Add up tokens, requests and energy, each counted once, into rows by model, recipe, time, source, key and session.

Who a token belongs to is decided in `usage_attribution`. Energy is what the GPUs of a run drew; a GPU that several
runs had at once is split equally.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from vllm_studio_tui.domain.usage import CUT, SUCCESSES, WHOLE, HeatCell, UsageRow, percentiles_of
from vllm_studio_tui.kit.local_time import Moment, date_of, hour_name, moment, monday_of, week_of
from vllm_studio_tui.services.usage_attribution import Cell
from vllm_studio_tui.store.database import Reader
from vllm_studio_tui.store.usage import EnergyPart, seen_requests, session_sums


class Seen(NamedTuple):
    """A request of the window, with its times and how it ended. The order is that of `store.usage.seen_requests`."""

    model: str | None
    recipe_id: str | None
    slot: int
    session_id: str | None
    source: str
    key: str | None
    finish: str
    ttft: float | None
    total_seconds: float | None
    tokens_per_second: float | None


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
        self.tokens_estimated = self.tokens_estimated or cell.estimated

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
            self.values.get("thinking_tokens"),
        )


class Stretches:
    """Where stretches of time stand in the calendar, each looked up once."""

    def __init__(self, slot: int) -> None:
        self._slot = slot
        self._known: dict[int, Moment] = {}

    def place(self, slot: int) -> Moment:
        known = self._known.get(slot)
        if known is None:
            known = self._known[slot] = moment(slot * self._slot)
        return known

    def day(self, one: Cell | EnergyPart | Seen) -> int:
        return self.place(one.slot).day

    def week(self, one: Cell | EnergyPart | Seen) -> int:
        return monday_of(self.place(one.slot).day)

    def hour(self, one: Cell | EnergyPart | Seen) -> str:
        return hour_name(self.place(one.slot))

    def begins(self) -> dict[str, int]:
        """Return the stretches with which the hours begin that were asked for."""
        found: dict[str, int] = {}
        for slot, at in self._known.items():
            name = hour_name(at)
            found[name] = min(slot, found.get(name, slot))
        return found


def read_seen(reader: Reader, since: float | None, until: float | None, slot: int) -> list[Seen]:
    """Return the requests of the window that we saw ourselves, oldest first."""
    return [Seen._make(row) for row in seen_requests(reader, since, until, slot)]


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
        name = key(cell)
        sums = groups.get(name)
        if sums is None:
            sums = groups[name] = Sums()
        sums.add(cell)
    for part in energy:
        groups.setdefault(key(part), Sums()).add_energy(part)
    for one in seen:
        name = key(one)
        sums = groups.get(name)
        if sums is None:
            sums = groups[name] = Sums()
        sums.seen.append(one)
    return groups


def group_by_asker(
    cells: Iterable[Cell], seen: Iterable[Seen], key: Callable[[Cell | Seen], str]
) -> dict[str | int, Sums]:
    """Add up figures and requests by who asked. Energy is a run's: no part of it is known to be that of an asker."""
    groups: dict[str | int, Sums] = {}
    for cell in cells:
        groups.setdefault(key(cell), Sums()).add(cell)
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


def without_empty(rows: Iterable[UsageRow]) -> tuple[UsageRow, ...]:
    """Return the rows that have anything: an engine that nobody asked counts zeros."""
    return tuple(row for row in rows if row.total_tokens or row.requests or row.seen)


def weeks_latest_first(groups: dict[str | int, Sums]) -> tuple[UsageRow, ...]:
    """Return rows of weeks by their Mondays, the latest first."""
    rows = []
    for monday in sorted(groups, key=int, reverse=True):
        groups[monday].title = f"{date_of(int(monday))} to {date_of(int(monday) + 6)}"
        rows.append(groups[monday].row(week_of(int(monday))))
    return tuple(rows)


def hours_latest_first(groups: dict[str | int, Sums], begins: dict[str, int]) -> tuple[UsageRow, ...]:
    """Return rows of hours, the latest first: not by their names, for an hour may come twice.

    Args:
        begins: The stretch with which each hour begins.
    """
    order = sorted(groups, key=lambda name: begins[str(name)], reverse=True)
    return tuple(groups[name].row(str(name)) for name in order)


def heatmap(cells: Iterable[Cell], seen: Iterable[Seen], stretches: Stretches) -> tuple[tuple[HeatCell, ...], ...]:
    """Return what was used by weekday, Monday first, and hour of the day."""
    counts = [[[0, 0, 0, 0] for _ in range(24)] for _ in range(7)]
    for cell in cells:
        at = stretches.place(cell.slot)
        if cell.name == "requests":
            counts[at.weekday][at.hour][0] += cell.value
        elif cell.name in ("prompt_tokens", "generation_tokens"):
            counts[at.weekday][at.hour][1] += cell.value
    for one in seen:
        at = stretches.place(one.slot)
        here = counts[at.weekday][at.hour]
        here[2] += 1
        here[3] += one.finish not in SUCCESSES
    return tuple(tuple(HeatCell(*counts[weekday][hour]) for hour in range(24)) for weekday in range(7))


def group_by_session(
    reader: Reader, since: float | None, until: float | None, seen: Iterable[Seen]
) -> tuple[UsageRow, ...]:
    """Return rows of sessions, the one with the last request first."""
    names = ("prompt_tokens", "generation_tokens", "cached_tokens", "cache_prompt", "thinking_tokens", "requests")
    groups: dict[str, Sums] = {}
    for row in session_sums(reader, since, until):
        values = {name: row[name] for name in names if row[name] is not None}
        groups[row["session"]] = Sums(row["title"], values, tokens_estimated=bool(row["estimated"]))
    for one in seen:
        if (sums := groups.get(one.session_id or "")) is not None:
            sums.seen.append(one)
    return tuple(sums.row(key) for key, sums in groups.items())
