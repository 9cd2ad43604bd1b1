"""Fewer bytes for the same picture."""

from __future__ import annotations

import pyte
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.color import Color, ColorSystem
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from vllm_studio_tui.tui.terminal.slim_output import written

#: Written at a place of its own, without a style: whatever was left on would be seen.
HOME = "\x1b[1;1Hx"
COLOURS = st.sampled_from(
    [None, Color.parse("#d8dce0"), Color.parse("#7b9cbd"), Color.parse("red"), Color.parse("default")]
)
STYLES = st.builds(
    lambda colour, ground, bold, italic: Style.from_color(colour, ground) + Style(bold=bold, italic=italic),
    COLOURS, COLOURS, st.sampled_from([None, True]), st.sampled_from([None, True]),
)  # fmt: skip
PARTS = st.lists(st.tuples(st.text("ab ▇─0鍵", max_size=4), STYLES), max_size=4)


def cells(parts: list[tuple[str, Style]]) -> int:
    return sum(cell_len(text) for text, _ in parts)


def apart(spans: list[tuple[int, int, list[tuple[str, Style]]]]) -> list[tuple[int, int, list[tuple[str, Style]]]]:
    """Leave out what would cover another one, or not fit: those of a frame lie beside each other."""
    taken: set[tuple[int, int]] = set()
    kept = []
    for y, x, parts in spans:
        own = {(y, x + at) for at in range(cells(parts))}
        if x + cells(parts) <= 40 and not own & taken:
            taken |= own
            kept.append((y, x, parts))
    return kept


SPANS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 30), PARTS)).map(apart)
#: Many numbers of few styles, as a tick changes them.
TICKS = st.lists(
    st.tuples(
        st.integers(0, 9),
        st.integers(0, 36),
        st.lists(st.tuples(st.text("019 %", min_size=1, max_size=3), STYLES), min_size=1, max_size=1),
    ),
    min_size=4,
).map(apart)


def shown(text: str) -> list[list[pyte.screens.Char]]:
    screen = pyte.Screen(40, 10)
    pyte.Stream(screen).feed(text)
    return [[screen.buffer[y][x] for x in range(40)] for y in range(10)]


def rendered(spans: list[tuple[int, int, list[tuple[str, Style]]]]) -> str:
    return "".join(
        f"\x1b[{y + 1};{x + 1}H" + "".join(style.render(text) for text, style in parts) for y, x, parts in spans
    )


def slim(spans: list[tuple[int, int, list[tuple[str, Style]]]]) -> str:
    strips = [(x, y, Strip([Segment(text, style) for text, style in parts])) for y, x, parts in spans]
    return written(strips, ColorSystem.TRUECOLOR)


@given(SPANS | TICKS)
def test_the_picture_is_the_same_and_nothing_stays_switched_on(
    spans: list[tuple[int, int, list[tuple[str, Style]]]],
) -> None:
    whole = rendered(spans)
    less = slim(spans)
    assert len(less) <= len(whole) + 4
    assert shown(less + HOME) == shown(whole + HOME)


def test_what_has_the_style_already_is_not_styled_again() -> None:
    style = Style.parse("#d8dce0 on #111417")
    spans = [(0, 0, [("1", style)]), (3, 4, [("2", style)]), (3, 9, [("3", Style.parse("#7b9cbd on #111417"))])]
    assert slim(spans) == (
        "\x1b[1;1H\x1b[38;2;216;220;224;48;2;17;20;23m1\x1b[4;5H2\x1b[4C\x1b[38;2;123;156;189m3\x1b[0m"
    )


def test_what_has_one_style_is_written_together() -> None:
    number, unit = Style.parse("#d8dce0 on #111417"), Style.parse("#7b9cbd on #111417")
    spans = [(y, x, [("7", style)]) for y in range(8) for x, style in ((4, number), (9, unit))]
    assert slim(spans).count("38;2;") == 2
