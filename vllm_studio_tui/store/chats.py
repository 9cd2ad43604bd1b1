"""Chats: sessions, their trash and their forks."""

from __future__ import annotations

import builtins
import sqlite3
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from vllm_studio_tui.domain.chat import Session
from vllm_studio_tui.domain.errors import NotFound, UsageError
from vllm_studio_tui.store import pictures
from vllm_studio_tui.store.conversion import from_json, now, optional_text, storable, to_json
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.messages import MESSAGE_COLUMNS, MessageRows

#: The few that were taken away have an index of their own.
_COUNTED = """SELECT s.*, (SELECT COUNT(*) FROM chat_messages m WHERE m.session_id = s.id)
    - (SELECT COUNT(*) FROM chat_messages m WHERE m.session_id = s.id AND m.deleted_at IS NOT NULL) AS messages"""
_SELECT = f"{_COUNTED} FROM chat_sessions s"

#: Tags that a chat may have, and letters of one.
MAX_TAGS, MAX_TAG = 20, 40


def new_id() -> str:
    """Return the id of a new session: so random that its beginning is enough to type."""
    return uuid.uuid4().hex[:16]


def like(words: str) -> str:
    """Return a LIKE pattern (with ESCAPE '!') for text that contains these words literally."""
    escaped = words.replace("!", "!!").replace("%", "!%").replace("_", "!_")
    return f"%{escaped}%"


class ChatRows:
    """The table `chat_sessions`."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def create(
        self,
        title: str = "",
        *,
        model: str | None = None,
        parent_id: str | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> Session:
        """Add a new, empty session."""
        moment = now()
        session = Session(
            new_id(), storable(title), optional_text(model), parent_id, moment, moment, settings=dict(settings or {})
        )
        with self._db.write() as tables:
            tables.table("chat_sessions").insert(session_row(session))
        return session

    def get(self, session_id: str) -> Session:
        """Return a session, also one in the trash.

        Raises:
            NotFound: There is none of this id.
        """
        row = self._db.row(f"{_SELECT} WHERE s.id = ?", (storable(session_id),))
        if row is None:
            raise NotFound(f"no chat {session_id[:80]}", advice="See `vllm-studio chats list`.")
        return _session(row)

    def find(self, name: str) -> Session:
        """Return a session by its id, the beginning of its id, or `last` for the most recently used.

        Raises:
            NotFound: None fits.
            UsageError: Several do.
        """
        if name == "last":
            latest = self.list(limit=1)
            if not latest:
                raise NotFound("no chat yet", advice="Begin one: vllm-studio chat PROMPT")
            return latest[0]
        name = storable(name)
        found = self._db.rows(f"{_SELECT} WHERE s.id = ?", (name,))
        if not found and name:
            prefix = like(name).removeprefix("%")
            found = self._db.rows(f"{_SELECT} WHERE s.id LIKE ? ESCAPE '!' ORDER BY s.id LIMIT 5", (prefix,))
        if not found:
            raise NotFound(f"no chat {name[:80]}", advice="See `vllm-studio chats list`.")
        if len(found) > 1:
            raise UsageError(f"several chats begin with {name}", cause=", ".join(row["id"] for row in found))
        return _session(found[0])

    def list(
        self,
        *,
        limit: int | None = None,
        offset: int = 0,
        search: str = "",
        trash: bool = False,
        tag: str | None = None,
        pinned_first: bool = False,
    ) -> builtins.list[Session]:
        """Return sessions, the most recently used first.

        Args:
            search: Words in title, model or tags.
            tag: Only those with this tag.
            pinned_first: Those that are pinned come before the others, the pinned last first.
        """
        where, values = _filter(search, trash, tag)
        order = "updated_at DESC, id DESC"
        order = f"pinned_at IS NULL, pinned_at DESC, {order}" if pinned_first else order
        # Only the messages of the page are counted.
        query = f"""{_COUNTED} FROM (SELECT * FROM chat_sessions WHERE {where} ORDER BY {order} LIMIT ? OFFSET ?) s
            ORDER BY {order}"""  # noqa: RUF100, S608
        found = self._db.rows(query, (*values, -1 if limit is None else max(0, limit), max(0, offset)))
        return [_session(row) for row in found]

    def count(self, *, search: str = "", trash: bool = False, tag: str | None = None) -> int:
        """Return how many sessions `list` would return without a limit."""
        where, values = _filter(search, trash, tag)
        row = self._db.row(f"SELECT COUNT(*) FROM chat_sessions WHERE {where}", values)  # noqa: RUF100, S608
        return int(row[0]) if row else 0

    def rename(self, session_id: str, title: str) -> None:
        self._change(session_id, title=storable(title))

    def pin(self, session_id: str, on: bool) -> None:
        """Keep a chat at the top of the list, or no longer."""
        self._change(session_id, pinned_at=now() if on else None)

    def set_tags(self, session_id: str, tags: Sequence[str]) -> builtins.list[str]:
        """Replace the tags of a chat; return them as they are kept.

        Raises:
            UsageError: There are too many.
        """
        kept = tags_of(tags)
        self._change(session_id, tags=to_json(kept))
        return kept

    def tags(self) -> builtins.list[tuple[str, int]]:
        """Return the tags of all chats that are not in the trash, and how many chats have each; the most used first."""
        found = self._db.rows("SELECT tags FROM chat_sessions WHERE deleted_at IS NULL AND tags != '[]'")
        counted = Counter(str(tag) for row in found for tag in set(from_json(row["tags"], list)))
        return sorted(counted.items(), key=lambda one: (-one[1], one[0]))

    def set_model(self, session_id: str, model: str | None) -> None:
        self._change(session_id, model=optional_text(model))

    def set_settings(self, session_id: str, settings: Mapping[str, Any]) -> None:
        """Replace the settings of a chat: system prompt, sampling."""
        self._change(session_id, settings=to_json(dict(settings)))

    def set_times(self, session_id: str, created_at: str, updated_at: str) -> None:
        """Set when a chat that was imported began and was used last; an empty time is left as it is."""
        given = {"created_at": created_at, "updated_at": updated_at}
        if kept := {name: moment for name, moment in given.items() if moment}:
            self._change(session_id, **kept)

    def set_leaf(self, session_id: str, leaf_id: str | None) -> None:
        """Set the message up to which the chat is read; messages off its branch stay.

        Raises:
            NotFound: The chat has no such message.
        """
        if leaf_id is not None and MessageRows(self._db).get(leaf_id).session_id != session_id:
            raise NotFound(f"no message {leaf_id} in chat {session_id}")
        self._change(session_id, leaf_id=leaf_id)

    def trash(self, session_id: str) -> bool:
        """Move a chat to the trash; False if it is there already."""
        if self.get(session_id).deleted_at is not None:
            return False
        self._change(session_id, deleted_at=now())
        return True

    def restore(self, session_id: str) -> bool:
        """Take a chat out of the trash; False if it is not there."""
        if self.get(session_id).deleted_at is None:
            return False
        self._change(session_id, deleted_at=None)
        return True

    def last_trashed(self) -> Session | None:
        """Return the chat that was moved to the trash last; None where it is empty."""
        row = self._db.row(f"{_SELECT} WHERE deleted_at IS NOT NULL ORDER BY deleted_at DESC, id LIMIT 1")
        return _session(row) if row is not None else None

    def purge(self, session_id: str) -> None:
        """Delete a chat and its messages for good. What it used stays in the requests."""
        self.get(session_id)
        with_pictures = "SELECT 1 FROM chat_messages WHERE session_id = ? AND images IS NOT NULL LIMIT 1"
        with self._db.write() as tables:
            had = self._db.row(with_pictures, (session_id,)) is not None
            tables.table("chat_sessions").delete_where("id = ?", [session_id])
            tables.execute("DELETE FROM tool_calls WHERE session_id = ?", (session_id,))
            if had:
                pictures.prune(tables)

    def fork(self, session_id: str, message_id: str | None = None) -> Session:
        """Copy a chat up to and including a message (by default the last of the branch), and return the copy.

        Raises:
            NotFound: There is no such chat, or it has no such message.
        """
        origin = self.get(session_id)
        messages = MessageRows(self._db)
        if message_id is not None and messages.get(message_id).session_id != session_id:
            raise NotFound(f"no message {message_id} in chat {session_id}")
        branch = messages.branch(session_id, message_id)
        with self._db.write() as tables:
            fork = self.create(
                f"{origin.title} (fork)", model=origin.model, parent_id=origin.id, settings=origin.settings
            )
            copied = ", ".join(name for name in MESSAGE_COLUMNS if name not in ("id", "session_id", "parent_id"))
            parent: str | None = None
            for message in branch:
                copy = uuid.uuid4().hex
                # An answer that is still being streamed into the original is not over here either, but nobody
                # streams into the copy.
                tables.execute(
                    f"""INSERT INTO chat_messages (id, session_id, parent_id, {copied})
                        SELECT ?, ?, ?, {copied.replace("finish", "replace(finish, 'streaming', 'interrupted')")}
                        FROM chat_messages WHERE id = ?""",  # noqa: RUF100, S608
                    (copy, fork.id, parent, message.id),
                )
                parent = copy
            self._change(fork.id, leaf_id=parent)
        return self.get(fork.id)

    def _change(self, session_id: str, **values: Any) -> None:
        self.get(session_id)
        # What changes only how a chat is shown does not make it the one used last.
        with self._db.write() as tables:
            tables.table("chat_sessions").update(session_id, values)


def session_row(session: Session) -> dict[str, Any]:
    """Return a session as a row."""
    return {
        "id": session.id,
        "title": session.title,
        "model": session.model,
        "parent_id": session.parent_id,
        "created_at": session.created_at,
        "updated_at": session.updated_at,
        "deleted_at": session.deleted_at,
        "leaf_id": session.leaf_id,
        "settings": to_json(dict(session.settings)),
        "pinned_at": session.pinned_at,
        "tags": to_json(list(session.tags)),
    }


def tags_of(given: Sequence[str]) -> builtins.list[str]:
    """Return tags as they are kept: lower case, without `#`, in order, each once.

    Raises:
        UsageError: There are too many.
    """
    tags = [" ".join(storable(tag).split()).lower().lstrip("#").strip()[:MAX_TAG] for tag in given]
    kept = sorted(set(filter(None, tags)))
    if len(kept) > MAX_TAGS:
        raise UsageError(f"{len(kept)} tags are too many", advice=f"A chat has at most {MAX_TAGS}.")
    return kept


def _filter(search: str, trash: bool, tag: str | None) -> tuple[str, builtins.list[str]]:
    where = ["deleted_at IS NOT NULL" if trash else "deleted_at IS NULL"]
    values = []
    for word in storable(search).split()[:8]:
        where.append("(title LIKE ? ESCAPE '!' OR model LIKE ? ESCAPE '!' OR tags LIKE ? ESCAPE '!')")
        values += [like(word)] * 3
    if tag is not None:
        where.append("json_valid(tags) AND EXISTS (SELECT 1 FROM json_each(chat_sessions.tags) WHERE value = ?)")
        values.append(" ".join(storable(tag).split()).lower().lstrip("#"))
    return " AND ".join(where), values


def _session(row: sqlite3.Row) -> Session:
    return Session(
        row["id"],
        row["title"],
        row["model"],
        row["parent_id"],
        row["created_at"],
        row["updated_at"],
        row["messages"],
        row["leaf_id"],
        row["deleted_at"],
        from_json(row["settings"], dict),
        row["pinned_at"],
        tuple(str(tag) for tag in from_json(row["tags"], list)),
    )
