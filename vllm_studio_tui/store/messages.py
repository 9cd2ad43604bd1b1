"""The messages of chats: a tree in each session, in the order they came."""

from __future__ import annotations

import os
import sqlite3
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.domain.chat import Attachment, Message, Timings, TokenUsage, ToolCall
from vllm_studio_tui.domain.errors import NotFound
from vllm_studio_tui.kit.outside_values import as_count, as_number
from vllm_studio_tui.kit.paths import boot_id, machine_id
from vllm_studio_tui.kit.process import alive, start_ticks
from vllm_studio_tui.store import pictures
from vllm_studio_tui.store.conversion import from_json, now, optional_text, storable, to_json
from vllm_studio_tui.store.database import Database, Reader

if TYPE_CHECKING:
    from sqlite_utils.db import Database as Tables

MESSAGE_COLUMNS = (
    *("id", "session_id", "parent_id", "role", "content", "reasoning", "model", "tool_calls", "tool_call_id"),
    *("images", "finish", "error", "request_prompt_tokens", "request_tools_tokens", "request_total_input_tokens"),
    *("request_completion_tokens", "reasoning_tokens", "cached_tokens", "ttft", "thinking_seconds", "total_seconds"),
    *("tokens_per_second", "created_at", "files", "details", "bookmarked_at", "deleted_at"),
)
#: Seconds after which an answer that another host streams is taken for dead: its processes cannot be looked at.
FOREIGN_LEASE = 3600.0
#: The end of an answer whose program could not tell it itself.
PROGRAM_ENDED = "this program was ended while it streamed"


def lease() -> str:
    """Return the lease of this process, a unique name while it lives: host, boot, process id, start."""
    pid = os.getpid()
    return f"{machine_id()}:{boot_id()}:{pid}:{start_ticks(pid) or 0}"


def lease_holds(owner: str | None, touched_at: float | None, *, at: float) -> bool:
    """Return whether the process that began an answer may still be streaming it."""
    parts = (owner or "").split(":")
    if len(parts) != 4 or not (parts[2].isdigit() and parts[3].isdigit()):
        return False
    if parts[0] != machine_id():
        return touched_at is not None and abs(at - touched_at) < FOREIGN_LEASE
    return parts[1] == boot_id() and alive(int(parts[2]), int(parts[3]) or None)


class MessageRows:
    """The table `chat_messages`."""

    def __init__(self, db: Database) -> None:
        self._db = db

    # --- reading ----------------------------------------------------------------------------------------

    def get(self, message_id: str) -> Message:
        """Return a message.

        Raises:
            NotFound: There is none of this id.
        """
        found = self.find(message_id)
        if found is None:
            raise NotFound(f"no message {message_id[:80]}")
        return found

    def find(self, message_id: str) -> Message | None:
        """Return a message; None where there is none of this id."""
        row = self._db.row("SELECT * FROM chat_messages WHERE id = ?", (storable(message_id),))
        return None if row is None else messages_of(self._db, [row])[0]

    def tree(self, session_id: str) -> list[Message]:
        """Return every message of a session but those that were taken away, in order."""
        found = self._db.rows(
            "SELECT * FROM chat_messages WHERE session_id = ? AND deleted_at IS NULL ORDER BY seq", (session_id,)
        )
        return messages_of(self._db, found)

    def branch(self, session_id: str, leaf_id: str | None = None) -> list[Message]:
        """Return the messages from the first to a leaf: the given one, else the session's, else the latest."""
        if leaf_id is None:
            leaf_id = self.leaf(session_id)
        # UNION, not UNION ALL: a ring of parents, which nothing of ours makes, would end.
        found = self._db.rows(
            """WITH RECURSIVE up (id, parent_id) AS (
                SELECT id, parent_id FROM chat_messages WHERE id = ? AND session_id = ? AND deleted_at IS NULL
                UNION SELECT m.id, m.parent_id FROM chat_messages m JOIN up ON m.id = up.parent_id
                    WHERE m.session_id = ?)
            SELECT * FROM chat_messages WHERE id IN (SELECT id FROM up) ORDER BY seq""",
            (leaf_id, session_id, session_id),
        )
        return messages_of(self._db, found)

    def leaf(self, session_id: str) -> str | None:
        """Return the message up to which the session is read; None if it is empty."""
        row = self._db.row(
            """SELECT COALESCE(
                (SELECT m.id FROM chat_sessions s JOIN chat_messages m ON m.id = s.leaf_id AND m.session_id = s.id
                    WHERE s.id = ?1 AND m.deleted_at IS NULL),
                (SELECT id FROM chat_messages WHERE session_id = ?1 AND deleted_at IS NULL
                    ORDER BY seq DESC LIMIT 1))""",
            (session_id,),
        )
        return None if row is None else row[0]

    def siblings(self, message_id: str) -> list[Message]:
        """Return the message and the others under its parent, in order: the answers to one question."""
        one = self.get(message_id)
        found = self._db.rows(
            "SELECT * FROM chat_messages WHERE session_id = ? AND parent_id IS ? AND deleted_at IS NULL ORDER BY seq",
            (one.session_id, one.parent_id),
        )
        return messages_of(self._db, found)

    # --- writing ----------------------------------------------------------------------------------------

    def append(self, message: Message) -> Message:
        """Add a new message and make it the session's leaf. Empty ids and times are filled in.

        Raises:
            NotFound: The session, or the parent in it, does not exist.
        """
        message = replace(message, id=message.id or uuid.uuid4().hex, created_at=message.created_at or now())
        with self._db.write() as tables:
            if self._db.row("SELECT 1 FROM chat_sessions WHERE id = ?", (message.session_id,)) is None:
                raise NotFound(f"no chat {message.session_id[:80]}", advice="It may have been deleted elsewhere.")
            if message.parent_id is not None and self.get(message.parent_id).session_id != message.session_id:
                raise NotFound(f"no message {message.parent_id} in chat {message.session_id}")
            row = {**message_row(message), "images": pictures.keep(tables, message.images)}
            tables.table("chat_messages").insert(row)
            tables.table("chat_sessions").update(
                message.session_id, {"leaf_id": message.id, "updated_at": message.created_at}
            )
        return self.get(message.id)

    def checkpoint(self, message_id: str, content: str, reasoning: str, *, patience: float | None = None) -> bool:
        """Save what has come of an answer so far; False if it is over, or was deleted meanwhile."""
        with self._db.write(patience=patience) as tables:
            done = tables.execute(
                "UPDATE chat_messages SET content = ?, reasoning = ?, touched_at = ?"
                " WHERE id = ? AND finish = 'streaming'",
                (storable(content), storable(reasoning), time.time(), message_id),
            )
            return done.rowcount > 0

    def reopen(self, message_id: str) -> None:
        """Continue streaming into an answer that was over."""
        with self._db.write() as tables:
            values = {"finish": "streaming", "error": None, "owner": lease(), "touched_at": time.time()}
            _set(tables, message_id, values)

    def finish(self, message: Message) -> bool:
        """Save the end of an answer, without touching marks that a person made; False if it was deleted meanwhile."""
        values = message_row(message)
        for name in ("id", "session_id", "parent_id", "role", "created_at", "bookmarked_at", "deleted_at"):
            del values[name]
        with self._db.write() as tables:
            there = self._db.row("SELECT images IS NOT NULL FROM chat_messages WHERE id = ?", (message.id,))
            if there is None:
                return False
            _set(tables, message.id, {**values, "images": pictures.keep(tables, message.images)})
            if there[0]:
                pictures.prune(tables)  # others may be in their place
            tables.table("chat_sessions").update(message.session_id, {"updated_at": now()})
        return True

    def set_details(self, message_id: str, details: Mapping[str, Any]) -> Message:
        """Replace what else is known of a message; return it."""
        with self._db.write() as tables:
            _set(tables, self.get(message_id).id, {"details": to_json(dict(details)) if details else None})
        return self.get(message_id)

    def settle_interrupted(self, *, at: float | None = None, patience: float | None = None) -> int:
        """Mark the answers of dead processes as interrupted, and return how many."""
        at = time.time() if at is None else at
        dead = self._streaming_without_lease(at)
        if not dead or self._db.read_only:
            return 0
        with self._db.write(patience=patience) as tables:
            dead = self._streaming_without_lease(at)
            for message_id in dead:
                _set(tables, message_id, {"finish": "interrupted", "error": PROGRAM_ENDED, "owner": None})
        return len(dead)

    def _streaming_without_lease(self, at: float) -> list[str]:
        found = self._db.rows("SELECT id, owner, touched_at FROM chat_messages WHERE finish = 'streaming'")
        return [row["id"] for row in found if not lease_holds(row["owner"], row["touched_at"], at=at)]


def _set(tables: Tables, message_id: str, values: Mapping[str, Any]) -> None:
    # Table.update goes by the primary key, which is `seq`.
    assignments = ", ".join(f"{name} = ?" for name in values)
    tables.execute(f"UPDATE chat_messages SET {assignments} WHERE id = ?", (*values.values(), message_id))  # noqa: RUF100, S608


def message_row(message: Message) -> dict[str, Any]:
    """Return a message as a row. A `streaming` one is leased to this process."""
    usage, timings = message.usage, message.timings
    streaming = message.finish == "streaming"
    prompt, tools = as_count(usage.prompt_tokens), as_count(usage.tools_tokens)
    calls = [{"id": call.id, "name": call.name, "arguments": call.arguments} for call in message.tool_calls]
    return {
        "id": message.id,
        "session_id": message.session_id,
        "parent_id": message.parent_id,
        "role": message.role,
        "content": storable(message.content),
        "reasoning": storable(message.reasoning),
        "model": optional_text(message.model),
        "tool_calls": to_json(calls) if calls else None,
        "tool_call_id": optional_text(message.tool_call_id),
        "images": to_json(list(message.images)) if message.images else None,
        "finish": message.finish,
        "error": optional_text(message.error),
        # The engine's count of the prompt holds the tools: the part without them is known where theirs is.
        "request_prompt_tokens": prompt if prompt is None or tools is None else max(0, prompt - tools),
        "request_tools_tokens": tools,
        "request_total_input_tokens": prompt,
        "request_completion_tokens": as_count(usage.completion_tokens),
        "reasoning_tokens": as_count(usage.reasoning_tokens),
        "cached_tokens": as_count(usage.cached_tokens),
        "ttft": as_number(timings.ttft),
        "thinking_seconds": as_number(timings.thinking),
        "total_seconds": as_number(timings.total),
        "tokens_per_second": as_number(timings.tokens_per_second),
        "created_at": message.created_at,
        "files": to_json([one.to_json() for one in message.files]) if message.files else None,
        "details": to_json(dict(message.details)) if message.details else None,
        "bookmarked_at": message.bookmarked_at,
        "deleted_at": message.deleted_at,
        "owner": lease() if streaming else None,
        "touched_at": time.time() if streaming else None,
    }


def messages_of(db: Reader, rows: Sequence[sqlite3.Row]) -> list[Message]:
    """Return rows of `chat_messages` as messages, with their pictures."""
    urls = pictures.read(db, (row["images"] for row in rows))
    return [_message(row, urls) for row in rows]


def _message(row: sqlite3.Row, urls: Mapping[str, str]) -> Message:
    calls = [call for call in from_json(row["tool_calls"], list) if isinstance(call, Mapping)]
    return Message(
        row["id"],
        row["session_id"],
        row["role"],
        row["content"],
        row["parent_id"],
        row["seq"],
        row["reasoning"],
        row["model"],
        tuple(ToolCall(*(str(call.get(name) or "") for name in ("id", "name", "arguments"))) for call in calls),
        row["tool_call_id"],
        tuple(pictures.shown(row["images"], urls)),
        row["finish"],
        row["error"],
        TokenUsage(
            row["request_total_input_tokens"],
            row["request_completion_tokens"],
            row["reasoning_tokens"],
            row["cached_tokens"],
            row["request_tools_tokens"],
        ),
        Timings(row["ttft"], row["thinking_seconds"], row["total_seconds"], row["tokens_per_second"]),
        row["created_at"],
        None,
        tuple(attachment(one) for one in from_json(row["files"], list) if isinstance(one, Mapping)),
        from_json(row["details"], dict),
        row["bookmarked_at"],
        row["deleted_at"],
    )


def attachment(given: Mapping[str, Any]) -> Attachment:
    """Return an attachment from what `to_json` made of it, or from what a file says."""
    return Attachment(
        str(given.get("name") or "file"),
        str(given.get("media_type") or "text/plain"),
        as_count(given.get("size")) or 0,
        optional_text(given.get("text")),
        as_count(given.get("tokens")),
        optional_text(given.get("path")),
        given.get("cut") is True,
        optional_text(given.get("note")) or "",
    )
