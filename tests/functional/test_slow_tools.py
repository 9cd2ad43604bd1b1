"""A chat whose tool server is slow to start, or does not: the screen says so, and Esc stops waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.functional.acting import shows
from tests.functional.test_tool_cards import DONE, READ, ask, chatting, over
from tests.unit.tool_box import Box
from vllm_studio_tui.domain.chat import Delta
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.tools import Tool


class Slow(Box):
    """Tools that come once they may."""

    def __init__(self) -> None:
        super().__init__(READ)
        self.awaited = ("fi\x1b[2Jles",)
        self.may = asyncio.Event()

    async def tools(self) -> Sequence[Tool]:
        await self.may.wait()
        return await super().tools()


async def test_a_server_that_starts_is_named_and_esc_stops_waiting(tmp_path: Path) -> None:
    box = Slow()
    async with chatting(tmp_path, [Delta(content="Then so."), DONE], box=box) as (stage, _, engine):
        await ask(stage)
        await shows(stage, "starting the tools of fi")
        await shows(stage, "esc stop")
        await stage.press("escape")
        await over(stage)
        assert engine.asked == []
        assert "starting the tools" not in stage.text()
        box.may.set()
        await ask(stage, "again")
        await over(stage)
        await shows(stage, "Then so.")
        assert len(engine.asked) == 1


async def test_a_server_without_its_tools_is_named_once_in_a_chat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = Box(READ)
    box.missing = {"shell": StudioError("shell is no use as an MCP server", advice="See its log.")}
    async with chatting(tmp_path, [Delta(content="So."), DONE], box=box) as (stage, _, engine):
        told: list[str] = []
        tell = stage.app.tell

        def noted(text: str, *more: Any, **rest: Any) -> None:
            told.append(text)
            tell(text, *more, **rest)

        monkeypatch.setattr(stage.app, "tell", noted)
        for question in ("one", "two"):
            await ask(stage, question)
            await over(stage)
        assert len(engine.asked) == 2
        assert told == ["Asked without the tools of shell: shell is no use as an MCP server. See its log."]
