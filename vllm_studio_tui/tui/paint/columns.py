"""Tables drawn from a list of columns, headings and rows, so that a new column is one more entry of the list."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from vllm_studio_tui.tui.paint.ink import Row

T = TypeVar("T")

#: The content of a cell: texts with their styles, one after the other.
Parts = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Column(Generic[T]):
    """A column of a table.

    Attributes:
        title: Its heading.
        value: Returns its content for an item.
        room: For each layout that has the column: the blank cells before it, and its width in cells.
        right: Whether it is aligned to the right; such values are never cut.
    """

    title: str
    value: Callable[[T], Parts]
    room: Mapping[str, tuple[int, int]]
    right: bool = False


def placed(columns: Sequence[Column[T]], layout: str, x: int) -> Iterator[tuple[Column[T], int, int]]:
    """Yield the columns of a layout from cell `x` on, each with its first cell and the cell after its last."""
    for column in columns:
        if layout in column.room:
            gap, width = column.room[layout]
            yield column, x + gap, x + gap + width
            x += gap + width


def start_of(columns: Sequence[Column[T]], title: str, layout: str, x: int) -> int:
    """Return the first cell of a column."""
    return next(start for column, start, _ in placed(columns, layout, x) if column.title == title)


def heads(columns: Sequence[Column[T]], layout: str, x: int, row: Row, *, left: bool = False) -> Row:
    """Draw the headings, aligned as their columns; with `left`, all to the left."""
    for column, start, end in placed(columns, layout, x):
        if column.right and not left:
            row.put_right(end, column.title, "faint")
        else:
            row.put(start, column.title, "faint")
    return row


def fill(columns: Sequence[Column[T]], layout: str, x: int, row: Row, item: T) -> Row:
    """Draw the values of an item."""
    for column, start, end in placed(columns, layout, x):
        parts = column.value(item)
        if column.right:
            at = end
            for text, style in reversed(parts):
                at = row.put_right(at, text, style)
        else:
            at = start
            for text, style in parts:
                at = row.put(at, text, style, end - at)
    return row
