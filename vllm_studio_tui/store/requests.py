"""The table of requests: one row per completion, from chat, bench or proxy."""

from __future__ import annotations

import sqlite3
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from vllm_studio_tui.domain.requests import RequestQuery
from vllm_studio_tui.domain.usage import LETTERS, CompletedRequest, about_tokens
from vllm_studio_tui.kit.outside_values import as_count, as_number
from vllm_studio_tui.store.conversion import integer, optional_text, storable
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.messages import PROGRAM_ENDED, lease, lease_holds

_TEXTS = (
    "run_id", "recipe_id", "model", "session_id", "message_id", "error",
    "key_id", "key_name", "endpoint", "requested_model", "upstream_id", "client",
)  # fmt: skip
_COUNTS = (
    "prompt_tokens", "completion_tokens", "reasoning_tokens", "cached_tokens", "status", "bytes_in", "bytes_out",
)  # fmt: skip
_NUMBERS = ("ttft", "total_seconds", "tokens_per_second", "queued_seconds", "load_seconds", "overhead_seconds")
_NAMES = ("id", "at", "source", "finish", "attempt", *_TEXTS, *_COUNTS, *_NUMBERS, "owner", "streamed", "estimated")
_PUT = (
    f"INSERT INTO requests ({', '.join(_NAMES)}) VALUES ({', '.join(f':{name}' for name in _NAMES)})"  # noqa: RUF100, S608
    f" ON CONFLICT (id) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in _NAMES if name != 'id')}"
    f" WHERE requests.finish = 'streaming' OR requests.error = '{PROGRAM_ENDED}'"
)

#: Under way at a moment after the first one and before the second. No request takes longer than a day, so that those
#: which ended long after need not be looked at.
_SINCE = "at >= ?"
_UNTIL = "at <= ? + 86400 AND at - COALESCE(total_seconds, 0) <= ?"


@dataclass(frozen=True, slots=True)
class AskedBy:
    """What one key or source asked in a time: requests, tokens of their prompts, and of how many these are known.

    Attributes:
        longest: Seconds that the one waited which waited longest; None where none is known.
        has_key: It is the name of a key, and not of a source.
    """

    name: str
    number: int
    prompt_tokens: int = 0
    prompts_known: int = 0
    longest: float | None = None
    has_key: bool = False


class RequestRows:
    """The table `requests`."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def begin(self, request: CompletedRequest) -> str:
        """Add a request that is being made, under the lease of this process, and return its id.

        Whatever ends this process, the request is on record: see `settle`.
        """
        return self._put(replace(request, finish="streaming"), lease())

    def record(self, request: CompletedRequest) -> str:
        """Save a completion and return its id. One that is saved already, and was over, is left as it is."""
        return self._put(request, None)

    def forget(self, request_id: str) -> None:
        """Delete a request that was begun and then not made."""
        with self._db.write() as tables:
            tables.execute("DELETE FROM requests WHERE id = ? AND finish = 'streaming'", (request_id,))

    def settle(self, *, at: float | None = None, patience: float | None = None) -> int:
        """End the requests of dead processes, with an estimate of what had come, and return how many."""
        at = time.time() if at is None else at
        dead = self._without_lease(at)
        if not dead or self._db.read_only:
            return 0
        with self._db.write(patience=patience) as tables:
            dead = self._without_lease(at)
            for row in dead:
                # Of an answer that was written on, what stood there before was counted before.
                text = (row["content"] or "") + (row["reasoning"] or "")
                came = max(0, about_tokens(text) - (row["request_completion_tokens"] or 0))
                values = (PROGRAM_ENDED, max(row["at"], row["touched_at"] or 0.0), came or None, bool(came), row["id"])
                tables.execute(
                    "UPDATE requests SET finish = 'interrupted', owner = NULL, error = ?, at = ?,"
                    " completion_tokens = ?, estimated = ? WHERE id = ?",
                    values,
                )
        return len(dead)

    def _without_lease(self, at: float) -> list[sqlite3.Row]:
        found = self._db.rows(
            """SELECT q.id, q.at, q.owner, m.content, m.reasoning, m.touched_at, m.request_completion_tokens
            FROM requests q LEFT JOIN chat_messages m ON m.id = q.message_id WHERE q.finish = 'streaming'"""
        )
        return [row for row in found if not lease_holds(row["owner"], row["touched_at"] or row["at"], at=at)]

    def record_all(
        self, requests: Sequence[CompletedRequest], owner: str | None, *, patience: float | None = None
    ) -> None:
        """Save completions in one transaction, each as `record` does it.

        Args:
            owner: Who counts these rows itself: see `store.api_keys.tokens_since`.

        Raises:
            StoreError: None of them was saved.
        """
        with self._db.write(patience=patience) as tables:
            tables.conn.executemany(_PUT, [_values(request, owner) for request in requests])

    def _put(self, request: CompletedRequest, owner: str | None) -> str:
        values = _values(request, owner)
        with self._db.write() as tables:
            tables.execute(_PUT, values)
        return str(values["id"])

    def asked_by(self, run_id: str, since: float, until: float) -> list[AskedBy]:
        """Return who asked a run in a time, by key or source, the busiest first.

        A request counts that was under way at some moment of it, and has ended by now, as in `ended`.
        """
        found = self._db.rows(
            f"""SELECT COALESCE(key_name, source) AS name, key_name IS NOT NULL AS has_key, COUNT(*) AS number,
            SUM(prompt_tokens) AS prompt, COUNT(prompt_tokens) AS known, MAX(queued_seconds) AS longest FROM requests
            WHERE +run_id = ? AND {_SINCE} AND {_UNTIL} AND finish != 'streaming' GROUP BY 1, 2
            ORDER BY number DESC""",  # noqa: S608
            (run_id, since, until, until),
        )
        return [
            AskedBy(
                optional_text(row["name"]) or "",
                integer(row["number"]) or 0,
                integer(row["prompt"]) or 0,
                integer(row["known"]) or 0,
                as_number(row["longest"]),
                bool(row["has_key"]),
            )
            for row in found
        ]

    def recent(self, limit: int = 100) -> list[CompletedRequest]:
        """Return the last completions, the latest first."""
        found = self._db.rows(
            "SELECT * FROM requests WHERE finish != 'streaming' ORDER BY at DESC, id DESC LIMIT ?", (limit,)
        )
        return [_request(row) for row in found]

    def ended(self, query: RequestQuery) -> list[CompletedRequest]:
        """Return requests that have ended, the latest first. Patterns are those of `fnmatch`."""
        where, values = ["finish != 'streaming'"], list[Any]()
        if query.key is not None:
            where.append("COALESCE(key_name, source) GLOB ?")
            values.append(_glob(query.key))
        if query.model is not None:
            where.append("(model GLOB ? OR requested_model GLOB ? OR recipe_id GLOB ?)")
            values += [_glob(query.model)] * 3
        if query.before is not None:
            where.append("(at, id) < (?, ?)")
            values += [query.before[0], storable(query.before[1])]
        if query.run_id is not None:
            where.append("+run_id = ?")
            values.append(storable(query.run_id))
        if query.since is not None:
            where.append(_SINCE)
            values.append(query.since)
        if query.until is not None:
            where.append(_UNTIL)
            values += [query.until] * 2
        found = self._db.rows(
            f"SELECT * FROM requests WHERE {' AND '.join(where)} ORDER BY at DESC, id DESC LIMIT ?",  # noqa: S608
            (*values, query.limit),
        )
        return [_request(row) for row in found]

    def tally(self, since: float) -> dict[str, int]:
        """Return how many requests ended since a moment, by their finish."""
        found = self._db.rows(
            "SELECT finish, COUNT(*) AS number FROM requests WHERE at >= ? AND finish != 'streaming' GROUP BY finish",
            (since,),
        )
        return {row["finish"]: row["number"] for row in found}

    def under_way(self, at: float) -> list[CompletedRequest]:
        """Return requests that live programs of this home make, the oldest first, with the tokens so far, about."""
        found = self._db.rows(
            """SELECT q.*, m.touched_at, m.request_completion_tokens AS before,
                length(m.content) + length(m.reasoning) AS letters
            FROM requests q LEFT JOIN chat_messages m ON m.id = q.message_id WHERE q.finish = 'streaming'
            ORDER BY q.at, q.id"""
        )
        return [
            replace(
                _request(row),
                # Of an answer that is written on, what stood there before was counted before.
                completion_tokens=max(0, -(-(row["letters"] or 0) // int(LETTERS)) - (row["before"] or 0)) or None,
                estimated=True,
            )
            for row in found
            if lease_holds(row["owner"], row["touched_at"] or row["at"], at=at)
        ]

    def of_run(self, run_id: str, limit: int = 100) -> list[CompletedRequest]:
        """Return the last completions of a run, the latest first; one that goes on has `finish` streaming."""
        found = self._db.rows(
            "SELECT * FROM requests WHERE run_id = ? ORDER BY at DESC, id DESC LIMIT ?", (run_id, limit)
        )
        return [_request(row) for row in found]


def _glob(pattern: str) -> str:
    # `fnmatch` negates a set of letters by `!`, SQLite by `^`.
    return storable(pattern).replace("[!", "[^")


def _request(row: sqlite3.Row) -> CompletedRequest:
    values = {one.name: row[one.name] for one in fields(CompletedRequest)}
    streamed = None if row["streamed"] is None else bool(row["streamed"])
    return CompletedRequest(**{**values, "estimated": bool(row["estimated"]), "streamed": streamed})


def _values(request: CompletedRequest, owner: str | None) -> dict[str, Any]:
    """Return the columns of a request by name; what does not fit becomes null."""
    # Not `asdict`, which copies every value: it takes five times as long.
    return {
        "id": storable(request.id) or uuid.uuid4().hex,
        "at": as_number(request.at) or 0.0,
        "source": storable(request.source),
        "finish": storable(request.finish),
        "attempt": integer(request.attempt),
        **{name: optional_text(getattr(request, name)) for name in _TEXTS},
        **{name: as_count(getattr(request, name)) for name in _COUNTS},
        **{name: as_number(getattr(request, name)) for name in _NUMBERS},
        "owner": owner,
        "streamed": None if request.streamed is None else bool(request.streamed),
        "estimated": bool(request.estimated),
    }
