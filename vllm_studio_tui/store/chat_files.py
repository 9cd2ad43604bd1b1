"""Chats as documents: JSON with everything, Markdown, and messages as such documents hold them."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from vllm_studio_tui.domain.chat import FINISHES, Message, Timings, total_usage
from vllm_studio_tui.domain.errors import UsageError
from vllm_studio_tui.kit.outside_values import as_number
from vllm_studio_tui.store.chats import ChatRows
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.foreign_chats import calls_of, moment_of, results_of, usage_of
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
        timings=Timings(*(as_number(stats.get(name)) for name in ("ttft", "thinking", "total", "tokens_per_second"))),
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
