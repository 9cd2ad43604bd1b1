"""What runs and requests used, derived from raw readings by SQL. Days are UTC and counted from the epoch."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from vllm_studio_tui.domain.usage import DAY
from vllm_studio_tui.store.database import Reader
from vllm_studio_tui.store.runs import COUNTERS

#: An open end of a window: no ledger holds a time beyond it.
FOREVER = 1e18


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
    """

    run_id: str | None
    attempt: int
    model: str | None
    recipe_id: str | None
    day: int
    inside: bool
    values: dict[str, int | None]
    cache_prompt: int | None


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
    """What the engines counted.

    A counter starts at zero with its engine; one that falls within an attempt starts again, and what it showed then
    counts on top. An increase belongs to the day of the reading that ends it.
    """
    parts: dict[tuple[str, int, int, bool], dict[str, int | None]] = {}
    about: dict[str, tuple[str | None, str | None]] = {}
    for name in COUNTERS:
        found = db.rows(
            f"""WITH steps AS (
                SELECT run_id, attempt, at, {name} AS value,
                    LAG({name}) OVER (PARTITION BY run_id, attempt ORDER BY seq) AS before
                FROM run_readings WHERE {name} IS NOT NULL)
            SELECT s.run_id, s.attempt, CAST(s.at / {DAY} AS INTEGER) AS day,
                (s.at >= ?1 AND s.at < ?2) AS inside, r.model, r.recipe_id,
                SUM(CASE WHEN s.before IS NULL OR s.value < s.before THEN s.value ELSE s.value - s.before END) AS used
            FROM steps s LEFT JOIN runs r ON r.run_id = s.run_id
            GROUP BY s.run_id, s.attempt, day, inside""",  # noqa: S608  # names of our own columns
            _bounds(since, until),
        )
        for row in found:
            key = (row["run_id"], row["attempt"], row["day"], bool(row["inside"]))
            parts.setdefault(key, dict.fromkeys(COUNTERS))[name] = round(row["used"])
            about[row["run_id"]] = (row["model"], row["recipe_id"])
    return [
        Part(run, attempt, *about[run], day, inside, values, _known_prompt(values))
        for (run, attempt, day, inside), values in parts.items()
    ]


def _known_prompt(values: dict[str, int | None]) -> int | None:
    return None if values["cached_tokens"] is None else values["prompt_tokens"]


def request_parts(db: Reader, since: float | None, until: float | None) -> list[Part]:
    """What the requests that we saw ourselves report. A request without usage counts as a request alone."""
    found = db.rows(
        f"""SELECT q.run_id, {ATTEMPT} AS attempt, COALESCE(r.model, q.model) AS model,
            COALESCE(r.recipe_id, q.recipe_id) AS recipe_id, CAST(q.at / {DAY} AS INTEGER) AS day,
            (q.at >= ?1 AND q.at < ?2) AS inside,
            SUM(q.prompt_tokens) AS prompt_tokens, SUM(q.completion_tokens) AS generation_tokens,
            SUM(q.cached_tokens) AS cached_tokens, COUNT(*) AS requests,
            SUM(CASE WHEN q.cached_tokens IS NOT NULL THEN q.prompt_tokens END) AS cache_prompt
        FROM requests q LEFT JOIN runs r ON r.run_id = q.run_id
        GROUP BY 1, 2, 3, 4, 5, 6""",  # noqa: S608  # a number of ours
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
        )
        for row in found
    ]


def energy_parts(db: Reader, since: float | None, until: float | None) -> list[EnergyPart]:
    """What the runs' GPUs drew, within the window.

    Between two readings of a GPU lies an interval; it belongs to the runs whose own readings enclose it, in equal
    shares, and to the day of its end. A counter that fell was reset by its driver: that interval is unknown.
    """
    found = db.rows(
        f"""WITH steps AS (
            SELECT uuid, boot_id, at AS ends,
                LAG(at) OVER one AS begins, millijoules - LAG(millijoules) OVER one AS used
            FROM gpu_energy WINDOW one AS (PARTITION BY uuid, boot_id ORDER BY at)),
        shares AS (
            SELECT w.run_id, s.ends, s.used, COUNT(*) OVER (PARTITION BY s.uuid, s.boot_id, s.ends) AS sharers
            FROM steps s JOIN run_gpus w ON w.uuid = s.uuid AND w.boot_id = s.boot_id
                AND w.first_at <= s.begins AND w.last_at >= s.ends
            WHERE s.used >= 0 AND s.ends >= ?1 AND s.ends < ?2)
        SELECT h.run_id, r.model, r.recipe_id, CAST(h.ends / {DAY} AS INTEGER) AS day,
            SUM(1.0 * h.used / h.sharers) / 3600000.0 AS watt_hours, MAX(h.sharers) > 1 AS estimated
        FROM shares h LEFT JOIN runs r ON r.run_id = h.run_id
        GROUP BY h.run_id, day""",  # noqa: S608  # a number of ours
        _bounds(since, until),
    )
    return [
        EnergyPart(row["run_id"], row["model"], row["recipe_id"], row["day"], row["watt_hours"], bool(row["estimated"]))
        for row in found
    ]


def seen_requests(db: Reader, since: float | None, until: float | None) -> list[sqlite3.Row]:
    """The requests of the window, each with its model, recipe, day, session and that session's title."""
    return db.rows(
        f"""SELECT COALESCE(r.model, q.model) AS model, COALESCE(r.recipe_id, q.recipe_id) AS recipe_id,
            CAST(q.at / {DAY} AS INTEGER) AS day, q.at, q.session_id, s.title, q.finish, q.ttft, q.total_seconds,
            q.tokens_per_second, q.prompt_tokens, q.completion_tokens, q.cached_tokens
        FROM requests q LEFT JOIN runs r ON r.run_id = q.run_id LEFT JOIN chat_sessions s ON s.id = q.session_id
        WHERE q.at >= ?1 AND q.at < ?2 ORDER BY q.at""",  # noqa: S608  # a number of ours
        _bounds(since, until),
    )


def uptime(db: Reader) -> tuple[float | None, float | None]:
    """Seconds that runs have lived, all together, and when the first one began."""
    row = db.row(
        """SELECT SUM(MAX(0, COALESCE(r.ended_at, (SELECT MAX(at) FROM run_readings l WHERE l.run_id = r.run_id),
            r.started_at) - r.started_at)) AS lived, MIN(r.started_at) AS first
        FROM runs r WHERE r.started_at IS NOT NULL"""
    )
    return (None, None) if row is None else (row["lived"], row["first"])


def _bounds(since: float | None, until: float | None) -> tuple[float, float]:
    return (-1.0 if since is None else since, FOREVER if until is None else until)
