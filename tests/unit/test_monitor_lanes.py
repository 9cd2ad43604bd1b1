"""Which charts the monitor draws, and how many fit."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from vllm_studio_tui.tui.look.sizes import Size
from vllm_studio_tui.tui.paint.glyphs import UNICODE
from vllm_studio_tui.tui.screens.monitor import lane_groups, lanes
from vllm_studio_tui.tui.screens.monitor.lane_groups import Group, Lane
from vllm_studio_tui.tui.screens.monitor.time_view import Axis


def lane(label: str, *series: str) -> Lane:
    return Lane(label, series or (label,), str)


GROUPS = st.lists(
    st.builds(
        lambda title, count: Group(title, tuple(lane(f"{title}{number}") for number in range(count))),
        st.sampled_from(["", "a", "b"]),
        st.integers(1, 8),
    ),
    max_size=6,
)


@given(GROUPS, st.integers(0, 30))
def test_what_fits_is_never_more_than_the_room_and_each_group_keeps_its_first(wanted: list[Group], room: int) -> None:
    shown = lane_groups.that_fit(wanted, lambda _: True, room)
    assert sum(len(group.lanes) + bool(group.title) for group in shown) <= room
    for group, given_group in zip(shown, wanted, strict=False):
        assert group.lanes == given_group.lanes[: len(group.lanes)]


def test_a_lane_without_any_series_is_left_out() -> None:
    shown = lane_groups.that_fit(
        [Group("a", (lane("x"), lane("y"))), Group("b", (lane("z"),))], lambda name: name == "y", 9
    )
    assert shown == [Group("a", (lane("y"),))]


def test_several_series_make_one_value_and_unknown_is_not_zero() -> None:
    both = Lane("both", ("one", "two"), lambda value: "–" if value is None else f"{value:g}")
    columns = {"one": [1.0, None, 3.0], "two": [2.0, None, None]}
    axis = Axis("3 s", 1.0, 3, 3.0, 3.0, cursor=0.5)
    rows = lanes.rows([Group("", (both,))], columns, lambda _: 3.0, (), axis, UNICODE, 120, Size.WIDE)
    text = " ".join(piece[1] for piece in rows[1].pieces if piece[1] != "│")
    assert text.split()[-3:] == ["3", "3", "–"]  # now, at the cursor two columns before, and before it nothing


def test_the_moment_is_compared_with_what_is_shown_before_it_and_what_is_much_worse_is_red() -> None:
    waiting = Lane("waiting", ("w",), lambda value: "–" if value is None else f"{value:g}", worse=1, least=2.0)
    columns = {"w": [0.0, 0.0, 0.0, 31.0, 0.0, 0.0]}
    axis = Axis("6 s", 1.0, 6, 6.0, 6.0, cursor=3.5)
    row = lanes.rows([Group("", (waiting,))], columns, lambda _: 0.0, (), axis, UNICODE, 120, Size.WIDE)[1]
    assert [(text, style) for _, text, style in row.pieces if text in ("0", "31")] == [
        ("0", "fg bold"), ("31", "err"), ("0", "dim")
    ]  # fmt: skip
    quiet = replace(axis, cursor=1.5)
    row = lanes.rows([Group("", (waiting,))], columns, lambda _: 0.0, (), quiet, UNICODE, 120, Size.WIDE)[1]
    assert not any(style == "err" for _, _, style in row.pieces)


def test_two_marks_compare_the_columns_around_them() -> None:
    speed = Lane("speed", ("s",), lambda value: "–" if value is None else f"{value:g}", worse=-1, least=1.0)
    columns = {"s": [100.0] * 10 + [25.0] * 10}
    axis = Axis("20 s", 1.0, 20, 20.0, 20.0, cursor=15.5, marks=(4.5, 15.5))
    made = lanes.rows([Group("", (speed,))], columns, lambda _: 25.0, (), axis, UNICODE, 120, Size.WIDE)
    assert [text for _, text, _ in made[1].pieces if text != "│"][-3:] == ["100", "25", "-75%"]
    assert "change" in made[0].text(120) and "now" not in made[0].text(120)


def test_a_latency_far_over_what_is_usual_is_drawn_as_a_warning() -> None:
    slow = Lane("TTFT", ("t",), str, worse=1, least=0.05, alarms=True)
    columns = {"t": [0.2] * 17 + [9.4] * 3}
    axis = Axis("20 s", 1.0, 20, 20.0, 20.0)
    row = lanes.rows([Group("", (slow,))], columns, lambda _: 9.4, (), axis, UNICODE, 120, Size.WIDE)[1]
    assert "".join(text for _, text, style in row.pieces if style == "warn") == "▆▆▆"
