"""Answers of `/v1/responses`, which clients ask for again by their ids: who gave them, and what of them is counted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from vllm_studio_tui.domain.chat import TokenUsage
from vllm_studio_tui.services.serving.answer_reading import AnswerReader, ResponsesReader

#: Answers that are remembered; the oldest is forgotten first.
MOST = 10_000
_COUNTED = ("prompt_tokens", "completion_tokens", "reasoning_tokens", "cached_tokens")


@dataclass(slots=True)
class _Answer:
    model: str
    counted: TokenUsage


class EarlierAnswers:
    """The latest answers by id: which model each came from, and which of its tokens are in a row of the request log.

    As a rule all of them are in the row of the request that made it. With `background` nobody knows them by then: they
    are told to whoever asks for the answer first when it is done, and counted there.
    """

    def __init__(self) -> None:
        self._answers: dict[str, _Answer] = {}

    def __len__(self) -> int:
        return len(self._answers)

    def model_of(self, name: str) -> str | None:
        """Return the model that gave an answer; None: no such answer is known."""
        found = self._answers.get(name)
        return None if found is None else found.model

    def remember(self, name: str, model: str) -> None:
        """Remember which model an answer came from."""
        found = self._answers.get(name)
        if found is not None:
            found.model = model
            return
        self._answers[name] = _Answer(model, TokenUsage())
        while len(self._answers) > MOST:
            del self._answers[next(iter(self._answers))]

    def made(self, reader: AnswerReader | None, model: str | None) -> None:
        """Take what the row of a request has of the answer that it made; for any other request nothing happens."""
        if not isinstance(reader, ResponsesReader) or isinstance(reader, EarlierAnswerReader):
            return
        if reader.id and model:
            self.remember(reader.id, model)
            self._answers[reader.id].counted = replace(reader.usage, completion_tokens=reader.tokens)

    def take(self, name: str, told: TokenUsage) -> TokenUsage:
        """Return those tokens of an answer that no row has yet, and take them as counted; None where there are none."""
        found = self._answers.get(name)
        if found is None:
            return TokenUsage()
        new, counted = dict[str, Any](), dict[str, Any]()
        for field in _COUNTED:
            now, before = getattr(told, field) or 0, getattr(found.counted, field) or 0
            new[field], counted[field] = max(0, now - before) or None, max(now, before)
        found.counted = TokenUsage(**counted)
        return TokenUsage(**new)


class EarlierAnswerReader(ResponsesReader):
    """Reads an answer that another request made: of its tokens it has those alone that are in no row yet."""

    def __init__(self, answers: EarlierAnswers, name: str) -> None:
        super().__init__()
        self._answers = answers
        self._answer_id = name

    @property
    def tokens(self) -> int | None:
        """Return the tokens as they are told: events that are sent again were counted before."""
        return self.usage.completion_tokens

    @property
    def estimated(self) -> bool:
        """Return False: see `tokens`."""
        return False

    def _chunk(self, data: dict[str, Any]) -> None:
        super()._chunk(data)
        # What was generated before has no first token now, and no speed.
        self.started = False

    def _whole(self, data: dict[str, Any]) -> None:
        before, self.usage = self.usage, TokenUsage()
        super()._whole(data)
        new = self._answers.take(self._answer_id, self.usage)
        sums = {field: (getattr(before, field) or 0) + (getattr(new, field) or 0) or None for field in _COUNTED}
        self.usage = TokenUsage(**sums)
