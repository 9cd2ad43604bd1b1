"""Moments and ranges as people write them."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_studio_tui.kit.moments import read_moment, read_range, write_range

NOW = time.mktime((2026, 11, 27, 14, 30, 0, 0, 0, -1))


@pytest.mark.parametrize(
    ("text", "before"),
    [("now", 0), ("30m", 1800), ("90 s", 90), ("2h", 7200), ("1.5h", 5400), ("3d", 259_200), ("1w", 604_800)],
)
def test_so_long_ago(text: str, before: float) -> None:
    assert read_moment(text, NOW) == NOW - before


@pytest.mark.parametrize("ago", [5.5, 3600.25, 85_000, 86_390, 90_000, 20 * 86_400.0])
def test_a_range_that_is_written_can_be_read_and_has_all_of_it(ago: float) -> None:
    since, until = NOW - ago, NOW - ago + 4.75
    found = read_range(write_range(since, until, NOW), NOW)
    assert found is not None
    assert since - 1 < found[0] <= since < until <= found[1] < until + 1


def test_a_time_of_day_is_the_last_one() -> None:
    assert read_moment("14:20", NOW) == NOW - 600
    assert read_moment("14:29:30", NOW) == NOW - 30
    assert read_moment("15:00", NOW) == NOW - 84_600
    assert read_moment("2026-11-27T14:20:00", NOW) == NOW - 600


@given(st.text(max_size=30))
def test_no_text_raises(text: str) -> None:
    read_moment(text, NOW)
    read_range(text, NOW)


@pytest.mark.parametrize("text", ["", "5", "25:00", "yesterday", "0001-01-01", "-5m", "2h..", "9999999999999999"])
def test_what_is_no_moment_is_none(text: str) -> None:
    assert read_moment(text, NOW) is None


def test_a_range_goes_forward() -> None:
    assert read_range("14:00..14:10", NOW) == (NOW - 1800, NOW - 1200)
    assert read_range("2h..", NOW) == (NOW - 7200, NOW)
    assert read_range("1h..2h", NOW) is None
    assert read_range("1h", NOW) is None
