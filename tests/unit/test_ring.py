"""The ring of samples behind charts."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_studio_tui.kit.ring import Ring

samples = st.lists(st.none() | st.floats(-1e9, 1e9), max_size=60)


def filled(values: list[float | None], size: int) -> Ring:
    ring = Ring(size)
    for at, value in enumerate(values):
        ring.append(float(at), value)
    return ring


@given(samples, st.integers(1, 20))
def test_a_ring_keeps_the_last_samples_in_order(values: list[float | None], size: int) -> None:
    ring = filled(values, size)
    assert ring.values() == values[-size:]
    assert [at for at, _ in ring] == [float(at) for at in range(len(values))][-size:]
    known = [value for value in values[-size:] if value is not None]
    assert ring.known() == known
    assert ring.max() == max(known, default=None)


def test_unknown_is_not_zero() -> None:
    ring = filled([None, 4.0, math.nan, math.inf, 2.0], 8)
    assert ring.values() == [None, 4.0, None, None, 2.0]
    assert ring.known() == [4.0, 2.0]


def test_columns_of_equal_time_hold_a_value_over_short_gaps_only() -> None:
    ring = Ring(10)
    for at, value in ((2.0, 1.0), (4.0, 2.0), (10.0, 3.0)):
        ring.append(at, value)
    assert ring.over(10, 10.0, 10.0) == [None, 1.0, None, 2.0, None, None, None, None, None, 3.0]
    assert ring.over(10, 10.0, 10.0, hold=2.0)[1:7] == [1.0, 1.0, 2.0, 2.0, 2.0, None]
    assert ring.over(2, 10.0, 10.0) == [1.5, 3.0]


def test_a_sample_that_is_unknown_is_not_held_over() -> None:
    ring = Ring(4)
    ring.append(1.0, 5.0)
    ring.append(2.0, None)
    assert ring.over(4, 4.0, 4.0, hold=3.0) == [5.0, None, None, None]


def test_a_ring_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="room"):
        Ring(0)
