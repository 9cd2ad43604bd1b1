"""Pictures in the transcript that the terminal itself draws."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.functional.stage import Staged, staged
from tests.functional.test_chat import ANSWER, DONE, ask, place
from tests.pictures import picture
from vllm_studio_tui.domain.chat import Delta
from vllm_studio_tui.probes.graphics import SIGN, Graphics
from vllm_studio_tui.services.chat.attachments.seeing import Sight
from vllm_studio_tui.tui.sheets.attachments import AttachmentSheet


@asynccontextmanager
async def with_picture(tmp_path: Path, can: Graphics) -> AsyncIterator[tuple[Staged, list[str]]]:
    """A chat with a picture, on a terminal that can do this; yields what is written to it besides frames."""
    seen = tmp_path / "red.png"
    seen.write_bytes(picture("png", (240, 160), colour=(200, 0, 0)))
    script = (Delta(content=ANSWER), DONE)
    async with staged(tmp_path / "home", place="chat", script=script, size=(100, 34)) as stage:
        written: list[str] = []
        stage.app.pictures._write = written.append
        stage.app.pictures.can = can
        stage.studio.chat._runner._sight = stage.studio.chat._sight = lambda target: Sight(True)
        await ask(stage, f"what is @{seen}")
        yield stage, written


def cells(stage: Staged) -> int:
    return stage.text().count(SIGN)


async def test_a_terminal_that_can_draws_the_picture_itself(tmp_path: Path) -> None:
    async with with_picture(tmp_path, Graphics("kitty", (10, 20))) as (stage, written):
        place(stage).document.focus()
        await stage.press("g")
        await stage.until(lambda: cells(stage) == 24 * 8, "its cells")
        assert "▀" not in stage.text()
        (sent,) = written
        number = int(re.findall(r"i=(\d+),c=24,r=8", sent)[0])
        style = f"color({number & 255})"
        line = next(line for block in place(stage).document.blocks for line in block._lines if SIGN in line.text)
        assert line.parts[-1][1] == style
        # It is cut by the edge as other text, and sent no second time.
        await stage.pilot.resize_terminal(100, 16)
        await stage.press("g")
        place(stage).document.scroll_lines(3)
        await stage.settle()
        assert 0 < cells(stage) < 24 * 8
        await stage.press("ctrl+p")
        await stage.press("escape")
        await stage.pilot.resize_terminal(70, 30)
        await stage.settle()
        assert len(written) == 1
        stage.app.pictures.end()
        stage.app.pictures.end()
        assert written[1:] == [f"\x1b_Ga=d,d=I,q=2,i={number}\x1b\\"]
        stage.app.pictures.go_on()
        assert written[2] == sent


async def test_it_is_copied_without_what_stands_for_the_picture(tmp_path: Path) -> None:
    async with with_picture(tmp_path, Graphics("kitty", (10, 20))) as (stage, _):
        document = place(stage).document
        document.focus()
        await stage.press("g")
        await stage.until(lambda: cells(stage) > 0, "its cells")
        await stage.pilot.mouse_down(document, offset=(3, 0))
        await stage.pilot.hover(document, offset=(40, 11))
        await stage.pilot.mouse_up(document, offset=(40, 11))
        assert "red.png" in document.selected_text and SIGN not in document.selected_text


async def test_half_blocks_stand_where_the_terminal_cannot(tmp_path: Path) -> None:
    async with with_picture(tmp_path, Graphics("sixel", (10, 20))) as (stage, written):
        await stage.until(lambda: "▀" in stage.text(), "half blocks")
        assert not written and not cells(stage)


async def test_the_terminal_is_asked_when_the_first_picture_is_shown_and_never_before(tmp_path: Path) -> None:
    async with staged(tmp_path, place="chat", script=(Delta(content=ANSWER), DONE)) as stage:
        await ask(stage, "no picture")
        assert stage.app.pictures.can is None and stage.app.pictures._asking is None


async def test_a_picture_is_looked_at_whole(tmp_path: Path) -> None:
    async with with_picture(tmp_path, Graphics("kitty", (4, 8))) as (stage, written):
        place(stage).document.focus()
        await stage.press("g")
        await stage.until(lambda: len(written) == 1, "the small one")
        await stage.until(lambda: "look at it" in stage.lines()[-1], "the footer says so")
        await stage.press("enter")
        await stage.until(lambda: cells(stage) == 60 * 20, "the large one")
        assert "c=60,r=20" in written[1] and "red.png  240x160" in stage.text()
        await stage.press("escape")
        await stage.until(lambda: cells(stage) < 60 * 20, "the small one again")


async def test_sixels_are_drawn_where_a_picture_is_looked_at_and_again_after_what_stood_over_it(tmp_path: Path) -> None:
    async with with_picture(tmp_path, Graphics("sixel", (10, 20))) as (stage, _):
        out: list[str] = []

        def write(sequence: str) -> bool:
            out.append(sequence)
            return True

        stage.app.write_terminal = write  # type: ignore[method-assign]
        place(stage).document.focus()
        await stage.press("g", "enter")
        await stage.until(lambda: any("\x1bP0;1q" in text for text in out), "the points")
        sheet = stage.app.screen
        assert isinstance(sheet, AttachmentSheet)
        at = sheet.query_one("#pages").region.offset
        begun = f'\x1b7\x1b[{at.y + 3};{at.x + 3}H\x1bP0;1q"1;1;240;160'
        assert out[-1].startswith(begun) and out[-1].endswith("\x1b\\\x1b8")
        stage.app.tell("a message over it")
        await stage.settle()
        many = len(out)
        sheet.query_one("#pages").refresh()
        await stage.settle()
        assert len(out) == many  # the message would be gone
        stage.app.clear_notifications()
        await stage.until(lambda: len(out) > many, "the points again")
        await stage.press("escape")
        many = len(out)
        await stage.settle()
        assert len([text for text in out[many:] if "\x1bP0;1q" in text]) == 0


async def test_without_graphics_it_is_looked_at_in_characters(tmp_path: Path) -> None:
    async with with_picture(tmp_path, Graphics()) as (stage, _):
        place(stage).document.focus()
        await stage.press("g")
        await stage.until(lambda: "▀" in stage.text(), "half blocks")
        small = stage.text().count("▀")
        await stage.press("enter")
        await stage.until(lambda: stage.text().count("▀") > small, "more of them")
