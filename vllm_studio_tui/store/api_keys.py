"""The table of API keys. A secret is never in it, only its SHA-256."""

from __future__ import annotations

import builtins
import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any

from vllm_studio_tui.domain.api_key import ApiKey, Scope
from vllm_studio_tui.domain.errors import NotFound, UsageError
from vllm_studio_tui.kit.outside_values import as_count, as_number
from vllm_studio_tui.store.conversion import from_json, optional_text, storable, to_json
from vllm_studio_tui.store.database import Database, Reader

_LIMITS = ("requests_per_minute", "max_concurrent", "tokens_per_day")


def read_keys(db: Reader) -> list[tuple[ApiKey, str]]:
    """Return every key with the SHA-256 of its secret, the oldest first."""
    return [(_key(row), row["hash"]) for row in db.rows("SELECT * FROM api_keys ORDER BY created_at, id")]


def tokens_since(
    db: Reader, at: float, *, keys: Iterable[str] | None = None, besides: str | None = None
) -> dict[str, int]:
    """Return the tokens of requests that ended at or after a moment, by the id of their key.

    Args:
        keys: Ids of the keys that are asked about; None: all.
        besides: Rows under this owner are left out: it counts them itself.
    """
    total = "SUM(COALESCE(prompt_tokens, 0) + COALESCE(completion_tokens, 0))"
    chosen = None if keys is None else list(keys)
    if chosen == []:
        return {}
    some = "" if chosen is None else f"AND key_id IN ({', '.join('?' * len(chosen))})"
    found = db.rows(
        f"""SELECT key_id, {total} AS tokens FROM requests
        WHERE key_id IS NOT NULL {some} AND at >= ? AND owner IS NOT ? GROUP BY key_id""",  # noqa: RUF100, S608
        (*(chosen or ()), at, besides or ""),
    )
    return {row["key_id"]: row["tokens"] for row in found}


class ApiKeyRows:
    """The table `api_keys`."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def list(self) -> builtins.list[ApiKey]:
        """Return all keys, the oldest first."""
        return [key for key, _ in read_keys(self._db)]

    def add(self, key: ApiKey, digest: str) -> None:
        """Add a key with the SHA-256 of its secret.

        Raises:
            UsageError: There is one of this name.
        """
        row = (storable(key.id), storable(key.name), digest, key.prefix, _grants(key), key.created_at)
        with self._db.write() as tables:
            if tables.execute("SELECT 1 FROM api_keys WHERE name = ?", (row[1],)).fetchone():
                raise UsageError(
                    f"there is a key {key.name} already", advice=f"Delete it first: vllm-studio keys delete {key.name}"
                )
            tables.execute(
                "INSERT INTO api_keys (id, name, hash, prefix, grants, created_at) VALUES (?, ?, ?, ?, ?, ?)", row
            )

    def change(self, key: ApiKey) -> None:
        """Replace what a key may do.

        Raises:
            NotFound: It was deleted.
        """
        with self._db.write() as tables:
            changed = tables.execute("UPDATE api_keys SET grants = ? WHERE id = ?", (_grants(key), key.id))
            if not changed.rowcount:
                raise NotFound(f"no key {key.name}")

    def delete(self, key_id: str) -> bool:
        """Delete a key; return whether there was one."""
        with self._db.write() as tables:
            return bool(tables.execute("DELETE FROM api_keys WHERE id = ?", (storable(key_id),)).rowcount)

    def used(self, moments: Mapping[str, float], *, patience: float | None = None) -> None:
        """Save when keys were used last, by id; an earlier moment than the saved one changes nothing."""
        rows = [(at, key_id, at) for key_id, at in moments.items()]
        with self._db.write(patience=patience) as tables:
            tables.conn.executemany(
                "UPDATE api_keys SET last_used_at = ? WHERE id = ? AND COALESCE(last_used_at, 0) < ?", rows
            )


def _grants(key: ApiKey) -> str:
    return to_json(
        {
            "scopes": sorted(key.scopes),
            "models": list(key.models),
            **{name: getattr(key, name) for name in _LIMITS},
            "expires_at": key.expires_at,
            "may_launch": key.may_launch,
            "loading": key.loading,
        }
    )


def _key(row: sqlite3.Row) -> ApiKey:
    """Return a key. What cannot be read of its grants takes rights away and never gives any."""
    data: dict[str, Any] = from_json(row["grants"], dict)
    given = data.get("scopes")
    scopes = frozenset(Scope(one) for one in given if one in tuple(Scope)) if isinstance(given, list) else frozenset()
    models = data.get("models")
    readable = isinstance(models, list) and all(isinstance(one, str) for one in models)
    limits = {name: as_count(data.get(name)) for name in _LIMITS}
    broken = any(limits[name] is None and data.get(name) is not None for name in _LIMITS)
    expires_at = as_number(data.get("expires_at"))
    broken = broken or not readable or (expires_at is None and data.get("expires_at") is not None)
    return ApiKey(
        row["id"],
        row["name"],
        row["prefix"],
        frozenset() if broken else scopes,
        tuple(models) if isinstance(models, list) and readable else (),
        **limits,
        expires_at=expires_at,
        may_launch=data.get("may_launch") is True and not broken,
        loading=optional_text(data.get("loading")),
        created_at=row["created_at"],
        last_used_at=row["last_used_at"],
    )
