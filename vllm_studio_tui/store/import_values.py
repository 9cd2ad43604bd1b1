"""Reading values of documents that anybody may have written: a value of another kind is as if it were not there."""

from __future__ import annotations

import base64
import binascii
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

#: How the pictures begin that engines take, as base64.
_PICTURES = {"iVBOR": "png", "/9j/": "jpeg", "R0lGO": "gif", "UklGR": "webp"}


def mapping(value: Any) -> Mapping[str, Any]:
    """Return an object, or an empty one."""
    return value if isinstance(value, Mapping) else {}


def items(value: Any) -> list[Any]:
    """Return a list, or an empty one."""
    return value if isinstance(value, list) else []


def text(value: Any) -> str:
    """Return text, or none."""
    return value if isinstance(value, str) else ""


def figure(value: Any) -> float | None:
    """Return a number that is one, and not below zero."""
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0
    return float(value) if good else None


def picture(value: Any) -> str | None:
    """Return a picture in base64 as a data URL; None where it is none."""
    if not isinstance(value, str):
        return None
    kind = next((kind for begin, kind in _PICTURES.items() if value.startswith(begin)), None)
    try:
        base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return None
    return f"data:image/{kind};base64,{value}" if kind is not None else None


class LeftOut:
    """Counts what of a file could not be taken."""

    def __init__(self) -> None:
        self._counted: Counter[str] = Counter()

    def add(self, what: str) -> None:
        """Count one more: `what` in the singular."""
        self._counted[what] += 1

    def notes(self) -> list[str]:
        """Return it in words."""
        return [f"left out: {count} × {what}" for what, count in sorted(self._counted.items())]
