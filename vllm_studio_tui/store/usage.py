"""Derive usage from raw readings of runs and requests. Days are UTC and counted from the epoch."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from vllm_studio_tui.domain.usage import DAY
from vllm_studio_tui.store.database import Reader
from vllm_studio_tui.store.runs import COUNTERS

#: An open end of a window: no ledger holds a time beyond it.
FOREVER = 1e18
#: In millijoules.
WATT_HOUR = 3_600_000
_RUNS = "SELECT run_id, model, recipe_id FROM runs"
#: Requests that are not over, and those that no engine ever saw.
NO_ANSWERS = "('streaming', 'refused')"
#: The attempt that answered a request: the last engine that was started before it was asked. What the asker believed
#: may be out of date when an engine has just been started again, and then its tokens would count twice.
ATTEMPT = """COALESCE((SELECT s.attempt FROM run_readings s WHERE s.run_id = q.run_id AND s.kind = 'spawn'
    AND s.at <= q.at - COALESCE(q.total_seconds, 0) ORDER BY s.at DESC LIMIT 1), q.attempt, 1)"""


@dataclass(frozen=True, slots=True)
class Part:
    """What one source counted for one run and attempt on one day, within or without the window.

    Attributes:
        run_id: None for requests to servers that are not ours.
        values: By the names of `COUNTERS`; None where the source does not tell.
        cache_prompt: Prompt tokens of which it is known whether they came from the cache.
        estimated: The tokens were not counted by an engine.
    """

    run_id: str | None
    attempt: int
    model: str | None
    recipe_id: str | None
    day: int
    inside: bool
    values: dict[str, int | None]
    cache_prompt: int | None
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class EnergyPart:
    """Watt hours of one run on one day. `estimated`: a share of GPUs that several runs had at once."""

    run_id: str
    model: str | None
    recipe_id: str | None
    day: int
    watt_hours: float
    estimated: bool


def counter_parts(db: Reader, since: float | None, until: float | None) -> list[Part]:
    """Return what the engines counted.

    A counter starts at zero with its engine; one that falls within an attempt starts again, and what it showed then
    counts on top. An increase belongs to the day of the reading that ends it.
    """
    first, end = _bounds(since, until)
    used: dict[tuple[str, int, int, bool], dict[str, float]] = {}
    last: dict[str, float] = {}
    current: tuple[str, int] | None = None
    # One pass in order: window functions over each counter take three times as long.
    found = db.rows(
        f"""SELECT run_id, attempt, at, {", ".join(COUNTERS)} FROM run_readings WHERE kind = 'counters'
        ORDER BY run_id, attempt, seq"""  # noqa: RUF100, S608
    )
    for run_id, attempt, at, *values in found:
        if (run_id, attempt) != current:
            current, last = (run_id, attempt), {}
        key = (run_id, attempt, int(at // DAY), first <= at < end)
        sums = used.get(key)
        if sums is None:
            sums = used[key] = {}
        for name, value in zip(COUNTERS, values, strict=True):
            if value is not None:
                before = last.get(name, 0.0)
                sums[name] = sums.get(name, 0.0) + (value - before if value >= before else value)
                last[name] = value
    about = {row["run_id"]: (row["model"], row["recipe_id"]) for row in db.rows(_RUNS)}
    parts = []
    for (run_id, attempt, day, inside), sums in used.items():
        if not sums:  # a reading of counters without a known value
            continue
        whole: dict[str, int | None] = {name: round(sums[name]) if name in sums else None for name in COUNTERS}
        model, recipe_id = about.get(run_id, (None, None))
        parts.append(Part(run_id, attempt, model, recipe_id, day, inside, whole, _known_prompt(whole)))
    return parts


def _known_prompt(values: dict[str, int | None]) -> int | None:
    return None if values["cached_tokens"] is None else values["prompt_tokens"]


def request_parts(db: Reader, since: float | None, until: float | None) -> list[Part]:
    """Return what our own requests report. A request without usage counts as a request alone."""
    found = db.rows(
        f"""SELECT q.run_id, {ATTEMPT} AS attempt, COALESCE(r.model, q.model) AS model,
            COALESCE(r.recipe_id, q.recipe_id) AS recipe_id, CAST(q.at / {DAY} AS INTEGER) AS day,
            (q.at >= ?1 AND q.at < ?2) AS inside,
            SUM(q.prompt_tokens) AS prompt_tokens, SUM(q.completion_tokens) AS generation_tokens,
            SUM(q.cached_tokens) AS cached_tokens, COUNT(*) AS requests,
            SUM(CASE WHEN q.cached_tokens IS NOT NULL THEN q.prompt_tokens END) AS cache_prompt,
            COALESCE(q.estimated, 0) AS estimated
        FROM requests q LEFT JOIN runs r ON r.run_id = q.run_id
        WHERE q.finish NOT IN {NO_ANSWERS} GROUP BY 1, 2, 3, 4, 5, 6, estimated""",  # noqa: RUF100, S608
        _bounds(since, until),
    )
    return [
        Part(
            row["run_id"],
            row["attempt"],
            row["model"],
            row["recipe_id"],
            row["day"],
            bool(row["inside"]),
            {name: row[name] for name in COUNTERS},
            row["cache_prompt"],
            bool(row["estimated"]),
        )
        for row in found
    ]


def energy_parts(db: Reader, since: float | None, until: float | None) -> list[EnergyPart]:
    """Return what the runs' GPUs used, within the window.

    Between two readings of a GPU lies an interval; it belongs to the runs whose own readings enclose it, in equal
    shares, and to the day of its end. A counter that fell was reset by its driver: that interval is unknown.
    """
    first, end = _bounds(since, until)
    drawn: dict[tuple[str, int], tuple[float, bool]] = {}
    for (uuid, boot), runs in _windows(db).items():
        # Runs come and go only where one's readings begin or end: between these moments the sharers are the same.
        moments = sorted({moment for _, begin, over in runs for moment in (begin, over)})
        sharers: list[str] = []
        position = 0
        before: tuple[int, int] | None = None
        for at, millijoules in _energy_readings(db, uuid, boot, first, end):
            if before is not None and millijoules >= before[1]:
                while position < len(moments) and moments[position] <= before[0]:
                    here = moments[position]
                    sharers = [run_id for run_id, begin, over in runs if begin <= here < over]
                    position += 1
                if first <= at < end:
                    for run_id in sharers:
                        known, estimated = drawn.get((run_id, at // DAY), (0.0, False))
                        share = (millijoules - before[1]) / len(sharers)
                        drawn[run_id, at // DAY] = (known + share, estimated or len(sharers) > 1)
            before = (at, millijoules)
    about = {row["run_id"]: (row["model"], row["recipe_id"]) for row in db.rows(_RUNS)}
    return [
        EnergyPart(run_id, *about.get(run_id, (None, None)), day, millijoules / WATT_HOUR, estimated)
        for (run_id, day), (millijoules, estimated) in sorted(drawn.items())
    ]


def _windows(db: Reader) -> dict[tuple[str, str], list[tuple[str, int, int]]]:
    """Return by GPU and boot: each run with its first and last reading."""
    found: dict[tuple[str, str], list[tuple[str, int, int]]] = {}
    for uuid, boot, run_id, begin, over in db.rows(
        "SELECT uuid, boot_id, run_id, first_at, last_at FROM run_gpus ORDER BY uuid, boot_id, run_id"
    ):
        found.setdefault((uuid, boot), []).append((run_id, begin, over))
    return found


def _energy_readings(db: Reader, uuid: str, boot: str, first: float, end: float) -> list[sqlite3.Row]:
    """Return the readings of a GPU in the window, and the one before it, where its first interval begins."""
    return db.rows(
        """SELECT at, millijoules FROM gpu_energy WHERE uuid = ?1 AND boot_id = ?2 AND at < ?4 AND at >= COALESCE(
            (SELECT MAX(at) FROM gpu_energy WHERE uuid = ?1 AND boot_id = ?2 AND at < ?3), 0) ORDER BY at""",
        (uuid, boot, first, end),
    )


def seen_requests(db: Reader, since: float | None, until: float | None) -> list[sqlite3.Row]:
    """Return the requests of the window, each with its model, recipe, day, session and that session's title."""
    return db.rows(
        f"""SELECT COALESCE(r.model, q.model) AS model, COALESCE(r.recipe_id, q.recipe_id) AS recipe_id,
            CAST(q.at / {DAY} AS INTEGER) AS day, q.at, q.session_id, s.title, q.finish, q.ttft, q.total_seconds,
            q.tokens_per_second, q.prompt_tokens, q.completion_tokens, q.cached_tokens,
            COALESCE(q.estimated, 0) AS estimated
        FROM requests q LEFT JOIN runs r ON r.run_id = q.run_id LEFT JOIN chat_sessions s ON s.id = q.session_id
        WHERE q.at >= ?1 AND q.at < ?2 AND q.finish NOT IN {NO_ANSWERS} ORDER BY q.at""",  # noqa: RUF100, S608
        _bounds(since, until),
    )


def requests_by_hour(db: Reader, since: float | None, until: float | None) -> list[sqlite3.Row]:
    """Return for each hour of the day in UTC how many of our requests ended in it, and their tokens."""
    return db.rows(
        f"""SELECT CAST(at / 3600 AS INTEGER) % 24 AS hour, COUNT(*) AS requests,
            SUM(finish NOT IN ('failed', 'interrupted')) AS successful,
            SUM(COALESCE(prompt_tokens, 0) + COALESCE(completion_tokens, 0)) AS tokens
        FROM requests WHERE at >= ?1 AND at < ?2 AND finish NOT IN {NO_ANSWERS} GROUP BY 1 ORDER BY 1""",  # noqa: RUF100, S608
        _bounds(since, until),
    )


def uptime(db: Reader) -> tuple[float | None, float | None]:
    """Return the seconds that runs have lived, all together, and when the first one began."""
    row = db.row(
        """SELECT SUM(MAX(0, COALESCE(r.ended_at, (SELECT MAX(at) FROM run_readings l WHERE l.run_id = r.run_id),
            r.started_at) - r.started_at)) AS lived, MIN(r.started_at) AS first
        FROM runs r WHERE r.started_at IS NOT NULL"""
    )
    return (None, None) if row is None else (row["lived"], row["first"])


def _bounds(since: float | None, until: float | None) -> tuple[float, float]:
    return (-1.0 if since is None else since, FOREVER if until is None else until)
