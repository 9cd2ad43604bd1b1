"""The frame: palette, help, themes, keymap, sizes, signals."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from pathlib import Path

import pytest

from tests.functional.acting import cursor
from tests.functional.stage import bare, staged
from vllm_studio_tui.domain.chat import Delta, Ended
from vllm_studio_tui.tui.keys import actions
from vllm_studio_tui.tui.look.sizes import Size
from vllm_studio_tui.tui.screens.registry import BY_NAME

DONE = Ended("stop")


async def test_the_palette_finds_and_does_anything(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.press("ctrl+p")
        await stage.type("launch gemma")
        await stage.press("enter")
        assert stage.calls == [("launch", "gemma-3-12b")]
        await stage.press("ctrl+p")
        await stage.type("stop qwen")
        await stage.press("enter")
        assert "Stop qwen3-32b?" in stage.text()
        await stage.press("escape", "ctrl+p")
        await stage.type("tokens, requests, energy")
        await stage.press("enter")
        assert stage.app.place_name == "usage"
        await stage.press("ctrl+p")
        await stage.type("more days")
        await stage.press("enter")
        await stage.until(lambda: "30 days" in stage.text(), "an action of the screen")


async def test_the_palette_says_when_nothing_matches(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.press("ctrl+p")
        await stage.type("zzzz")
        assert 'Nothing matches "zzzz"' in stage.text()
        await stage.press("enter")
        await stage.press("escape")
        assert len(stage.app.screen_stack) == 1


@pytest.mark.parametrize("place", sorted(BY_NAME))
async def test_help_lists_what_works_here(tmp_path: Path, place: str) -> None:
    async with staged(tmp_path, place=place) as stage:
        here = [action for action, _ in stage.app.active_actions() if action.scope != "app"]
        await stage.press("f1")
        text = stage.text()
        assert "HERE" in text
        # In the prompt q types a q.
        assert ("Leave; engines go on" in text) is (place != "chat")
        assert "Keys that work here" in text
        assert here
        assert here[0].help[:30] in text
        await stage.press("escape")
        assert len(stage.app.screen_stack) == 1


async def test_a_theme_is_shown_while_it_is_chosen_and_kept(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.press("ctrl+p")
        await stage.type("choose a theme")
        await stage.press("enter")
        await stage.type("paper")
        assert stage.app.theme == "paper"
        await stage.press("escape")
        assert stage.app.theme == "slate"
        await stage.press("ctrl+p")
        await stage.type("choose a theme")
        await stage.press("enter")
        await stage.type("paper")
        await stage.press("enter")
        await stage.settle()
        assert stage.app.theme == "paper"
        assert 'theme: "paper"' in stage.studio.places.settings_file.read_text()


async def test_a_keymap_of_ones_own_works_and_its_faults_are_said(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "keymap.yaml").write_text("dashboard.stop: S\nno.such: x\n")
    async with staged(tmp_path) as stage:
        assert any("no.such is no action" in toast for toast in stage.heard)
        await cursor(stage, "#ledger", "qwen3-32b-1")
        await stage.press("S")
        assert "Stop qwen3-32b?" in stage.text()
        await stage.press("escape", "s")
        assert len(stage.app.screen_stack) == 1
        assert "S stop" in stage.text()


async def test_ctrl_c_cancels_first_and_quits_second(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await cursor(stage, "#ledger", "qwen3-32b-1")
        await stage.press("s", "ctrl+c")
        assert len(stage.app.screen_stack) == 1
        assert stage.calls == []
    async with staged(tmp_path, recipes=()) as stage:
        await stage.pilot.press("ctrl+c")
        assert any("again leaves" in toast for toast in stage.heard)
        await stage.pilot.press("ctrl+c")
        await stage.until(lambda: stage.app._exit, "it leaves")
        assert stage.app.last_words == ["2 engines go on: vllm-studio status. To stop them: vllm-studio stop --all"]


async def test_q_leaves_and_types_in_fields(tmp_path: Path) -> None:
    async with staged(tmp_path, place="chat") as stage:
        await stage.press("q")
        assert stage.app.current.one("#prompt").text == "q"
        await stage.press("alt+1", "q")
        await stage.until(lambda: stage.app._exit, "it leaves")
        assert stage.calls == []


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
async def test_a_signal_leaves_in_order(tmp_path: Path, number: signal.Signals) -> None:
    async with staged(tmp_path, place="chat") as stage:
        await stage.type("unsent")
        os.kill(os.getpid(), number)
        await stage.until(lambda: stage.app._exit, "it leaves")
        assert "unsent" in (stage.studio.places.state / "desk.json").read_text()


async def test_a_screen_that_is_asked_for_twice_at_once_is_whole_for_both(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:

        async def parts() -> int:
            return len((await stage.app.place("recipes")).children)

        assert len(set(await asyncio.gather(parts(), parts()))) == 1


async def test_an_error_inside_a_command_is_said_and_ends_nothing(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        stage.faults_expected = True

        def broken(*_: object, **__: object) -> None:
            raise RuntimeError("[/x] odd \x1b[31m")

        stage.launcher.launch = broken  # type: ignore[method-assign,assignment]
        await cursor(stage, "#ledger", "qwen3-32b-1")
        await stage.press("r")
        await stage.type("gemma")
        await stage.pilot.press("enter")
        await stage.until(lambda: any("failed inside the studio" in toast for toast in stage.heard), "it is said")
        assert not any("\x1b" in toast for toast in stage.heard)
        await stage.press("2")
        assert stage.app.place_name == "recipes"


async def test_a_click_on_a_tab_a_chip_and_a_key_works(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        header = stage.lines()[0]
        await stage.pilot.click(offset=(header.index("Monitor") + 1, 0))
        await stage.settle()
        assert stage.app.place_name == "monitor"
        await stage.pilot.click(offset=(header.index("llama-3.3-70b") + 1, 0))
        await stage.until(lambda: stage.app.place_name == "run", "the chip opens the run")
        footer = stage.lines()[-1]
        await stage.pilot.click(offset=(footer.index("? help") + 1, len(stage.lines()) - 1))
        await stage.until(lambda: len(stage.app.screen_stack) == 2, "help")


# --- sizes --------------------------------------------------------------------------------------------------

STORM = ((160, 45), (1, 1), (80, 24), (3, 2), (40, 6), (200, 60), (12, 1), (60, 15), (2, 50), (160, 3), (120, 36))


@pytest.mark.parametrize("place", sorted(BY_NAME))
async def test_a_storm_of_sizes_harms_nobody(tmp_path: Path, place: str) -> None:
    script = (Delta(content="# A\n\n| a | b |\n|--|--|\n| 1 | 2 |\n\n```py\nx\n```\n"), DONE)
    async with staged(tmp_path, place=place, script=script) as stage:
        if place == "chat":
            await stage.type("q")
            await stage.press("enter")
        if place == "recipes":
            await stage.until(lambda: "COMMAND" in stage.text(), "what would be launched is worked out")
        if place == "logs":
            await stage.until(lambda: "4 is an echo of it" in stage.text(), "the log is read")
        before = await stage.quiet()
        for width, height in STORM:
            await stage.pilot.resize_terminal(width, height)
            await stage.until(lambda: len(stage.lines()) == height, f"{height} lines")  # noqa: B023, RUF100
        await stage.pilot.resize_terminal(160, 45)
        await stage.settle()
        if place != "chat":
            await stage.until(lambda: stage.text() == before, "it looks as before")


@pytest.mark.parametrize(("width", "height"), [(160, 45), (120, 36), (80, 24), (60, 15), (40, 6), (20, 1), (8, 1)])
@pytest.mark.parametrize("shown", ["full", "bare"])
async def test_every_screen_has_something_to_say_at_every_size(
    tmp_path: Path, width: int, height: int, shown: str
) -> None:
    options = {"shown": bare} if shown == "bare" else {}
    async with staged(tmp_path, size=(width, height), **options) as stage:  # type: ignore[arg-type]
        for place in BY_NAME:
            await stage.app.show_place(place)
            await stage.settle()
            if height > 1:
                assert stage.text().strip(), place


async def test_compact_is_compact_everywhere(tmp_path: Path) -> None:
    async with staged(tmp_path, compact=True) as stage:
        assert stage.app.size_class is Size.COMPACT
        for place in BY_NAME:
            await stage.app.show_place(place)
            await stage.settle()
            assert max(len(line.rstrip()) for line in stage.lines()) < 80, place
            assert len(stage.lines()[0].rstrip()) > 60, place
        await stage.pilot.resize_terminal(64, 20)
        assert stage.app.screen.query_one("#body").region.width == 64


async def test_ascii_draws_ascii_alone(tmp_path: Path) -> None:
    for place in BY_NAME:
        async with staged(
            tmp_path / place, ascii_only=True, place=place, script=(Delta(content="- x\n\n> y"), DONE)
        ) as stage:
            if place == "chat":
                await stage.type("q")
                await stage.press("enter")
                await stage.until(lambda: "x" in stage.text(), "it answers")
            odd = sorted({character for character in stage.text() if not character.isascii()})
            assert odd == [], (place, odd)


async def test_no_colour_sends_no_colour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with staged(tmp_path) as stage:
        assert os.environ["NO_COLOR"] == "1"
        for place in BY_NAME:
            await stage.app.show_place(place)
            await stage.settle()
            update = stage.app.screen._compositor.render_update(full=True)
            for strip in stage.app.screen._compositor.render_strips():
                for segment in strip:
                    style = segment.style
                    assert style is None or (style.color is None and style.bgcolor is None), (place, segment)
            assert update is not None


async def test_the_text_cursor_of_sixteen_colours_is_reversed(tmp_path: Path) -> None:
    async with staged(tmp_path, place="chat", theme_name="ansi") as stage:
        await stage.type("hello")
        row = next(strip for strip in stage.app.screen._compositor.render_strips() if "hello" in strip.text)
        cells = [(character, part.style) for part in row for character in part.text]
        style = cells[row.text.index("hello") + 5][1]
        assert style is not None
        assert style.reverse


@pytest.mark.parametrize("theme", ["slate", "paper", "contrast"])
async def test_every_cell_can_be_read(tmp_path: Path, theme: str) -> None:
    """Text has at least the contrast of faint text on what is behind it."""
    from vllm_studio_tui.config.themes import contrast

    async with staged(tmp_path, theme_name=theme, script=(Delta(content="```py\nx = 1\n```"), DONE)) as stage:
        for place in BY_NAME:
            await stage.app.show_place(place)
            await stage.settle()
            for strip in stage.app.screen._compositor.render_strips():
                for segment in strip:
                    style = segment.style
                    if style is None or not re.search(r"[A-Za-z0-9]", segment.text) or style.reverse or style.dim:
                        continue
                    if style.color is None or style.bgcolor is None or style.color.triplet is None:
                        continue
                    assert style.bgcolor.triplet is not None
                    ratio = contrast(style.color.triplet.hex, style.bgcolor.triplet.hex)
                    assert ratio >= 2.5, (place, segment.text, ratio)


def test_every_action_belongs_to_something_that_can_do_it() -> None:
    from vllm_studio_tui.tui.app import StudioApp
    from vllm_studio_tui.tui.screens.bench.place import BenchPlace
    from vllm_studio_tui.tui.screens.chat.chips import ChipRow
    from vllm_studio_tui.tui.screens.chat.place import ChatPlace
    from vllm_studio_tui.tui.screens.chat.prompt import PromptArea
    from vllm_studio_tui.tui.screens.chat.transcript import Transcript
    from vllm_studio_tui.tui.screens.compare.place import ComparePage
    from vllm_studio_tui.tui.screens.create.cells import CellsCanvas
    from vllm_studio_tui.tui.screens.create.fields import MOVES as CREATE_MOVES
    from vllm_studio_tui.tui.screens.create.fields import CreateInput
    from vllm_studio_tui.tui.screens.create.place import CreatePage
    from vllm_studio_tui.tui.screens.dashboard.place import Dashboard
    from vllm_studio_tui.tui.screens.hosts.place import HostsPlace
    from vllm_studio_tui.tui.screens.logs.place import LogsPlace
    from vllm_studio_tui.tui.screens.measure.fields import MOVES as MEASURE_MOVES
    from vllm_studio_tui.tui.screens.measure.fields import MeasureInput
    from vllm_studio_tui.tui.screens.measure.place import MeasurePage
    from vllm_studio_tui.tui.screens.models.place import ModelsPlace
    from vllm_studio_tui.tui.screens.monitor.axis_canvas import AxisCanvas
    from vllm_studio_tui.tui.screens.monitor.place import Monitor
    from vllm_studio_tui.tui.screens.monitor.processes import ProcessesView
    from vllm_studio_tui.tui.screens.recipes.field import MOVES, FieldInput
    from vllm_studio_tui.tui.screens.recipes.form import RecipeForm
    from vllm_studio_tui.tui.screens.recipes.place import RecipesPlace
    from vllm_studio_tui.tui.screens.requests.place import RequestsPlace
    from vllm_studio_tui.tui.screens.run.place import RunPage
    from vllm_studio_tui.tui.screens.usage.place import UsagePlace
    from vllm_studio_tui.tui.sheets.starting import WhatToRun
    from vllm_studio_tui.tui.widgets.canvas import ListCanvas
    from vllm_studio_tui.tui.widgets.table import Table

    owners = {
        "app": StudioApp, "list": ListCanvas, "dashboard": Dashboard, "recipes": RecipesPlace, "form": RecipeForm,
        "chat": ChatPlace, "prompt": PromptArea, "transcript": Transcript, "monitor": Monitor, "usage": UsagePlace,
        "processes": ProcessesView, "logs": LogsPlace, "run": RunPage, "requests": RequestsPlace, "table": Table,
        "start": WhatToRun, "axis": AxisCanvas,
        "hosts": HostsPlace, "models": ModelsPlace, "create": CreatePage, "cells": CellsCanvas,
        "compare": ComparePage, "call": Transcript, "chips": ChipRow,
        "bench": BenchPlace, "measure": MeasurePage,
    }  # fmt: skip
    for action in actions.ACTIONS:
        if action.scope == "chats":
            continue  # keys of the list of chats, see test_chats_are_found_renamed_and_put_into_the_trash
        owner = FieldInput if action.id in MOVES else CreateInput if action.id in CREATE_MOVES else owners[action.scope]
        owner = MeasureInput if action.id in MEASURE_MOVES else owner
        assert callable(getattr(owner, f"action_{action.method}")), action.id
