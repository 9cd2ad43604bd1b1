"""The tools that one chat is offered: those of several sources, under names that are apart."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.tools import Tool, ToolResult
from vllm_studio_tui.tools.names import apart, is_chosen
from vllm_studio_tui.tools.results import result_of
from vllm_studio_tui.tools.tool_thread import ToolThread


class Source(Protocol):
    """Where tools come from."""

    @property
    def name(self) -> str: ...

    async def tools(self) -> Sequence[Tool]:
        """Return its tools.

        Raises:
            StudioError: They cannot be had.
        """

    async def call(self, title: str, arguments: Mapping[str, Any]) -> ToolResult:
        """Make a call. Raises nothing but cancellation."""


class Box:
    """A `domain.tools.ToolBox`.

    Attributes:
        missing: Why a source has no tools here, by its name; known once `tools` was asked.
    """

    def __init__(self, thread: ToolThread, sources: Sequence[Source], chosen: Sequence[str] | None) -> None:
        self.missing: dict[str, StudioError] = {}
        self._thread = thread
        self._sources = {source.name: source for source in sources}
        self._chosen = chosen
        self._known: dict[str, Tool] = {}
        self._awaited: dict[str, None] = {}

    @property
    def awaited(self) -> Sequence[str]:
        """The names of the servers whose tools are waited for now."""
        return tuple(self._awaited)

    async def tools(self) -> Sequence[Tool]:
        """Return the tools; those of a server that does not answer are missing."""
        return await self._thread.ask(self._gather())

    async def call(self, name: str, arguments: Mapping[str, Any]) -> ToolResult:
        """Make a call; cancelling it ends it."""
        return await self._thread.ask(self._make(name, arguments))

    async def _gather(self) -> Sequence[Tool]:
        async def of(source: Source) -> Sequence[Tool]:
            self._awaited[source.name] = None
            try:
                found = await source.tools()
            except StudioError as error:
                self.missing[source.name] = error
                return ()
            finally:
                self._awaited.pop(source.name, None)
            self.missing.pop(source.name, None)
            return found

        lists = await asyncio.gather(*(of(source) for source in self._sources.values()))
        tools = [one for one in apart(tool for tools in lists for tool in tools) if is_chosen(one, self._chosen)]
        self._known = {one.name: one for one in tools}
        return tools

    async def _make(self, name: str, arguments: Mapping[str, Any]) -> ToolResult:
        if name not in self._known:
            await self._gather()
        tool = self._known.get(name)
        if tool is None:
            names = ", ".join(self._known) or "none"
            return result_of(f"there is no tool {name[:100]}; there are: {names}", is_error=True)
        return await self._sources[tool.server].call(tool.title, arguments)
