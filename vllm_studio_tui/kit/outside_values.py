"""Read single values that came from outside: what does not fit is unknown, nothing raises. Standard library only."""

from __future__ import annotations

import math
from typing import Any


def as_number(value: Any, *, below: float = 1e18, negative: bool = False) -> float | None:
    """Return a finite number; None for all else, truth values and text too.

    Args:
        below: What the number without its sign has to be less than.
        negative: It may be below zero.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:  # JSON's whole numbers may have any number of digits
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) and (negative or found >= 0) and abs(found) < below else None


def as_count(value: Any, *, below: float = 2**53) -> int | None:
    """Return a number that is not negative, without what comes after its point; None for all else."""
    return None if as_number(value, below=below) is None else int(value)
