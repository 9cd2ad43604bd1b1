"""The frame of the page: its footer follows the focus, messages keep to their screen, no key is dead without a word."""

from __future__ import annotations

import gc
import inspect
import warnings
from pathlib import Path

import pytest
from textual.widgets._toast import Toast

from tests.functional.acting import at, cursor, shows, told
from tests.functional.stage import Staged, staged
from tests.functional.test_chat import idle
from vllm_studio_tui.domain.chat import Delta, Ended
from vllm_studio_tui.tui import background
from vllm_studio_tui.tui.keys.actions import types_character

SCRIPT = (Delta(content="an answer"), Ended("stop"))


def footer(stage: Staged) -> str:
    return stage.lines()[-1].strip()


async def test_the_footer_follows_the_focus_and_names_no_key_that_would_type(tmp_path: Path) -> None:
    async with staged(tmp_path, place="chat", script=SCRIPT) as stage:
        assert footer(stage).startswith("enter send   ^j new line   esc leave prompt   tab transcript")
        assert footer(stage).endswith("f1 help")
        for action, keys in stage.app.active_actions():
            assert not any(types_character(key) for key in keys.split(",")), action.id
        assert all(map(types_character, ("slash", "plus", "minus", "a", "space", "question_mark")))
        await stage.type("?")
        assert stage.app.current.one("#prompt").text == "?"
        await stage.press("enter")
        await stage.until(lambda: idle(stage), "the answer is over")
        await stage.press("escape")
        for word in ("y copy", "r again", "[ ] questions", "/ find", "tab", "? help"):
            assert word in footer(stage), footer(stage)
        assert "enter send" not in footer(stage)
        line = stage.lines()[-1]
        await stage.pilot.click(offset=(line.index("y copy"), len(stage.lines()) - 1))
        await stage.until(lambda: stage.clip == "an answer", "a click does what is written there")
        await stage.press("up")
        assert "e edit" in footer(stage)
        await stage.press("ctrl+f")
        assert "f1 help" in footer(stage)
        assert "esc end search" in footer(stage)
        await stage.press("escape", "1")
        await at(stage, "dashboard", "RUNS  ")
        await cursor(stage, "#ledger", "qwen3-32b-1")
        for width, height in ((160, 45), (120, 36), (80, 24)):
            await stage.pilot.resize_terminal(width, height)
            await stage.until(lambda: len(stage.lines()) == height, "the size is there")  # noqa: B023, RUF100
            for word in ("stop", "chat", "log", "? help"):
                assert word in footer(stage), footer(stage)
        await stage.press("s")
        await shows(stage, "Stop qwen3-32b?")
        assert footer(stage) == ""  # the question names its own keys
        await stage.press("escape")
        assert "? help" in footer(stage)


async def test_a_key_with_a_meaning_is_never_dead_without_a_word(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        for key, words in (
            ("f5", "Read again."),
            ("F", "F does nothing here. Elsewhere: fork the chat here."),
        ):
            await stage.press(key)
            await told(stage, words)
        await stage.press("colon")
        assert len(stage.app.screen_stack) == 2
        await stage.press("escape", "4")
        await at(stage, "monitor", "ENGINES")
        await stage.press("tab")
        await told(stage, "This screen is one part.")
        await stage.press("enter")
        await stage.until(lambda: stage.app.place_name == "run", "the page of the run under the cursor")
    async with staged(tmp_path / "second", read_only=True) as stage:
        await cursor(stage, "#ledger", "qwen3-32b-1")
        await stage.press("s")
        await told(stage, "read-only: s changes something")


async def test_a_screen_that_was_left_takes_no_keys(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        left = stage.app.current.query_one("#ledger")
        await stage.press("2")
        await at(stage, "recipes", "qwen3-32b")
        left.focus()  # as where what was read for it comes late
        await stage.settle()
        focused = stage.app.focused
        assert focused is not None and focused in stage.app.current.query("*")
        await stage.press("j")
        await cursor_moved(stage)


async def cursor_moved(stage: Staged) -> None:
    table = stage.app.current.query_one("#recipes-table")
    await stage.until(lambda: table.key != table.keys[0], "the key was for the screen in front")  # type: ignore[attr-defined]


async def test_messages_keep_to_their_screen_and_cover_no_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "JUST_NOW", 0.0)
    async with staged(tmp_path, place="chat") as stage:
        stage.app.tell("a word")
        stage.app.tell("a word")
        stage.app.tell("a fault", "error")
        await stage.settle()
        assert stage.toasts == ["a word", "a fault"]
        await stage.until(lambda: len(stage.app.screen.query(Toast)) == 2, "they are shown")
        bottom = stage.app.current.one("#transcript").region.bottom
        await stage.until(
            lambda: all(toast.region.bottom <= bottom for toast in stage.app.screen.query(Toast)), "above the prompt"
        )
        await stage.press("alt+1")
        await at(stage, "dashboard", "RUNS  ")
        assert stage.toasts == ["a fault"]
        await stage.press("escape")
        assert stage.toasts == []


async def test_the_help_says_what_the_short_words_of_a_screen_mean(tmp_path: Path) -> None:
    async with staged(tmp_path, place="usage", size=(160, 60)) as stage:
        await stage.press("question_mark")
        await stage.until(lambda: "time to first token" in stage.text(), "the words of usage")
        assert "energy of the GPUs for a thousand written tokens" in stage.text()
        assert "inter-token latency" not in stage.text()  # not shown there
        await stage.press("escape")
        await stage.app.show_place("recipes")
        await stage.press("question_mark")
        await stage.until(lambda: "STATES OF A RUN" in stage.text(), "the help of recipes")
        assert "time to first token" not in stage.text()


async def test_work_that_is_ended_before_it_begins_is_never_left_unawaited(tmp_path: Path) -> None:
    began = []

    async def work(which: str) -> None:
        began.append(which)

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        async with staged(tmp_path) as stage:
            works = [work("ended"), work("late")]
            stage.app.spawn(works[0]).cancel()
            await stage.until(lambda: inspect.getcoroutinestate(works[0]) == inspect.CORO_CLOSED, "it is closed")
            stage.app.spawn(works[1])
            stage.app.workers.cancel_all()  # as the app does when it closes
            stage.app.exit(0)
        assert inspect.getcoroutinestate(works[1]) == inspect.CORO_CLOSED
        works.clear()
        gc.collect()
    assert not began
    assert not [one for one in said if "never awaited" in str(one.message)]
