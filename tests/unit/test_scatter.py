"""The plot of points: where they stand, what hides what, and which numbers its axes have."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_studio_tui.tui.paint.glyphs import ASCII, UNICODE
from vllm_studio_tui.tui.paint.scatter import Line, Point, axis_of, scatter

NEW = Line(
    tuple(Point(x, y, str(u)) for u, x, y in [(1, 68.1, 67), (8, 65.1, 513), (32, 56.8, 1785), (64, 48.5, 3043)]), "●"
)
OLD = Line(tuple(Point(x, y, str(u)) for u, x, y in [(1, 67.9, 66), (64, 42.9, 2696)]), "○", "dim", "faint", below=True)


def drawn(lines: list[Line], width: int = 68, height: int = 20, **more: object) -> list[str]:
    glyphs = ASCII if more.pop("ascii", False) else UNICODE
    return [row.text(width) for row in scatter(glyphs, lines, width, height, **more)]  # type: ignore[arg-type]


numbers = st.floats(0, 1e12, allow_nan=False)


@given(numbers, numbers, st.integers(1, 8))
def test_an_axis_holds_its_values_in_round_steps(low: float, high: float, count: int) -> None:
    low, high = sorted((low, high))
    axis = axis_of(low, high, count)
    slack = 1e-6 * max(1.0, high)
    assert axis.start <= low + slack
    assert axis.end >= high - slack
    assert 1 <= axis.count <= count
    assert all(one < other for one, other in pairwise(axis.ticks))
    assert 0 <= axis.at(low, 50) <= axis.at(high, 50) <= 49


def test_points_stand_where_their_values_say() -> None:
    rows = drawn([NEW])
    at = {sign: [(y, x) for y, row in enumerate(rows) for x, one in enumerate(row) if one == sign] for sign in "●"}
    ys, xs = [y for y, _ in at["●"]], [x for _, x in at["●"]]
    assert ys == sorted(ys), "more users, more output, further up"
    assert xs == sorted(xs), "more users, slower for each, further left"
    assert rows[0].startswith("3200 ─│"), "the axis goes from none to a round number"
    assert rows[18].startswith("   0 ─│")


def test_each_point_has_its_label_where_there_is_room() -> None:
    text = "\n".join(drawn([OLD, NEW]))
    assert all(label in text for label in ("64", "32", "8", "1"))
    assert (text.count("●"), text.count("○")) == (4, 1), "no label or dot hides a point; two are in one cell"


def test_the_limit_is_named_where_it_is_near() -> None:
    near = drawn([NEW], limit=25.0, limit_words="25 tok/s: the limit")
    assert any("25 tok/s: the limit" in row for row in near)
    far = drawn([NEW], limit=0.01, limit_words="far away")
    assert not any("far away" in row for row in far), "else the points would share a few cells"


def test_ascii_has_no_other_signs() -> None:
    line = Line(NEW.points, "*", below=False)
    assert all(row.isascii() for row in drawn([line], ascii=True, limit=25.0, limit_words="limit"))


@pytest.mark.parametrize(("width", "height"), [(0, 0), (19, 10), (40, 3), (5, 40)])
def test_where_there_is_no_room_there_is_no_plot(width: int, height: int) -> None:
    assert drawn([NEW], width, height) == []


@given(
    st.lists(st.tuples(st.floats(0, 1e9), st.floats(0, 1e9)), min_size=1, max_size=9),
    st.integers(20, 120),
    st.integers(4, 40),
)
def test_any_points_fit_any_room(points: list[tuple[float, float]], width: int, height: int) -> None:
    line = Line(tuple(Point(x, y, str(index)) for index, (x, y) in enumerate(points)), "*")
    rows = scatter(UNICODE, [line], width, height, limit=25.0, limit_words="the limit", unit="tok/s")
    assert len(rows) == height
    for row in rows:
        assert max((column + len(text) for column, text, _ in row.pieces), default=0) <= width


def test_a_single_point_and_values_that_are_none_are_drawn() -> None:
    assert sum(row.count("●") for row in drawn([Line((Point(50.0, 100.0),), "●")])) == 1
    assert drawn([Line((Point(math.nan, 100.0),), "●")]) == []
    assert sum(row.count("●") for row in drawn([Line((Point(0.0, 0.0),), "●")])) == 1
