"""The table of votes on answers that stood side by side."""

from __future__ import annotations

import builtins
import sqlite3
import time

from vllm_studio_tui.domain.compare import Vote
from vllm_studio_tui.store.conversion import from_json, optional_text, storable, to_json
from vllm_studio_tui.store.database import Database


class ArenaVoteRows:
    """The table `arena_votes`. There is one vote on the answers to a question: a later one takes its place."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def list(self, *, blind_only: bool = False, limit: int | None = None) -> builtins.list[Vote]:
        """Return votes, the latest first."""
        where = "WHERE blind" if blind_only else ""
        found = self._db.rows(
            f"SELECT * FROM arena_votes {where} ORDER BY id DESC LIMIT ?",  # noqa: RUF100, S608
            (-1 if limit is None else limit,),
        )
        return [_vote(row) for row in found]

    def of(self, message_id: str) -> Vote | None:
        """Return the vote on the answers to a question; None where there is none."""
        row = self._db.row("SELECT * FROM arena_votes WHERE message_id = ? ORDER BY id DESC", (storable(message_id),))
        return None if row is None else _vote(row)

    def put(self, vote: Vote) -> None:
        """Keep a vote, in the place of an earlier one on the same question."""
        values = (
            vote.at or time.time(),
            optional_text(vote.winner),
            to_json(list(vote.sides)),
            int(vote.blind),
            optional_text(vote.session_id),
            optional_text(vote.message_id),
        )
        with self._db.write() as tables:
            if vote.message_id is not None:
                tables.execute("DELETE FROM arena_votes WHERE message_id = ?", (storable(vote.message_id),))
            tables.execute(
                "INSERT INTO arena_votes (at, winner, sides, blind, session_id, message_id) VALUES (?, ?, ?, ?, ?, ?)",
                values,
            )


def _vote(row: sqlite3.Row) -> Vote:
    sides = tuple(one for one in from_json(row["sides"], list) if isinstance(one, str))
    return Vote(sides, row["winner"], bool(row["blind"]), row["session_id"], row["message_id"], row["at"], row["id"])
