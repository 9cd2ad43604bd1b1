"""What one streamed answer showed: when its tokens came, and what the engine said at its end.

A chunk is looked into until the first token of the answer has come; after that chunks are only counted, and the last
few are kept to be read at the end, where usage, reason and errors stand. That is most of what makes this light.
"""

from __future__ import annotations

import json
from array import array
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vllm_studio_tui.kit.outside_values import as_count
from vllm_studio_tui.kit.sanitize import clean_line

#: Chunks at the end that are looked into: the last token, the reason, the usage, `[DONE]`.
LAST = 4
#: Fields of a chunk in which thoughts come, and in which the answer comes.
THOUGHTS, ANSWERS = ("reasoning", "reasoning_content"), ("content", "tool_calls", "function_call", "refusal")


@dataclass(slots=True)
class Outcome:
    """One request, as its client saw it. Moments are those of the loop's clock.

    Attributes:
        times: When each chunk with a token came.
        error: Why there is no whole answer.
        refused: The server answered with an error; it was not the way to it.
        whole: The end of the stream was seen.
        engine_seconds: What the engine says it took to read the prompt and to write, where it does.
    """

    sent: float
    first: float | None = None
    answer: float | None = None
    ended: float | None = None
    times: array[float] = field(default_factory=lambda: array("d"))
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    finish: str | None = None
    error: str | None = None
    status: int | None = None
    refused: bool = False
    whole: bool = False
    engine_seconds: tuple[float, float] | None = None
    upstream_id: str | None = None

    @property
    def tokens(self) -> int:
        """Return the tokens of the answer; where the engine did not say, its chunks."""
        return len(self.times) if self.output_tokens is None else self.output_tokens


class AnswerReader:
    """Reads the events of one answer into an outcome."""

    def __init__(self, outcome: Outcome) -> None:
        self._outcome = outcome
        self._opened: float | None = None
        self._last: deque[tuple[str, bool]] = deque(maxlen=LAST)
        self._at = 0.0

    def take(self, event: str, at: float) -> None:
        """Take one event that came at a moment."""
        outcome = self._outcome
        if outcome.answer is not None and event != "[DONE]" and event[:9] != '{"error":':
            self._at = at
            outcome.times.append(at)
            self._last.append((event, True))
            return
        if event == "[DONE]":
            outcome.whole = True
            return
        self._at = at
        chunk = _object(event)
        if chunk.get("error"):
            outcome.error, outcome.refused = error_words(chunk), True
            return
        kind = _kind(chunk)
        if outcome.upstream_id is None and isinstance(chunk.get("id"), str):
            outcome.upstream_id = chunk["id"][:200]
        if kind is None and self._opened is None and _has_choice(chunk):
            self._opened = at
        counts = kind is not None
        if counts:
            if outcome.first is None:
                outcome.first = at
            if kind == "answer":
                outcome.answer = at
            outcome.times.append(at)
        self._last.append((event, counts))

    def close(self, at: float) -> None:
        """Read what stands at the end; of an answer without any text the first chunk counts as its first token."""
        outcome = self._outcome
        outcome.ended = at
        tokens_end = True
        for event, counted in reversed(self._last):
            chunk = _object(event)
            self._end_of(chunk)
            tokens_end = tokens_end and _kind(chunk) is None
            if counted and tokens_end:
                outcome.times.pop()  # a reason, or usage: these stand behind all tokens
        if outcome.first is None and self._opened is not None and outcome.output_tokens:
            outcome.first = outcome.answer = self._opened
            outcome.times.append(self._opened)
        if outcome.error is None and outcome.first is not None:
            outcome.ended = max(outcome.first, self._at)

    def _end_of(self, chunk: Mapping[str, Any]) -> None:
        outcome = self._outcome
        usage = chunk.get("usage")
        if isinstance(usage, Mapping):
            outcome.prompt_tokens = _count(usage.get("prompt_tokens"), outcome.prompt_tokens)
            outcome.output_tokens = _count(usage.get("completion_tokens"), outcome.output_tokens)
            for name, field_name, target in (
                ("prompt_tokens_details", "cached_tokens", "cached_tokens"),
                ("completion_tokens_details", "reasoning_tokens", "reasoning_tokens"),
            ):
                details = usage.get(name)
                if isinstance(details, Mapping):
                    setattr(outcome, target, _count(details.get(field_name), getattr(outcome, target)))
        timings = chunk.get("timings")  # llama.cpp says there what its cache had
        if isinstance(timings, Mapping) and outcome.cached_tokens is None:
            outcome.cached_tokens = _count(timings.get("cache_n"), None)
        if isinstance(timings, Mapping):
            read, wrote = timings.get("prompt_ms"), timings.get("predicted_ms")
            if isinstance(read, int | float) and isinstance(wrote, int | float):
                outcome.engine_seconds = (read / 1000, wrote / 1000)
        for choice in _choices(chunk):
            if isinstance(choice.get("finish_reason"), str):
                outcome.finish, outcome.whole = choice["finish_reason"][:40], True


def error_words(document: Mapping[str, Any]) -> str:
    """Return what an engine said is wrong, safe and short."""
    error: Any = document.get("error", document)
    if isinstance(error, Mapping):
        error = error.get("message") or error.get("type") or "an error without words"
    return clean_line(str(error))[:300]


def _kind(chunk: Mapping[str, Any]) -> str | None:
    """Return what a chunk brings: a thought, a piece of the answer, or no token."""
    for choice in _choices(chunk):
        if isinstance(choice.get("text"), str):
            # A token may have no text, as one that is a part of a character; the reason comes behind the last one.
            if choice["text"] or choice.get("finish_reason") is None:
                return "answer"
            continue
        delta = choice.get("delta")
        if not isinstance(delta, Mapping):
            continue
        if any(delta.get(name) for name in ANSWERS):
            return "answer"
        if any(delta.get(name) for name in THOUGHTS):
            return "thought"
    return None


def _has_choice(chunk: Mapping[str, Any]) -> bool:
    return bool(_choices(chunk))


def _choices(chunk: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = chunk.get("choices")
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


def _object(text: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _count(value: object, otherwise: int | None) -> int | None:
    found = as_count(value)
    return otherwise if found is None else found
