"""Reports of what was used: the latest records are brought in, then everything is counted by `usage_counting`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.errors import StoreError
from vllm_studio_tui.domain.usage import Price, UsageQuery, UsageReport, UsageRow
from vllm_studio_tui.kit.local_time import quarter, zone_name
from vllm_studio_tui.services.usage_attribution import attribute
from vllm_studio_tui.services.usage_counting import (
    Stretches,
    Sums,
    group,
    group_by_asker,
    group_by_session,
    heatmap,
    hours_latest_first,
    largest_first,
    latest_first,
    read_seen,
    weeks_latest_first,
    without_empty,
)
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.peaks import FIRST, PeakRows, read_carried, read_lifetime, read_peaks
from vllm_studio_tui.store.usage import counter_parts, energy_parts, key_names, request_parts, runs_within, uptime

if TYPE_CHECKING:
    from vllm_studio_tui.config.settings import Settings
    from vllm_studio_tui.domain.usage_imports import LogImport, UsageImport
    from vllm_studio_tui.services.launching.upkeep import Upkeep

#: What a report is divided by, whatever it is asked for: all that is quick and not long.
_ALWAYS = ("model", "recipe", "day", "week", "key", "source")


class Usage:
    """Reports of what was used.

    Args:
        db, settings: Return these; called when they are needed.
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

        If what keepers have written cannot be brought in, a report has what is known already and `missing` says so.
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
            with contextlib.suppress(StoreError):  # the next report stores it
                for one in made:
                    keep_lifetime(db, one)
        return made

    def import_(self, raw: bytes, source: str, *, dry_run: bool = False) -> UsageImport:
        """Carry best speeds and totals of the original's database over, so that totals go on. Blocking.

        What was carried over before is not added a second time, only what was counted there since.

        Raises:
            StoreError: It is no database of the original, or has neither.
        """
        from vllm_studio_tui.domain.usage_imports import UsageImport
        from vllm_studio_tui.store.original import read_original

        found = read_original(raw, source)
        if found.peaks is None and found.totals is None:
            raise StoreError(f"{source} has neither best speeds nor totals")
        rows, totals = PeakRows(self._db()), found.totals or {}
        better = [name for name, one in (found.peaks or {}).items() if rows.offer(name, **one, dry_run=dry_run)]
        # One installation is known by when it first started: its other databases, and later copies, say the same.
        added = rows.carry(f"{totals[FIRST]:.0f}" if FIRST in totals else "", totals, dry_run=dry_run)
        if added and not dry_run:
            self.report(UsageQuery())  # keeps the new totals
        return UsageImport(tuple(sorted(better)), len(found.peaks or {}), added, bool(totals), found.notes)

    def import_logs(self, raw: bytes, source: str, *, dry_run: bool = False) -> LogImport:
        """Take in the spend logs of a LiteLLM; see `usage_log_import.import_logs`. Blocking.

        Raises:
            StoreError: They cannot be read, or not be kept.
        """
        from vllm_studio_tui.services.usage_log_import import import_logs

        return import_logs(self._db(), raw, source, dry_run=dry_run)

    def _bring_in(self, db: Database) -> str:
        """Fold what keepers have written; return in words why that failed, empty where it did not."""
        if db.read_only:
            return "what running engines used since is not included"
        error = self._upkeep.fold()
        return "" if error is None else f"warning: the latest readings are missing: {error.title}. {error.cause}"


def report(db: Database, query: UsageQuery, *, now: float | None = None) -> UsageReport:
    """Return usage as the database has it; ledgers must have been folded in before.

    Reads by a connection of its own and may be called in any thread.

    Raises:
        StoreError: The database cannot be read.
    """
    at = time.time() if now is None else now
    since, until = query.window(at)
    slot = quarter()
    stretches = Stretches(slot)
    wanted = (*_ALWAYS, query.by) if query.every else ("day", query.by)
    with db.reader() as reader:
        runs = runs_within(reader, since, until)
        counted = counter_parts(reader, since, until, slot, runs)
        askers = "key" in wanted or "source" in wanted
        asked = request_parts(reader, since, until, slot, runs, askers=askers)
        cells = list(attribute(counted, asked, askers=askers))
        energy = energy_parts(reader, since, until, slot)
        seen = read_seen(reader, since, until, slot) if query.latencies else []
        sessions = group_by_session(reader, since, until, seen) if query.by == "session" else ()
        keys = {cell.key for cell in cells if cell.key} | {one.key for one in seen if one.key}
        names = key_names(reader, keys) if keys and "key" in wanted else {}
        peaks = read_peaks(reader)
        lived, first = uptime(reader) if (since, until) == (None, None) else (None, None)
        kept = read_lifetime(reader)
        carried = read_carried(reader)
    total = Sums()
    # Without any figure the sums are known to be zero.
    for name in ("prompt_tokens", "generation_tokens", "requests"):
        if not cells:
            total.values[name] = 0
    for cell in cells:
        total.add(cell)
    for part in energy:
        total.add_energy(part)
    total.seen = seen
    totals = total.row("")

    def rows(by: str) -> tuple[UsageRow, ...]:
        if by not in wanted:
            return ()
        if by == "day":
            asked = query.every or query.by == "day"
            return latest_first(group(cells, energy, seen if asked else (), stretches.day))
        if by == "week":
            return weeks_latest_first(group(cells, energy, seen, stretches.week))
        if by == "hour":
            return hours_latest_first(group(cells, energy, seen, stretches.hour), stretches.begins())
        if by == "key":
            return largest_first(group_by_asker(cells, seen, lambda one: names.get(one.key or "", "")))
        if by == "source":
            return without_empty(largest_first(group_by_asker(cells, seen, lambda one: one.source)))
        if by == "recipe":
            return largest_first(group(cells, energy, seen, lambda one: one.recipe_id or ""))
        return largest_first(group(cells, energy, seen, lambda one: one.model or ""))

    return UsageReport(
        query,
        at,
        since,
        until,
        totals,
        by_model=rows("model"),
        by_recipe=rows("recipe"),
        daily=rows("day"),
        by_session=sessions,
        sessions=len({one.session_id for one in seen if one.session_id}),
        peaks=peaks,
        # A report of a part of the time cannot compute the totals over all time: it has those stored last.
        lifetime=_with(carried, _lifetime(totals, lived, first)) if (since, until) == (None, None) else kept,
        by_source=rows("source"),
        by_key=rows("key"),
        weeks=rows("week"),
        hours=rows("hour"),
        heatmap=heatmap(cells, seen, stretches) if query.every or query.by == "hour" else (),
        zone=zone_name(at),
    )


def price_of(settings: Settings) -> Price | None:
    """Return what energy costs; None where the settings have no price."""
    if settings.electricity_price is None:
        return None
    return Price(settings.electricity_price, settings.currency)


def keep_lifetime(db: Database, made: UsageReport) -> bool:
    """Store the totals over all time of a report; return whether they changed."""
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


def _with(carried: Mapping[str, float], ours: dict[str, float | None]) -> dict[str, float | None]:
    """Return the totals with what other systems had counted before."""
    for name, value in carried.items():
        own = ours.get(name)
        ours[name] = value if own is None else min(own, value) if name == FIRST else own + value
    return ours
