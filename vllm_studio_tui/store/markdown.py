"""Write chats as Markdown that can be read back, and read them.

Before each message, and before its thinking and its text, stands a comment that Markdown readers do not show and by
which the messages are found again. A line of a message that looks like such a comment is escaped with a backslash.
Images stay out. A file from elsewhere is cut at its headings `User`, `Assistant`, `System` and `Tool`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from vllm_studio_tui.domain.chat import ROLE_TITLES
from vllm_studio_tui.store.conversion import from_json

#: What of a message goes into its comment; the text itself stands below.
KEPT = ("role", "model", "finish", "error", "usage", "stats", "tool_calls", "tool_call_id", "created_at")
_MARK = re.compile(r"<!-- vllm-studio: (\{.*\}) -->")
_LOOKS_LIKE_MARK = re.compile(r"^\\*<!-- vllm-studio:", re.MULTILINE)
_ESCAPED_MARK = re.compile(r"^\\(\\*<!-- vllm-studio:)", re.MULTILINE)
_HEADING = re.compile(r"#{1,4} \**(system|user|you|assistant|tool)\**:?\s*", re.IGNORECASE)


def render_markdown(about: Mapping[str, Any], messages: Sequence[Mapping[str, Any]]) -> str:
    """Return a chat (title, model, settings) and its messages (as of `Message.to_json`) as one text."""
    title = " ".join(str(about["title"]).split()) or "Chat"
    lines = [_mark(about), f"# {title}", ""]
    for one in messages:
        lines += [_mark({key: one[key] for key in KEPT if one[key]}), f"## {ROLE_TITLES.get(one['role'], 'User')}", ""]
        for piece in ("reasoning", "content"):
            if piece == "content" or one[piece]:
                lines += [_mark({"piece": piece}), _LOOKS_LIKE_MARK.sub(r"\\\g<0>", one[piece]), ""]
    return "\n".join(lines)


def parse_markdown(text: str, source: str) -> dict[str, Any]:
    """Return `title`, `messages` and what else is known, from our Markdown or any with headings."""
    lines = text.split("\n")
    if any(_MARK.fullmatch(line) for line in lines):
        return _marked(lines)
    messages: list[dict[str, Any]] = []
    for line in lines:
        heading = _HEADING.fullmatch(line)
        if heading:
            role = heading.group(1).lower()
            messages.append({"role": "user" if role == "you" else role, "content": ""})
        elif messages:
            messages[-1]["content"] += line + "\n"
    for one in messages:
        one["content"] = one["content"].strip()
    title = next((line[2:].strip() for line in lines if line.startswith("# ") and not _HEADING.fullmatch(line)), source)
    return {"title": title, "messages": messages}


def _mark(about: Mapping[str, Any]) -> str:
    # A comment ends at its first "-->", so that must not stand within.
    return "<!-- vllm-studio: " + json.dumps(about, separators=(",", ":")).replace(">", "\\u003e") + " -->"


def _marked(lines: Sequence[str]) -> dict[str, Any]:
    chat: dict[str, Any] = {}
    messages: list[dict[str, Any]] = []
    piece: list[str] | None = None
    for line in lines:
        found = _MARK.fullmatch(line)
        if not found:
            if piece is not None:
                piece.append(line)
            continue
        about = from_json(found.group(1), dict)
        piece = None
        if about.get("piece") in ("reasoning", "content") and messages:
            piece = messages[-1].setdefault(about["piece"], [])
        elif "role" in about:
            messages.append({key: about[key] for key in KEPT if key in about})
        elif not chat:
            chat.update(about)
    for one in messages:
        for name in ("reasoning", "content"):
            text = "\n".join(one.get(name, []))
            one[name] = _ESCAPED_MARK.sub(r"\1", text.removesuffix("\n"))
    return {**chat, "format": "vllm-studio-chat", "messages": messages}
