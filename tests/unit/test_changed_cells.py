"""Which cells of a frame are written: those that differ, taken from their lines as Textual would crop them."""

from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from vllm_studio_tui.tui.paint.cutting import changes
from vllm_studio_tui.tui.paint.ink import Row
from vllm_studio_tui.tui.terminal.direct_updates import cut

WIDTH = 30
PARTS = st.lists(
    st.tuples(st.integers(0, 28), st.text("ab ▇─é1", max_size=6), st.sampled_from(["fg", "dim", ""])), max_size=5
)
TEXTS = st.lists(st.tuples(st.text("ab ▇─é鍵\u0301", max_size=6), st.sampled_from(["red", "bold"])), max_size=5)


def row(parts: list[tuple[int, str, str]]) -> Row:
    made = Row()
    for column, text, style in parts:
        made.put(column, text, style)
    return made


def cells(made: Row) -> list[tuple[str, str]]:
    return [(character, style) for text, style in made._filled(WIDTH) for character in text]


@given(PARTS, PARTS)
def test_the_cells_that_differ_are_found_and_no_others(
    now: list[tuple[int, str, str]], before: list[tuple[int, str, str]]
) -> None:
    one, other = row(now), row(before)
    found = changes(one._filled(WIDTH), other._filled(WIDTH))
    assert found is not None
    differ = [at for at, (ours, theirs) in enumerate(zip(cells(one), cells(other), strict=True)) if ours != theirs]
    assert set(differ) <= {at for start, end in found for at in range(start, end)}
    of_one_style = {
        at for at, (ours, theirs) in enumerate(zip(cells(one), cells(other), strict=True)) if ours[1] == theirs[1]
    }
    assert {at for start, end in found for at in range(start, end)} & of_one_style <= set(differ)


def test_lines_with_characters_of_other_widths_differ_as_a_whole() -> None:
    assert changes([("鍵a", "fg")], [("ab ", "fg")]) is None
    assert changes([("ab ", "fg")], [("a\u0301b ", "fg")]) is None
    assert row([(0, "鍵", "fg")]).changed_spans(row([(0, "ab", "fg")]), WIDTH) == [(0, WIDTH)]
    assert row([(0, "ab", "fg")]).changed_spans(row([(0, "ab", "fg")]), WIDTH) == []


@given(TEXTS, st.integers(0, 12), st.integers(1, 12))
def test_a_part_of_a_line_is_what_textual_crops(texts: list[tuple[str, str]], start: int, length: int) -> None:
    strip = Strip([Segment(text, Style.parse(style)) for text, style in texts])
    start = min(start, strip.cell_length)
    end = min(start + length, strip.cell_length)
    assume(end > start)  # a line of no width has no part
    made = cut(strip, start, end)
    ours = [(c, one.style) for one in (made._segments if isinstance(made, Strip) else made) for c in one.text]
    theirs = [(c, one.style) for one in strip.crop(start, end)._segments for c in one.text]
    assert ours == theirs
    assert sum(cell_len(one.text) for one in made) == end - start
