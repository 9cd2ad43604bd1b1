"""The time axis of the monitor: what is looked at stays where it is, and is never out of sight."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vllm_studio_tui.tui.screens.monitor.time_view import SPANS, STEPS, TimeView, moment

NOW = 1_795_444_320.0
KEYS = st.lists(st.sampled_from(["left", "right", "in", "out", "mark", "tick", "event", "now"]), max_size=40)


@given(KEYS, st.integers(1, 200))
def test_whatever_is_pressed_the_axis_is_whole_and_what_is_looked_at_is_in_sight(keys: list[str], room: int) -> None:
    view, now = TimeView(), NOW
    axis = view.axis(now, room)
    for key in keys:
        if key == "tick":
            now += 1.0
        elif key == "event":
            view.go(now - 2 * SPANS[view.span])
        elif key == "now":
            view.to_now()
        else:
            {"left": lambda: view.move(-1), "right": lambda: view.move(1), "in": lambda: view.zoom(-1),
             "out": lambda: view.zoom(1), "mark": view.mark}[key]()  # fmt: skip
        axis = view.axis(now, room)
        assert 1 <= axis.count <= room and axis.until <= now and axis.step in STEPS
        assert axis.column(axis.until) == axis.count - 1
        assert len(axis.marks) <= 2
        if key in ("left", "right", "event", "in", "out") and axis.cursor is not None:
            assert axis.looked_at is not None
        assert view.touched == bool(axis.marks or axis.cursor is not None or not axis.follows)


def test_every_span_from_a_minute_to_a_month_fills_a_wide_window_with_round_steps() -> None:
    view = TimeView()
    view.span = 0
    seen = []
    for _ in SPANS:
        axis = view.axis(NOW, 92)
        seen.append((axis.words, axis.step, axis.count))
        view.zoom(1)
    assert seen == [
        ("1 min", 1, 60), ("5 min", 4, 75), ("15 min", 10, 90), ("30 min", 20, 90), ("3 h", 120, 90),
        ("24 h", 1200, 72), ("7 days", 7200, 84), ("30 days", 28_800, 90),
    ]  # fmt: skip


def test_a_moment_stays_where_it_is_while_time_goes_on_and_a_mark_holds_the_picture() -> None:
    view = TimeView()
    view.axis(NOW, 92)
    for _ in range(11):
        view.move(-1)
    at = view.cursor
    first = view.axis(NOW, 92).looked_at
    assert first == 79
    assert view.axis(NOW + 100, 92).looked_at == first - 5 and view.cursor == at
    view.mark()
    held = view.axis(NOW + 100, 92)
    assert view.axis(NOW + 5000, 92).until == held.until and not held.follows
    view.mark()
    assert not view.marks
    view.to_now()
    assert view.axis(NOW + 5000, 92).until == NOW + 5000


def test_left_of_the_axis_it_goes_on_and_right_of_the_present_it_follows_again() -> None:
    view = TimeView()
    view.axis(NOW, 92)
    for _ in range(100):
        view.move(-1)
        view.axis(NOW, 92)
    axis = view.axis(NOW, 92)
    assert axis.cursor is not None and axis.cursor < NOW - 1800 and not axis.follows
    for _ in range(101):
        view.move(1)
        view.axis(NOW, 92)
    assert not view.touched and view.axis(NOW, 92).follows


def test_a_time_of_the_last_day_is_told_by_the_clock_over_midnight_too() -> None:
    assert moment(NOW - 16 * 3600, NOW) == "22:32"
    assert moment(NOW - 86_401, NOW) == "Nov 22"
