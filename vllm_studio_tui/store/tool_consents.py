"""The table of consents: what a person allowed for longer than one call."""

from __future__ import annotations

import builtins
import sqlite3
import time

from vllm_studio_tui.domain.tool_consent import Consent
from vllm_studio_tui.store.conversion import from_json, storable, to_json
from vllm_studio_tui.store.database import Database


class ConsentRows:
    """The table `tool_consents`. A row without a tool lets a server be started."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def list(self, server: str | None = None) -> builtins.list[Consent]:
        """Return the consents, of one server or of all, the oldest first."""
        some, given = ("WHERE server = ?", (storable(server),)) if server is not None else ("", ())
        return [_consent(row) for row in self._db.rows(f"SELECT * FROM tool_consents {some} ORDER BY id", given)]  # noqa: S608

    def add(self, consent: Consent) -> Consent:
        """Keep a consent; return it as it is kept. One that says the same takes the place of the earlier one."""
        at = consent.created_at or time.time()
        pattern = to_json(dict(consent.pattern)) if consent.pattern is not None else None
        session = storable(consent.session_id) if consent.session_id is not None else None
        same = (storable(consent.tool), storable(consent.server), session, pattern)
        with self._db.write() as tables:
            tables.execute(
                "DELETE FROM tool_consents WHERE tool = ? AND server = ? AND session_id IS ? AND pattern IS ?", same
            )
            made = tables.execute(
                "INSERT INTO tool_consents (tool, server, session_id, pattern, fingerprint, created_at)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (*same, consent.fingerprint, at),
            )
        return Consent(
            consent.tool, consent.server, consent.session_id, consent.pattern, consent.fingerprint, at, made.lastrowid
        )

    def delete(self, consent_id: int) -> bool:
        """Take a consent back; return whether there was one."""
        with self._db.write() as tables:
            return bool(tables.execute("DELETE FROM tool_consents WHERE id = ?", (consent_id,)).rowcount)

    def forget(self, server: str) -> None:
        """Take back all that was allowed of a server."""
        with self._db.write() as tables:
            tables.execute("DELETE FROM tool_consents WHERE server = ?", (storable(server),))


def _consent(row: sqlite3.Row) -> Consent:
    pattern = from_json(row["pattern"], dict) if row["pattern"] is not None else None
    if pattern is not None:
        pattern = {str(name): str(value) for name, value in pattern.items()}
    return Consent(
        row["tool"], row["server"], row["session_id"], pattern, row["fingerprint"], row["created_at"], row["id"]
    )
