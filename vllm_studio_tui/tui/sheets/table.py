"""A sheet with a table to choose from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical

from vllm_studio_tui.tui.paint.ink import Row
from vllm_studio_tui.tui.sheets.dialogs import Option, Sheet
from vllm_studio_tui.tui.widgets.canvas import Canvas
from vllm_studio_tui.tui.widgets.listing import Listing
from vllm_studio_tui.tui.widgets.table import Table

T = TypeVar("T")


class TableSheet(Sheet, Generic[T]):
    """Asks for a row of a table; returns `KEY:ROW`, of the key that was pressed and the key of the row.

    Args:
        table: With the plane `panel`.
        items: Its rows.
        options: The keys, and what each does with the row under the cursor; `enter` is one of them.
    """

    def __init__(self, table: Table[Any], items: Sequence[T], options: Sequence[Option], keep: str = "close") -> None:
        super().__init__()
        self._table = table
        self._items = items
        self._options = tuple(options)
        self._keep = keep

    def compose(self) -> ComposeResult:
        with Vertical(id="sheet", classes="table"):
            yield Listing(self._table)
            yield Canvas(self._foot, self.ink, plane="panel", id="table-foot")

    def on_mount(self) -> None:
        self._table.show_items(self._items)
        self._table.focus()

    def fit(self) -> None:
        sheet = self.query_one("#sheet")
        sheet.styles.width = min(100, self.app.size.width)
        # The rows with title, heads, filter line and keys, and the padding.
        sheet.styles.height = max(4, min(len(self._items) + 7, self.rows_free))

    def _foot(self, width: int, height: int) -> list[Row]:
        row, at = Row(), 2
        for option in (*self._options, Option("esc", self._keep)):
            end = row.run(at, [(option.key, "fg bold"), (f" {option.label}", "dim")])
            row.link(at, end, f"answer:{option.key}")
            at = end + 3
        return [row]

    def _answer(self, key: str) -> None:
        if key == "esc":
            self.action_close()
        elif self._table.key is not None:
            self.dismiss(f"{key}:{self._table.key}")

    def action_close(self) -> None:
        if not self.query_one(Listing).escape():
            self.dismiss(None)

    def on_key(self, event: events.Key) -> None:
        if self.focused is not self._table:
            return
        for option in self._options:
            if option.key in (event.key, event.character):
                event.stop()
                self._answer(option.key)
                return

    def on_canvas_clicked(self, event: Canvas.Clicked) -> None:
        event.stop()
        self._answer(event.action.removeprefix("answer:") if event.action != "open" else self._options[0].key)
