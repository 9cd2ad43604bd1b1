"""Size classes: each is a layout of its own."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from textual.widget import Widget


class Size(IntEnum):
    """From the smallest to the largest."""

    LINE = 0
    STRIP = 1
    COMPACT = 2
    BASE = 3
    WIDE = 4
    FULL = 5


_COLUMNS = ((150, Size.FULL), (120, Size.WIDE), (80, Size.BASE), (60, Size.COMPACT), (40, Size.STRIP))
_ROWS = ((40, Size.FULL), (34, Size.WIDE), (24, Size.BASE), (15, Size.COMPACT), (4, Size.STRIP))


def size_class(width: int, height: int, *, compact: bool = False) -> Size:
    """The smaller of what width and height allow. `compact`: never more than compact."""
    by_width = next((size for least, size in _COLUMNS if width >= least), Size.LINE)
    by_height = next((size for least, size in _ROWS if height >= least), Size.LINE)
    size = min(by_width, by_height)
    return min(size, Size.COMPACT) if compact else size


def margin(size: Size) -> int:
    """The column where text starts."""
    return {Size.FULL: 3, Size.WIDE: 3, Size.BASE: 2, Size.COMPACT: 1}.get(size, 0)


def mark_size(page: Widget, size: Size) -> None:
    """Give a page the class of a size, for the style sheets: `-full`, `-wide`, ..; also `-tiny` for strip and line."""
    wanted = f"-{size.name.lower()}"
    if page.has_class(wanted):
        return
    # Every change of a class styles the whole page anew: one change is enough.
    page.remove_class(*(f"-{one.name.lower()}" for one in Size), "-tiny", update=False)
    page.add_class(wanted, *(["-tiny"] if size <= Size.STRIP else []))
