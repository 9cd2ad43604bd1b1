"""The columns of a table: which of them there is room for, how wide each is, and how heads and values are drawn.

Nothing here knows a widget: `widgets/table.py` has the cursor, the order and the filter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Generic, TypeVar

from rich.cells import cell_len

from vllm_studio_tui.tui.paint.glyphs import Glyphs
from vllm_studio_tui.tui.paint.ink import Row

T = TypeVar("T")

#: The content of a cell: texts with their styles, one after the other.
Parts = Sequence[tuple[str, str]]

#: The number of items whose values are measured to find out how wide a column is.
MEASURED = 400


@dataclass(frozen=True, slots=True)
class Column(Generic[T]):
    """A column of a table.

    Attributes:
        name: What it is called where it is chosen: in the order and in exports.
        value: Returns its content for an item.
        least: Its width in cells, without which it is left out; a wider heading makes it wider.
        title: Its heading; None: its name.
        grow: In which turn it becomes as wide as its widest value, from 1; 0: never. The columns of the first turn,
            the names, get this before any other column gets room.
        drop: Which columns are left out first where there is too little room, the greatest first; 0: never.
        right: Whether it is aligned to the right, as numbers are: it is as wide as its values, and none of them is cut.
        gap: The blank cells before it.
        order: Returns what items are ordered by; None: the table cannot be ordered by it.
        falling: Whether that order begins with the greatest.
        draw: Returns the content for an item and a width, in place of `value`: for bars, and for what has short forms.
        room: For tables with fixed places: the blank cells before it and its width, by layout, see `fixed`.
    """

    name: str
    value: Callable[[T], Parts]
    least: int = 0
    title: str | None = None
    grow: int = 0
    drop: int = 0
    right: bool = False
    gap: int = 2
    order: Callable[[T], Any] | None = None
    falling: bool = False
    draw: Callable[[T, int], Parts] | None = None
    room: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def head(self) -> str:
        return self.name if self.title is None else self.title

    @property
    def least_width(self) -> int:
        return max(self.least, cell_len(self.head))


@dataclass(frozen=True, slots=True)
class Cell(Generic[T]):
    """A column in its place: its first cell, and the cell after its last."""

    column: Column[T]
    start: int
    end: int

    @property
    def width(self) -> int:
        return self.end - self.start


def natural_widths(columns: Iterable[Column[T]], items: Iterable[T]) -> dict[str, int]:
    """Return the widest value of each column whose width depends on its values, of the first items."""
    flexible = [column for column in columns if column.grow or column.right]
    widths = {column.name: 0 for column in flexible}
    for item in islice(items, MEASURED):
        for column in flexible:
            width = sum(cell_len(text) for text, _ in column.value(item))
            if width > widths[column.name]:
                widths[column.name] = width
    return widths


def lay_out(columns: Sequence[Column[T]], natural: Mapping[str, int], room: int, x: int = 0) -> tuple[Cell[T], ...]:
    """Place the columns that fit into `room` cells from cell `x` on.

    Args:
        natural: The widest value of each column, see `natural_widths`.
    """

    def first_width(column: Column[T]) -> int:
        wanted = natural.get(column.name, 0)
        if column.grow == 1:
            # One name of a hundred letters does not take all other columns away.
            return max(column.least_width, min(wanted, room * 3 // 5))
        return max(column.least_width, wanted) if column.right else column.least_width

    kept = list(columns)
    widths = {column.name: first_width(column) for column in kept}

    def needed() -> int:
        return sum(widths[column.name] + (column.gap if index else 0) for index, column in enumerate(kept))

    while needed() > room and any(column.drop for column in kept):
        kept.remove(max(kept, key=lambda column: column.drop))
    for column in sorted((column for column in kept if not column.right), key=lambda column: column.grow == 0):
        # Texts are cut before a number is left out.
        if (over := needed() - room) > 0:
            widths[column.name] = max(min(4, widths[column.name]), widths[column.name] - over)
    while needed() > room and len(kept) > 1:
        kept.pop()
    if kept and needed() > room:
        widths[kept[0].name] = max(0, room)
    for column in sorted((column for column in kept if column.grow), key=lambda column: column.grow):
        widths[column.name] += max(0, min(natural.get(column.name, 0) - widths[column.name], room - needed()))
    cells = []
    for index, column in enumerate(kept):
        x += column.gap if index else 0
        cells.append(Cell(column, x, x + widths[column.name]))
        x += widths[column.name]
    return tuple(cells)


def fixed(columns: Sequence[Column[T]], layout: str, x: int = 0) -> tuple[Cell[T], ...]:
    """Place the columns of a layout, as their `room` says, from cell `x` on."""
    cells = []
    for column in columns:
        if layout in column.room:
            gap, width = column.room[layout]
            cells.append(Cell(column, x + gap, x + gap + width))
            x += gap + width
    return tuple(cells)


def start_of(cells: Sequence[Cell[T]], name: str) -> int:
    """Return the first cell of a column."""
    return next(cell.start for cell in cells if cell.column.name == name)


def put_heads(cells: Sequence[Cell[T]], row: Row, *, ordered: str = "", mark: str = "", left: bool = False) -> Row:
    """Draw the headings; a click on one of a column that rows can be ordered by runs `order:<name>`.

    Args:
        mark: Stands at the heading of the column that the rows are ordered by.
        left: Align all of them to the left.
    """
    for cell in cells:
        column = cell.column
        style = "dim" if column.name == ordered else "faint"
        if column.right and not left:
            start, end = row.put_right(cell.end, column.head, style), cell.end
        else:
            start, end = cell.start, row.put(cell.start, column.head, style, None if column.room else cell.width)
        if column.name == ordered:
            # In the blank cells after it, so that nothing moves when the order changes.
            space = 1 if not column.right and cell.width >= cell_len(column.head) + 2 else 0
            end = row.put(end + space, mark, style)
        if column.order is not None:
            row.link(start, end, f"order:{column.name}")
    return row


def put_values(cells: Sequence[Cell[T]], row: Row, item: T, glyphs: Glyphs, style: str = "") -> Row:
    """Draw the values of an item; with `style`, all in this one."""
    for cell in cells:
        column = cell.column
        parts = column.value(item) if column.draw is None else column.draw(item, cell.width)
        if column.right:
            if not column.room and sum(cell_len(text) for text, _ in parts) > cell.width:
                # A number is never cut: a part of it is another number.
                parts = [(glyphs.ellipsis, "faint")]
            at = cell.end
            for text, own in reversed(parts):
                at = row.put_right(at, text, style or own)
        else:
            at = cell.start
            for text, own in parts:
                at = row.put(at, text, style or own, cell.end - at)
    return row
