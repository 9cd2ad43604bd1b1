"""Makes the OpenAI messages of a request from a branch of a chat."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vllm_studio_tui.backends import registry
from vllm_studio_tui.domain.chat import Attachment, Message, Target, ToolCall
from vllm_studio_tui.inference.deltas import REASONING
from vllm_studio_tui.inference.thinking import strip_thinking
from vllm_studio_tui.services.chat.context.shortening import shortened

TITLE_LENGTH = 60


def title_of(text: str) -> str:
    """Return the first words of a question, at most 60 characters."""
    words = " ".join(text[:2000].split())
    if len(words) <= TITLE_LENGTH:
        return words or "New chat"
    cut = words[: TITLE_LENGTH - 1]
    # One word longer than a title is cut within.
    return (cut.rsplit(" ", 1)[0] if " " in cut else cut).rstrip(" ,;:.-") + "…"


def request_messages(
    branch: Sequence[Message], system: str | None = None, target: Target | None = None
) -> tuple[dict[str, Any], ...]:
    """Return the OpenAI messages of a branch, as far as it is sent: see `context.shortening`.

    Thinking is left out, but what was thought before the calls of tools that the last question has had: models that
    think between calls go on from there. Left out are also empty answers, calls without a result and results without a
    call: chat templates refuse those. Questions in a row, as a failed answer leaves them, become one, because many
    templates insist on turns.

    Args:
        target: Who is asked; None: nobody, and no thinking is in it.
    """
    what = shortened(branch, system)
    branch, system = what.branch, what.system
    answered = {one.tool_call_id for one in branch if one.role == "tool"}
    called = {call.id for one in branch for call in one.tool_calls}
    messages: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
    question = max((at for at, one in enumerate(branch) if one.role == "user"), default=0)
    for at, one in enumerate(branch):
        if one.role == "tool":
            if one.tool_call_id in called:
                content = one.content or "(no result)"
                messages.append({"role": "tool", "tool_call_id": one.tool_call_id, "content": content})
        elif one.role == "assistant":
            calls = [call for call in one.tool_calls if call.id in answered]
            text = strip_thinking(one.content)
            if text.strip() or calls:
                thought = _thought(one, target) if at > question and calls else {}
                messages.append({"role": "assistant", "content": text, **thought, **_calls(calls)})
        elif one.role == "user" and messages and messages[-1]["role"] == "user":
            messages[-1]["content"] = _joined(messages[-1]["content"], _content(one))
        elif one.role == "user":
            messages.append({"role": "user", "content": _content(one)})
        elif one.content:
            messages.append({"role": one.role, "content": one.content})
    return tuple(messages)


def sent_text(message: Message) -> str:
    """Return a question as it is sent: the texts of its files, each in a fence, before its words."""
    texts = [_file(one) for one in message.files if one.text is not None]
    return "\n\n".join([*texts, message.content] if message.content else texts)


def _file(one: Attachment) -> str:
    text, fence = one.text or "", "```"
    while fence in text:
        fence += "`"
    cut = ", not all of it" if one.cut else ""
    return f"File {json.dumps(one.name, ensure_ascii=False)}{cut}:\n{fence}\n{text.rstrip()}\n{fence}"


def _content(message: Message) -> str | list[dict[str, Any]]:
    text = sent_text(message)
    if not message.images:
        return text
    parts: list[dict[str, Any]] = [{"type": "text", "text": text}] if text else []
    return parts + [{"type": "image_url", "image_url": {"url": image}} for image in message.images]


def _joined(first: str | list[dict[str, Any]], second: str | list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    if isinstance(first, str) and isinstance(second, str):
        return f"{first}\n\n{second}"
    return [
        part
        for one in (first, second)
        for part in ([{"type": "text", "text": one}] if isinstance(one, str) and one else one)
        if isinstance(part, Mapping)
    ]


def _thought(message: Message, target: Target | None) -> dict[str, str]:
    """Return what was thought before calls, in the field in which the engine takes it; empty where it takes none."""
    if target is None or not message.reasoning.strip():
        return {}
    backend = registry.find(target.backend)
    if backend is not None and backend.standard_fields_only:
        return {}
    if backend is not None and backend.thinking_field is not None:
        return {backend.thinking_field: message.reasoning}
    given = message.details.get("thinking_field")  # as it was sent, if it was sent apart from the text
    return {given: message.reasoning} if given in REASONING else {}


def _calls(calls: Iterable[ToolCall]) -> dict[str, Any]:
    made = [
        {
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": _arguments(call.arguments)},
        }
        for call in calls
    ]
    return {"tool_calls": made} if made else {}


def _arguments(text: str) -> str:
    """Return the arguments as a JSON object: templates parse them, and one broken call would end the chat for good."""
    try:
        if isinstance(json.loads(text), dict):
            return text
    except (ValueError, RecursionError):
        pass
    return json.dumps({"unreadable": text}) if text.strip() else "{}"
