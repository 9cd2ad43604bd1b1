"""The table of what the gateway saw, and the rows of requests that no engine answered: its cache's."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any

from vllm_studio_tui.domain.gateway_call import GatewayCall
from vllm_studio_tui.domain.usage import CompletedRequest
from vllm_studio_tui.kit.outside_values import as_count, as_number
from vllm_studio_tui.store.conversion import optional_text, storable
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.requests import RequestRows

#: The source of a request that was answered from the gateway's cache.
CACHE = "gateway-cache"
_COLUMNS = tuple(one.name for one in fields(GatewayCall) if one.name != "request_id")
_PUT = (
    f"INSERT INTO gateway_calls ({', '.join(_COLUMNS)}) VALUES ({', '.join(f':{name}' for name in _COLUMNS)})"  # noqa: S608
    " ON CONFLICT (id) DO NOTHING"
)


class GatewayCallRows:
    """The table `gateway_calls`."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def add(self, calls: Iterable[GatewayCall], *, patience: float | None = None) -> None:
        """Keep calls in one transaction; one that is kept already stays as it is.

        A call that the cache answered gets a row of its own in `requests`, without tokens: no engine worked for it.
        Any other is counted by the row that `serve` wrote, and is never a row itself.

        Raises:
            StoreError: None of them was kept.
        """
        chosen = list(calls)
        with self._db.write(patience=patience) as tables:
            tables.conn.executemany(_PUT, [_values(one) for one in chosen])
        cached = [_row_of(one) for one in chosen if one.cache_hit and one.status == "success"]
        RequestRows(self._db).record_all(cached, None, patience=patience)

    def recent(self, limit: int) -> list[GatewayCall]:
        """Return the last calls, the latest first, each with the id of the request that counts it."""
        found = self._db.rows(
            """SELECT g.*, COALESCE(
                (SELECT q.id FROM requests q WHERE q.id = 'gateway-' || g.id),
                (SELECT q.id FROM requests q WHERE g.cache_hit = 0 AND q.upstream_id = g.upstream_id AND q.source != ?
                    ORDER BY q.at DESC LIMIT 1)) AS request_id
            FROM gateway_calls g ORDER BY g.at DESC, g.id LIMIT ?""",
            (CACHE, limit),
        )
        return [_call(row) for row in found]


def _call(row: sqlite3.Row) -> GatewayCall:
    values = {one.name: row[one.name] for one in fields(GatewayCall)}
    streamed = None if row["streamed"] is None else bool(row["streamed"])
    return GatewayCall(**{**values, "cache_hit": bool(row["cache_hit"]), "streamed": streamed})


def _row_of(call: GatewayCall) -> CompletedRequest:
    return CompletedRequest(
        call.at,
        CACHE,
        "stop",
        id=f"gateway-{call.id}",
        recipe_id=call.recipe_id,
        model=call.model,
        requested_model=call.model,
        key_name=call.key_name,
        streamed=call.streamed,
        status=200,
        upstream_id=call.upstream_id,
    )


_TEXTS: Sequence[str] = ("upstream_id", "kind", "model", "recipe_id", "key_name", "error", "http_status")


def _values(call: GatewayCall) -> dict[str, Any]:
    return {
        "id": storable(call.id),
        "at": as_number(call.at) or 0.0,
        "status": storable(call.status),
        **{name: optional_text(getattr(call, name)) for name in _TEXTS},
        "cache_hit": int(call.cache_hit),
        "cost": as_number(call.cost),
        "prompt_tokens": as_count(call.prompt_tokens),
        "completion_tokens": as_count(call.completion_tokens),
        "seconds": as_number(call.seconds),
        "streamed": None if call.streamed is None else int(call.streamed),
    }
