"""Pictures that the terminal itself draws: what it says of them, what is written, and the cells that stand for them."""

from __future__ import annotations

import asyncio
import base64
import io
import re
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.color import Color
from textual.filter import ANSIToTruecolor
from textual.renderables.background_screen import BackgroundScreen
from textual.strip import Strip

from tests.pictures import picture
from vllm_studio_tui.kit.sanitize import clean
from vllm_studio_tui.probes import graphics
from vllm_studio_tui.probes.graphics import Graphics, read_graphics
from vllm_studio_tui.tui.paint.ink import Ink
from vllm_studio_tui.tui.terminal import late_answers, textual_patches
from vllm_studio_tui.tui.terminal.graphics import fitted, opened_image

KITTY = "\x1bP>|kitty(0.41.1)\x1b\\\x1b_Gi=31;OK\x1b\\\x1b[6;18;9t\x1b[?62;52;c\x1b[0n"


@pytest.mark.parametrize(
    ("came", "can"),
    [
        (KITTY, Graphics("kitty", (9, 18))),
        (KITTY.replace("0.41.1", "0.26.5"), Graphics("blocks", (9, 18))),  # it has no pictures in cells of text yet
        (KITTY.replace("i=31;OK", "i=31;ENOTSUPPORTED"), Graphics("blocks", (9, 18))),
        (KITTY.replace("kitty(0.41.1)", "ghostty 1.1.3"), Graphics("kitty", (9, 18))),
        ("\x1bP>|WezTerm 20240203-110809\x1b\\\x1b_Gi=31;OK\x1b\\\x1b[?65;4;6;18;22c\x1b[0n", Graphics("sixel")),
        ("\x1bP>|XTerm(379)\x1b\\\x1b[6;13;6t\x1b[?63;1;2;4;6;9;15;16;22;28c\x1b[0n", Graphics("sixel", (6, 13))),
        ("\x1b[?64;1;2;6;9;15;16;17;18;21;22;28c\x1b[0n", Graphics()),
        ("\x1b[?4;6c\x1b[6;99999;0t\x1b[0n", Graphics()),  # the first number is the terminal's class
        ("", Graphics()),
    ],
)  # fmt: skip
def test_a_terminal_is_told_by_its_answers(came: str, can: Graphics) -> None:
    assert read_graphics(came) == can


def test_the_size_of_a_cell_is_the_systems_where_it_knows_it() -> None:
    assert read_graphics(KITTY, graphics.cell_of(100, 30, 1000, 600)) == Graphics("kitty", (10, 20))
    assert graphics.cell_of(80, 24, 0, 0) is None and graphics.cell_of(0, 0, 8, 8) is None


@given(st.text(max_size=200))
def test_no_answer_raises(came: str) -> None:
    assert read_graphics(came + KITTY[:20] + came).kind in ("kitty", "sixel", "blocks")


# --- what is written --------------------------------------------------------------------------------------------


def test_a_picture_is_sent_in_pieces_that_are_the_whole() -> None:
    png = bytes(range(256)) * 40
    out = graphics.sent(0x05000020, png, 12, 4)
    pieces = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", out)
    assert "".join(f"\x1b_G{head};{data}\x1b\\" for head, data in pieces) == out
    assert pieces[0][0] == "a=T,U=1,q=2,f=100,t=d,i=83886112,c=12,r=4,m=1"
    assert [head for head, _ in pieces[1:]] == ["q=2,m=1"] * (len(pieces) - 2) + ["q=2,m=0"]
    assert base64.b64decode("".join(data for _, data in pieces)) == png
    assert all(len(data) <= 4096 for _, data in pieces)


def test_through_tmux_each_piece_is_wrapped() -> None:
    out = graphics.sent(0x05000020, b"x" * 5000, 2, 2, "tmux")
    assert out.count("\x1bPtmux;\x1b\x1b_G") == out.count("\x1b\x1b\\\x1b\\") == 2
    assert graphics.deleted(7, "tmux") == "\x1bPtmux;\x1b\x1b_Ga=d,d=I,q=2,i=7\x1b\x1b\\\x1b\\"


def test_each_cell_says_its_row_its_column_and_the_picture() -> None:
    first, second = graphics.cells_of(0x02000020, 3, 2)
    assert (cell_len(first), cell_len(second)) == (3, 3)
    assert first == "\U0010eeee\u0305\u0305\u030e\U0010eeee\u0305\u030d\u030e\U0010eeee\u0305\u030e\u030e"
    assert second[1] == "\u030d"
    assert len(set(graphics.COUNTING)) == graphics.MOST > 100
    assert all(cell_len(f"x{accent}") == 1 for accent in graphics.COUNTING)
    cut = Strip([Segment(first, Style(color="color(32)"))]).crop(1, 2)
    assert cut.text == "\U0010eeee\u0305\u030d\u030e"


def test_the_colour_of_a_cell_is_the_pictures_number_as_it_is() -> None:
    style = Ink({"fg": "#ffffff", "bg": "#000000"}).style("color(200)", "bg")
    assert style.color is not None and style.color.number == graphics.colour_of(0x020000C8)


def test_no_text_of_others_can_stand_for_a_picture() -> None:
    assert graphics.SIGN not in clean(graphics.cells_of(0x02000020, 3, 1)[0])


@pytest.mark.parametrize(
    ("size", "room", "cell", "takes"),
    [((480, 320), (36, 12), (9, 18), (36, 12)), ((480, 320), (20, 12), (10, 20), (20, 7)),
     ((24, 24), (36, 12), (9, 18), (3, 2)), ((1, 2000), (36, 12), (9, 18), (1, 12)),
     ((2000, 1), (36, 12), (9, 18), (36, 1))],
)  # fmt: skip
def test_a_picture_fits_its_cells_and_is_never_enlarged(
    size: tuple[int, int], room: tuple[int, int], cell: tuple[int, int], takes: tuple[int, int]
) -> None:
    image = opened_image(f"data:image/png;base64,{base64.b64encode(picture('png', size)).decode()}")
    assert image is not None
    png, columns, rows = fitted(image, *room, cell)
    assert (columns, rows) == takes
    assert Image.open(io.BytesIO(png)).size == (columns * cell[0], rows * cell[1])


@pytest.mark.parametrize("url", ["", "data:image/png;base64,AAAA", "data:text/plain;base64,AAAA", "file:///etc/passwd"])
def test_what_is_no_picture_is_none(url: str) -> None:
    assert opened_image(url) is None


def test_tmux_is_asked_what_it_passes_on(tmp_path: Path) -> None:
    tmux = tmp_path / "tmux"
    for said, can in (
        ("xterm-kitty on 9 18", Graphics("kitty", (9, 18))),
        ("xterm-ghostty all 0 0", Graphics("kitty")),
        ("xterm-kitty off 9 18", Graphics("blocks", (9, 18))),
        ("xterm-256color on 9 18", Graphics("blocks", (9, 18))),
        ("", Graphics()),
    ):
        tmux.write_text(f"#!/bin/sh\necho '{said}'\n")
        tmux.chmod(0o755)
        assert graphics.read_tmux({"PATH": str(tmp_path)}) == can, said
    assert graphics.read_tmux({"PATH": str(tmp_path / "none")}) == Graphics()


# --- behind a dialog --------------------------------------------------------------------------------------------


def test_a_picture_keeps_its_number_behind_a_dialog() -> None:
    textual_patches.pictures_behind()
    style = Style(color="color(200)", bgcolor="#202020")
    line = [Segment("text", style), Segment(graphics.cells_of(0x020000C8, 2, 1)[0], style)]
    text, cells = BackgroundScreen.process_segments(line, Color(0, 0, 0, 0.7))
    assert text.style is not None and text.style.color != style.color
    assert cells.style is not None and cells.style.color == style.color and cells.style.bgcolor != style.bgcolor
    from textual.app import App

    theme = App().ansi_theme
    text, cells = ANSIToTruecolor(theme).apply(line, Color(0, 0, 0))
    assert text.style is not None and text.style.color != style.color
    assert cells.style is not None and cells.style.color == style.color


# --- answers ----------------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(st.lists(st.integers(0, len(KITTY) + 6), max_size=8))
def test_answers_in_any_pieces_reach_who_asked_and_never_the_keys(cuts: list[int]) -> None:
    late_answers.install(None)
    from textual.drivers import linux_driver

    async def played() -> str:
        parser = vars(linux_driver)["XTermParser"]()
        answer = late_answers.GRAPHICS.expect()
        text = "a" + KITTY + "xyz"
        places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
        keys = []
        for start, end in pairwise(places):
            if start < end:
                keys += list(parser.feed(text[start:end]))
        keys += list(parser.tick())
        assert "".join(key.character or "?" for key in keys if isinstance(key, events.Key)) == "axyz"
        return await asyncio.wait_for(answer, 5)

    assert read_graphics(asyncio.run(played())) == Graphics("kitty", (9, 18))
