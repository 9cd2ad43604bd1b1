"""What a canvas draws again: the lines that changed, and no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.functional.stage import staged
from vllm_studio_tui.tui.paint.ink import Ink, Row
from vllm_studio_tui.tui.sheets.dialogs import Pages
from vllm_studio_tui.tui.widgets.canvas import ListCanvas


def text_row(text: str) -> Row:
    row = Row()
    row.put(0, text, "fg")
    return row


async def test_the_scroll_bar_follows_a_text_that_grows_and_unchanged_lines_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [f"line {number}" for number in range(60)]

    def paint(ink: Ink, width: int) -> list[Row]:
        return [text_row(line) for line in lines]

    async with staged(tmp_path, size=(80, 24)) as stage:
        stage.app.push_screen(Pages(paint))
        await stage.settle()
        canvas = stage.app.screen.query_one("#pages", ListCanvas)
        drawn: list[object] = []
        monkeypatch.setattr(canvas, "refresh", lambda *regions, **_: drawn.extend(regions or ("all",)))
        canvas.repaint()
        assert drawn == [], "nothing changed"
        lines[3] = "line X"
        canvas.repaint()
        assert [(region.y, region.x, region.width) for region in drawn] == [(3, 5, 1)]  # type: ignore[attr-defined]
        monkeypatch.undo()
        before = [line.rstrip()[-1:] == "▐" for line in stage.lines()]
        lines += [f"more {number}" for number in range(600)]
        canvas.repaint()
        await stage.settle()
        after = [line.rstrip()[-1:] == "▐" for line in stage.lines()]
        assert sum(after) < sum(before)


def test_a_wide_character_and_an_accent_of_no_width_move_what_stands_after_them() -> None:
    one, other = text_row("e\u0301漢 abc"), text_row("e\u0301漢 abd")
    assert one.changed_spans(other, 20) == [(0, 20)]
    assert text_row("é abc").changed_spans(text_row("é abd"), 20) == [(4, 5)]
