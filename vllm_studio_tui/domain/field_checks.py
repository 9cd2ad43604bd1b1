"""Check values that come from files of another version, of another program, or half written.

Standard library only: the keeper imports this.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import cache
from typing import Any

from vllm_studio_tui.kit.safe_json import is_shallow

#: Seconds since the epoch, or for how long: more is no time of this world.
FAR = 1e11


def whole(value: Any) -> bool:
    """Return whether it is an integer of at most 64 bits."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


def number(value: Any) -> bool:
    """Return whether it is a finite number that can be a time or a duration in seconds."""
    return (whole(value) or isinstance(value, float)) and math.isfinite(value) and -1.0 <= value < FAR


def text(value: Any) -> bool:
    """Return whether it is text."""
    return isinstance(value, str)


def texts(value: Any) -> bool:
    """Return whether it is a list of texts."""
    return isinstance(value, list | tuple) and all(isinstance(one, str) for one in value)


def table(value: Any) -> bool:
    """Return whether it is a shallow mapping with text keys."""
    return isinstance(value, Mapping) and all(isinstance(one, str) for one in value) and is_shallow(value)


def text_table(value: Any) -> bool:
    """Return whether it maps text to text."""
    return isinstance(value, Mapping) and texts([*value, *value.values()])


def fixes(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(one, str) or table(one) for one in value)


def process_id(value: Any) -> bool:
    """Return whether it can be a process id."""
    return whole(value) and 0 < value < 2**31


#: By the type of a field as it is written; a type that is not here is looked at by whoever reads it.
CHECKS: Mapping[str, Callable[[Any], bool]] = {
    "str": text,
    "int": whole,
    "float": number,
    "bool": lambda value: isinstance(value, bool),
    "list[str]": texts,
    "tuple[str, ...]": texts,
    "dict[str, Any]": table,
    "Mapping[str, Any]": table,
    "Mapping[str, str]": text_table,
    "list[Fix]": fixes,
    "tuple[Fix, ...]": fixes,
}


def valid_fields(cls: type[Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of `data` that the fields of this dataclass can hold; the others are left out."""
    found: dict[str, Any] = {}
    for name, optional, check in _checks_of(cls):  # type: ignore[arg-type]  # classes can be hashed
        if name in data:
            value = data[name]
            if check is None or (optional and value is None) or check(value):
                found[name] = value
    return found


@cache
def _checks_of(cls: Any) -> tuple[tuple[str, bool, Callable[[Any], bool] | None], ...]:
    """Return name, whether it may be None, and the check of each field: a spec has hundreds of rows of one class."""
    found = []
    for one in fields(cls):
        kind = str(one.type)
        check = process_id if one.name.endswith("pid") else CHECKS.get(kind.removesuffix(" | None"))
        found.append((one.name, kind.endswith(" | None"), check))
    return tuple(found)
