"""Calls of tools on the chat screen: their cards, and what a person says to them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.functional.acting import command, shows
from tests.functional.stage import Staged, staged
from tests.unit.tool_box import Box, Rounds, calls
from vllm_studio_tui.domain.chat import Delta, Ended, Timings, TokenUsage
from vllm_studio_tui.domain.tools import Tool, ToolChoice, ToolResult
from vllm_studio_tui.services.chat.chat import ChatService
from vllm_studio_tui.studio import Studio
from vllm_studio_tui.tui.screens.chat import call_cards
from vllm_studio_tui.tui.screens.chat.place import ChatPlace

DONE = Ended("stop", TokenUsage(10, 20), Timings(0.1, None, 1.0, 40.0))
RUN = Tool("shell__run_command", "shell", "run_command", "Runs a command.", {"type": "object"})
READ = Tool("files__read", "files", "read", "Reads a file.")
CLOCK = Tool("clock", "builtin", "clock", "The time.", asks=False)
SAR = ("c1", RUN.name, '{"command": "sar -d -s 14:13"}')


def place(stage: Staged) -> ChatPlace:
    found = stage.app.current
    assert isinstance(found, ChatPlace)
    return found


@contextlib.asynccontextmanager
async def chatting(
    home: Path,
    *scripts: Sequence[Any],
    box: Box | None = None,
    size: tuple[int, int] = (100, 40),
    tools: Sequence[str] = ("shell", "files"),
    real: bool = False,
) -> AsyncIterator[tuple[Staged, Box, Rounds]]:
    """A chat with tools, answered by these scripts one after the other; `real`: the tools are those of the studio."""
    made = box or Box(RUN, READ, CLOCK)
    engine = Rounds(*scripts)

    @contextlib.asynccontextmanager
    async def opened(choice: ToolChoice) -> AsyncIterator[Box]:
        yield made

    def prepare(studio: Studio) -> None:
        given = studio.__dict__
        own = (lambda choice: studio.tools.open(choice.names)) if real else opened
        given["chat"] = ChatService(studio.db, studio.bus, engine, consents=studio.tools, open_tools=own)

    async with staged(home, place="chat", size=size, prepare=prepare) as stage:
        place(stage).chat.set("tools", list(tools))
        place(stage).update_place()
        yield stage, made, engine


async def ask(stage: Staged, text: str = "look") -> None:
    await stage.type(text)
    await stage.press("enter")


async def faces(stage: Staged, name: str = "run_command") -> None:
    """The keys are for a card, and the moment in which they do nothing is over."""
    document, card = place(stage).document, None
    while card is None or document.faced is not card:  # one above it may ask a moment later
        await stage.until(
            lambda: document.faced is not None and document.faced.state.server_and_title[1] == name, f"{name} waits"
        )
        card = document.faced
        await asyncio.sleep(call_cards.STARTLED)


async def over(stage: Staged) -> None:
    await stage.until(lambda: not place(stage).answers.running, "the answer is over")
    await stage.settle()


async def test_a_call_waits_on_a_card_and_is_made_once_allowed(tmp_path: Path) -> None:
    answer = [Delta(content="It was the cache."), DONE]
    async with chatting(tmp_path, [Delta(content="I look."), *calls(SAR)], answer) as (stage, box, _):
        await ask(stage)
        await faces(stage)
        text = stage.text()
        for words in ("shell.run_command  wants to run", "sar -d -s 14:13", "round 1 of 10", "a allow once", "d deny"):
            assert words in text
        assert "waits for you" in text
        assert "The call above waits for your answer; esc denies it" in text
        assert box.made == []
        await stage.press("a")
        await over(stage)
        assert box.made == [(RUN.name, {"command": "sar -d -s 14:13"})]
        await shows(stage, "It was the cache.")
        assert "✓ shell.run_command  sar -d -s 14:13" in stage.text()
        assert place(stage).prompt.has_focus  # where it was
        assert place(stage).document.current is None  # what is told of an answer is of the last one, not of this round


async def test_a_denied_call_is_not_made(tmp_path: Path) -> None:
    async with chatting(tmp_path, calls(SAR), [Delta(content="Then not."), DONE]) as (stage, box, engine):
        await ask(stage)
        await faces(stage)
        await stage.press("escape")
        await over(stage)
        assert box.made == []
        assert "✕ shell.run_command" in stage.text()
        assert "denied" in stage.text()
        assert "did not allow" in str(engine.asked[-1].messages[-1]["content"])


async def test_a_key_in_the_moment_in_which_a_call_appears_does_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call_cards, "STARTLED", 3600.0)
    async with chatting(tmp_path, calls(SAR), [DONE]) as (stage, box, _):
        await ask(stage)
        await stage.until(lambda: place(stage).document.faced is not None, "it waits")
        await stage.press("a", "A", "d", "e")
        assert len(stage.app.screen_stack) == 1
        assert box.made == []
        assert place(stage).document.faced is not None
        monkeypatch.setattr(call_cards, "STARTLED", 0.0)
        await stage.press("d")
        await over(stage)


async def test_a_call_takes_no_focus_while_words_are_typed(tmp_path: Path) -> None:
    hold = asyncio.Event()

    async def clock(_: Mapping[str, Any]) -> ToolResult:
        await hold.wait()
        return ToolResult("12:00")

    box = Box(RUN, CLOCK)
    box._answers = {CLOCK.name: clock}
    first = calls(("c0", CLOCK.name, "{}"))
    async with chatting(tmp_path, first, calls(SAR), [DONE], box=box) as (stage, _, _engine):
        await ask(stage)
        await stage.type("and ")
        hold.set()
        await shows(stage, "wants to run")
        await shows(stage, "tab to it")
        await stage.type("a")
        prompt = place(stage).prompt
        assert (prompt.has_focus, prompt.text) == (True, "and a")
        await stage.press("tab")
        await faces(stage)
        await stage.press("d")
        await over(stage)
        assert [name for name, _ in box.made] == [CLOCK.name]


async def test_edited_arguments_are_shown_before_they_are_allowed(tmp_path: Path) -> None:
    async with chatting(tmp_path, calls(SAR), [DONE]) as (stage, box, _):
        await ask(stage)
        await faces(stage)
        await stage.press("e")
        await shows(stage, "Arguments of run_command")
        area: Any = stage.app.focused
        area.text = "{not json"
        await stage.press("f2")
        await shows(stage, "no JSON object")
        area = stage.app.focused
        area.text = '{"command": "uptime"}'
        await stage.press("f2")
        await shows(stage, "arguments changed by you")
        assert "uptime" in stage.text()
        assert box.made == []
        await faces(stage)
        await stage.press("a")
        await over(stage)
        assert box.made == [(RUN.name, {"command": "uptime"})]
        await shows(stage, "changed")


async def test_allowed_with_a_program_is_allowed_for_it_alone(tmp_path: Path) -> None:
    again = ("c2", RUN.name, '{"command": "sar -b"}')
    other = ("c3", RUN.name, '{"command": "rm -r /"}')
    async with chatting(tmp_path, calls(SAR), calls(again), calls(other), [DONE]) as (stage, box, _):
        await ask(stage)
        await faces(stage)
        await stage.press("A")
        await shows(stage, "always run_command with sar …")
        await stage.press("2")
        await stage.until(lambda: len(box.made) == 2, "the other call of sar needs no question")
        await faces(stage)
        assert "rm -r /" in stage.text()
        await stage.press("A", "escape")  # allows nothing
        assert len(box.made) == 2
        await stage.press("d")
        await over(stage)
        assert len(box.made) == 2


async def test_calls_beside_each_other_are_answered_one_after_the_other(tmp_path: Path) -> None:
    first, second = ("c1", READ.name, '{"path": "/a"}'), ("c2", RUN.name, '{"command": "ls"}')
    quick = ("c3", CLOCK.name, "{}")
    async with chatting(tmp_path, calls(first, second, quick), [DONE]) as (stage, box, _):
        await ask(stage)
        await faces(stage, "read")
        assert "waits for the one above" in stage.text()
        assert "2 calls" in stage.text()
        await stage.press("a")
        await faces(stage)
        await stage.press("d")
        await over(stage)
        assert sorted(name for name, _ in box.made) == [CLOCK.name, READ.name]
        assert "2 calls" not in stage.text()


async def test_a_call_whose_chat_is_left_waits_on(tmp_path: Path) -> None:
    async with chatting(tmp_path, calls(SAR), [Delta(content="the end"), DONE]) as (stage, box, _):
        await ask(stage)
        await faces(stage)
        session = place(stage).session
        assert session is not None
        await stage.press("ctrl+n")
        assert "wants to run" not in stage.text()
        assert place(stage).asking.consent.waiting is None
        await place(stage).open(session.id)
        await shows(stage, "wants to run")
        place(stage).document.focus()
        await faces(stage)
        await stage.press("a")
        await over(stage)
        await shows(stage, "the end")
        assert [name for name, _ in box.made] == [RUN.name]


async def test_what_is_kept_is_shown_as_it_was(tmp_path: Path) -> None:
    result = "\n".join(f"line {number}" for number in range(30))
    box = Box(RUN, RUN=lambda _: ToolResult(result))
    box._answers = {RUN.name: lambda _: ToolResult(result, seconds=0.1, size=900_000)}
    async with chatting(tmp_path, calls(SAR), [Delta(content="so"), DONE], box=box) as (stage, _, _engine):
        await ask(stage)
        await faces(stage)
        await stage.press("a")
        await over(stage)
        session = place(stage).session
        assert session is not None
        await stage.press("ctrl+n")
        await place(stage).open(session.id)
        await shows(stage, "30 lines")
        place(stage).document.focus()
        await stage.press("up")
        place(stage).document.current = 1
        await stage.press("enter")
        await shows(stage, "first 8 of 30 lines, the model was given")
        await shows(stage, "allowed once, by you")


HOSTILE = "\x1b]52;c;aGFjaw==\x07\x1b[2J\x9b31m\u202eevil\x00\r"


async def test_nothing_of_a_tool_reaches_the_terminal_as_a_command(tmp_path: Path) -> None:
    import json

    bad = Tool("x__y", HOSTILE, HOSTILE, HOSTILE)
    box = Box(bad)
    box._answers = {bad.name: lambda _: ToolResult(HOSTILE * 50, is_error=True)}
    asked = ("c1", bad.name, json.dumps({HOSTILE: HOSTILE, "b": [HOSTILE]}))
    wrong = ("c2", HOSTILE, HOSTILE)
    async with chatting(tmp_path, calls(asked, wrong), [DONE], box=box) as (stage, _, _engine):
        await ask(stage)
        document = place(stage).document
        await stage.until(lambda: document.faced is not None, "it waits")
        await asyncio.sleep(call_cards.STARTLED)
        assert not set(stage.text()) & set("\x1b\x07\x9b\x00\r\u202e")
        await stage.press("i")
        await stage.until(lambda: len(stage.app.screen_stack) == 2, "the whole call")
        assert not set(stage.text()) & set("\x1b\x07\x9b\x00\r\u202e")
        await stage.press("escape", "A")
        assert not set(stage.text()) & set("\x1b\x07\x9b\x00\r\u202e")
        await stage.press("escape", "a")
        await over(stage)
        document.focus()
        document.current = 1
        await stage.press("enter")
        assert not set(stage.text()) & set("\x1b\x07\x9b\x00\r\u202e")


@pytest.mark.parametrize("size", [(160, 45), (80, 24), (60, 15), (40, 6)])
async def test_a_card_has_its_name_arguments_and_keys_at_every_size(tmp_path: Path, size: tuple[int, int]) -> None:
    async with chatting(tmp_path, calls(SAR), [DONE], size=size) as (stage, _, _engine):
        await ask(stage)
        await faces(stage)
        text = stage.text()
        assert "run_command" in text
        assert "sar -d" in text
        assert "a allow" in text
        await stage.press("d")
        await over(stage)


async def test_what_does_not_fit_on_a_card_is_said_to_be_missing(tmp_path: Path) -> None:
    import json

    script = "\n".join(f"echo {number}" for number in range(500))
    asked = ("c1", RUN.name, json.dumps({"command": script}))
    async with chatting(tmp_path, calls(asked), [DONE]) as (stage, _, _engine):
        await ask(stage)
        await faces(stage)
        await shows(stage, "that are not shown here")
        await stage.press("i")
        await shows(stage, "ARGUMENTS")
        await stage.press("escape", "d")
        await over(stage)


async def test_the_tools_of_a_chat_are_chosen_and_kept(tmp_path: Path) -> None:
    async with chatting(tmp_path, [Delta(content="x"), DONE], tools=(), real=True) as (stage, _, engine):
        await stage.press("f12")
        await shows(stage, "Tools of this chat")
        await shows(stage, "of this program")
        await stage.press("space", "enter")
        await stage.until(lambda: len(stage.app.screen_stack) == 1, "it is closed")
        chosen = place(stage).chat.settings["tools"]
        assert chosen == ["builtin"]
        await ask(stage)
        await over(stage)
        offered = {one["function"]["name"] for one in engine.asked[0].tools}
        assert offered
        assert all(name.startswith("builtin__") for name in offered)
        session = place(stage).session
        assert session is not None
        assert session.settings["tools"] == ["builtin"]


async def test_a_server_is_started_only_once_somebody_agrees(tmp_path: Path) -> None:
    async with chatting(tmp_path, [Delta(content="x"), DONE], tools=(), real=True) as (stage, _, _engine):
        stage.studio.tools.add_server("evil", {"command": "touch", "args": [str(tmp_path / "started")]})
        place(stage).chat.set("tools", ["evil"])
        await ask(stage)
        await shows(stage, "Start the MCP server evil?")
        assert str(tmp_path)[:20] in stage.text()
        await stage.press("escape")
        await over(stage)
        assert not (tmp_path / "started").exists()
        assert [one.name for one in stage.studio.tools.untrusted()] == ["evil"]


Work = Callable[[Mapping[str, Any]], Awaitable[ToolResult]]


async def test_a_running_call_is_told_with_its_time(tmp_path: Path) -> None:
    hold = asyncio.Event()

    async def slow(_: Mapping[str, Any]) -> ToolResult:
        await hold.wait()
        return ToolResult("done")

    box = Box(CLOCK)
    box._answers = {CLOCK.name: slow}
    async with chatting(tmp_path, calls(("c1", CLOCK.name, "{}")), [DONE], box=box) as (stage, _, _engine):
        await ask(stage)
        await shows(stage, "calling clock")
        hold.set()
        await over(stage)


async def test_the_palette_offers_what_can_be_said_to_a_call(tmp_path: Path) -> None:
    async with chatting(tmp_path, calls(SAR), [DONE]) as (stage, box, _):
        await ask(stage)
        await faces(stage)
        await command(stage, "allow the call of a tool")
        await over(stage)
        assert [name for name, _ in box.made] == [RUN.name]


async def test_a_round_that_was_stopped_says_so_and_goes_on(tmp_path: Path) -> None:
    cat = ("c2", READ.name, '{"path": "notes.txt"}')
    answer = [Delta(content="It was the cache."), DONE]
    async with chatting(tmp_path, [Delta(content="I look."), *calls(SAR, cat)], answer) as (stage, box, _):
        await ask(stage)
        await faces(stage)
        await stage.press("a")
        await faces(stage, "read")
        place(stage).answers.stop(place(stage).chat.id or "")
        await over(stage)
        await shows(stage, "stopped by you: 1 call not made")
        assert box.made == [(RUN.name, {"command": "sar -d -s 14:13"})]
        place(stage).document.focus()
        await shows(stage, "c go on")
        await stage.press("c")
        await faces(stage, "read")
        assert "not made" not in stage.text()
        assert stage.text().count("wants to run") == 1
        await stage.press("a")
        await over(stage)
        await shows(stage, "It was the cache.")
        assert box.made == [(RUN.name, {"command": "sar -d -s 14:13"}), (READ.name, {"path": "notes.txt"})]
        assert "✓ files.read" in stage.text()


async def test_a_round_goes_on_after_the_chat_was_opened_again_and_another_was_shown(tmp_path: Path) -> None:
    answer = [Delta(content="It was the cache."), DONE]
    async with chatting(tmp_path, calls(SAR), answer) as (stage, box, _):
        await ask(stage)
        await faces(stage)
        chat = place(stage).chat.id or ""
        place(stage).answers.stop(chat)
        await over(stage)
        place(stage).new_chat()
        await place(stage).open(chat)
        await shows(stage, "stopped by you: 1 call not made   tab c go on")
        await ask(stage, "/continue")
        await faces(stage)
        place(stage).new_chat()
        await place(stage).open(chat)
        place(stage).document.focus()
        await faces(stage)
        await stage.press("d")
        await over(stage)
        assert box.made == []
        await shows(stage, "It was the cache.")
