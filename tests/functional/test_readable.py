"""Whether every screen and sheet can be read: in every theme, without colours, with ASCII alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from rich.color import Color
from textual.widgets._toast import Toast

from tests.functional.stage import Staged, staged
from tests.functional.test_colours import cells
from tests.functional.test_snapshots import SCRIPT, scene, used
from vllm_studio_tui.config.startup import Startup
from vllm_studio_tui.config.themes import contrast
from vllm_studio_tui.tui.screens.registry import BY_NAME
from vllm_studio_tui.tui.sheets.dialogs import Sheet
from vllm_studio_tui.tui.terminal.profile import make_profile
from vllm_studio_tui.tui.widgets.canvas import ListCanvas

#: Colours of what is drawn, not written: bars, charts, hairlines, trees, the joins of GPUs.
DRAWN = frozenset("▁▂▃▄▅▆▇█━╸─╌│┐┤┘·▌▎▐▒~")


async def pictures(stage: Staged) -> AsyncIterator[str]:
    """Show every screen, the run page and the main sheets, one after the other, and yield the name of each."""
    for place in ("chat", *sorted(set(BY_NAME) - {"chat"})):
        await stage.app.show_place(place)
        stage.studio.sampler.start()
        await stage.settle()
        if place != "dashboard":
            await scene(stage, place)
        yield place
    await stage.app.show_place("dashboard")
    await stage.settle()
    for run in ("llama-3.3-70b-1", "qwen3-32b-1"):
        stage.app.open_run(run)
        await stage.until(lambda run=run: run.removesuffix("-1") in stage.lines()[2], "its page")  # type: ignore[misc]
        await stage.settle()
        yield f"the page of {run}"
        await stage.press("escape")
    for keys, name in (
        ("home f", "a diff"), ("home down down s", "a question"), ("question_mark", "the help"), ("f8", "the settings"),
        ("f7", "the doctor"), ("n", "what to run"), ("ctrl+p", "the palette"),
    ):  # fmt: skip
        await stage.press(*keys.split())
        await stage.until(lambda: isinstance(stage.app.screen, Sheet), name)
        await stage.settle()
        yield name
        await stage.press("escape")
        await stage.until(lambda: not isinstance(stage.app.screen, Sheet), f"{name} is closed")
    await stage.app.show_place("recipes")
    await stage.press("space", "down", "space")
    yield "marked recipes"
    stage.app.tell("All is well …")
    stage.app.tell("Not all is well", "warning")
    stage.app.tell("Nothing is well", "error")
    await stage.until(lambda: len(stage.app.screen.query(Toast)) == 3, "the toasts")
    await stage.settle()
    yield "toasts"


def hexed(colour: Color | None) -> str:
    if colour is None or colour.triplet is None:
        return ""
    return colour.triplet.hex


def unreadable(stage: Staged) -> list[str]:
    """Return what on the front screen has too little contrast: colours and text; the page under a sheet is dimmed."""
    sheet = stage.app.screen.query("#sheet")
    inside = sheet.first().region if sheet else stage.app.screen.region
    colours = stage.app.looks.themes[stage.app.theme].colours
    faint = {colours["faint"], colours["track"]}  # hairlines and what nobody has to read
    found = []
    for y, row in enumerate(cells(stage)):
        for x, (character, style) in enumerate(row):
            if style is None or not character.strip() or character in DRAWN or not inside.contains(x, y):
                continue
            front, behind = hexed(style.color), hexed(style.bgcolor)
            if front and behind and contrast(front, behind) < (3.0 if front in faint else 4.5):
                found.append(f"{character} at {x},{y}: {front} on {behind} is {contrast(front, behind):.1f}")
    return found


async def test_everything_can_be_read_in_every_theme(tmp_path: Path) -> None:
    async with staged(tmp_path, place="chat", size=(120, 36), script=SCRIPT, prepare=used, theme_name="slate") as stage:
        async for name in pictures(stage):
            for theme in ("paper", "contrast", "slate"):
                stage.app.set_theme(theme)
                await stage.settle()  # else the picture of the theme before passes for it
                try:
                    await stage.until(lambda: not unreadable(stage), "all can be read")
                except AssertionError:
                    assert unreadable(stage) == [], f"{name} in {theme}\n{stage.text()}"


async def test_with_ascii_alone_nothing_else_is_drawn(tmp_path: Path) -> None:
    async with staged(tmp_path, place="chat", size=(120, 36), script=SCRIPT, prepare=used, ascii_only=True) as stage:
        async for name in pictures(stage):
            wrong = [line for line in stage.lines() if not line.isascii()]
            assert wrong == [], name
            if name == "usage":  # read and written differ in their characters
                assert "ooo" in stage.text()
                assert "###" in stage.text()


async def test_without_colours_what_was_read_and_written_is_told_apart_and_the_doctor_knows_what_the_terminal_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    profile = make_profile({"NO_COLOR": "1", "TERM": "xterm"}, Startup(background="light"))
    async with staged(tmp_path, place="usage", size=(120, 36), prepare=used, profile=profile) as stage:
        await scene(stage, "usage")
        assert "▒▒▒" in stage.text()
        assert "███" in stage.text()
        await stage.press("f7")
        await stage.until(lambda: "light background" in stage.text(), "the doctor")


@pytest.mark.parametrize("looks", ["slate", "ansi", "nocolour"])
async def test_the_cursor_of_the_smallest_window_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, looks: str
) -> None:
    if looks == "nocolour":
        monkeypatch.setenv("NO_COLOR", "1")
    async with staged(tmp_path, size=(40, 6), theme_name=None if looks == "nocolour" else looks) as stage:
        for key, canvas in (("f8", "#settings"), ("f7", "#doctor")):
            await stage.press(key)
            await stage.until(lambda canvas=canvas: bool(stage.app.screen.query_one(canvas, ListCanvas).keys), key)  # type: ignore[misc]
            await stage.press("down")
            await stage.settle()
            assert any(line.startswith("▌") for line in stage.lines()), stage.text()
            await stage.press("escape")
        if looks != "slate":  # its plane shows where the cursor is
            await stage.app.show_place("recipes")
            await stage.settle()
            first = [row[0] for row in cells(stage)]
            assert any(character == "▌" or (style and style.reverse) for character, style in first), stage.text()
