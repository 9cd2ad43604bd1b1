"""A scripted engine for tests of the chat service, and ways to look at what was kept."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any

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
from vllm_studio_tui.domain.tools import ChatEvent
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.messages import MessageRows

TARGET = Target("http://127.0.0.1:1/v1", "m", backend="vllm", run_id="run-1", attempt=2, recipe_id="rec")
DONE = Ended("stop", TokenUsage(10, 20), Timings(0.1, None, 1.0, 40.0))


class Engine:
    """A stream that says what it is told, and remembers what it was asked.

    Attributes:
        script: What to yield; a call in it is awaited where it stands, an exception raised.
        given: How many events were taken.
    """

    def __init__(self, *script: StreamEvent | Callable[[], Any] | Exception) -> None:
        self.script = script
        self.asked: list[ChatRequest] = []
        self.closed = 0
        self.given = 0

    async def __call__(self, target: Target, request: ChatRequest) -> AsyncGenerator[StreamEvent, None]:
        self.asked.append(request)
        try:
            for step in self.script:
                if isinstance(step, Exception):
                    raise step
                if isinstance(step, Delta | Relabel | Ended):
                    yield step
                    self.given += 1
                else:
                    await step()
        finally:
            self.closed += 1


async def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, f"not in time: {what}"
        await asyncio.sleep(0.005)


async def read(events: AsyncGenerator[ChatEvent, None]) -> list[ChatEvent]:
    return [event async for event in events]


def contents(db: Database, session: str) -> list[tuple[str, str, str | None]]:
    return [(one.role, one.content, one.finish) for one in MessageRows(db).branch(session)]


def kept(db: Database, session: str) -> Message:
    return MessageRows(db).branch(session)[-1]
