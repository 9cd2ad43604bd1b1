"""The colours of every screen: as `test_snapshots.py`, with a letter for the style of each cell.

`poe snapshots` writes the files anew.
"""

from __future__ import annotations

import string
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.color import Color
from rich.style import Style

from tests.functional.stage import Staged, staged
from tests.functional.test_snapshots import HERE, SCRIPT, compare, scene, used
from vllm_studio_tui.tui.screens.registry import BY_NAME

SIZES = ((160, 45), (80, 24), (60, 15), (40, 6))
LETTERS = string.ascii_lowercase + string.ascii_uppercase + string.digits
ATTRIBUTES = ("bold", "dim", "italic", "underline", "strike", "reverse", "blink")
#: These show on a blank too, and so does the foreground with them.
ON_BLANKS = ("underline", "strike", "reverse")


def word(colour: Color | None) -> str:
    """A colour as it is written in a legend; nothing for the terminal's own."""
    if colour is None or colour.is_default:
        return ""
    return colour.triplet.hex if colour.triplet is not None else colour.name


def described(character: str, style: Style | None) -> str:
    """What can be seen of a cell's style: `#e8e6e3 on #14161a bold`."""
    if style is None:
        return ""
    attributes = [name for name in ATTRIBUTES if getattr(style, name)]
    if not character.strip() and not any(name in ON_BLANKS for name in attributes):
        attributes, front = [], ""
    else:
        front = word(style.color)
    behind = f"on {word(style.bgcolor)}" if word(style.bgcolor) else ""
    return " ".join(part for part in (front, behind, *attributes) if part)


def cells(stage: Staged) -> list[list[tuple[str, Style | None]]]:
    """Every cell of the screen: its character and its style; a wide character stands in two."""
    return [
        [
            (character, segment.style)
            for segment in strip
            for character in segment.text
            for _ in range(cell_len(character))
        ]
        for strip in stage.app.screen._compositor.render_strips()
    ]


class Legend:
    """Gives letters to styles, in the order in which they come. A dot is the page where nothing is written on it."""

    def __init__(self, page: str) -> None:
        self._letters = {page: "."}

    def letter(self, style: str) -> str:
        if style not in self._letters:
            self._letters[style] = LETTERS[len(self._letters) - 1]
        return self._letters[style]

    def __str__(self) -> str:
        return "".join(f"{letter}  {style or 'nothing'}\n" for style, letter in self._letters.items())


async def painted(stage: Staged, place: str, legend: Legend, *, colourless: bool) -> str:
    """The letters of the screen at every size."""
    parts = []
    for width, height in SIZES:
        await stage.pilot.resize_terminal(width, height)
        await stage.settle()
        grid = cells(stage)
        if colourless:
            assert not any(style and (style.color or style.bgcolor) for row in grid for _, style in row)
        rows = ["".join(legend.letter(described(*cell)) for cell in row) for row in grid]
        assert [len(row) for row in rows] == [width] * height
        parts.append(f"== {place} {width}x{height}\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


@pytest.mark.parametrize("theme", ["slate", "paper", "nocolour"])
@pytest.mark.parametrize("place", sorted(BY_NAME))
async def test_a_screen_has_the_colours_it_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, theme: str
) -> None:
    colourless = theme == "nocolour"
    if colourless:
        monkeypatch.setenv("NO_COLOR", "1")
    async with staged(
        tmp_path, place=place, theme_name=None if colourless else theme, script=SCRIPT, prepare=used
    ) as stage:
        await scene(stage, place)
        legend = Legend("" if colourless else f"on {stage.app.looks.themes[theme].colours['bg']}")
        text = await painted(stage, place, legend, colourless=colourless)
    compare(HERE / "colours" / f"{place}-{theme}.txt", f"{text}\n== legend\n{legend}")


def colour_at(stage: Staged, words: str) -> str:
    """The colour in which the first of some words on the screen begins."""
    for row in cells(stage):
        column = "".join(character for character, _ in row).find(words)
        if column >= 0:
            style = row[column][1]
            assert style is not None
            return word(style.color)
    raise AssertionError(f"{words!r} is not on the screen:\n{stage.text()}")


@pytest.mark.parametrize("theme", ["slate", "paper"])
async def test_what_is_well_odd_or_wrong_does_not_look_like_text(tmp_path: Path, theme: str) -> None:
    async with staged(tmp_path, theme_name=theme) as stage:
        colours = stage.app.looks.themes[theme].colours
        await scene(stage, "dashboard")
        ready, failed = colour_at(stage, "● qwen3-32b"), colour_at(stage, "✕ llama-3.3-70b")
        text = colour_at(stage, "qwen3-32b")
        await stage.app.show_place("logs")
        await stage.until(lambda: "a setting is odd" in stage.text(), "the log of the failed run")
        odd, wrong = colour_at(stage, "▲          a setting"), colour_at(stage, "✕          EngineCore")
        assert colour_at(stage, "a setting is odd") == text
        assert (ready, odd, wrong, failed) == (colours["ok"], colours["warn"], colours["err"], colours["err"])
        assert len({ready, odd, wrong, text, colours["dim"]}) == 5
