"""One answer while it comes, and what the bus is told of it."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

from vllm_studio_tui.domain.chat import (
    ChatRequest,
    Delta,
    Ended,
    Message,
    Relabel,
    StreamEvent,
    Target,
    Timings,
    TokenUsage,
)

_log = logging.getLogger(__name__)
T = TypeVar("T")

Stream = Callable[[Target, ChatRequest], AsyncGenerator[StreamEvent, None]]


class Publisher(Protocol):
    """Where facts go."""

    def publish(self, value: Any) -> None: ...


@dataclass(frozen=True, slots=True)
class TurnStarted:
    """An answer begins. `session_id` and `message_id` are None where nothing is kept."""

    session_id: str | None
    message_id: str | None


@dataclass(frozen=True, slots=True)
class TurnEvent:
    """A piece of an answer, or its end; `Ended` with finish `stopped` for one that was stopped."""

    session_id: str | None
    message_id: str | None
    event: StreamEvent


@dataclass(frozen=True, slots=True)
class AnswerSaved:
    """An answer that could not be saved is in the database now."""

    session_id: str | None
    message_id: str | None


@dataclass(slots=True)
class Turn:
    """An answer while it comes.

    Attributes:
        kept: The message as it stood before; None where nothing is kept.
        temporary: Nothing shall be kept.
        counted: That it is asked is on record.
        fresh: Set when something came that is not kept yet.
    """

    branch: Sequence[Message] = ()
    system: str | None = None
    kept: Message | None = None
    content: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    temporary: bool = False
    counted: bool = False
    request_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    fresh: asyncio.Event = field(default_factory=asyncio.Event)
    began: float = field(default_factory=time.monotonic)
    first: float | None = None
    ended: Ended | None = None

    def apply(self, event: StreamEvent) -> None:
        if isinstance(event, Delta):
            self.first = self.first or time.monotonic()
            if event.content:
                self.content.append(event.content)
            if event.reasoning:
                self.reasoning.append(event.reasoning)
        elif isinstance(event, Relabel):
            self.reasoning += self.content
            self.content.clear()
        self.fresh.set()

    def text(self) -> tuple[str, str]:
        """Content and thinking so far, after what stood there before."""
        before = self.kept or Message("", "", "assistant", "")
        return before.content + "".join(self.content), before.reasoning + "".join(self.reasoning)

    def cut(self, finish: str, error: str | None = None, advice: str | None = None) -> Ended:
        """An end that the stream itself did not tell. Tokens are unknown."""
        ttft = None if self.first is None else self.first - self.began
        timings = Timings(ttft=ttft, total=time.monotonic() - self.began)
        return Ended(finish, timings=timings, error=error, advice=advice)


def added_usage(before: Message, usage: TokenUsage) -> TokenUsage:
    """The tokens of an answer that was written on: one count of its last prompt, the sum of what was written."""
    if not before.content and not before.reasoning:
        return usage

    def both(first: int | None, second: int | None) -> int | None:
        return None if first is None or second is None else first + second

    return replace(
        usage,
        completion_tokens=both(before.usage.completion_tokens, usage.completion_tokens),
        reasoning_tokens=both(before.usage.reasoning_tokens, usage.reasoning_tokens),
    )


async def in_thread(call: Callable[[], T]) -> T:
    """Run in a thread, and to its end also when the caller is cancelled meanwhile."""
    task = asyncio.ensure_future(asyncio.to_thread(call))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.warning("a cancelled piece of work failed: %s", error)
        raise
