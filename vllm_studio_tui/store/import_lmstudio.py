"""Reads conversation files of LM Studio: places in a talk, each with the versions of what was said there.

The chosen version goes on; the others stand beside it. An answer of several steps holds thinking, text, calls of tools
and their results, each in blocks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from mimetypes import guess_type
from typing import Any

from vllm_studio_tui.store.import_values import LeftOut, figure, items, mapping, text

_STOPS = {"maxPredictedTokensReached": "length", "contextLengthReached": "length", "userStopped": "stopped"}
_SYSTEM = "llm.prediction.systemPrompt"


def is_lmstudio(document: Any) -> bool:
    """Whether this is a conversation of LM Studio."""
    messages = items(document.get("messages")) if isinstance(document, Mapping) else []
    return bool(messages) and all(
        isinstance(one, Mapping) and isinstance(one.get("versions"), list) for one in messages
    )


def read_lmstudio(document: Mapping[str, Any], left: LeftOut) -> dict[str, Any]:
    """Return such a conversation in our own form."""
    messages: list[dict[str, Any]] = []
    above: str | None = None
    for place in document["messages"]:
        versions = [mapping(one) for one in place["versions"]]
        chosen = place.get("currentlySelected")
        chosen = chosen if isinstance(chosen, int) and 0 <= chosen < len(versions) else len(versions) - 1
        after = above
        for index, version in enumerate(versions):
            parent = above
            for one in _messages(version, left):
                one |= {"id": str(len(messages)), "parent_id": parent}
                messages.append(one)
                parent = one["id"]
            if index == chosen:
                after = parent
        above = after
    settings: dict[str, Any] = {}
    if system := _system(document):
        settings["system"] = system
    about: dict[str, Any] = {
        "title": text(document.get("name")),
        "model": text(mapping(document.get("lastUsedModel")).get("identifier")) or None,
        "created_at": document.get("createdAt"),
        "updated_at": document.get("assistantLastMessagedAt") or document.get("userLastMessagedAt"),
        "leaf_id": above,
        "settings": settings,
    }
    if began := figure(document.get("createdAt")):
        about["source_id"] = f"lmstudio {began:.0f}"
    return {"session": about, "messages": messages, "local_ids": True, "from": "LM Studio"}


def _system(document: Mapping[str, Any]) -> str:
    fields = items(mapping(document.get("perChatPredictionConfig")).get("fields"))
    own = (text(mapping(one).get("value")) for one in fields if mapping(one).get("key") == _SYSTEM)
    return next(filter(None, own), "") or text(document.get("systemPrompt"))


def _messages(version: Mapping[str, Any], left: LeftOut) -> Iterator[dict[str, Any]]:
    role = text(version.get("role"))
    if role not in ("system", "user", "assistant"):
        if version:
            left.add("message of an unknown role")
        return
    if role != "assistant":
        said = _Said(left)
        said.add(version.get("content"), thinking=False)
        if said.content.strip() or said.files:
            yield {"role": role, "content": said.content, "files": said.files}
        return
    steps = [mapping(one) for one in items(version.get("steps"))] or [version]
    sender = text(mapping(version.get("senderInfo")).get("senderName"))
    now = _Said(left, sender)
    for step in steps:
        if step.get("type") not in ("contentBlock", "singleStep", None):
            now.figures(mapping(step.get("genInfo")))  # some have them in a step of their own
            continue
        thinking = mapping(step.get("style")).get("type") == "thinking"
        for block in items(step.get("content")):
            if mapping(block).get("type") == "toolCallResult":
                if now.calls:
                    yield now.answer()
                    now = _Said(left, sender)
                yield _result(mapping(block))
            else:
                now.add([block], thinking=thinking)
        now.figures(mapping(step.get("genInfo")))
    if now.content.strip() or now.reasoning.strip() or now.calls:
        yield now.answer()


class _Said:
    """What has been read of one message."""

    def __init__(self, left: LeftOut, sender: str = "") -> None:
        self._left, self._sender = left, sender
        self.content = self.reasoning = ""
        self.calls: list[dict[str, str]] = []
        self.files: list[dict[str, Any]] = []
        self._about: dict[str, Any] = {}

    def add(self, blocks: Any, *, thinking: bool) -> None:
        for block in [{"type": "text", "text": blocks}] if isinstance(blocks, str) else map(mapping, items(blocks)):
            kind = text(block.get("type"))
            if kind == "text" and thinking:
                self.reasoning += text(block.get("text"))
            elif kind == "text":
                self.content += text(block.get("text"))
            elif kind == "toolCallRequest":
                arguments: Any = block.get("parameters", block.get("arguments", {}))
                given = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
                self.calls.append({"id": _call_id(block), "name": text(block.get("name")), "arguments": given})
            elif kind == "file":
                # The program's own name of a file begins with the moment in which it was attached.
                own = re.sub(r"^\d{10,} - ", "", text(block.get("fileIdentifier")))
                name, size = text(block.get("name")) or own or "file", figure(block.get("sizeBytes"))
                what = "picture" if block.get("fileType") == "image" else "file"
                media = guess_type(name)[0] or ("image/png" if what == "picture" else "text/plain")
                self.files.append({"name": name[:200], "size": int(size or 0), "media_type": media})
                self._left.add(f"{what} (the conversation names it, but does not hold it)")
            else:
                self._left.add(f"piece of the kind {kind[:40]}" if kind else "piece of an unknown kind")

    def figures(self, made: Mapping[str, Any]) -> None:
        """Take what is told of the making of an answer; the last step that tells it counts."""
        stats = mapping(made.get("stats"))
        if not stats and not made:
            return
        self._about = {
            "model": text(made.get("identifier")) or None,
            "finish": _STOPS.get(text(stats.get("stopReason")), "stop"),
            "usage": {
                "prompt_tokens": _whole(stats.get("promptTokensCount")),
                "completion_tokens": _whole(stats.get("predictedTokensCount")),
            },
            "stats": {
                "ttft": figure(stats.get("timeToFirstTokenSec")),
                "total": figure(stats.get("totalTimeSec")),
                "tokens_per_second": figure(stats.get("tokensPerSecond")),
            },
        }

    def answer(self) -> dict[str, Any]:
        """Return it as an answer."""
        ended = {"finish": "tool_calls"} if self.calls else {}
        said = {"content": self.content, "reasoning": self.reasoning, "tool_calls": self.calls, "files": self.files}
        model = {"model": self._sender} if self._sender and not self._about.get("model") else {}
        return {"finish": "stop", **self._about, **model, **ended, **said, "role": "assistant"}


def _result(block: Mapping[str, Any]) -> dict[str, Any]:
    content = block.get("content")
    said = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    name = text(block.get("name")) or "tool"
    return {
        "role": "tool",
        "content": said,
        "tool_call_id": _call_id(block),
        "details": {"call": {"name": name, "round": 1}},
    }


def _call_id(block: Mapping[str, Any]) -> str:
    return f"call_{block.get('callId', block.get('toolCallRequestId', ''))}"[:100]


def _whole(value: Any) -> int | None:
    found = figure(value)
    return None if found is None or found > 1e15 else int(found)
