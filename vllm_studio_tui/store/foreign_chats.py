"""Read parts of chats that other programs wrote: tool calls and their results, tokens, times.

The system that this one re-imagines keeps a tool's result in the call (`result` with `content` and `isError`, in
earlier versions `output` and `error`), tokens as `request_..._tokens`, and times without a zone, in UTC.
"""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from vllm_studio_tui.domain.chat import Message, TokenUsage, ToolCall
from vllm_studio_tui.kit.outside_values import as_count

#: From here on a number of seconds is one of milliseconds: the year 5138.
MILLISECONDS = 1e11


def calls_of(value: Any, message_id: str) -> tuple[ToolCall, ...]:
    """Return the tool calls of a message; one without an id gets one by its position."""
    return tuple(
        ToolCall(
            _id(call, index, message_id), _text(_function(call).get("name")), _json(_function(call).get("arguments"))
        )
        for index, call in enumerate(_list(value))
    )


def results_of(given: Mapping[str, Any], message: Message) -> list[Message]:
    """Return the results that are stored inside the calls of a message, as messages of their own."""
    found = []
    for index, call in enumerate(_list(given.get("tool_calls"))):
        result = call.get("result")
        if result is None:
            continue
        text = _result(result)
        found.append(
            Message(
                uuid.uuid4().hex,
                message.session_id,
                "tool",
                text,
                message.id,
                tool_call_id=_id(call, index, message.id),
                created_at=message.created_at,
            )
        )
    return found


def usage_of(given: Mapping[str, Any]) -> TokenUsage:
    """Return the tokens of a message."""
    usage = given.get("usage")
    usage = usage if isinstance(usage, Mapping) else {}
    tools = as_count(usage.get("tools_tokens"))
    tools = as_count(given.get("request_tools_tokens")) if tools is None else tools
    prompt = as_count(usage.get("prompt_tokens"))
    if prompt is None:
        prompt = as_count(given.get("request_total_input_tokens"))
    if prompt is None and (alone := as_count(given.get("request_prompt_tokens"))) is not None:
        prompt = alone + (tools or 0)
    completion = as_count(usage.get("completion_tokens"))
    completion = as_count(given.get("request_completion_tokens")) if completion is None else completion
    return TokenUsage(
        prompt, completion, as_count(usage.get("reasoning_tokens")), as_count(usage.get("cached_tokens")), tools
    )


def moment_of(value: Any) -> str:
    """Return a time as ISO 8601 in UTC: from text (without a zone: UTC), or from seconds or milliseconds.

    Empty where it is none.
    """
    try:
        if isinstance(value, str):
            at = datetime.fromisoformat(value.strip()[:40])
            at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
        elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0:
            at = datetime.fromtimestamp(value / 1000 if value >= MILLISECONDS else value, UTC)
        else:
            return ""
        return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return ""


def _list(value: Any) -> list[Mapping[str, Any]]:
    """Return calls as a list, given as one or as JSON text of one."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return []
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def _function(call: Mapping[str, Any]) -> Mapping[str, Any]:
    function = call.get("function")
    return function if isinstance(function, Mapping) else call


def _id(call: Mapping[str, Any], index: int, message_id: str) -> str:
    return _text(call.get("id")) or f"call_{message_id[:8]}_{index}"


def _result(result: Any) -> str:
    if not isinstance(result, Mapping):
        return _json(result)
    failed = result.get("isError") or result.get("error")
    text = _json(next((result[name] for name in ("content", "output", "error") if result.get(name) is not None), ""))
    return f"Error: {text}" if failed and not text.lower().startswith("error") else text


def _json(value: Any) -> str:
    """Return text unchanged; anything else as JSON."""
    return value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
