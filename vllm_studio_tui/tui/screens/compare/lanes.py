"""What is known of the answers that stand side by side."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vllm_studio_tui.domain.chat import Message
from vllm_studio_tui.domain.compare import LABELS, Side, Vote
from vllm_studio_tui.services.chat.answer import Answer


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a comparison is opened with.

    Attributes:
        text: The question.
        session_id: The chat that it is asked in; None: a new one.
        question_id: Its message, where it was asked before.
        settings: Those of the chat.
        sides: Who answers, see `services.chat.side_spec`.
        blind: Their names are hidden until the vote.
    """

    text: str
    sides: Sequence[str]
    session_id: str | None = None
    question_id: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    blind: bool = False

    @classmethod
    def read(cls, item: str) -> Wanted:
        """Return what the item says with which the page is opened."""
        return cls(**json.loads(item))


@dataclass(slots=True)
class Lane:
    """One of the answers.

    Attributes:
        side: Who answers.
        answer_id: The message of the answer.
        answer: What came of it so far.
        message: The answer as it is kept, once it has ended.
    """

    side: Side
    answer_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    answer: Answer = field(default_factory=Answer)
    message: Message | None = None

    @property
    def ended(self) -> bool:
        return self.message is not None

    @property
    def text(self) -> str:
        """What was answered so far."""
        return self.message.content if self.message is not None else self.answer.text()[0]

    @property
    def state(self) -> str:
        """What it does, in a word."""
        if self.message is not None:
            words = {"stop": "done", "length": "cut at the limit", "tool_calls": "asks for tools"}
            return words.get(self.message.finish or "", self.message.finish or "done")
        if self.answer.first_token is None:
            return "waiting"
        return "writing" if self.answer.content else "thinking"


@dataclass(slots=True)
class Lanes:
    """All of them.

    Attributes:
        at: The place of the one that keys are for.
        vote: What the person said; None before.
    """

    wanted: Wanted
    session_id: str | None = None
    question_id: str | None = None
    lanes: list[Lane] = field(default_factory=list)
    at: int = 0
    vote: Vote | None = None

    @property
    def here(self) -> Lane | None:
        return self.lanes[self.at] if self.at < len(self.lanes) else None

    @property
    def hidden(self) -> bool:
        """Whether the names are not shown."""
        return self.wanted.blind and self.vote is None

    @property
    def over(self) -> bool:
        """Whether there are answers, and all have ended."""
        return bool(self.lanes) and all(one.ended for one in self.lanes)

    def name(self, place: int) -> str:
        """Return what a side is called now: its letter, and its name unless that is hidden."""
        return LABELS[place] if self.hidden else f"{LABELS[place]}  {self.lanes[place].side.name}"

    def better(self, place: int) -> bool:
        """Whether the person said that this one is better."""
        return self.vote is not None and self.vote.winner == self.lanes[place].side.name
