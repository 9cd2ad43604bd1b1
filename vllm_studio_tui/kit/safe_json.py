"""Parse JSON from outside: any input is either parsed or raises ValueError."""

from __future__ import annotations

import json
from typing import Any


def loads(text: str | bytes) -> Any:
    """Parse JSON like `json.loads`; nesting that is too deep is a ValueError too.

    Raises:
        ValueError: This is no JSON that can be read here.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def is_shallow(value: Any, *, most: int = 32) -> bool:
    """Return whether lists and objects are nested at most `most` deep, so that copying and writing cannot fail."""
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
