"""Turn dataclasses into what JSON holds. Standard library only: the keeper imports this."""

from __future__ import annotations

from functools import cache
from typing import Any


def plain(value: Any) -> Any:
    """Return dataclasses, also within lists and tuples, as dictionaries; all else as it is.

    Nothing is copied: `dataclasses.asdict` copies each value, which takes five times as long.
    """
    if (names := _names(type(value))) is not None:  # type: ignore[arg-type]  # classes can be hashed
        return {name: plain(getattr(value, name)) for name in names}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value


@cache
def _names(kind: Any) -> tuple[str, ...] | None:
    known = getattr(kind, "__dataclass_fields__", None)
    return None if known is None else tuple(known)
