"""How full the context of a chat is: tokens by what they stand for, who counted them, how near the limit they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

#: Shares of the context from which one is told that it fills, that it is nearly full, and that it is full.
FILLING, NEARLY, FULL = 0.8, 0.95, 1.0
#: The share of the context from which definitions of tools are much: it is spent before anything is said.
HEAVY_TOOLS = 0.25


class CountedBy(StrEnum):
    """Who counted tokens, the truest first."""

    #: The engine, with its template and its tokenizer.
    ENGINE = "engine"
    #: This program, with the template and the tokenizer among the model's files.
    FILES = "files"
    #: The engine's tokenizer without the template: what a message costs beside its words is guessed.
    WORDS = "words"
    #: Nobody: a guess from the number of letters.
    ESTIMATE = "estimate"

    @property
    def exact(self) -> bool:
        """Whether it is what a request will really have."""
        return self in (CountedBy.ENGINE, CountedBy.FILES)


@dataclass(frozen=True, slots=True)
class Counted:
    """A number of tokens, and who counted them."""

    tokens: int
    by: CountedBy = CountedBy.ESTIMATE

    def to_json(self) -> dict[str, Any]:
        """Return tokens and who counted them."""
        return {"tokens": self.tokens, "by": str(self.by)}


@dataclass(frozen=True, slots=True)
class ContextReport:
    """What the next request of a chat would have.

    Attributes:
        total: All of it, with the draft.
        limit: Tokens that the model can take; None: unknown.
        system, files, tools, draft: Parts of it: system prompt, attached files, definitions of tools, what is typed.
        offered: How many tools are offered.
        unknown_tools: Servers of the chat's tools that were not started yet: what they define is in no count.
        answer: Tokens that the answer may have at most, where that was chosen.
        seen: Tokens of the pictures that are sent, where the engine says how many.
        pictures: How many are sent whose tokens nobody knows beforehand: they are in no count.
        messages: How many messages of the branch there are.
        left_out: How many of them are not sent, because a summary or a window stands for them.
        shortened: `summary` or `window`, where that is so.
    """

    total: Counted = field(default_factory=lambda: Counted(0))
    limit: int | None = None
    system: int = 0
    files: int = 0
    tools: int = 0
    draft: int = 0
    answer: int | None = None
    seen: int = 0
    pictures: int = 0
    messages: int = 0
    left_out: int = 0
    shortened: str | None = None
    offered: int = 0
    unknown_tools: Sequence[str] = ()

    @property
    def unseen_tools(self) -> bool:
        """Whether the model does not see the tools that it is offered: its template writes nothing of them."""
        return self.offered > 0 and self.tools == 0 and self.total.by.exact

    @property
    def tools_share(self) -> float | None:
        """How much of the context the definitions of tools take alone; None: unknown."""
        return None if not self.limit else self.tools / self.limit

    @property
    def heavy_tools(self) -> bool:
        """Whether the definitions of tools alone take more than a quarter of the context."""
        return (self.tools_share or 0.0) > HEAVY_TOOLS

    @property
    def talk(self) -> int:
        """Tokens of questions and answers, and of what a template puts around everything."""
        return max(0, self.total.tokens - self.system - self.files - self.tools - self.seen - self.draft)

    @property
    def share(self) -> float | None:
        """How much of the context it takes, 0-1 and beyond; None: unknown."""
        return None if not self.limit else self.total.tokens / self.limit

    @property
    def level(self) -> str:
        """`full`, `nearly` or `filling`; empty where there is room, or where that is not known."""
        return level_of(self.total.tokens, self.limit)

    @property
    def cuts_answer(self) -> bool:
        """Whether the answer that was allowed does not fit behind it."""
        return self.limit is not None and self.answer is not None and self.total.tokens + self.answer > self.limit

    def parts(self) -> Sequence[tuple[str, int]]:
        """Return the parts with their names, without those that are empty."""
        named = (
            ("system", self.system),
            ("files", self.files),
            ("pictures", self.seen),
            ("tools", self.tools),
            ("talk", self.talk),
            ("draft", self.draft),
        )
        return [(name, tokens) for name, tokens in named if tokens]

    def to_json(self) -> dict[str, Any]:
        """Return what `chats context --json` prints; unknown is null."""
        return {
            "total": self.total.to_json(),
            "limit": self.limit,
            "share": self.share,
            "level": self.level or None,
            "system": self.system,
            "files": self.files,
            "tools": self.tools,
            "tools_share": self.tools_share,
            "tools_offered": self.offered,
            "tools_unseen": self.unseen_tools,
            "unknown_tools": list(self.unknown_tools),
            "talk": self.talk,
            "draft": self.draft,
            "answer": self.answer,
            "picture_tokens": self.seen,
            "pictures": self.pictures,
            "messages": self.messages,
            "left_out": self.left_out,
            "shortened": self.shortened,
        }


def level_of(used: int | None, limit: int | None) -> str:
    """Return `full`, `nearly` or `filling`; empty where there is room, or where that is not known."""
    if not limit or used is None:
        return ""
    share = used / limit
    return "full" if share >= FULL else "nearly" if share >= NEARLY else "filling" if share >= FILLING else ""
