"""The last request of a chat as a command for a shell, and as a program. Keys are named, never written."""

from __future__ import annotations

import json
import pprint
import shlex
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from vllm_studio_tui.domain.chat import ChatRequest, Message, Session, Target
from vllm_studio_tui.domain.chat_settings import sampling_of
from vllm_studio_tui.kit.masking import mask_text
from vllm_studio_tui.services.chat.exports import asked_last, plain, system_of, with_tools
from vllm_studio_tui.services.chat.request import request_messages

#: Where a request goes while no engine answers the chat.
SOMEWHERE = "http://127.0.0.1:8000/v1"
KEY = "OPENAI_API_KEY"
_TOOLS = "Tools were offered too; which is not kept with a chat: add them as `tools`."
_NOBODY = "No engine answers this chat now: the address is a guess."


def request_arguments(session: Session, branch: Sequence[Message], target: Target | None) -> dict[str, Any]:
    """Return the arguments, for the openai library, of the request that the last answer of a branch came from.

    Raises:
        UsageError: Nothing was asked.
    """
    from vllm_studio_tui.inference.request import body

    asked = asked_last(branch)
    answered = branch[len(asked)].model if len(asked) < len(branch) else None
    target = target or Target(SOMEWHERE, session.model or answered or "")
    messages = request_messages(asked, system_of(session), target)
    made = body(replace(target, api_key=None), ChatRequest(messages, sampling_of(session.settings)))
    # Halves of surrogate pairs, which no request can hold, are gone after this.
    return dict(json.loads(_safe(json.dumps(made, ensure_ascii=False))))


def as_curl(session: Session, branch: Sequence[Message], target: Target | None) -> str:
    """Return the request as a command, its body in a here-document: no shell reads that, and no limit cuts it."""
    data = json.dumps(plain(request_arguments(session, branch, target)), ensure_ascii=False, indent=2)
    lines = [
        f"curl -sS {shlex.quote(_address(target) + '/chat/completions')}",
        "-H 'Content-Type: application/json'",
        *_login(target),
        "--data-binary @- <<'JSON'",
    ]
    notes = "".join(f"# {one}\n" for one in _notes(branch, target))
    return f"#!/bin/sh\n{notes}" + " \\\n  ".join(lines) + f"\n{data}\nJSON\n"


def as_python(session: Session, branch: Sequence[Message], target: Target | None) -> str:
    """Return the request as a program."""
    arguments = request_arguments(session, branch, target)
    arguments = {name: value for name, value in arguments.items() if name not in ("stream", "stream_options")}
    user = target.user if target is not None else None
    needed = target is not None and target.api_key is not None
    key = f'os.environ["{KEY}"]' if needed else f'os.environ.get("{KEY}", "none")'
    headers = [
        "secret = base64.b64encode(f'{user}:{key}'.encode()).decode()",
        'headers = {"Authorization": f"Basic {secret}"}',
    ]
    lines = [
        *(f"# {one}" for one in _notes(branch, target)),
        *(["import base64"] if user is not None else []),
        "import os",
        "",
        "from openai import OpenAI",
        "",
        f"key = {key}",
        *([f"user = {user!r}", *headers] if user is not None else []),
        f"client = OpenAI(base_url={_address(target)!r}, api_key=key"
        + (", default_headers=headers)" if user is not None else ")"),
        "answer = client.chat.completions.create(",
        *(f"    {name}={_literal(value)}," for name, value in arguments.items()),
        ")",
        "print(answer.choices[0].message.content)",
    ]
    return _safe("\n".join(lines) + "\n")


def _address(target: Target | None) -> str:
    return mask_text(target.base_url) if target is not None else SOMEWHERE


def _login(target: Target | None) -> list[str]:
    if target is None or target.api_key is None:
        return []
    if target.user is not None:
        return [f'-u {shlex.quote(target.user)}:"${KEY}"']
    return [f'-H "Authorization: Bearer ${KEY}"']


def _notes(branch: Sequence[Message], target: Target | None) -> list[str]:
    return [*([_NOBODY] if target is None else []), *([_TOOLS] if with_tools(branch) else [])]


def _literal(value: Any) -> str:
    text = pprint.pformat(value, width=110, sort_dicts=False)
    return text.replace("\n", "\n    ") if not isinstance(value, str) else repr(value)


def _safe(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
