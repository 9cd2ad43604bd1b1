"""Size classes of the terminal, each with a layout of its own."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from textual.widget import Widget


class Size(IntEnum):
    """A size class; larger ones compare greater."""

    LINE = 0
    STRIP = 1
    COMPACT = 2
    BASE = 3
    WIDE = 4
    FULL = 5


_COLUMNS = ((150, Size.FULL), (120, Size.WIDE), (80, Size.BASE), (60, Size.COMPACT), (40, Size.STRIP))
_ROWS = ((40, Size.FULL), (34, Size.WIDE), (24, Size.BASE), (15, Size.COMPACT), (4, Size.STRIP))


def size_class(width: int, height: int, *, compact: bool = False) -> Size:
    """Return the smaller of the classes of a width and a height in cells; with `compact`, COMPACT at most."""
    by_width = next((size for least, size in _COLUMNS if width >= least), Size.LINE)
    by_height = next((size for least, size in _ROWS if height >= least), Size.LINE)
    size = min(by_width, by_height)
    return min(size, Size.COMPACT) if compact else size


def margin(size: Size) -> int:
    """Return the column where text starts."""
    return {Size.FULL: 3, Size.WIDE: 3, Size.BASE: 2, Size.COMPACT: 1}.get(size, 0)


#: The most columns of the layouts for small windows, in a large one.
NARROW = 79


def mark_size(page: Widget, size: Size) -> None:
    """Set the style class of a size on a page: `-full`, `-wide`, ..; also `-tiny` for STRIP and LINE."""
    wanted = f"-{size.name.lower()}"
    if page.has_class(wanted):
        return
    # Each change of classes restyles the whole page, so all of them are changed at once.
    page.remove_class(*(f"-{one.name.lower()}" for one in Size), "-tiny", update=False)
    page.add_class(wanted, *(["-tiny"] if size <= Size.STRIP else []))
