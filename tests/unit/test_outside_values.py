"""Single values from outside: numbers and counts that fit, and nothing that raises."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_studio_tui.kit.outside_values import as_count, as_number

anything = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.lists(st.integers())


@given(anything | st.sampled_from([10**400, -(10**400), math.nan, math.inf, 2**53, 1e18]))
def test_whatever_comes_is_a_number_that_fits_or_unknown(value: Any) -> None:
    for negative in (False, True):
        found = as_number(value, negative=negative)
        assert found is None or (found == value and abs(found) < 1e18 and (negative or found >= 0))
    count = as_count(value)
    assert count is None or (isinstance(count, int) and 0 <= count < 2**53 and count <= value < count + 1)


@pytest.mark.parametrize(
    ("text", "number", "count"),
    [
        ("0", 0.0, 0),
        ("1.75", 1.75, 1),
        ("-1", None, None),
        ("true", None, None),
        ('"7"', None, None),
        ("NaN", None, None),
        ("1e999", None, None),
        ("1" + "0" * 400, None, None),
        ("9007199254740991", 9007199254740991.0, 9007199254740991),
        ("9007199254740992", 9007199254740992.0, None),
    ],
)
def test_numbers_of_a_document(text: str, number: float | None, count: int | None) -> None:
    value = json.loads(text)
    assert (as_number(value), as_count(value)) == (number, count)


def test_a_bound_and_a_sign_are_those_that_are_asked_for() -> None:
    assert (as_number(5, below=5), as_number(4.9, below=5), as_number(-2, negative=True)) == (None, 4.9, -2.0)
    assert as_number(-5, below=5, negative=True) is None
