"""One row per completion, from chat, bench or proxy."""

from __future__ import annotations

import sqlite3
import uuid
from dataclasses import asdict, fields

from vllm_studio_tui.domain.usage import CompletedRequest
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.values import count, integer, maybe_text, number, storable

_TEXTS = ("run_id", "recipe_id", "model", "session_id", "message_id", "error")
_COUNTS = ("prompt_tokens", "completion_tokens", "reasoning_tokens", "cached_tokens")
_NUMBERS = ("ttft", "total_seconds", "tokens_per_second")


class RequestRows:
    """The table `requests`."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def record(self, request: CompletedRequest) -> str:
        """Keep a completion; its id. One that is kept already is left as it is."""
        given = asdict(request)
        row = {
            "id": request.id or uuid.uuid4().hex,
            "at": number(request.at) or 0.0,
            "source": storable(request.source),
            "finish": storable(request.finish),
            "attempt": integer(request.attempt),
            **{name: maybe_text(given[name]) for name in _TEXTS},
            **{name: count(given[name]) for name in _COUNTS},
            **{name: number(given[name]) for name in _NUMBERS},
        }
        with self._db.write() as tables:
            tables.table("requests").insert(row, ignore=True)
        return str(row["id"])

    def recent(self, limit: int = 100) -> list[CompletedRequest]:
        """The last completions, the latest first."""
        found = self._db.rows("SELECT * FROM requests ORDER BY at DESC, id DESC LIMIT ?", (limit,))
        return [_request(row) for row in found]


def _request(row: sqlite3.Row) -> CompletedRequest:
    return CompletedRequest(**{one.name: row[one.name] for one in fields(CompletedRequest)})
