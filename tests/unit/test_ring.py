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
    assert ring.times() == [float(at) for at in range(len(values))][-size:]
    known = [value for value in values[-size:] if value is not None]
    assert (ring.min(), ring.max()) == (min(known, default=None), max(known, default=None))
    mean = ring.mean()
    if known:
        assert mean == pytest.approx(math.fsum(known) / len(known))
    else:
        assert mean is None


@given(samples, st.integers(1, 30), st.integers(0, 40))
def test_resampling_gives_exactly_the_columns_within_the_bounds(
    values: list[float | None], size: int, columns: int
) -> None:
    ring = filled(values, size)
    out = ring.resample(columns, pick=max)
    assert len(out) == columns
    known = ring.known()
    assert {value for value in out if value is not None} <= set(known)
    if known and columns:
        assert max(value for value in out if value is not None) == ring.max()


def test_unknown_is_not_zero() -> None:
    ring = filled([None, 4.0, math.nan, math.inf, 2.0], 8)
    assert ring.values() == [None, 4.0, None, None, 2.0]
    assert ring.mean() == 3.0
    ring.append(9.0, None)
    assert ring.latest is None
    assert Ring(3).latest is None


def test_few_samples_stand_at_the_right() -> None:
    assert filled([1.0, 2.0], 8).resample(4) == [None, None, 1.0, 2.0]


def test_many_samples_are_averaged_by_column() -> None:
    assert filled([1.0, 3.0, None, None, 5.0, None], 6).resample(3) == [2.0, None, 5.0]


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


def test_clearing_empties_it() -> None:
    ring = filled([1.0, 2.0], 2)
    ring.clear()
    assert (len(ring), ring.values()) == (0, [])


def test_a_ring_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="room"):
        Ring(0)
