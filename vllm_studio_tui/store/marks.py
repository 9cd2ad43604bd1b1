"""What a person does to messages that are there: take them away and bring them back, mark them."""

from __future__ import annotations

import builtins
from datetime import UTC, datetime, timedelta

from vllm_studio_tui.domain.chat import Message
from vllm_studio_tui.domain.chat_marks import Removed
from vllm_studio_tui.domain.errors import UsageError
from vllm_studio_tui.store.chats import ChatRows
from vllm_studio_tui.store.conversion import now
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.messages import MessageRows, messages_of


class MessageMarks:
    """Marks in the table `chat_messages`."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._messages = MessageRows(db)

    # --- taking away ------------------------------------------------------------------------------------

    def below(self, message_id: str) -> builtins.list[Message]:
        """Return a message with all that is below it, in order.

        Raises:
            NotFound: There is none of this id.
        """
        one = self._messages.get(message_id)
        found: list[Message] = []
        inside = {one.id}
        for message in self._messages.tree(one.session_id):
            if message.id == one.id or message.parent_id in inside:
                inside.add(message.id)
                found.append(message)
        return found

    def remove(self, message_id: str) -> Removed:
        """Take a message out of sight with all below it. The chat is read on at the answer beside it, or above it.

        Raises:
            NotFound: There is none of this id.
            UsageError: An answer among them is being written, or waits for its tools.
        """
        one = self._messages.get(message_id)
        with self._db.write() as tables:
            gone = self.below(message_id)
            if any(message.finish == "streaming" for message in gone):
                raise UsageError("an answer here is being written", advice="Stop it first.")
            calling = self._db.rows(
                "SELECT message_id FROM tool_calls WHERE session_id = ? AND state IN ('waiting', 'running')",
                (one.session_id,),
            )
            if {row["message_id"] for row in calling} & {message.id for message in gone}:
                raise UsageError("an answer here waits for its tools", advice="Stop it first.")
            ids = [message.id for message in gone]
            leaf = self._messages.leaf(one.session_id)
            last = self._db.row("SELECT MAX(deleted_at) FROM chat_messages WHERE deleted_at IS NOT NULL")
            at = _stamp(last[0] if last is not None else None)
            for message in ids:
                tables.execute("UPDATE chat_messages SET deleted_at = ? WHERE id = ?", (at, message))
            if leaf in ids:
                leaf = self._leaf_beside(one)
                ChatRows(self._db).set_leaf(one.session_id, leaf)
        return Removed(one.session_id, at, len(ids), one.content, leaf)

    def _leaf_beside(self, one: Message) -> str | None:
        """Return the newest message below the nearest that is left beside a removed one, else the one above it."""
        beside = [message for message in self._messages.siblings(one.id) if message.role == one.role]
        earlier = [message for message in beside if message.seq < one.seq]
        near = earlier[-1] if earlier else beside[0] if beside else None
        return self.below(near.id)[-1].id if near is not None else one.parent_id

    def last_removed(self) -> Removed | None:
        """Return what was taken away last in a chat that is not in the trash; None where there is nothing."""
        row = self._db.row(
            """SELECT m.session_id, m.deleted_at, COUNT(*), MIN(m.seq) FROM chat_messages m
                JOIN chat_sessions s ON s.id = m.session_id
                WHERE m.deleted_at IS NOT NULL AND s.deleted_at IS NULL
                GROUP BY m.session_id, m.deleted_at ORDER BY m.deleted_at DESC LIMIT 1"""
        )
        if row is None:
            return None
        first = self._db.row("SELECT content FROM chat_messages WHERE seq = ?", (row[3],))
        return Removed(row[0], row[1], row[2], first[0] if first is not None else "", None)

    def bring_back(self, removed: Removed) -> int:
        """Show again what was taken away together, read up to its end; return how many messages came back."""
        with self._db.write() as tables:
            found = self._db.rows(
                "SELECT id FROM chat_messages WHERE session_id = ? AND deleted_at = ? ORDER BY seq",
                (removed.session_id, removed.at),
            )
            tables.execute(
                "UPDATE chat_messages SET deleted_at = NULL WHERE session_id = ? AND deleted_at = ?",
                (removed.session_id, removed.at),
            )
            if found:
                ChatRows(self._db).set_leaf(removed.session_id, found[-1]["id"])
        return len(found)

    # --- bookmarks --------------------------------------------------------------------------------------

    def bookmark(self, message_id: str, on: bool | None = None) -> bool:
        """Mark a message, or take its mark away; None: the other of the two. Return whether it is marked now.

        Raises:
            NotFound: There is none of this id.
        """
        one = self._messages.get(message_id)
        on = one.bookmarked_at is None if on is None else on
        with self._db.write() as tables:
            at = (one.bookmarked_at or now()) if on else None
            tables.execute("UPDATE chat_messages SET bookmarked_at = ? WHERE id = ?", (at, one.id))
        return on

    def bookmarks(self, session_id: str | None = None, *, limit: int = 200) -> builtins.list[Message]:
        """Return the messages that are marked, in one chat or all that are not in the trash, the newest mark first."""
        found = self._db.rows(
            """SELECT m.* FROM chat_messages m JOIN chat_sessions s ON s.id = m.session_id
                WHERE m.bookmarked_at IS NOT NULL AND m.deleted_at IS NULL AND s.deleted_at IS NULL
                AND (?1 IS NULL OR m.session_id = ?1) ORDER BY m.bookmarked_at DESC, m.seq DESC LIMIT ?2""",
            (session_id, max(0, limit)),
        )
        return messages_of(self._db, found)


def _stamp(last: str | None) -> str:
    """Return this moment, later than the last one: it names what was taken away together."""
    at = datetime.now(UTC)
    if last:
        at = max(at, datetime.fromisoformat(last) + timedelta(microseconds=1))
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")
