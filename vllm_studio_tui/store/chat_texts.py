"""The table of the library: prompts, system prompts, presets, forms of answers."""

from __future__ import annotations

import builtins
import time
import uuid
from collections.abc import Mapping
from typing import Any

from vllm_studio_tui.domain.library import LibraryText
from vllm_studio_tui.store.conversion import from_json, storable, to_json
from vllm_studio_tui.store.database import Database


class ChatTextRows:
    """The table `chat_texts`."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def list(self, kind: str | None = None) -> builtins.list[LibraryText]:
        """Return the entries of a kind, or all, by name."""
        found = self._db.rows(
            "SELECT * FROM chat_texts WHERE ? IS NULL OR kind = ? ORDER BY kind, name COLLATE NOCASE, name",
            (kind, kind),
        )
        return [
            LibraryText(row["kind"], row["name"], from_json(row["data"], dict), float(row["updated_at"]))
            for row in found
        ]

    def put(self, kind: str, name: str, data: Mapping[str, Any]) -> None:
        """Keep an entry; one of the same name is replaced."""
        at = time.time()
        with self._db.write() as tables:
            tables.execute(
                """INSERT INTO chat_texts (id, kind, name, data, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?)
                ON CONFLICT (kind, name) DO UPDATE SET data = excluded.data, updated_at = excluded.updated_at""",
                (uuid.uuid4().hex, kind, storable(name), to_json(dict(data)), at, at),
            )

    def rename(self, kind: str, name: str, new: str) -> bool:
        """Call an entry otherwise; False where there is none, or one of the new name is there."""
        with self._db.write() as tables:
            if self._db.row("SELECT 1 FROM chat_texts WHERE kind = ? AND name = ?", (kind, new)) is not None:
                return False
            done = tables.execute(
                "UPDATE chat_texts SET name = ?, updated_at = ? WHERE kind = ? AND name = ?",
                (storable(new), time.time(), kind, name),
            )
            return done.rowcount > 0

    def delete(self, kind: str, name: str) -> bool:
        """Delete an entry; False where there is none."""
        with self._db.write() as tables:
            done = tables.execute("DELETE FROM chat_texts WHERE kind = ? AND name = ?", (kind, name))
            return done.rowcount > 0
