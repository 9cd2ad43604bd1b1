"""What was used, counted once: by model, recipe, day and session.

A run's tokens are its engine's counters where it has them, else its requests; never the sum. Of each attempt the
larger one counts, as the requests that we saw are a lower bound of it: a crash can keep the last of an engine's
counters from us. Energy is what the GPUs of a run drew; a GPU that several runs had at once is split equally.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.errors import StoreError
from vllm_studio_tui.domain.usage import (
    SUCCESSES,
    WHOLE,
    Price,
    UsageQuery,
    UsageReport,
    UsageRow,
    date_of,
    percentiles_of,
)
from vllm_studio_tui.store.database import Database, Reader
from vllm_studio_tui.store.peaks import PeakRows, read_lifetime, read_peaks
from vllm_studio_tui.store.runs import COUNTERS
from vllm_studio_tui.store.usage import (
    EnergyPart,
    Part,
    counter_parts,
    energy_parts,
    request_parts,
    seen_requests,
    uptime,
)

if TYPE_CHECKING:
    from vllm_studio_tui.config.settings import Settings
    from vllm_studio_tui.services.launching.upkeep import Upkeep


class Usage:
    """Reports of what was used.

    Args:
        db, settings: Give these when they are needed.
        upkeep: Brings in what keepers have written, before each report.
    """

    def __init__(self, db: Callable[[], Database], settings: Callable[[], Settings], upkeep: Upkeep) -> None:
        self._db = db
        self._settings = settings
        self._upkeep = upkeep

    def report(self, query: UsageQuery, *, now: float | None = None) -> UsageReport:
        """Return one report; see `reports`."""
        return self.reports([query], now=now)[0]

    def reports(self, queries: Sequence[UsageQuery], *, now: float | None = None) -> list[UsageReport]:
        """Return a report for each query, all of the same moment.

        Where what keepers have written cannot be brought in, what is known already is reported, and `missing` says so.
        Blocking; may be called in any thread.

        Args:
            now: Seconds since the epoch; None: the present.

        Raises:
            StoreError: The database cannot be read.
        """
        db = self._db()
        missing = self._bring_in(db)
        price = price_of(self._settings())
        made = [replace(report(db, query, now=now), price=price, missing=missing) for query in queries]
        if not db.read_only:
            with contextlib.suppress(StoreError):  # it is kept with the next report
                for one in made:
                    keep_lifetime(db, one)
        return made

    def _bring_in(self, db: Database) -> str:
        """Fold what keepers have written; return in words what kept it from that."""
        if db.read_only:
            return "what running engines used since is not included"
        error = self._upkeep.fold()
        return "" if error is None else f"warning: the latest readings are missing: {error.title}. {error.cause}"


@dataclass(frozen=True, slots=True)
class Cell:
    """One figure of one source: `name` is one of `COUNTERS`, or `cache_prompt`."""

    name: str
    value: int
    model: str | None
    recipe_id: str | None
    day: int
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    """One request of the window, for its times and its end."""

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
    """A row while it is added up."""

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
        speeds = [one.tokens_per_second for one in self.seen if one.tokens_per_second is not None]
        return UsageRow(
            key,
            self.title,
            self.values.get("prompt_tokens"),
            self.values.get("generation_tokens"),
            self.values.get("requests"),
            len(self.seen),
            sum(one.finish == "stopped" for one in self.seen),
            sum(one.finish not in SUCCESSES for one in self.seen),
            self.values.get("cached_tokens"),
            self.values.get("cache_prompt"),
            self.watt_hours,
            self.estimated,
            percentiles_of([one.ttft for one in self.seen if one.ttft is not None]),
            # An answer that was refused or cut says nothing of how long a whole one takes.
            percentiles_of(
                [one.total_seconds for one in self.seen if one.finish in WHOLE and one.total_seconds is not None]
            ),
            statistics.median(speeds) if speeds else None,
            self.tokens_estimated,
        )


def report(db: Database, query: UsageQuery, *, now: float | None = None) -> UsageReport:
    """Usage as the database knows it; what ledgers hold has to be folded in before.

    Reads by a connection of its own and may be called in any thread.

    Raises:
        StoreError: The database cannot be read.
    """
    at = time.time() if now is None else now
    since, until = query.window(at)
    with db.reader() as reader:
        cells = list(_cells(reader, since, until))
        energy = energy_parts(reader, since, until)
        seen = _seen(reader, since, until)
        peaks = read_peaks(reader)
        lived, first = uptime(reader)
        kept = read_lifetime(reader)
    total = Sums()
    # Nothing used at all is a known zero.
    for name in ("prompt_tokens", "generation_tokens", "requests"):
        if not cells:
            total.values[name] = 0
    for cell in cells:
        total.add(cell)
    for part in energy:
        total.add_energy(part)
    total.seen = seen
    totals = total.row("")
    return UsageReport(
        query,
        at,
        since,
        until,
        totals,
        by_model=_largest(_grouped(cells, energy, seen, lambda one: one.model or "")),
        by_recipe=_largest(_grouped(cells, energy, seen, lambda one: one.recipe_id or "")),
        daily=_latest(_grouped(cells, energy, seen, lambda one: one.day)),
        by_session=_by_session(seen) if query.by == "session" else (),
        sessions=len({one.session_id for one in seen if one.session_id}),
        peaks=peaks,
        # Of a part of the time the whole cannot be told: then it is as it was last kept.
        lifetime=_lifetime(totals, lived, first) if (since, until) == (None, None) else kept,
    )


def price_of(settings: Settings) -> Price | None:
    """What energy costs; None where nobody said."""
    if settings.electricity_price is None:
        return None
    return Price(settings.electricity_price, settings.currency)


def keep_lifetime(db: Database, made: UsageReport) -> bool:
    """Keep the totals over all time of a report in the database; whether they changed."""
    return PeakRows(db).set_lifetime(made.lifetime)


def _lifetime(totals: UsageRow, lived: float | None, first: float | None) -> dict[str, float | None]:
    return {
        "tokens_total": totals.total_tokens,
        "prompt_tokens_total": totals.prompt_tokens,
        "completion_tokens_total": totals.completion_tokens,
        "requests_total": totals.requests,
        "energy_wh": totals.energy_wh,
        "uptime_seconds": lived,
        "first_started_at": first,
    }


# --- counted once ---------------------------------------------------------------------------------------


def _cells(reader: Reader, since: float | None, until: float | None) -> Iterator[Cell]:
    """The figures of the window, each from one source alone."""
    groups: dict[Hashable, tuple[list[Part], list[Part]]] = {}
    for side, parts in enumerate((counter_parts(reader, since, until), request_parts(reader, since, until))):
        for part in parts:
            # Servers that are not ours have no counters: each of their parts stands for itself.
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
    """The parts of the source that knows more. What is only estimated never outweighs what was counted."""
    known = [value for part in counted if (value := part.values[name]) is not None]
    sure = (part.values[name] or 0 for part in seen if name == "requests" or not part.estimated)
    return counted if known and sum(known) >= sum(sure) else seen


def _seen(reader: Reader, since: float | None, until: float | None) -> list[Seen]:
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


def _grouped(
    cells: Iterable[Cell],
    energy: Iterable[EnergyPart],
    seen: Iterable[Seen],
    key: Callable[[Cell | EnergyPart | Seen], str | int],
) -> dict[str | int, Sums]:
    groups: dict[str | int, Sums] = {}
    for cell in cells:
        groups.setdefault(key(cell), Sums()).add(cell)
    for part in energy:
        groups.setdefault(key(part), Sums()).add_energy(part)
    for one in seen:
        groups.setdefault(key(one), Sums()).seen.append(one)
    return groups


def _largest(groups: dict[str | int, Sums]) -> tuple[UsageRow, ...]:
    rows = [sums.row(str(key)) for key, sums in groups.items()]
    return tuple(sorted(rows, key=lambda row: (-(row.total_tokens or 0), -(row.energy_wh or 0.0), row.key)))


def _latest(groups: dict[str | int, Sums]) -> tuple[UsageRow, ...]:
    return tuple(groups[day].row(date_of(int(day))) for day in sorted(groups, key=int, reverse=True))


def _by_session(seen: Iterable[Seen]) -> tuple[UsageRow, ...]:
    groups: dict[str, Sums] = {}
    for one in seen:
        # Taken out and put in again: a session stands where its last request stands.
        key = one.session_id or ""
        sums = groups[key] = groups.pop(key, Sums())
        sums.title = one.title or sums.title
        sums.seen.append(one)
        for cell in one.cells:
            sums.add(cell)
    return tuple(sums.row(key) for key, sums in reversed(groups.items()))
