"""A table: rows with a cursor that can be ordered, filtered and marked. Only the rows in sight are drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Generic, TypeVar

from textual.binding import BindingType

from vllm_studio_tui.tui.keys import actions
from vllm_studio_tui.tui.look.sizes import Size, margin
from vllm_studio_tui.tui.paint.ink import Ink, Row
from vllm_studio_tui.tui.paint.table import Cell, Column, Parts, lay_out, natural_widths, put_heads, put_values
from vllm_studio_tui.tui.widgets.canvas import Canvas, ListCanvas

T = TypeVar("T")

#: From this height on the title has a row.
LEAST_WITH_TITLE = 4


class Table(ListCanvas, Generic[T]):
    """A table of items, each with a key. What it shows is given with `show_items`.

    Args:
        columns: The columns, or what returns them.
        get_ink: Returns the colours and glyphs in use.
        get_size: Returns the size class in use.
        title: What its items are, in capitals.
        key: Returns the key of an item.
        words: Returns the text of an item that a filter looks through.
        rank: Returns what the items are ordered by until a person orders them by a column; None: as they are given.
        rank_words: This order in words.
        lead: Returns the mark before the first column, and its colour.
        above: Returns rows that stand above the title, for a width and a height.
        note: Returns what stands behind the title, before the order.
        nothing: Returns what is shown in place of rows where there are no items at all, from a cell on, for a width.
        total: Returns the item with the sums, which stands below the others; None for none.
        can_mark: Whether rows can be marked.
        plane: The background.
    """

    BINDINGS: ClassVar[list[BindingType]] = [*actions.bindings("table")]

    def __init__(
        self,
        columns: Sequence[Column[T]] | Callable[[], Sequence[Column[T]]],
        get_ink: Callable[[], Ink],
        get_size: Callable[[], Size],
        *,
        title: str,
        key: Callable[[T], str],
        words: Callable[[T], str],
        rank: Callable[[T], Any] | None = None,
        rank_words: str = "",
        lead: Callable[[T], tuple[str, str]] | None = None,
        above: Callable[[int, int], Sequence[Row]] | None = None,
        note: Callable[[], Parts] | None = None,
        nothing: Callable[[int, int], Sequence[Row]] | None = None,
        total: Callable[[], T | None] | None = None,
        can_mark: bool = False,
        plane: str = "",
        id: str | None = None,  # noqa: A002, RUF100
    ) -> None:
        super().__init__(self._window, get_ink, plane=plane, id=id)
        self.get_ink = get_ink
        self._columns = columns
        self._get_size = get_size
        self._key_of = key
        self._words_of = words
        self._rank = rank
        self.rank_words = rank_words
        self._lead = lead
        self._above = above
        self._note = note
        self._nothing = nothing
        self._total = total
        self._can_mark = can_mark
        self._items: list[T] | None = None
        self._shown: list[T] = []
        self._order_of_keys: list[str] = []
        self._index: dict[str, int] = {}
        self._natural: dict[str, int] = {}
        self._first = 0
        self._room = 1
        self.title = title
        #: Opens the filter line, and shows or hides the details; set by the listing that the table stands in.
        self.ask_filter: Callable[[], None] | None = None
        self.show_info: Callable[[], None] | None = None
        #: The name of the column that the rows are ordered by; empty: by their rank.
        self.ordered = ""
        #: Whether that order begins with the greatest.
        self.falling = False
        #: The words that a row has to have.
        self.filter = ""
        #: The keys of the marked rows.
        self.marks: set[str] = set()

    # --- what is shown ----------------------------------------------------------------------------------

    @property
    def columns(self) -> Sequence[Column[T]]:
        return self._columns() if callable(self._columns) else self._columns

    def show_items(self, items: Sequence[T]) -> None:
        """Show these items. The cursor and the marks stay on their keys."""
        self._items = list(items)
        if self.marks:
            self.marks &= {self._key_of(item) for item in self._items}
        self._arrange()

    def _arrange(self) -> None:
        """Filter and order the items, keep the cursor on its key, and draw."""
        items = self._items or []
        if self.filter:
            has = self.test_of(self.filter)
            items = [item for item in items if has(item)]
        if self._rank is not None:
            items = sorted(items, key=self._rank)
        column = next((column for column in self.columns if column.name == self.ordered), None)
        if column is not None and column.order is not None:
            order = column.order
            valued = [(order(item), item) for item in items]
            # What is not known comes last, whichever way.
            known = sorted(
                ((value, item) for value, item in valued if value is not None),
                key=lambda one: one[0],
                reverse=self.falling,
            )
            items = [item for _, item in known] + [item for value, item in valued if value is None]
        was = self._index.get(self.key or "", 0)
        self._shown = list(items)
        self._order_of_keys = [self._key_of(item) for item in items]
        self._index = {key: index for index, key in enumerate(self._order_of_keys)}
        self._natural = natural_widths(self.columns, self._shown)
        if self._wanted in self._index:
            wanted, self._wanted = self._wanted, None
            self._set_key(wanted)
            self.show_cursor()
        elif self.key not in self._index:
            keys = self._order_of_keys
            self._set_key(keys[min(was, len(keys) - 1)] if keys else None)
            self.show_cursor()
        self.repaint()

    def test_of(self, text: str) -> Callable[[T], bool]:
        """Return what says of an item whether a filter leaves it: it has all of its words."""
        words = text.lower().split()
        return lambda item: all(word in self._words_of(item).lower() for word in words)

    def item(self, key: str | None) -> T | None:
        """Return the item of a key, if it is shown."""
        index = self._index.get(key or "")
        return self._shown[index] if index is not None else None

    @property
    def chosen(self) -> T | None:
        """The item under the cursor."""
        return self.item(self.key)

    @property
    def picked(self) -> list[T]:
        """The marked items, those first that the filter leaves; where none is marked, the one under the cursor."""
        shown = set(self._index)
        hidden = [item for item in self._items or [] if self._key_of(item) not in shown] if self.marks else []
        marked = [item for item in [*self._shown, *hidden] if self._key_of(item) in self.marks]
        return marked or ([self.chosen] if self.chosen is not None else [])

    @property
    def shown(self) -> Sequence[T]:
        """The items that the filter leaves, in their order."""
        return self._shown

    def _window(self, width: int, height: int) -> list[Row]:
        """Draw what is above the rows, and those rows that are in sight."""
        ink, size = self._get_ink(), self._get_size()
        glyphs, x = ink.glyphs, margin(size)
        rows = list(self._above(width, height)) if self._above is not None else []
        if not rows and size >= Size.WIDE and not self.plane:
            rows.append(Row())
        if height >= LEAST_WITH_TITLE:
            rows.append(self._title_row(x, width))
        total = self._total() if self._total is not None else None
        headed = height > len(rows) + 1  # one row at least is that of an item
        self.header = len(rows) + headed
        if height - self.header < 5:
            total = None  # the rows need the room themselves
        self._room = max(1, height - self.header - (2 if total is not None else 0))
        if self._items is None:
            return rows
        if not self._items and not self.filter:
            return rows + ([Row(), *self._nothing(x, width)] if self._nothing is not None else [])
        start = x + 2 if self._lead is not None else x
        natural = self._natural if total is None else _wider(self._natural, natural_widths(self.columns, [total]))
        cells = lay_out(self.columns, natural, width - start - 2, start)
        mark = ("^" if glyphs.ascii else "▴") if not self.falling else ("v" if glyphs.ascii else "▾")
        if headed:
            rows.append(put_heads(cells, Row(), ordered=self.ordered, mark=mark))
        if not self._shown:
            row = Row()
            hidden = f"   {len(self._items)} are hidden" if len(self._items) > 1 else ""
            row.run(x, [(f'Nothing matches "{self.filter}".   ', "dim"), ("esc", "fg bold")])
            row.run(row.pieces[-1][0] + 3, [(" lifts the filter", "dim"), (hidden, "faint")])
            return [*rows, Row(), row]
        self._first = max(0, min(self._first, len(self._shown) - self._room))
        for item in self._shown[self._first : self._first + self._room]:
            rows.append(self._row(item, cells, x, width))
        if total is not None:
            line, sums = Row(), Row()
            line.put(x, glyphs.hairline * max(0, width - x - 2), "track")
            rows += [line, put_values(cells, sums, total, glyphs, "fg bold")]
        return rows

    def _row(self, item: T, cells: Sequence[Cell[T]], x: int, width: int) -> Row:
        key = self._key_of(item)
        row = Row(key=key)
        glyphs = self._get_ink().glyphs
        if key in self.marks:
            # Where the margin has no cell of its own for it, it takes that of the cursor.
            row.put(max(0, x - 1), glyphs.passed, "accent bold")
        if self._lead is not None:
            row.put(x, *self._lead(item))
        return put_values(cells, row, item, glyphs)

    def _title_row(self, x: int, width: int) -> Row:
        row = Row()
        x = row.put(x, self.title, "dim bold")
        if self._items is None:
            return row
        found, all_ = len(self._shown), len(self._items)
        x = row.put(x + 2, f"{found} of {all_}" if self.filter else str(all_), "accent" if self.filter else "faint")
        end = width - 2
        if self.marks:
            end = row.put_right(end, f"{len(self.marks)} marked", "accent") - 2
        if self.filter:
            parts: list[tuple[str, str]] = [("/ ", "fg bold"), (self.filter, "accent")]
        else:
            words = f"by {self.ordered}" if self.ordered else self.rank_words
            parts = [*(self._note() if self._note is not None else ()), (words, "faint")]
        x += 2
        for text, style in parts:
            x = row.put(x, text, style, max(0, end - x))
        if self.filter and end - x > 12:
            row.run(x + 3, [("esc", "fg bold"), (" lifts it", "dim")])
        return row

    # --- cursor and scrolling ---------------------------------------------------------------------------

    @property
    def keys(self) -> list[str]:
        return self._order_of_keys

    def _keep_cursor(self, before: Sequence[Row]) -> None:
        """The cursor is kept where the items change, not where they are drawn."""

    def choose(self, key: str | None) -> None:
        if key is None or key in self._index:
            self._set_key(key)
        else:
            self._wanted = key
        self.show_cursor()
        self._redraw()

    def move(self, step: int) -> None:
        if not self._order_of_keys:
            return
        index = self._index.get(self.key or "", 0) + step
        self._set_key(self._order_of_keys[max(0, min(index, len(self._order_of_keys) - 1))])
        self.show_cursor()
        self._redraw()

    def show_cursor(self) -> None:
        index = self._index.get(self.key or "", 0)
        self._first = max(index - self._room + 1, min(self._first, index))

    def scroll_lines(self, step: int) -> None:
        first = max(0, min(self._first + step, len(self._shown) - self._room))
        if first != self._first:
            self._first = first
            self._redraw()

    def _thumb(self, height: int) -> tuple[int, int] | None:
        total = len(self._shown)
        if total <= self._room or self._room < 2:
            return None
        size = max(1, self._room * self._room // total)
        first = self.header + (self._room - size) * self._first // max(1, total - self._room)
        return first, first + size

    def action_page_up(self) -> None:
        self.move(-max(1, self._room - 1))

    def action_page_down(self) -> None:
        self.move(max(1, self._room - 1))

    def action_first(self) -> None:
        self.move(-len(self._shown))

    def action_last(self) -> None:
        self.move(len(self._shown))

    def on_resize(self) -> None:
        # The room for rows is known once they are drawn; then the cursor is brought into sight.
        self.repaint()
        self.show_cursor()
        self._redraw()

    # --- order, filter and marks ------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "mark":
            return self._can_mark and self.key is not None
        if action == "order":
            return bool(self._shown) and any(column.order is not None for column in self.columns)
        if action == "reverse":
            return bool(self._shown) and bool(self.ordered)
        if action == "filter":
            return self.ask_filter is not None and bool(self._items or self.filter)
        if action == "info":
            return self.show_info is not None and self.key is not None
        return super().check_action(action, parameters)

    def order_by(self, name: str, *, falling: bool | None = None) -> None:
        """Order the rows by a column, empty for their rank; the first time as the column says, then the other way."""
        column = next((column for column in self.columns if column.name == name), None)
        if falling is not None:
            self.falling = falling
        elif name and name == self.ordered:
            self.falling = not self.falling
        else:
            self.falling = column is not None and column.falling
        self.ordered = name if column is not None else ""
        self._arrange()
        self.show_cursor()
        self._redraw()

    def action_order(self) -> None:
        names = ["", *(column.name for column in self.columns if column.order is not None)]
        index = names.index(self.ordered) if self.ordered in names else 0
        self.order_by(names[(index + 1) % len(names)])

    def action_reverse(self) -> None:
        self.order_by(self.ordered)

    def action_filter(self) -> None:
        if self.ask_filter is not None:
            self.ask_filter()

    def action_info(self) -> None:
        if self.show_info is not None:
            self.show_info()

    def set_filter(self, words: str) -> None:
        """Show only the rows that have all of these words."""
        if words != self.filter:
            self.filter = words
            self._arrange()
            self._redraw()

    def action_mark(self) -> None:
        """Mark the row under the cursor, or take its mark away, and go on to the next."""
        if self.key is not None:
            self.marks ^= {self.key}
            self.move(1)

    def clear_marks(self) -> None:
        self.marks.clear()
        self._redraw()

    def on_canvas_clicked(self, event: Canvas.Clicked) -> None:
        kind, _, name = event.action.partition(":")
        if kind == "order":
            event.stop()
            self.order_by(name)


def _wider(one: dict[str, int], other: dict[str, int]) -> dict[str, int]:
    return {name: max(width, other.get(name, 0)) for name, width in one.items()}
