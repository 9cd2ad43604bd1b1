"""Taking chats of files in: new ones whole, and of those that went on since what is new.

What a file's chat is known by is kept with the session: the hash of the whole, and a name by which its later exports
are found. A message that came from a file has an id made of its session and what it is known by there, so that it is
found again whatever happened to it here. What a person changed or took away stays as it is.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from vllm_studio_tui.domain.chat import Message, Session
from vllm_studio_tui.domain.chat_imports import GrownChat, ImportedChats
from vllm_studio_tui.domain.errors import StoreError
from vllm_studio_tui.store.chat_files import FORMAT, MAX_MESSAGES, ROLES, Split, message_of
from vllm_studio_tui.store.chats import MAX_TAGS, ChatRows
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.foreign_chats import moment_of, results_of
from vllm_studio_tui.store.import_files import chats_in, form_of, mark_of
from vllm_studio_tui.store.import_values import LeftOut
from vllm_studio_tui.store.messages import MessageRows

#: Names the messages of sessions.
_NAMES = uuid.UUID("3b0f0f5e-6a3c-4a77-9a0b-0f6f1b1d7c52")
_BELOW_GONE = "new message below one that was taken away here"


class _Undone(Exception):
    pass


@dataclass(frozen=True, slots=True)
class _Given:
    """A message of a file.

    Attributes:
        key: What it is known by within its chat, also in a later export of it.
        parent: The key of the message that it is below.
        message: Without session and parent.
    """

    key: str
    parent: str | None
    message: Message


@dataclass(slots=True)
class _GivenChat:
    about: Mapping[str, Any]
    messages: list[_Given] = field(default_factory=list)
    #: By the ids of the file: the key of what follows a message goes below.
    keys: dict[str, str] = field(default_factory=dict)


def import_chats(
    db: Database, raw: bytes, source: str, split: Split | None = None, *, dry_run: bool = False
) -> ImportedChats:
    """Take in a file of ours, one of the system that this one re-imagines (also its database), a list of either,
    chats of ChatGPT, oterm or LM Studio, a plain list of OpenAI messages, or Markdown.

    Ids are new ones. Of a chat that was taken in before, and is not in the trash, only what is new is taken in. A
    message whose parent is missing goes below the one before.

    Args:
        split: Takes thinking out of the text of answers that hold both; gives thinking and text.
        dry_run: Nothing is kept; what is returned is what would be.

    Raises:
        StoreError: The file cannot be understood. Nothing of it was kept.
    """
    left = LeftOut()
    try:
        marked = [(one, mark_of(one)) for one in chats_in(raw, source, left)]
        found: ImportedChats | None = None
        try:
            with db.write():
                found = _Import(db, source, split, left).take(marked)
                if dry_run:
                    raise _Undone
        except _Undone:
            pass
    except RecursionError:
        raise StoreError(f"{source} cannot be read", cause="It is nested too deeply.") from None
    assert found is not None
    return replace(found, form=form_of(raw, marked[0][0] if marked else {}))


class _Import:
    def __init__(self, db: Database, source: str, split: Split | None, left: LeftOut) -> None:
        self._db, self._source, self._split, self._left = db, source, split, left
        self._rows, self._chats = MessageRows(db), ChatRows(db)

    def take(self, marked: list[tuple[Mapping[str, Any], str]]) -> ImportedChats:
        whole, named = self._there()
        taken: list[Session] = []
        known: list[Session] = []
        grown: list[GrownChat] = []
        for chat, mark in marked:
            if mark in whole:
                known.append(self._chats.get(whole[mark]))
                continue
            if not chat.get("messages") and "format" not in chat and len(marked) > 1:
                self._left.add("chat without messages")
                continue
            given = messages_of(chat, self._source, self._split)
            name = _name_of(chat, given)
            earlier = self._earlier(named.get(name, []), given, by_text=not _own_id(given.about))
            if earlier is None:
                session = self._keep(given)
                taken.append(session)
            else:
                added, changed = self._merge(earlier, given)
                session = self._chats.get(earlier)
                if added or changed:
                    grown.append(GrownChat(session, added, changed))
                else:
                    known.append(session)
            with self._db.write() as tables:
                tables.execute("UPDATE chat_sessions SET imported = ? WHERE id = ?", (f"{mark} {name}", session.id))
        return ImportedChats(tuple(taken), tuple(known), tuple(self._left.notes()), tuple(grown))

    def _there(self) -> tuple[dict[str, str], dict[str, list[str]]]:
        """Return the chats that were taken in before: by their hash, and by their name."""
        whole: dict[str, str] = {}
        named: dict[str, list[str]] = {}
        found = self._db.rows(
            "SELECT id, imported FROM chat_sessions WHERE imported IS NOT NULL AND deleted_at IS NULL"
            " ORDER BY created_at"
        )
        for row in found:
            mark, _, name = str(row["imported"]).partition(" ")
            whole[mark] = str(row["id"])
            if name:
                named.setdefault(name, []).append(str(row["id"]))
        return whole, named

    def _earlier(self, candidates: list[str], given: _GivenChat, *, by_text: bool) -> str | None:
        """Return the chat that this one is a later export of; None: there is none."""
        best: tuple[int, str] | None = None
        for session_id in candidates:
            kept = self._kept(session_id)
            ids = {_id_of(session_id, one.key) for one in given.messages}
            same = len(kept.keys() & ids)
            # One without a name of its own must hold all that came before: others may begin alike.
            if by_text and (same < len(kept) or same < 2):
                continue
            if best is None or same > best[0]:
                best = (same, session_id)
        return None if best is None else best[1]

    def _kept(self, session_id: str) -> dict[str, bool]:
        """Return the messages of a chat that came from a file, and whether each was taken away here."""
        found = self._db.rows("SELECT id, deleted_at FROM chat_messages WHERE session_id = ?", (session_id,))
        return {str(row["id"]): row["deleted_at"] is not None for row in found if _is_named(str(row["id"]))}

    def _keep(self, given: _GivenChat) -> Session:
        """Take a new chat in."""
        about, chats = given.about, self._chats
        title, model, settings = about.get("title"), about.get("model"), about.get("settings")
        session = chats.create(
            str(title)[:200] if isinstance(title, str) and title else self._source[:200],
            model=model if isinstance(model, str) else None,
            settings=settings if isinstance(settings, Mapping) else {},
        )
        for one in given.messages:
            parent = None if one.parent is None else _id_of(session.id, one.parent)
            message = replace(one.message, id=_id_of(session.id, one.key), session_id=session.id, parent_id=parent)
            self._rows.append(message)
        tags = about.get("tags")
        if isinstance(tags, list) and tags:
            chats.set_tags(session.id, [tag for tag in tags if isinstance(tag, str)][:MAX_TAGS])
        leaf = about.get("leaf_id")
        if isinstance(leaf, str) and leaf in given.keys:
            chats.set_leaf(session.id, _id_of(session.id, given.keys[leaf]))
        chats.set_times(session.id, moment_of(about.get("created_at")), moment_of(about.get("updated_at")))
        return chats.get(session.id)

    def _merge(self, session_id: str, given: _GivenChat) -> tuple[int, int]:
        """Take in what a chat does not have yet; return how many messages are new, and how many became longer."""
        rows, chats = self._rows, self._chats
        before, leaf = chats.get(session_id), rows.leaf(session_id)
        here = self._kept(session_id)
        gone = {name for name, away in here.items() if away}
        added: list[str] = []
        changed = 0
        for one in given.messages:
            name = _id_of(session_id, one.key)
            parent = None if one.parent is None else _id_of(session_id, one.parent)
            if name in here:
                changed += name not in gone and self._grow(name, one.message)
            elif parent in gone:
                gone.add(name)
                self._left.add(_BELOW_GONE)
            else:
                rows.append(replace(one.message, id=name, session_id=session_id, parent_id=parent))
                added.append(name)
        if not added:
            return 0, changed
        # Where a person went on here, that is what is read on.
        end = given.about.get("leaf_id")
        end = _id_of(session_id, given.keys[end]) if isinstance(end, str) and end in given.keys else added[-1]
        own = leaf is not None and not _is_named(leaf)
        chats.set_leaf(session_id, leaf if own or end in gone else end)
        moments = (before.updated_at, moment_of(given.about.get("updated_at")), rows.get(added[-1]).created_at)
        chats.set_times(session_id, "", max(moments))
        return len(added), changed

    def _grow(self, message_id: str, given: Message) -> bool:
        """Take an answer that was cut off when it came in, and is whole in the file; return whether it is one."""
        kept = self._rows.get(message_id)
        longer = len(given.content) > len(kept.content) and given.content.startswith(kept.content)
        if kept.role != "assistant" or kept.finish == "streaming" or not longer:
            return False
        message = replace(given, id=kept.id, session_id=kept.session_id, parent_id=kept.parent_id)
        return self._rows.finish(replace(message, created_at=kept.created_at))


# --- what a file says -------------------------------------------------------------------------------------


def messages_of(chat: Mapping[str, Any], source: str, split: Split | None) -> _GivenChat:
    """Return the messages of a chat in our form, each after the one that it is below.

    Raises:
        StoreError: It holds none, too many, or one of no role.
    """
    about = chat.get("session") if isinstance(chat.get("session"), Mapping) else chat
    messages = chat.get("messages")
    if not isinstance(about, Mapping) or not isinstance(messages, list) or not (messages or "format" in chat):
        raise StoreError(f"{source} holds no messages", advice="Export one to see the form: vllm-studio chats export")
    if len(messages) > MAX_MESSAGES:
        raise StoreError(f"{source} holds too many messages", cause=f"{len(messages)}, at most {MAX_MESSAGES}")
    if chat.get("format") == FORMAT:
        split = None  # thinking is apart already, and a text may speak of tags
    found = _GivenChat(about)
    seen: set[str] = set()
    last: str | None = None

    def add(name: str, parent: str | None, message: Message) -> str:
        number, key = 0, name
        while key in seen:
            number += 1
            key = f"{name}#{number}"
        seen.add(key)
        found.messages.append(_Given(key, parent, message))
        return key

    answered = {given.get("tool_call_id") for given in messages if isinstance(given, Mapping)}
    for index, given in enumerate(messages):
        if not isinstance(given, Mapping) or given.get("role") not in ROLES:
            advice = f"A role is one of {', '.join(ROLES)}."
            raise StoreError(f"{source}, message {index}: no role that is known", advice=advice)
        parent = found.keys.get(str(given.get("parent_id")), last) if given.get("parent_id") else None
        # A file without parents is a plain list: each message answers the one before.
        if "parent_id" not in given:
            parent = last
        message = message_of(given, "", None)
        if split is not None and message.role == "assistant" and not message.reasoning:
            reasoning, content = split(message.content)
            message = replace(message, reasoning=reasoning, content=content)
        own = given.get("id")
        stable = isinstance(own, str) and own and not chat.get("local_ids")
        last = add(f"id {own}" if stable else _hash(parent or "", message.role, message.content), parent, message)
        for number, result in enumerate(results_of(given, message)):
            if result.tool_call_id not in answered:
                last = add(f"{last} result {number}", last, result)
        if isinstance(own, str):
            found.keys[own] = last
    return found


def _name_of(chat: Mapping[str, Any], given: _GivenChat) -> str:
    """Return what a chat is called in all its exports: by its id there, else by how it begins."""
    own, first = _own_id(given.about), given.messages[0].key if given.messages else ""
    return _hash("id", own) if own else _hash("text", first)


def _own_id(about: Mapping[str, Any]) -> str:
    """Return what a chat calls itself; empty where it has no name of its own."""
    own = about.get("source_id") or about.get("id")
    return own if isinstance(own, str) else ""


def _id_of(session_id: str, key: str) -> str:
    return uuid.uuid5(_NAMES, f"{session_id}\0{key}").hex


def _is_named(message_id: str) -> bool:
    """Whether an id is of those that are made of a name: our own are random."""
    return len(message_id) == 32 and message_id[12] == "5"


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()
