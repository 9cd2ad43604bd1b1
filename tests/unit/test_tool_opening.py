"""Tools whose server is slow to start: it is said that they are waited for, and whoever waits may stop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from tests.unit.scripted_engine import DONE, TARGET, contents, kept, read
from tests.unit.tool_box import Box, Rounds
from vllm_studio_tui.domain.chat import Delta, Ended, StreamEvent, Timings
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.tools import Tool, ToolsAwaited
from vllm_studio_tui.services.chat import tool_opening
from vllm_studio_tui.services.chat.chat import ChatService
from vllm_studio_tui.services.chat.event_documents import event_documents
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.requests import RequestRows

GONE = StudioError("slow cannot be started", advice="See its log.")
SAID: list[StreamEvent] = [Delta("Noon."), DONE]


class Slow(Box):
    """Tools that come once they may."""

    def __init__(self) -> None:
        super().__init__()
        self.may, self.asked, self.cancelled = asyncio.Event(), asyncio.Event(), False
        self.awaited = ("slow", "other")

    async def tools(self) -> Sequence[Tool]:
        self.asked.set()
        try:
            await self.may.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        return await super().tools()


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    opened = Database.open(tmp_path / "studio.db")
    yield opened
    opened.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool_opening, "PATIENCE", 0.01)


async def test_it_is_said_what_is_waited_for_when_that_changes_and_when_it_is_over(
    db: Database, impatient: None
) -> None:
    service, box = ChatService(db, stream=Rounds(SAID)), Slow()
    events: list[Any] = []
    async for event in service.send(service.new_session("x"), "x", TARGET, tools=box):
        events.append(event)
        if event == ToolsAwaited(("slow", "other")):
            box.awaited = ("slow",)
        elif event == ToolsAwaited(("slow",)):
            box.missing = {"slow": GONE}
            box.may.set()
    waits = [ToolsAwaited(("slow", "other")), ToolsAwaited(("slow",)), ToolsAwaited((), {"slow": GONE})]
    assert events == [*waits, *SAID]
    told = {"server": "slow", "message": "slow cannot be started", "advice": "See its log."}
    assert event_documents(events[0], "") == [{"event": "tools_awaited", "servers": ["slow", "other"], "missing": []}]
    assert event_documents(events[2], "") == [{"event": "tools_awaited", "servers": [], "missing": [told]}]


async def test_tools_that_are_there_at_once_need_no_word(db: Database) -> None:
    service = ChatService(db, stream=Rounds(SAID))
    assert await read(service.send(service.new_session("x"), "x", TARGET, tools=Box())) == SAID


async def test_what_is_missing_is_said_without_a_wait_too(db: Database) -> None:
    service, box = ChatService(db, stream=Rounds(SAID)), Box()
    box.missing = {"slow": GONE}
    events = await read(service.send(service.new_session("x"), "x", TARGET, tools=box))
    assert events == [ToolsAwaited((), {"slow": GONE}), *SAID]


async def test_whoever_stops_waiting_asks_nothing(db: Database, impatient: None) -> None:
    engine, box = Rounds(SAID), Slow()
    service = ChatService(db, stream=engine)
    session = service.new_session("x")
    async with aclosing(service.send(session, "x", TARGET, tools=box)) as events:
        async for event in events:
            assert isinstance(event, ToolsAwaited)
            break
    await asyncio.sleep(0)
    assert box.cancelled
    assert engine.asked == []
    assert contents(db, session) == [("user", "x", None), ("assistant", "", "stopped")]
    assert kept(db, session).timings == Timings(), "no engine took any time for it"
    assert not RequestRows(db).recent(), "a question that was not sent is not counted"


async def test_a_reader_that_is_cancelled_ends_the_wait(db: Database) -> None:
    engine, box = Rounds(SAID), Slow()
    service = ChatService(db, stream=engine)
    session = service.new_session("x")
    task = asyncio.create_task(read(service.send(session, "x", TARGET, tools=box)))
    await box.asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0)
    assert box.cancelled
    assert engine.asked == []
    box = Slow()
    box.may.set()
    (ended,) = [one for one in await read(service.send(session, "y", TARGET, tools=box)) if isinstance(one, Ended)]
    assert ended == DONE
