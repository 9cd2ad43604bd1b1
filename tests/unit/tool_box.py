"""Tools for tests of rounds: each says what it was called with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import Any

from vllm_studio_tui.domain.chat import ChatRequest, Ended, StreamEvent, Target, ToolCall
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.tools import Tool, ToolResult

WEATHER = Tool("weather", "sky", "Weather", "The weather of a city.", {"type": "object"})
CLOCK = Tool("clock", "builtin", "Clock", "The time.", asks=False)


class Box:
    """Tools that answer from a table of functions; without one they repeat their arguments.

    Attributes:
        made: The calls that were made, in order.
        awaited, missing: The servers that are waited for, and those that have no tools.
    """

    awaited: Sequence[str] = ()
    missing: Mapping[str, StudioError] = {}

    def __init__(
        self, *tools: Tool, **answers: Callable[[Mapping[str, Any]], Awaitable[ToolResult] | ToolResult]
    ) -> None:
        self._tools = tools or (WEATHER, CLOCK)
        self._answers = answers
        self.made: list[tuple[str, dict[str, Any]]] = []

    async def tools(self) -> Sequence[Tool]:
        return self._tools

    async def call(self, name: str, arguments: Mapping[str, Any]) -> ToolResult:
        self.made.append((name, dict(arguments)))
        await asyncio.sleep(0)
        if name not in self._answers:
            return ToolResult(f"{name} of {dict(arguments)}")
        found = self._answers[name](arguments)
        return found if isinstance(found, ToolResult) else await found


class Rounds:
    """An engine that answers each request with the next of its scripts; the last one stays."""

    def __init__(self, *scripts: Sequence[StreamEvent]) -> None:
        self.scripts = list(scripts)
        self.asked: list[ChatRequest] = []

    async def __call__(self, target: Target, request: ChatRequest) -> AsyncGenerator[StreamEvent, None]:
        script = self.scripts[min(len(self.asked), len(self.scripts) - 1)]
        self.asked.append(request)
        for event in script:
            await asyncio.sleep(0)
            yield event


def calls(*wanted: tuple[str, str, str]) -> list[StreamEvent]:
    """The script of an answer that ends in calls, each an id, a name and arguments."""
    return [Ended("tool_calls", tool_calls=tuple(ToolCall(*one) for one in wanted))]
