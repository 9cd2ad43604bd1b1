"""Reads the chats of ChatGPT's data export (`conversations.json`): a tree of nodes, each with a message or none.

What a model thought is a node of its own there, and so is a call of a tool: an answer that is addressed to a tool
rather than to all. Nodes without anything to keep are passed over, and what follows them goes below what came before.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from vllm_studio_tui.store.import_values import LeftOut, items, mapping, text

_ENDS = {"max_tokens": "length", "interrupted": "stopped", "stop": "stop"}
#: How marks of sources and pictures begin and end in texts: letters of the private use area.
_MARK = re.compile("\ue200[^\ue200\ue201]*\ue201")
#: What stands for a result that the file does not have.
_NO_RESULT = "(the file does not hold the result)"
#: Kinds of content that say nothing which the others do not.
_EMPTY = ("reasoning_recap", "user_editable_context", "model_editable_context", "app_pairing_content")


def is_chatgpt(document: Any) -> bool:
    """Whether this is a chat of ChatGPT."""
    return isinstance(document, Mapping) and isinstance(document.get("mapping"), Mapping)


def read_chatgpt(document: Mapping[str, Any], left: LeftOut) -> dict[str, Any]:
    """Return such a chat in our own form."""
    nodes = {str(name): mapping(node) for name, node in document["mapping"].items()}
    kept: list[dict[str, Any]] = []
    #: For each node passed: the kept message that what follows goes below, and the thoughts that belong to it.
    place: dict[str | None, tuple[str | None, str]] = {None: (None, "")}
    calls: dict[str, str] = {}
    for name in _in_order(nodes):
        parent = nodes[name].get("parent")
        above, thoughts = place.get(parent if isinstance(parent, str) else None, (None, ""))
        found, thought = _message(mapping(nodes[name].get("message")), left)
        if found is None:
            place[name] = (above, "\n\n".join(filter(None, (thoughts, thought))))
            continue
        found |= {"id": name, "parent_id": above}
        if found["role"] == "assistant":
            found["reasoning"] = thoughts
        for call in found.get("tool_calls", []):
            call["id"] = calls[name] = f"call_{name}"[:100]
        if found["role"] == "tool" and above is not None:
            found["tool_call_id"] = calls.get(above)
        kept.append(found)
        place[name] = (name, "" if found["role"] == "assistant" else thoughts)
    models = [one["model"] for one in kept if one.get("model")]
    current = document.get("current_node")
    leaf = place.get(current, (None, ""))[0] if isinstance(current, str) else None
    about = {
        "title": text(document.get("title")),
        "model": text(document.get("default_model_slug")) or (models[-1] if models else None),
        "created_at": document.get("create_time"),
        "updated_at": document.get("update_time"),
        "leaf_id": leaf,
        "source_id": f"chatgpt {text(document.get('conversation_id')) or text(document.get('id')) or _first(nodes)}",
    }
    return {"session": about, "messages": kept, "from": "ChatGPT"}


def _first(nodes: Mapping[str, Any]) -> str:
    """Return what a chat without an id is known by: the name of its first message."""
    return next((name for name in _in_order(nodes) if nodes[name].get("message")), "")


def _in_order(nodes: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the nodes so that each comes after its parent, siblings by their time; rings are left out."""
    below: dict[str | None, list[str]] = {}
    for name, node in nodes.items():
        parent = node.get("parent")
        below.setdefault(parent if isinstance(parent, str) and parent in nodes else None, []).append(name)

    def at(name: str) -> float:
        moment = mapping(nodes[name].get("message")).get("create_time")
        return float(moment) if isinstance(moment, int | float) and abs(moment) < 1e15 else 0.0

    found: list[str] = []
    waiting = sorted(below.get(None, []), key=at)[::-1]
    while waiting:
        name = waiting.pop()
        found.append(name)
        waiting += sorted(below.get(name, []), key=at)[::-1]
    return found


def _message(given: Mapping[str, Any], left: LeftOut) -> tuple[dict[str, Any] | None, str]:
    """Return what is kept of a message, None where nothing is; and what was thought there."""
    about, content = mapping(given.get("metadata")), mapping(given.get("content"))
    kind = text(content.get("content_type"))
    if not given or about.get("is_visually_hidden_from_conversation") is True or kind in _EMPTY:
        return None, ""
    if kind == "thoughts":
        thoughts = [mapping(one) for one in items(content.get("thoughts"))]
        return None, "\n\n".join(text(one.get("content")) or text(one.get("summary")) for one in thoughts)
    author = mapping(given.get("author"))
    role = text(author.get("role"))
    said = _with_sources(_said(content, left), about)
    to = text(given.get("recipient")) or "all"
    if role not in ("system", "user", "assistant", "tool"):
        if said:
            left.add("message of an unknown role")
        return None, ""
    called = role == "assistant" and to != "all"
    if kind == "code" and said.strip() and not called and role == "assistant":
        said = _fenced(said, text(content.get("language")))
    if not said.strip() and role == "tool":
        said = _NO_RESULT
    if not said.strip() and not called:
        return None, ""
    found: dict[str, Any] = {"role": role, "content": said, "created_at": given.get("create_time")}
    if role == "assistant":
        found["model"] = text(about.get("model_slug")) or None
        end = text(mapping(about.get("finish_details")).get("type"))
        found["finish"] = "tool_calls" if called else _ENDS.get(end, "stop")
        if called:
            found |= {"content": "", "tool_calls": [{"name": to, "arguments": _arguments(said, kind)}]}
    if role == "tool":
        found["details"] = {"call": {"name": text(author.get("name")) or "tool", "round": 1}}
    return found, ""


def _said(content: Mapping[str, Any], left: LeftOut) -> str:
    parts = content.get("parts")
    if not isinstance(parts, list):
        found = next((content[name] for name in ("text", "result", "content") if content.get(name)), "")
        said = found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)
        # A page that was read: what it is called, and where it is.
        page = [text(content.get(name)).strip() for name in ("title", "url")]
        return "\n".join(filter(None, (*page, said))) if any(page) else said
    texts = []
    for part in parts:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, Mapping):
            kind = text(part.get("content_type"))
            if "image" in kind:
                left.add("picture (the file names it, but does not hold it)")
            elif "audio" in kind and not text(part.get("text")):
                left.add("sound (the file names it, but does not hold it)")
            elif words := text(part.get("text")):
                texts.append(words)
            else:
                left.add(f"piece of the kind {kind[:40]}" if kind else "piece of an unknown kind")
    return "\n".join(filter(None, texts))


def _with_sources(said: str, about: Mapping[str, Any]) -> str:
    """Return a text with its sources as they are shown there, and without the marks of what the file has not."""
    if "\ue200" not in said:
        return said
    for reference in map(mapping, items(about.get("content_references"))[:1000]):
        mark = text(reference.get("matched_text"))
        if mark.startswith("\ue200"):
            said = said.replace(mark, text(reference.get("alt")))
    return _MARK.sub("", said)


def _arguments(said: str, kind: str) -> str:
    """Return what a tool was given as a JSON object: some tools there take bare code or text."""
    try:
        if isinstance(json.loads(said), dict):
            return said
    except (ValueError, RecursionError):
        pass
    return json.dumps({"code" if kind == "code" else "text": said}, ensure_ascii=False) if said.strip() else "{}"


def _fenced(said: str, language: str) -> str:
    fence = "```"
    while fence in said:
        fence += "`"
    known = language if re.fullmatch(r"[\w+#-]{1,20}", language) and language != "unknown" else ""
    return f"{fence}{known}\n{said.rstrip()}\n{fence}"
