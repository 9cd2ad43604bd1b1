"""What the request lab shows: the request of an answer as it is sent, and the prompt that an engine makes of it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vllm_studio_tui.domain.chat import Target
from vllm_studio_tui.domain.errors import UsageError

#: Letters of a request that is read.
MOST = 64 * 1024 * 1024
#: Letters from which on a data URL is no longer one that somebody reads.
SHORT = 200
_DATA_URL = re.compile(r"data:[A-Za-z0-9.+/;=-]{1,100};base64,")


@dataclass(frozen=True, slots=True)
class LabRequest:
    """The request of an answer.

    Attributes:
        session_id, message_id: Where the answer stands.
        body: What is sent; the key goes in a header and is no part of it.
        answer, thinking: What came.
        target: Who would be asked now; None: nobody answers.
        notes: What is not known of it, in sentences.
    """

    session_id: str
    message_id: str
    body: Mapping[str, Any]
    answer: str = ""
    thinking: str = ""
    target: Target | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PromptToken:
    """A token of a prompt. `text` is None where the engine does not tell it; of a part of a character it is `\\xf0`."""

    id: int
    text: str | None = None


@dataclass(frozen=True, slots=True)
class RenderedPrompt:
    """What an engine's template makes of a request.

    Attributes:
        text: The prompt; None where the engine does not tell it.
    """

    text: str | None = None
    tokens: tuple[PromptToken, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """Return it as `lab prompt --json` prints it."""
        return {
            "prompt": self.text,
            "count": len(self.tokens),
            "tokens": [{"id": one.id, "text": one.text} for one in self.tokens],
        }


def request_text(body: Mapping[str, Any], pictures: dict[str, str] | None = None) -> str:
    """Return a request as a person reads and edits it.

    Args:
        pictures: Data URLs, which are megabytes, by what stands for them in the text; new ones are put into it. None:
            they stand there themselves.
    """
    return json.dumps(body if pictures is None else _shortened(body, pictures), ensure_ascii=False, indent=2)


def with_pictures(text: str, pictures: Mapping[str, str]) -> str:
    """Return a request that a person read and edited, with the data URLs themselves."""
    for name, url in pictures.items():
        text = text.replace(name, url)
    return text


def _shortened(value: Any, pictures: dict[str, str]) -> Any:
    if isinstance(value, Mapping):
        return {key: _shortened(one, pictures) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_shortened(one, pictures) for one in value]
    if not isinstance(value, str) or len(value) < SHORT or not _DATA_URL.match(value):
        return value
    known = next((name for name, url in pictures.items() if url == value), None)
    if known is None:
        head, _, data = value.partition(",")
        known = f"{head},<picture {len(pictures) + 1}, {len(data) * 3 // 4 // 1024 + 1} KiB>"
        pictures[known] = value
    return known


def read_request(text: str) -> dict[str, Any]:
    """Return a request that somebody wrote.

    Raises:
        UsageError: It is none.
    """
    if len(text) > MOST:
        raise UsageError("the request is too long", cause=f"At most {MOST >> 20} million letters are read.")
    try:
        body = json.loads(text)
    except ValueError as error:
        raise UsageError(
            "the request is no JSON", cause=str(error)[:300], advice="Mend it there and try again."
        ) from None
    except RecursionError:
        raise UsageError("the request is nested too deeply", advice="Write it flatter.") from None
    messages = body.get("messages") if isinstance(body, dict) else None
    if not isinstance(messages, list) or not messages or not all(isinstance(one, dict) for one in messages):
        advice = 'It begins like this: {"messages": [{"role": "user", "content": "Hello"}]}.'
        raise UsageError("the request has no list of `messages`", advice=advice)
    model = body.get("model")
    if model is not None and not isinstance(model, str):
        raise UsageError("`model` is no text", advice="Write its name, or leave it out.")
    return dict(body)
