"""Read what is to be known of answers that pass by: tokens, the engine's id, how they ended. Nothing raises."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from pydantic_core import from_json

from vllm_studio_tui.domain.chat import TokenUsage
from vllm_studio_tui.inference.deltas import MAX_NAME, DeltaReader, token_count

#: What an event must have to be looked into once the first token is there.
_TELLING = re.compile(
    rb'"(?:usage|timings)"\s*:\s*\{'
    rb'|"finish_reason"\s*:\s*"'
    rb'|"error"\s*:\s*[{"]|"type"\s*:\s*"error"'
    rb"|message_delta|response\.(?:c|f|i)"
)
#: Names of the end of an answer in the three protocols, in our words.
_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "tool_use": "tool_calls",
    "completed": "stop",
    "incomplete": "length",
}


class AnswerReader:
    """What one answer says of itself.

    Attributes:
        usage: Tokens, as far as the engine tells.
        id: The engine's own id of the answer.
        model: As the engine calls itself.
        finish: `stop`, `length` or `tool_calls`; None: it did not say.
        error: The message of an error that came inside of the answer.
        started: The first token has come.
        steps: Events since then: about one a token.
        tokens_per_second: Of generation, as the engine measured it.
    """

    #: What an event has that brings a part of the answer.
    _marks: tuple[bytes, ...] = ()

    def __init__(self, *, hide_usage: bool = False) -> None:
        self._hide_usage = hide_usage
        self.usage = TokenUsage()
        self.id: str | None = None
        self.model: str | None = None
        self.finish: str | None = None
        self.error: str | None = None
        self.started = False
        self.steps = 0
        self.tokens_per_second: float | None = None

    @property
    def tokens(self) -> int | None:
        """Return the tokens of the answer, or about how many came where the engine has not told; None: none came."""
        told = self.usage.completion_tokens
        return told if told is not None else (self.steps or None)

    @property
    def estimated(self) -> bool:
        """Return whether `tokens` is counted by events."""
        return self.usage.completion_tokens is None and self.steps > 0

    def event(self, event: bytes) -> bool:
        """Take an event of a stream, and return whether the client is to have it."""
        if self.started and not _TELLING.search(event):
            self.steps += any(mark in event for mark in self._marks)
            return True
        data = _data_of(event)
        if data is None:
            return True
        begun = self.started
        self._chunk(data)
        if self.started and (not begun or self._goes_on(data)):
            self.steps += 1
        return not (self._hide_usage and data.get("choices") == [] and isinstance(data.get("usage"), dict))

    def body(self, body: bytes) -> None:
        """Take an answer that is no stream."""
        data = _json(body)
        if data is not None:
            self._whole(data)

    def _chunk(self, data: dict[str, Any]) -> None:
        raise NotImplementedError

    def _whole(self, data: dict[str, Any]) -> None:
        raise NotImplementedError

    def _goes_on(self, data: dict[str, Any]) -> bool:
        """Return whether an event that was looked into also brings a part of the answer."""
        return False

    def _name(self, data: dict[str, Any]) -> None:
        if self.id is None and isinstance(data.get("id"), str):
            self.id = data["id"][:MAX_NAME]
        if self.model is None and isinstance(data.get("model"), str):
            self.model = data["model"][:MAX_NAME]


class ChatReader(AnswerReader):
    """Chat completions, completions, and what else has a `usage` as they have: embeddings, scores."""

    _marks = (b'"delta"', b'"text"')

    def __init__(self, *, hide_usage: bool = False) -> None:
        super().__init__(hide_usage=hide_usage)
        self._deltas = DeltaReader()

    def _chunk(self, data: dict[str, Any]) -> None:
        self._name(data)
        reader = self._deltas
        reader.read(data)
        self.started = self.started or reader.steps > 0
        self.usage, self.finish, self.error = reader.usage, reader.finish, reader.error
        self.tokens_per_second = reader.tokens_per_second
        timings = data.get("timings")
        if isinstance(timings, dict) and self.usage.completion_tokens is None:
            # llama.cpp's, which it sends also where nobody asked for usage.
            read, cached = token_count(timings.get("prompt_n")), token_count(timings.get("cache_n"))
            self.usage = TokenUsage(
                prompt_tokens=None if read is None else read + (cached or 0),
                completion_tokens=token_count(timings.get("predicted_n")),
                cached_tokens=cached,
            )

    def _whole(self, data: dict[str, Any]) -> None:
        self._chunk(data)
        if self.finish is None and isinstance(data.get("data") or data.get("results"), list):
            self.finish = "stop"  # embeddings and scores have no reason to end

    def _goes_on(self, data: dict[str, Any]) -> bool:
        choices = data.get("choices")
        delta = choices[0].get("delta") if isinstance(choices, list) and choices and isinstance(choices[0], dict) else 0
        return bool(delta)


class MessagesReader(AnswerReader):
    """Anthropic's messages."""

    _marks = (b"content_block_delta",)

    def _chunk(self, data: dict[str, Any]) -> None:
        kind = data.get("type")
        if kind == "message_start" and isinstance(data.get("message"), dict):
            self._name(data["message"])
            self._tokens(data["message"].get("usage"), begins=True)
        elif kind == "message_delta":
            self._tokens(data.get("usage"))
            delta = data.get("delta")
            self._ended(delta.get("stop_reason") if isinstance(delta, dict) else None)
        elif kind == "content_block_delta":
            self.started = True
        elif kind == "error":
            self.error = _message(data.get("error"))

    def _whole(self, data: dict[str, Any]) -> None:
        self._name(data)
        self._tokens(data.get("usage"))
        self._ended(data.get("stop_reason"))
        if data.get("error"):  # vLLM says it in OpenAI's shape here, without a `type`
            self.error = _message(data["error"])

    def _tokens(self, usage: Any, *, begins: bool = False) -> None:
        """Take the tokens that an event tells; at the beginning of a stream nothing of the answer was counted yet."""
        if not isinstance(usage, dict):
            return
        cached = token_count(usage.get("cache_read_input_tokens"))
        read = token_count(usage.get("input_tokens"))
        written = None if begins else token_count(usage.get("output_tokens"))
        # Here `input_tokens` are those that did not come from the cache.
        prompt = None if read is None else read + (cached or 0)
        self.usage = TokenUsage(
            prompt_tokens=prompt if prompt is not None else self.usage.prompt_tokens,
            completion_tokens=written if written is not None else self.usage.completion_tokens,
            cached_tokens=cached if cached is not None else self.usage.cached_tokens,
        )

    def _ended(self, reason: Any) -> None:
        if isinstance(reason, str):
            self.finish = _FINISH.get(reason, "stop")


class ResponsesReader(AnswerReader):
    """OpenAI's responses."""

    _marks = (b'.delta"',)

    def _chunk(self, data: dict[str, Any]) -> None:
        kind = data.get("type")
        if not isinstance(kind, str):
            return
        if kind.endswith(".delta"):
            self.started = True
        elif kind == "error":
            self.error = _message(data.get("error") or data)
        if isinstance(data.get("response"), dict):
            self._whole(data["response"])

    def _whole(self, data: dict[str, Any]) -> None:
        self._name(data)
        status = data.get("status")
        if isinstance(status, str) and status in _FINISH:
            self.finish = _FINISH[status]
        if data.get("error"):
            self.error = _message(data["error"])
        usage = data.get("usage")
        if isinstance(usage, dict):
            read, written = usage.get("input_tokens_details"), usage.get("output_tokens_details")
            self.usage = TokenUsage(
                prompt_tokens=token_count(usage.get("input_tokens")),
                completion_tokens=token_count(usage.get("output_tokens")),
                cached_tokens=token_count(read.get("cached_tokens")) if isinstance(read, dict) else None,
                reasoning_tokens=token_count(written.get("reasoning_tokens")) if isinstance(written, dict) else None,
            )


#: Readers by the name of the protocol.
READERS: dict[str, Callable[..., AnswerReader]] = {
    "chat": ChatReader,
    "messages": MessagesReader,
    "responses": ResponsesReader,
}


def _data_of(event: bytes) -> dict[str, Any] | None:
    """Return the JSON of an event; None where it has none."""
    if event.startswith(b"data:") and b"\n" not in event:
        return _json(event[5:])
    lines = [line[5:] for line in event.replace(b"\r\n", b"\n").split(b"\n") if line.startswith(b"data:")]
    return _json(b"\n".join(lines)) if lines else None


def _json(data: bytes) -> dict[str, Any] | None:
    try:
        found = from_json(data)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _message(error: Any) -> str:
    if isinstance(error, dict):
        error = error.get("message") or error.get("type") or "unknown error"
    return str(error)[:2000]
