"""Values without an annotation as JSON, both ways: what JSON does not know is marked."""

from __future__ import annotations

import base64
import binascii
import datetime
import enum
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vllm_studio_tui.services.recipes.changes import Missing

#: Values in values, as deep as anything of ours is.
DEEPEST = 60


class BadShape(ValueError):
    """A value that does not fit its annotation."""


def float_document(value: float) -> Any:
    """Return a number as JSON, also one without bounds."""
    return value if math.isfinite(value) else str(value)


def float_of(data: Any) -> float:
    """Return the number of a document."""
    if type(data) in (int, float):
        try:
            return float(data)
        except OverflowError:
            raise BadShape("a number without bounds") from None
    if data in ("nan", "inf", "-inf"):
        return float(data)
    raise BadShape("no number")


def bytes_of(data: Any) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError, TypeError):
        raise BadShape("no base64") from None


def bytes_document(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


def path_of(data: Any) -> Path:
    if not isinstance(data, str):
        raise BadShape("no path")
    return Path(data)


def any_document(value: Any, deep: int = 0) -> Any:
    """Return a value without an annotation as JSON; what JSON does not know is marked.

    Raises:
        BadShape: It is none that could be sent.
    """
    if value is None or isinstance(value, bool | int | str):
        return value.value if isinstance(value, enum.Enum) else value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$float": str(value)}
    if deep > DEEPEST:
        raise BadShape("too many values in values")
    if isinstance(value, list):
        return [any_document(one, deep + 1) for one in value]
    if isinstance(value, Mapping):
        if all(isinstance(key, str) and not key.startswith("$") for key in value):
            return {key: any_document(one, deep + 1) for key, one in value.items()}
        pairs = [[any_document(key, deep + 1), any_document(one, deep + 1)] for key, one in value.items()]
        return {"$map": pairs}
    for mark, kind, encode, _ in _MARKS:
        if isinstance(value, kind):
            inner = encode(value)
            return {mark: [any_document(one, deep + 1) for one in inner] if isinstance(inner, list) else inner}
    raise BadShape(f"a {type(value).__name__} cannot be sent")


def any_of(data: Any, deep: int = 0) -> Any:
    """Return what `any_document` was given.

    Raises:
        BadShape: It made nothing like that.
    """
    if deep > DEEPEST * 2:  # a mark is a value around a value
        raise BadShape("too many values in values")
    if isinstance(data, list):
        return [any_of(one, deep + 1) for one in data]
    if not isinstance(data, dict):
        return data
    mark = next(iter(data), "")
    if not mark.startswith("$") or len(data) != 1:
        return {key: any_of(one, deep + 1) for key, one in data.items()}
    inner = data[mark]
    try:
        if mark == "$map":
            return {any_of(key, deep + 1): any_of(one, deep + 1) for key, one in inner}
        decode = next(decode for name, _, _, decode in _MARKS if name == mark)
        return decode([any_of(one, deep + 1) for one in inner] if isinstance(inner, list) else inner)
    except (StopIteration, ValueError, TypeError):
        raise BadShape(f"no value is marked {mark[:20]} like this") from None


_MARKS: tuple[tuple[str, Any, Callable[[Any], Any], Callable[[Any], Any]], ...] = (
    ("$tuple", tuple, list, tuple),
    ("$set", set | frozenset, lambda value: sorted(value, key=repr), frozenset),
    ("$bytes", bytes, bytes_document, bytes_of),
    ("$path", Path, str, path_of),
    ("$time", datetime.datetime, lambda value: value.isoformat(), datetime.datetime.fromisoformat),
    ("$date", datetime.date, lambda value: value.isoformat(), datetime.date.fromisoformat),
    ("$float", float, str, float_of),
    # What stands in a change of a recipe where there was, or is, nothing: one of a kind.
    ("$missing", Missing, lambda value: value.value, Missing),
)
