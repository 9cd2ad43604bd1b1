"""What happened, by time: moves of runs, answers of chats, moments that were pinned."""

from __future__ import annotations

import sqlite3
import time

from vllm_studio_tui.domain.errors import NotFound, UsageError
from vllm_studio_tui.domain.timeline import Pin
from vllm_studio_tui.kit.outside_values import as_number
from vllm_studio_tui.store.conversion import storable
from vllm_studio_tui.store.database import Database, Reader

#: Rows of one kind that are read, the latest.
MOST = 2000
MOST_PINS = 1000
MOST_LETTERS = 500


def moves(db: Reader, since: float, until: float) -> list[sqlite3.Row]:
    """Return the starts and moves of runs between two moments, with the name of each run, the latest first."""
    return db.rows(
        """SELECT m.run_id, m.at, m.attempt, m.kind, m.data, COALESCE(r.name, r.recipe_id, m.run_id) AS name
        FROM run_readings m LEFT JOIN runs r ON r.run_id = m.run_id
        WHERE m.kind IN ('spawn', 'move') AND m.at >= ? AND m.at < ? ORDER BY m.at DESC LIMIT ?""",
        (since, until, MOST),
    )


def answers(db: Reader, since: float, until: float) -> list[sqlite3.Row]:
    """Return the answers of chats that ended between two moments, with the title of each chat, the latest first."""
    return db.rows(
        """SELECT q.at, q.session_id, q.run_id, q.finish, q.completion_tokens, q.total_seconds, s.title
        FROM requests q LEFT JOIN chat_sessions s ON s.id = q.session_id
        WHERE q.at >= ? AND q.at < ? AND q.source = 'chat' AND q.finish != 'streaming' ORDER BY q.at DESC LIMIT ?""",
        (since, until, MOST),
    )


class PinRows:
    """The table `pins`."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def all(self) -> list[Pin]:
        """Return all pins, the latest moment first."""
        rows = self._db.rows("SELECT id, at, note FROM pins ORDER BY at DESC, id DESC LIMIT ?", (MOST_PINS,))
        return [Pin(int(row["id"]), at, str(row["note"])) for row in rows if (at := as_number(row["at"])) is not None]

    def add(self, at: float, note: str) -> Pin:
        """Keep a moment.

        Raises:
            UsageError: It is none, or there are too many.
        """
        if not 0 < at < 1e11:
            raise UsageError("that is no moment of any calendar")
        note = storable(" ".join(note.split()))[:MOST_LETTERS]
        with self._db.write() as tables:
            (count,) = tables.conn.execute("SELECT COUNT(*) FROM pins").fetchone()
            if count >= MOST_PINS:
                raise UsageError(f"there are {MOST_PINS} pins", advice="Take some away first.")
            made = tables.conn.execute(
                "INSERT INTO pins (at, note, made_at) VALUES (?, ?, ?) RETURNING id", (at, note, time.time())
            ).fetchone()
        return Pin(int(made[0]), at, note)

    def delete(self, pin_id: int) -> None:
        """Forget a pin.

        Raises:
            NotFound: There is none of that number.
        """
        with self._db.write() as tables:
            if tables.conn.execute("DELETE FROM pins WHERE id = ?", (pin_id,)).rowcount == 0:
                raise NotFound(f"there is no pin {pin_id}", advice="Look: vllm-studio timeline pins")
