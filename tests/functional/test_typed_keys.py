"""What is typed at once, as it is pasted or comes over a slow line: each key goes where the one before it leads."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual import events
from textual.keys import _character_to_key
from textual.message import Message
from textual.widgets import Input

from tests.functional.stage import Staged, staged
from tests.functional.test_actions_requests import logged
from vllm_studio_tui.config.hosts import save_host
from vllm_studio_tui.tui.terminal import typed_keys


def burst(stage: Staged, text: str) -> None:
    """Have all of it arrive before any of it is looked at."""
    for character in text:
        stage.app.post_message(events.Key(_character_to_key(character), character))


def typed(stage: Staged) -> str | None:
    field = stage.app.focused
    return field.value if isinstance(field, Input) else None


async def holds(stage: Staged, words: str) -> None:
    await stage.until(lambda: typed(stage) == words, f"{words} is in the field")


@pytest.mark.parametrize("place", ["dashboard", "recipes", "usage", "requests", "hosts", "logs"])
async def test_what_follows_the_key_of_a_filter_is_typed_into_it(tmp_path: Path, place: str) -> None:
    (tmp_path / "home").mkdir()
    async with staged(tmp_path / "home", place=place, prepare=logged) as stage:
        for name in ("one", "two"):
            save_host(stage.studio.places, name, {"connect": "unix:///nowhere"})
        stage.app.current.read_again()
        await stage.settle()
        calls = list(stage.calls)
        for words in ("onesGdq", "refused"):
            burst(stage, f"/{words}")
            await holds(stage, words)
            assert len(stage.app.screen_stack) == 1
            assert stage.app.place_name == place
            assert stage.calls == calls
            await stage.press("escape")
            assert typed(stage) is None


async def test_a_filter_that_is_kept_and_what_follows_it(tmp_path: Path) -> None:
    async with staged(tmp_path, place="requests", prepare=logged) as stage:
        burst(stage, "/opencode")
        stage.app.post_message(events.Key("enter", "\r"))
        await stage.until(lambda: stage.app.current.one("#requests-table").filter == "opencode", "the filter is kept")
        await stage.until(lambda: typed(stage) is None, "the table has the focus")
        burst(stage, "/s")
        await stage.until(lambda: typed(stage) == "opencodes", "one types on")


async def test_a_name_typed_with_the_key_that_asks_for_it(tmp_path: Path) -> None:
    async with staged(tmp_path, place="requests", prepare=logged) as stage:
        burst(stage, "nsonoq")
        await stage.until(lambda: typed(stage) == "sonoq", "the name of the key")
        assert len(stage.app.screen_stack) == 2
        await stage.press("escape")


async def test_words_typed_with_the_key_of_the_palette(tmp_path: Path) -> None:
    async with staged(tmp_path, place="requests", prepare=logged) as stage:
        burst(stage, ":doctor")
        await stage.until(lambda: typed(stage) == "doctor", "the palette looks for it")
        await stage.press("escape")


async def test_a_key_whose_widget_goes_away_holds_up_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with staged(tmp_path, place="requests", prepare=logged) as stage:
        monkeypatch.setattr(typed_keys, "PATIENCE", 0.2)
        lost = stage.app.current.one("#requests-table")
        post = lost.post_message

        def swallow(message: Message) -> bool:
            return isinstance(message, events.Key | typed_keys.KeyHandled) or post(message)

        monkeypatch.setattr(lost, "post_message", swallow)
        burst(stage, "x")
        await stage.pilot.pause(0.05)
        monkeypatch.setattr(lost, "post_message", post)
        burst(stage, "2")
        await stage.until(lambda: stage.app.place_name == "recipes", "keys are handed out again")
