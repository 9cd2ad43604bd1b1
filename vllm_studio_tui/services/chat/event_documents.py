"""What asking in a chat yields, as the JSON documents that faces print and send."""

from __future__ import annotations

from typing import Any

from vllm_studio_tui.domain.chat import Delta, Ended, Relabel
from vllm_studio_tui.domain.tools import (
    CallAsked,
    CallBegan,
    CallEnded,
    ChatEvent,
    RoundBegan,
    RoundEnded,
    ToolsAwaited,
)


def event_documents(event: ChatEvent, content: str) -> list[dict[str, Any]]:
    """Return the documents of an event, each with the name of its kind as `event`.

    Args:
        content: The answer's text so far.
    """
    if isinstance(event, Delta):
        pieces = (("reasoning", event.reasoning), ("content", event.content))
        return [{"event": name, "text": text} for name, text in pieces if text]
    if isinstance(event, Relabel):
        # What was sent as content so far is thinking: readers that collect text start again.
        return [{"event": "reasoning", "text": content, "relabel": True}]
    if isinstance(event, Ended | RoundEnded):
        return _end(event, content)
    if isinstance(event, ToolsAwaited):
        missing = [{"server": name, "message": one.title, "advice": one.advice} for name, one in event.missing.items()]
        return [{"event": "tools_awaited", "servers": list(event.servers), "missing": missing}]
    if isinstance(event, RoundBegan):
        return [{"event": "round_began", "number": event.number, "message": event.message_id}]
    about = {"id": event.call.id, "name": event.call.name}
    if isinstance(event, CallEnded):
        result = event.result
        figures = {"is_error": result.is_error, "seconds": round(result.seconds, 3), "size": result.size}
        return [{"event": "tool_result", **about, "how": event.how, **figures, "text": result.text}]
    name = {CallAsked: "tool_asked", CallBegan: "tool_began"}[type(event)]
    server = event.tool.server if event.tool is not None else None
    return [{"event": name, **about, "server": server, "arguments": event.call.arguments, "round": event.number}]


def _end(event: Ended | RoundEnded, content: str) -> list[dict[str, Any]]:
    ended = event if isinstance(event, Ended) else event.ended
    found: list[dict[str, Any]] = [{"event": "tool_call", **call.to_json()} for call in ended.tool_calls]
    if ended.error:
        found.append({"event": "error", "message": ended.error, "advice": ended.advice})
    elif ended.advice:
        found.append({"event": "advice", "text": ended.advice})
    if ended.details:
        found.append({"event": "details", **ended.details})
    # An answer that is followed by its calls and a further answer ends a round, the last one the whole.
    number = {"number": event.number} if isinstance(event, RoundEnded) else {}
    return [*found, {"event": "round" if number else "stats", **number, "content": content, **ended.to_json()}]
