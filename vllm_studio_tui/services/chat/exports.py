"""Chats as texts for other programs: a page, lines to fine-tune with, the last request as a command."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from vllm_studio_tui.domain.chat import Message, Session
from vllm_studio_tui.domain.errors import UsageError
from vllm_studio_tui.services.chat.request import request_messages

#: Ends of answers that nobody should learn from.
_CUT = ("streaming", "stopped", "interrupted", "failed", "length")


def system_of(session: Session) -> str | None:
    """Return the system prompt of a chat."""
    system = session.settings.get("system")
    return system if isinstance(system, str) and system else None


def finetune_line(session: Session, branch: Sequence[Message]) -> str:
    """Return a branch as one line of OpenAI's fine-tuning files; thinking stays out.

    It ends with the last answer that was not cut.

    Raises:
        UsageError: There is no such answer.
    """
    kept = list(branch)
    while kept and (kept[-1].role != "assistant" or kept[-1].finish in _CUT):
        kept.pop()
    messages = list(request_messages(kept, system_of(session)))
    if not messages or messages[-1]["role"] != "assistant":
        raise UsageError(f"the chat {session.id} holds no whole answer", advice="Export it as json or markdown.")
    return json.dumps({"messages": messages}, ensure_ascii=False).encode("utf-8", "replace").decode() + "\n"


def asked_last(branch: Sequence[Message]) -> list[Message]:
    """Return the messages that were sent for the last answer of a branch; all, where it ends with a question.

    Raises:
        UsageError: Nothing was asked.
    """
    at = next((at for at in reversed(range(len(branch))) if branch[at].role == "assistant"), len(branch))
    before = list(branch[:at]) if not branch or branch[-1].role == "assistant" else list(branch)
    if not any(one.role == "user" for one in before):
        raise UsageError("nothing was asked in this chat", advice="Ask something first, or export it as json.")
    return before


def with_tools(branch: Sequence[Message]) -> bool:
    """Whether tools were called: what was offered is not kept with a chat."""
    return any(one.tool_calls or one.role == "tool" for one in branch)


def plain(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return arguments of the SDK as the body of a request, answered as a whole."""
    extra = arguments.get("extra_body", {})
    kept = {name: value for name, value in arguments.items() if name not in ("extra_body", "stream", "stream_options")}
    return {**kept, **extra}
