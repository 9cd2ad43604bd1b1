"""An answer while it comes."""

from __future__ import annotations

from vllm_studio_tui.domain.chat import Delta
from vllm_studio_tui.tui.document.blocks import Surroundings
from vllm_studio_tui.tui.document.line_breaking import Line
from vllm_studio_tui.tui.document.live import Live
from vllm_studio_tui.tui.paint.glyphs import UNICODE

AROUND = Surroundings(UNICODE)


def lines(live: Live) -> list[Line]:
    live.advance()
    return [line for block in live.blocks for line in block.lines(40, AROUND)]


def test_of_a_paragraph_that_grows_only_its_last_lines_are_new() -> None:
    """Rows are drawn anew where their line is another object: a long paragraph must not be, with every token."""
    live = Live(0)
    live.feed(Delta(content="a tale of wonder, " * 40))
    before = list(lines(live))
    live.feed(Delta(content="and the end of it"))
    after = lines(live)
    kept = [old is new for old, new in zip(before, after, strict=False)]
    assert len(before) > 15
    assert kept.count(False) <= 2, "the line that grew, and the blank one that it pushed down"
    assert (
        "".join(f"{line.text} " for line in after).split() == ("a tale of wonder, " * 40 + "and the end of it").split()
    )


def test_another_width_or_another_text_is_drawn() -> None:
    live = Live(0)
    live.feed(Delta(content="one two three four five six seven eight nine ten"))
    wide = [line.text for line in lines(live)]
    narrow = [line.text for block in live.blocks for line in block.lines(12, AROUND)]
    assert wide[0] == "one two three four five six seven eight"
    assert narrow[0] == "one two"
    assert all(len(text) <= 12 for text in narrow)
