"""Derive usage from raw readings of runs and requests, by stretches of time: hours, or what hours are made of."""

from __future__ import annotations

import itertools
import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from vllm_studio_tui.store.database import Reader
from vllm_studio_tui.store.runs import COUNTERS

#: An open end of a window: no ledger holds a time beyond it.
FOREVER = 1e18
#: In millijoules.
WATT_HOUR = 3_600_000
#: So many readings of a GPU's energy are not read one by one.
MANY = 1000
_RUNS = "SELECT run_id, model, recipe_id FROM runs"
_COUNTED = f"""SELECT attempt, at, {", ".join(COUNTERS)} FROM run_readings
    WHERE run_id = ? AND kind = 'counters' ORDER BY seq"""  # noqa: RUF100, S608
#: All runs that have readings, found by the primary key: all readings of a year would have to be read else.
_EVERY = """WITH RECURSIVE every (run_id) AS (
    SELECT MIN(run_id) FROM run_readings UNION ALL
    SELECT (SELECT MIN(run_id) FROM run_readings WHERE run_id > every.run_id) FROM every
    WHERE every.run_id IS NOT NULL)"""
#: Requests that are not over, and those that no engine ever saw.
NO_ANSWERS = "('streaming', 'refused')"
#: The attempt that answered a request: the last engine that was started before it was asked. What the asker believed
#: may be out of date when an engine has just been started again, and then its tokens would count twice. The moment it
#: was asked is a difference, so it may lie a little early.
ATTEMPT = """COALESCE((SELECT s.attempt FROM spawns s WHERE s.run_id = q.run_id
    AND s.at <= q.at - COALESCE(q.total_seconds, 0) + 0.001 ORDER BY s.at DESC, s.seq DESC LIMIT 1), q.attempt, 1)"""
#: Where a time lies: before the window, in it, after it.
BEFORE, INSIDE, AFTER = -1, 0, 1


@dataclass(frozen=True, slots=True)
class Part:
    """What one source counted for one run and attempt in one stretch of time.

    Attributes:
        run_id: None for requests to servers that are not ours.
        slot: The stretch, counted from the epoch.
        side: Where it lies: one of `BEFORE`, `INSIDE`, `AFTER`. Of a stretch that a bound of the window cuts there are
            two parts.
        values: By the names of `COUNTERS`; None where the source does not tell.
        cache_prompt: Prompt tokens of which it is known whether they came from the cache.
        estimated: The tokens were not counted by an engine.
        source, key: Who asked, and with which key; None of what an engine counted.
        thinking: Tokens of thoughts, where the engine told.
    """

    run_id: str | None
    attempt: int
    model: str | None
    recipe_id: str | None
    slot: int
    side: int
    values: dict[str, int | None]
    cache_prompt: int | None
    estimated: bool = False
    source: str | None = None
    key: str | None = None
    thinking: int | None = None


@dataclass(frozen=True, slots=True)
class EnergyPart:
    """Watt hours of one run in one stretch. `estimated`: a share of GPUs that several runs had at once."""

    run_id: str
    model: str | None
    recipe_id: str | None
    slot: int
    watt_hours: float
    estimated: bool


def runs_within(db: Reader, since: float | None, until: float | None) -> list[str] | None:
    """Return the runs whose readings or requests reach into the window; None: all.

    An engine's counters are cumulative, so of each such run all its readings are needed, of no other any.
    """
    if since is None and until is None:
        return None
    first, end = _bounds(since, until)
    found = db.rows(
        f"""{_EVERY}
        SELECT run_id FROM every WHERE run_id IS NOT NULL
            AND (SELECT at FROM run_readings r WHERE r.run_id = every.run_id ORDER BY seq LIMIT 1) < ?2
            AND (SELECT at FROM run_readings r WHERE r.run_id = every.run_id ORDER BY seq DESC LIMIT 1) >= ?1
        UNION SELECT DISTINCT run_id FROM requests WHERE at >= ?1 AND at < ?2 AND run_id IS NOT NULL""",  # noqa: RUF100, S608
        (first, end),
    )
    return [row[0] for row in found]


def _read_runs(db: Reader) -> list[str]:
    return [row[0] for row in db.rows(_EVERY + " SELECT run_id FROM every WHERE run_id IS NOT NULL")]  # noqa: RUF100, S608


def counter_parts(
    db: Reader, since: float | None, until: float | None, slot: int, runs: Iterable[str] | None = None
) -> list[Part]:
    """Return what the engines counted.

    A counter starts at zero with its engine; one that falls within an attempt starts again, and what it showed then
    counts on top. An increase belongs to the stretch of the reading that ends it.

    Args:
        slot: The seconds of a stretch.
        runs: Only of these; None: all.
    """
    first, end = _bounds(since, until)
    used: dict[tuple[str, int, int, int], list[float | None]] = {}
    for run_id in _read_runs(db) if runs is None else runs:
        # All in the order in which they lie: window functions over each counter take three times as long.
        found = db.tuples(_COUNTED, (run_id,))
        if not found:
            continue
        attempts, times, *counters = zip(*found, strict=True)
        last: dict[int, list[float]] = {}
        for begin, over, place, side in _stretches(attempts, times, first, end, slot):
            shown = last.setdefault(attempts[begin], [0.0] * len(COUNTERS))
            sums = used.setdefault((run_id, attempts[begin], place, side), [None] * len(COUNTERS))
            for index, counter in enumerate(counters):
                values = [value for value in counter[begin:over] if value is not None]
                if values:
                    sums[index] = (sums[index] or 0.0) + _increase(shown[index], values)
                    shown[index] = values[-1]
    about = _names(db)
    parts = []
    for (run_id, attempt, place, side), known in used.items():
        if all(value is None for value in known):  # a reading of counters without a known value
            continue
        whole: dict[str, int | None] = {
            name: None if value is None else round(value) for name, value in zip(COUNTERS, known, strict=True)
        }
        model, recipe_id = about.get(run_id, (None, None))
        parts.append(Part(run_id, attempt, model, recipe_id, place, side, whole, _known_prompt(whole)))
    return parts


def _names(db: Reader) -> dict[str, tuple[str | None, str | None]]:
    """Return model and recipe of each run."""
    return {row["run_id"]: (row["model"], row["recipe_id"]) for row in db.rows(_RUNS)}


def _stretches(
    attempts: Sequence[int], times: Sequence[float], first: float, end: float, slot: int
) -> Iterator[tuple[int, int, int, int]]:
    """Yield which readings of an attempt that follow each other lie in one stretch: from, up to, stretch, side."""
    begin = place = side = 0
    low = high = 0.0
    for number, at in enumerate(times):
        if number and attempts[number] == attempts[begin] and low <= at < high:
            continue
        if number:
            yield begin, number, place, side
        begin, place = number, int(at // slot)
        side = BEFORE if at < first else AFTER if at >= end else INSIDE
        low, high = place * slot, (place + 1) * slot
        # A bound of the window may cut it.
        low = max(low, end) if side == AFTER else max(low, first) if side == INSIDE else low
        high = min(high, first) if side == BEFORE else min(high, end) if side == INSIDE else high
    if times:
        yield begin, len(times), place, side


def _increase(before: float, values: list[float]) -> float:
    """Return what a counter counted while it showed these values, after what it showed before."""
    if values[0] >= before and values == sorted(values):  # it never fell: sorting what is sorted is one look at it
        return values[-1] - before
    found = 0.0
    for value in values:
        found += value - before if value >= before else value
        before = value
    return found


def _known_prompt(values: dict[str, int | None]) -> int | None:
    return None if values["cached_tokens"] is None else values["prompt_tokens"]


def request_parts(
    db: Reader,
    since: float | None,
    until: float | None,
    slot: int,
    runs: Iterable[str] | None = None,
    *,
    askers: bool = True,
) -> list[Part]:
    """Return what our own requests report. A request without usage counts as a request alone.

    Args:
        slot: The seconds of a stretch.
        runs: Only of these, and in the window those to servers that are not ours; None: all.
        askers: Apart by who asked; else source and key are unknown, and there are a tenth of the parts.
    """
    source, asker = ("q.source", "COALESCE(q.key_id, q.key_name)") if askers else ("NULL", "NULL")
    # What a run is called is looked up for each part or for each request: for the latter it takes a fifth of the time,
    # and only there it matters which of two requests of a stretch, that call their run differently, comes first.
    about = {} if askers else _names(db)
    model, recipe, joined = ("q.model", "q.recipe_id", "")
    if askers:
        model, recipe = "COALESCE(r.model, q.model)", "COALESCE(r.recipe_id, q.recipe_id)"
        joined = "LEFT JOIN runs r ON r.run_id = q.run_id"
    among, values = _among("q.run_id", runs, 4)
    spawned, _ = _among("+run_id", runs, 4)  # not by the primary key
    if runs is not None:
        among = f"AND (q.run_id IS NOT NULL {among} OR q.run_id IS NULL AND q.at >= ?1 AND q.at < ?2)"
    found = db.rows(
        # Once for all requests, by the index of these kinds: the readings of a run would be looked through for each.
        f"""WITH spawns AS MATERIALIZED (
            SELECT run_id, at, attempt, seq FROM run_readings
            WHERE kind IN ('spawn', 'move') AND kind = 'spawn' {spawned})
        SELECT q.run_id, {ATTEMPT} AS attempt, {model} AS model, {recipe} AS recipe_id,
            CAST(q.at / ?3 AS INTEGER) AS slot,
            (q.at >= ?2) - (q.at < ?1) AS side,
            SUM(q.prompt_tokens) AS prompt_tokens, SUM(q.completion_tokens) AS generation_tokens,
            SUM(q.cached_tokens) AS cached_tokens, COUNT(*) AS requests,
            SUM(CASE WHEN q.cached_tokens IS NOT NULL THEN q.prompt_tokens END) AS cache_prompt,
            COALESCE(q.estimated, 0) AS estimated, {source} AS source, {asker} AS key,
            SUM(q.reasoning_tokens) AS thinking
        FROM requests q {joined} WHERE q.finish NOT IN {NO_ANSWERS} {among}
        GROUP BY 5, 6, 2, 1, 3, 4, 12, 13, 14""",  # noqa: RUF100, S608
        (*_bounds(since, until), slot, *values),
    )
    parts = []
    for row in found:
        known, known_recipe = about.get(row["run_id"], (None, None))
        parts.append(
            Part(
                row["run_id"],
                row["attempt"],
                row["model"] if known is None else known,
                row["recipe_id"] if known_recipe is None else known_recipe,
                row["slot"],
                row["side"],
                {name: row[name] for name in COUNTERS},
                row["cache_prompt"],
                bool(row["estimated"]),
                row["source"],
                row["key"],
                row["thinking"],
            )
        )
    return parts


def energy_parts(db: Reader, since: float | None, until: float | None, slot: int) -> list[EnergyPart]:
    """Return what the runs' GPUs used, within the window.

    Between two readings of a GPU lies an interval; it belongs to the runs whose own readings enclose it, in equal
    shares, and to the stretch of its end. A counter that fell was reset by its driver: that interval is unknown.
    """
    first, end = _bounds(since, until)
    drawn: dict[tuple[str, int], tuple[float, bool]] = {}
    for (uuid, boot), runs in _windows(db).items():
        if max(over for _, _, over in runs) < first or min(begin for _, begin, _ in runs) >= end:
            continue
        # Runs come and go only where one's readings begin or end: between these moments the sharers are the same.
        moments = sorted({moment for _, begin, over in runs for moment in (begin, over)})
        sharers: list[str] = []
        position = 0
        before: tuple[float, int] | None = None
        for at, millijoules in _energy_readings(db, uuid, boot, first, end, slot, moments):
            if before is not None and millijoules >= before[1]:
                while position < len(moments) and moments[position] <= before[0]:
                    here = moments[position]
                    sharers = [run_id for run_id, begin, over in runs if begin <= here < over]
                    position += 1
                if first <= at < end:
                    for run_id in sharers:
                        place = int(at // slot)
                        known, estimated = drawn.get((run_id, place), (0.0, False))
                        share = (millijoules - before[1]) / len(sharers)
                        drawn[run_id, place] = (known + share, estimated or len(sharers) > 1)
            before = (at, millijoules)
    about = _names(db)
    return [
        EnergyPart(run_id, *about.get(run_id, (None, None)), place, millijoules / WATT_HOUR, estimated)
        for (run_id, place), (millijoules, estimated) in sorted(drawn.items())
    ]


def _windows(db: Reader) -> dict[tuple[str, str], list[tuple[str, float, float]]]:
    """Return by GPU and boot: each run with its first and last reading."""
    found: dict[tuple[str, str], list[tuple[str, float, float]]] = {}
    for uuid, boot, run_id, begin, over in db.rows(
        "SELECT uuid, boot_id, run_id, first_at, last_at FROM run_gpus ORDER BY uuid, boot_id, run_id"
    ):
        found.setdefault((uuid, boot), []).append((run_id, begin, over))
    return found


def _energy_readings(
    db: Reader, uuid: str, boot: str, first: float, end: float, slot: int, moments: list[float]
) -> list[sqlite3.Row]:
    """Return the readings of a GPU in the window that matter, and the one before it, where its first interval begins.

    Of many only those are read at which a stretch ends or a run comes or goes: what was used between is their
    difference. Where a counter fell, all between are read; one that was reset and grew over what it was within one
    stretch is not seen then.
    """
    begin = _last_before(db, uuid, boot, first)
    place = (uuid, boot, begin, end)
    within = "FROM gpu_energy WHERE uuid = ?1 AND boot_id = ?2 AND at >= ?3 AND at < ?4"
    number = db.rows(f"SELECT COUNT(*) FROM (SELECT 1 {within} LIMIT {MANY})", place)[0][0]  # noqa: RUF100, S608
    if number < MANY:
        return db.rows(f"SELECT at, millijoules {within} ORDER BY at", place)  # noqa: RUF100, S608
    # Each by itself: both in one go are looked for in all readings.
    lowest, highest = db.rows(f"SELECT (SELECT MIN(at) {within}), (SELECT MAX(at) {within})", place)[0]  # noqa: RUF100, S608
    ends = [stretch * slot for stretch in range(int(lowest // slot), int(highest // slot) + 2)]
    mine = "FROM gpu_energy WHERE uuid = ?1 AND boot_id = ?2"
    found = db.rows(
        f"""SELECT at, millijoules {mine} AND at IN (
            SELECT (SELECT MAX(at) {mine} AND at < one.value) FROM json_each(?3) one
            UNION SELECT (SELECT MIN(at) {mine} AND at >= one.value) FROM json_each(?4) one
            UNION SELECT ?5 UNION SELECT ?6) ORDER BY at""",  # noqa: RUF100, S608
        (uuid, boot, json.dumps(ends), json.dumps(moments), lowest, highest),
    )
    found = [row for row in found if lowest <= row["at"] <= highest]
    readings: list[sqlite3.Row] = found[:1]
    for before, after in itertools.pairwise(found):
        if after["millijoules"] < before["millijoules"]:
            between = f"SELECT at, millijoules {within} AND at > ?5 AND at < ?6 ORDER BY at"  # noqa: RUF100, S608
            readings += db.rows(between, (*place, before["at"], after["at"]))
        readings.append(after)
    return readings


def _last_before(db: Reader, uuid: str, boot: str, at: float) -> float:
    query = "SELECT MAX(at) FROM gpu_energy WHERE uuid = ? AND boot_id = ? AND at < ?"
    found = db.rows(query, (uuid, boot, at))[0][0]
    return 0.0 if found is None else float(found)


def seen_requests(db: Reader, since: float | None, until: float | None, slot: int) -> list[sqlite3.Row]:
    """Return the requests of the window, oldest first: model, recipe, stretch, session, source, key, end, times."""
    return db.rows(
        f"""SELECT COALESCE(r.model, q.model), COALESCE(r.recipe_id, q.recipe_id), CAST(q.at / ?3 AS INTEGER),
            q.session_id, q.source, COALESCE(q.key_id, q.key_name), q.finish, q.ttft, q.total_seconds,
            q.tokens_per_second
        FROM requests q LEFT JOIN runs r ON r.run_id = q.run_id
        WHERE q.at >= ?1 AND q.at < ?2 AND q.finish NOT IN {NO_ANSWERS} ORDER BY q.at""",  # noqa: RUF100, S608
        (*_bounds(since, until), slot),
    )


def session_sums(db: Reader, since: float | None, until: float | None) -> list[sqlite3.Row]:
    """Return what the requests of each session used, the one with the last request first."""
    return db.rows(
        f"""SELECT COALESCE(q.session_id, '') AS session, s.title, MAX(q.at) AS at, COUNT(*) AS requests,
            SUM(q.prompt_tokens) AS prompt_tokens, SUM(q.completion_tokens) AS generation_tokens,
            SUM(q.cached_tokens) AS cached_tokens, SUM(q.reasoning_tokens) AS thinking_tokens,
            SUM(CASE WHEN q.cached_tokens IS NOT NULL THEN COALESCE(q.prompt_tokens, 0) END) AS cache_prompt,
            MAX(CASE WHEN q.completion_tokens IS NOT NULL THEN COALESCE(q.estimated, 0) ELSE 0 END) AS estimated
        FROM requests q LEFT JOIN chat_sessions s ON s.id = q.session_id
        WHERE q.at >= ?1 AND q.at < ?2 AND q.finish NOT IN {NO_ANSWERS} GROUP BY 1 ORDER BY at DESC""",  # noqa: RUF100, S608
        _bounds(since, until),
    )


def key_names(db: Reader, keys: Iterable[str]) -> dict[str, str]:
    """Return what keys are called: now, or of those that are gone, when they last asked. A name stands for itself."""
    names = {row["id"]: row["name"] for row in db.rows("SELECT id, name FROM api_keys")}
    for key in keys:
        if key not in names:
            query = "SELECT key_name FROM requests WHERE key_id = ? ORDER BY at DESC LIMIT 1"
            row = db.row(query, (key,))
            names[key] = (row["key_name"] if row is not None else None) or key
    return names


def uptime(db: Reader) -> tuple[float | None, float | None]:
    """Return the seconds that runs have lived, all together, and when the first one began."""
    row = db.row(
        """SELECT SUM(MAX(0, COALESCE(r.ended_at, (SELECT MAX(at) FROM run_readings l WHERE l.run_id = r.run_id),
            r.started_at) - r.started_at)) AS lived, MIN(r.started_at) AS first
        FROM runs r WHERE r.started_at IS NOT NULL"""
    )
    return (None, None) if row is None else (row["lived"], row["first"])


def _among(column: str, runs: Iterable[str] | None, number: int = 1) -> tuple[str, tuple[str, ...]]:
    """Return a condition that holds for some runs only, with its parameter."""
    if runs is None:
        return "", ()
    return f"AND {column} IN (SELECT value FROM json_each(?{number}))", (json.dumps(list(runs)),)  # noqa: RUF100, S608


def _bounds(since: float | None, until: float | None) -> tuple[float, float]:
    return (-1.0 if since is None else since, FOREVER if until is None else until)
