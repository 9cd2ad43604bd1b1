"""Reads chats out of databases of other programs: oterm's `store.db`, and `chats.db` of the system that this one
re-imagines. A database is read from its bytes, so that nothing of it can be changed, and with a limit of its work."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
from collections.abc import Iterator
from typing import Any

from vllm_studio_tui.domain.errors import StoreError
from vllm_studio_tui.store.import_values import LeftOut, figure, items, mapping, picture, text

MAGIC = b"SQLite format 3\x00"
MAX_ROWS = 100_000
#: Steps of SQLite's machine, by the thousand, after which a hostile database is given up.
MAX_WORK = 20_000
#: Parameters of Ollama that have the same name here.
_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "seed", "repeat_penalty")


def read_sqlite(raw: bytes, source: str, left: LeftOut) -> list[dict[str, Any]]:
    """Return the chats of such a database in our own form.

    Raises:
        StoreError: It is another one, or cannot be read.
    """
    # A database in WAL mode cannot be opened from memory: these two bytes say that it is none.
    raw = raw[:18] + b"\x01\x01" + raw[20:]
    try:
        with contextlib.closing(sqlite3.connect(":memory:")) as db:
            db.deserialize(raw)
            db.row_factory = sqlite3.Row
            db.text_factory = lambda data: data.decode("utf-8", "replace")
            db.execute("PRAGMA trusted_schema = OFF")
            db.execute("PRAGMA query_only = ON")
            work = iter(range(MAX_WORK))
            db.set_progress_handler(lambda: next(work, None) is None, 1000)
            tables = {str(row[0]) for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if {"chat", "message"} <= tables:
                return list(_oterm(db, left))
            if "chat_search" in tables:
                advice = "Use --home for it, or take the chats along: vllm-studio chats export --all -o chats.json"
                raise StoreError(f"{source} is the database of a studio", advice=advice)
            if {"chat_sessions", "chat_messages"} <= tables:
                return list(_original(db))
    except (sqlite3.Error, OverflowError, MemoryError) as error:
        raise StoreError(f"{source} cannot be read as a database", cause=str(error)[:300]) from None
    names = ", ".join(sorted(tables))[:200] or "none"
    raise StoreError(f"{source} is no database of chats that is known", cause=f"Its tables are: {names}.")


def _rows(db: sqlite3.Connection, table: str, where: str = "", values: tuple[Any, ...] = ()) -> list[dict[str, Any]]:
    # The names of tables are ours.
    found = db.execute(f"SELECT * FROM {table} {where} LIMIT {MAX_ROWS}", values)  # noqa: RUF100, S608
    return [dict(row) for row in found]


def _json(value: Any) -> Any:
    try:
        return json.loads(value) if isinstance(value, str) else None
    except (ValueError, RecursionError):
        return None


def _oterm(db: sqlite3.Connection, left: LeftOut) -> Iterator[dict[str, Any]]:
    for chat in _rows(db, "chat"):
        messages = []
        for one in _rows(db, "message", "WHERE chat_id = ? ORDER BY rowid", (chat.get("id"),)):
            role = text(one.get("author")).lower()
            if role not in ("user", "assistant", "system", "tool"):
                left.add("message of an unknown role")
                continue
            given = items(_json(one.get("images")))
            pictures = [found for value in given if (found := picture(value)) is not None]
            for _ in range(len(given) - len(pictures)):
                left.add("picture of an unknown kind")
            messages.append({"role": role, "content": text(one.get("text")), "images": pictures})
        if not messages:
            left.add("empty chat")
            continue
        asked = mapping(_json(chat.get("parameters")))
        settings: dict[str, Any] = {name: asked[name] for name in _SAMPLING if figure(asked.get(name)) is not None}
        most = figure(asked.get("num_predict"))
        if most and most < 1e9:
            settings["max_tokens"] = int(most)
        if system := text(chat.get("system")):
            settings["system"] = system
        about = {"title": text(chat.get("name")), "model": text(chat.get("model")) or None, "settings": settings}
        # Every such database counts from 1.
        first = hashlib.sha256(str(messages[0]["content"]).encode("utf-8", "replace")).hexdigest()
        yield {
            "session": {**about, "source_id": f"oterm {chat.get('id')} {first}"},
            "messages": messages,
            "from": "oterm",
        }


def _original(db: sqlite3.Connection) -> Iterator[dict[str, Any]]:
    for chat in _rows(db, "chat_sessions"):
        found = _rows(db, "chat_messages", "WHERE session_id = ? ORDER BY created_at, rowid", (chat.get("id"),))
        if found:
            about = {name: chat.get(name) for name in ("title", "model", "created_at", "updated_at", "id")}
            yield {**about, "messages": [{name: one[name] for name in one if one[name] is not None} for one in found]}
