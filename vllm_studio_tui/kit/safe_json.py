"""JSON from outside: whatever arrives, it is read or a ValueError."""

from __future__ import annotations

import json
from typing import Any


def loads(text: str | bytes) -> Any:
    """Like `json.loads`; that it is nested too deeply is a ValueError too.

    Raises:
        ValueError: This is no JSON that can be read here.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def is_shallow(value: Any, *, most: int = 32) -> bool:
    """Whether lists and objects are nested at most so deep, so that copying and writing it cannot fail."""
    level = [value]
    for _ in range(most):
        level = [
            inner
            for one in level
            if isinstance(one, dict | list | tuple)
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
        if not level:
            return True
    return not any(isinstance(one, dict | list | tuple) for one in level)
