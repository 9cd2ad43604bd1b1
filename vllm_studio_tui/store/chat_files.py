"""Export and import chats as files: JSON with everything, or Markdown."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from vllm_studio_tui.domain.chat import FINISHES, Message, Session, Timings, total_usage
from vllm_studio_tui.domain.chat_imports import ImportedChats
from vllm_studio_tui.domain.errors import StoreError, UsageError
from vllm_studio_tui.store.chats import MAX_TAGS, ChatRows
from vllm_studio_tui.store.conversion import number
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.foreign_chats import calls_of, moment_of, results_of, usage_of
from vllm_studio_tui.store.import_files import chats_in, mark_of
from vllm_studio_tui.store.import_values import LeftOut
from vllm_studio_tui.store.markdown import render_markdown
from vllm_studio_tui.store.messages import MessageRows, attachment

FORMAT = "vllm-studio-chat"
ROLES = ("system", "user", "assistant", "tool")
MAX_MESSAGES = 100_000
#: Ids that other programs may give to messages.
MESSAGE_ID = re.compile(r"[A-Za-z0-9._:-]{1,100}")
#: Thinking and text of an answer that holds both.
Split = Callable[[str], tuple[str, str]]


# --- out ------------------------------------------------------------------------------------------------


def to_json_document(db: Database, session_id: str) -> dict[str, Any]:
    """Return a chat with every message of its tree, as JSON."""
    session = ChatRows(db).get(session_id)
    messages = MessageRows(db).tree(session_id)
    return {
        "format": FORMAT,
        "version": 1,
        "session": session.to_json(),
        "messages": [one.to_json() for one in messages],
        "session_usage": total_usage(messages),
    }


def to_markdown(db: Database, session_id: str) -> str:
    """Return the shown branch of a chat as Markdown."""
    session = ChatRows(db).get(session_id)
    about = {"title": session.title, "model": session.model, "settings": dict(session.settings)}
    return render_markdown(about, [one.to_json() for one in MessageRows(db).branch(session_id)])


# --- in -------------------------------------------------------------------------------------------------


def import_chats(db: Database, raw: bytes, source: str, split: Split | None = None) -> ImportedChats:
    """Take in a file of ours, one of the system that this one re-imagines (also its database), a list of either,
    chats of ChatGPT, oterm or LM Studio, a plain list of OpenAI messages, or Markdown.

    Ids are new ones. A chat that was taken in before, and is not in the trash, is not taken in again. A message whose
    parent is missing goes below the one before.

    Args:
        split: Takes thinking out of the text of answers that hold both; gives thinking and text.

    Raises:
        StoreError: The file cannot be understood. Nothing of it was kept.
    """
    left = LeftOut()
    try:
        marked = [(one, mark_of(one)) for one in chats_in(raw, source, left)]
    except RecursionError:
        raise StoreError(f"{source} cannot be read", cause="It is nested too deeply.") from None
    taken, known = [], []
    with db.write() as tables:
        there = {mark: _imported(db, mark) for _, mark in marked}
        for one, mark in marked:
            if (earlier := there[mark]) is not None:
                known.append(ChatRows(db).get(earlier))
            elif not one.get("messages") and "format" not in one and len(marked) > 1:
                left.add("chat without messages")
            else:
                session = _keep(db, one, source, split)
                tables.execute("UPDATE chat_sessions SET imported = ? WHERE id = ?", (mark, session.id))
                taken.append(session)
    return ImportedChats(tuple(taken), tuple(known), tuple(left.notes()))


def _imported(db: Database, mark: str) -> str | None:
    row = db.row("SELECT id FROM chat_sessions WHERE imported = ? AND deleted_at IS NULL", (mark,))
    return None if row is None else str(row["id"])


def _keep(db: Database, chat: Mapping[str, Any], source: str, split: Split | None) -> Session:
    about = chat.get("session") if isinstance(chat.get("session"), Mapping) else chat
    messages = chat.get("messages")
    if not isinstance(about, Mapping) or not isinstance(messages, list) or not (messages or "format" in chat):
        raise StoreError(f"{source} holds no messages", advice="Export one to see the form: vllm-studio chats export")
    if len(messages) > MAX_MESSAGES:
        raise StoreError(f"{source} holds too many messages", cause=f"{len(messages)}, at most {MAX_MESSAGES}")
    title, model, settings = about.get("title"), about.get("model"), about.get("settings")
    rows, chats = MessageRows(db), ChatRows(db)
    session = chats.create(
        str(title)[:200] if isinstance(title, str) and title else source[:200],
        model=model if isinstance(model, str) else None,
        settings=settings if isinstance(settings, Mapping) else {},
    )
    if chat.get("format") == FORMAT:
        split = None  # thinking is apart already, and a text may speak of tags
    ids: dict[str, str] = {}
    last: str | None = None
    answered = {given.get("tool_call_id") for given in messages if isinstance(given, Mapping)}
    for index, given in enumerate(messages):
        if not isinstance(given, Mapping) or given.get("role") not in ROLES:
            advice = f"A role is one of {', '.join(ROLES)}."
            raise StoreError(f"{source}, message {index}: no role that is known", advice=advice)
        parent = ids.get(str(given.get("parent_id")), last) if given.get("parent_id") else None
        # A file without parents is a plain list: each message answers the one before.
        if "parent_id" not in given:
            parent = last
        message = message_of(given, session.id, parent)
        if split is not None and message.role == "assistant" and not message.reasoning:
            reasoning, content = split(message.content)
            message = replace(message, reasoning=reasoning, content=content)
        rows.append(message)
        last = message.id
        for result in results_of(given, message):
            if result.tool_call_id not in answered:
                rows.append(replace(result, parent_id=last))
                last = result.id
        if isinstance(given.get("id"), str):
            ids[given["id"]] = last
    tags = about.get("tags")
    if isinstance(tags, list) and tags:
        chats.set_tags(session.id, [tag for tag in tags if isinstance(tag, str)][:MAX_TAGS])
    leaf = about.get("leaf_id")
    if isinstance(leaf, str) and leaf in ids:
        chats.set_leaf(session.id, ids[leaf])
    chats.set_times(session.id, moment_of(about.get("created_at")), moment_of(about.get("updated_at")))
    return chats.get(session.id)


def put_message(db: Database, session_id: str, given: Mapping[str, Any], split: Split) -> Message:
    """Add a message below the one up to which a chat is read, or replace what the one of this id says; return it.

    Results that a call of a tool brings along become messages of their own, once.

    Args:
        given: In our form or the original's.
        split: Takes thinking out of an answer: returns thinking and the rest.

    Raises:
        NotFound: There is no such chat, or no such message to go on from.
        UsageError: It is no message, or one of this id is being written or is in another chat.
    """
    if given.get("role") not in ROLES:
        raise UsageError("a message needs a role", advice=f"It is one of {', '.join(ROLES)}.")
    wanted = given.get("id")
    if wanted is not None and not (isinstance(wanted, str) and MESSAGE_ID.fullmatch(wanted)):
        raise UsageError("this is no id of a message", advice="Up to 100 letters, digits and any of . _ : -")
    rows = MessageRows(db)
    ChatRows(db).get(session_id)
    with db.write():
        known = rows.find(wanted) if wanted is not None else None
        parent = given.get("parent_id")
        message = message_of(given, session_id, parent if isinstance(parent, str) else rows.leaf(session_id))
        if message.role == "assistant" and not message.reasoning:
            reasoning, content = split(message.content)
            message = replace(message, reasoning=reasoning, content=content)
        if known is None:
            message = rows.append(replace(message, id=wanted or message.id))
        else:
            if known.session_id != session_id or known.finish == "streaming":
                raise UsageError(f"the message {known.id} cannot be replaced", cause="It is not this chat's to change.")
            message = replace(message, id=known.id, parent_id=known.parent_id, role=known.role)
            rows.finish(message)
        there = {one.tool_call_id for one in rows.tree(session_id)}
        last = message.id
        for result in results_of(given, message):
            if result.tool_call_id not in there:
                last = rows.append(replace(result, parent_id=last)).id
    return rows.get(message.id)


def message_of(given: Mapping[str, Any], session_id: str, parent: str | None) -> Message:
    """Return the message of a document, under a new id."""
    stats = given.get("stats") if isinstance(given.get("stats"), Mapping) else {}
    assert isinstance(stats, Mapping)
    content, images = _content(given.get("content"))
    finish = given.get("finish")
    details = given.get("details")
    message_id = uuid.uuid4().hex
    return Message(
        message_id,
        session_id,
        str(given["role"]),
        content,
        parent,
        reasoning=_text(given.get("reasoning")) or _text(given.get("reasoning_content")),
        model=_text(given.get("model")) or None,
        tool_calls=calls_of(given.get("tool_calls"), message_id),
        tool_call_id=_text(given.get("tool_call_id")) or None,
        images=images or tuple(one for one in _list(given.get("images")) if isinstance(one, str)),
        finish="interrupted" if finish == "streaming" else finish if finish in FINISHES else None,
        error=_text(given.get("error")) or None,
        usage=usage_of(given),
        timings=Timings(*(number(stats.get(name)) for name in ("ttft", "thinking", "total", "tokens_per_second"))),
        created_at=moment_of(given.get("created_at")) or moment_of(given.get("timestamp")),
        files=tuple(attachment(one) for one in _list(given.get("files")) if isinstance(one, Mapping)),
        details=details if isinstance(details, Mapping) else {},
        bookmarked_at=moment_of(given.get("bookmarked_at")) or None,
    )


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _content(value: Any) -> tuple[str, tuple[str, ...]]:
    """Return text and pictures of OpenAI content: a string, or a list of parts."""
    if isinstance(value, str):
        return value, ()
    texts, images = [], []
    for part in value if isinstance(value, list) else []:
        if isinstance(part, Mapping):
            texts.append(_text(part.get("text")))
            url = part.get("image_url")
            url = url.get("url") if isinstance(url, Mapping) else url
            if isinstance(url, str) and url.startswith("data:image/"):
                images.append(url)
    return "\n".join(filter(None, texts)), tuple(images)
