"""A table with its filter line, and with the details of the row under the cursor where there is room for them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, cast

from textual import events, on
from textual.app import ComposeResult
from textual.containers import Container
from textual.widgets import Input

from vllm_studio_tui.tui.paint.ink import Ink, Row
from vllm_studio_tui.tui.widgets.canvas import Canvas
from vllm_studio_tui.tui.widgets.table import Table

if TYPE_CHECKING:
    from vllm_studio_tui.tui.shell import Shell


class Shape(Enum):
    """Where the details of a row stand."""

    BESIDE = "beside"
    BELOW = "below"
    SHEET = "sheet"


#: Draws the details of the row under the cursor: where they stand, from which cell on, and the width and height.
Detail = Callable[[Shape, int, int, int], Sequence[Row]]


class Listing(Container):
    """A table, its filter line and its details.

    Args:
        detail: Draws the details of the row under the cursor; None: there are none.
        beside: The width of the details beside the table, and the width from which on they stand there.
        below: The height of the details below the table, and the height from which on they stand there.
        known: Waits until the details are worked out; None: they always are.
        hint: What may be typed into the filter line, besides words.
    """

    DEFAULT_CSS = """
    Listing { height: 1fr; width: 1fr; }
    Listing > .listing-body { height: 1fr; width: 1fr; layout: vertical; }
    Listing > .listing-body.-beside { layout: horizontal; }
    Listing > Input { dock: bottom; display: none; margin: 0 1; }
    Listing .listing-detail { display: none; }
    """

    def __init__(
        self,
        table: Table[Any],
        *,
        detail: Detail | None = None,
        beside: tuple[int, int] = (58, 150),
        below: tuple[int, int] = (8, 20),
        known: Callable[[], Awaitable[Any]] | None = None,
        hint: str = "",
        id: str | None = None,  # noqa: A002, RUF100
    ) -> None:
        super().__init__(id=id)
        self._known = known
        self._hint = hint
        self.table = table
        table.ask_filter = self.ask_filter
        table.show_info = self.show_detail if detail is not None else None
        self._detail = detail
        self._beside, self._below = beside, below
        self._hidden = False
        #: Where the details stand now.
        self.shape = Shape.SHEET

    def compose(self) -> ComposeResult:
        with Container(classes="listing-body"):
            yield self.table
            if self._detail is not None:
                yield Canvas(self._paint_detail, self.table.get_ink, plane=self.table.plane, classes="listing-detail")
        yield Input(placeholder=f"filter{self._hint}: enter keeps, esc lifts", select_on_focus=False)

    # --- details ----------------------------------------------------------------------------------------

    def on_resize(self) -> None:
        self._place_detail()

    def _place_detail(self) -> None:
        if self._detail is None:
            return
        width, height = self.size
        if self._hidden:
            self.shape = Shape.SHEET
        elif width >= self._beside[1]:
            self.shape = Shape.BESIDE
        else:
            room = height >= self._below[1] and width >= 60 and self._below[0] > 0
            self.shape = Shape.BELOW if room else Shape.SHEET
        canvas = self.query_one(".listing-detail", Canvas)
        self.query_one(".listing-body").set_class(self.shape is Shape.BESIDE, "-beside")
        canvas.display = self.shape is not Shape.SHEET
        if self.shape is Shape.BESIDE:
            canvas.styles.width, canvas.styles.height = self._beside[0], "1fr"
        elif self.shape is Shape.BELOW:
            canvas.styles.width, canvas.styles.height = "1fr", max(self._below[0], height // 3)

    def give_below(self, height: int) -> None:
        """Give the details another height, where they stand below the table; with 0 they do not."""
        if height != self._below[0]:
            self._below = (height, self._below[1])
            self._place_detail()

    def _paint_detail(self, width: int, height: int) -> list[Row]:
        assert self._detail is not None
        glyphs = self.table.get_ink().glyphs
        if self.shape is Shape.BELOW:
            line = Row()
            line.put(2, glyphs.hairline * max(0, width - 4), "track")
            return [line, *self._detail(Shape.BELOW, 2, width, height - 1)][:height]
        rows = [Row(), *self._detail(Shape.BESIDE, 3, width, height - 1)]
        rows += [Row() for _ in range(max(0, height - len(rows)))]
        for row in rows[1:]:
            row.put(0, glyphs.inside, "track")
        return rows

    def show_detail(self) -> None:
        """Show the details: where they stand beside, hide them and show them again; else as a sheet."""
        if self._detail is None:
            return
        if self.size.width >= self._beside[1]:
            self._hidden = not self._hidden
            self._place_detail()
            return
        self.show_as_sheet()

    def show_as_sheet(self) -> None:
        """Show the details as a sheet, wherever else they stand."""
        if self._detail is None:
            return
        from vllm_studio_tui.tui.sheets.dialogs import Pages  # the first picture needs no sheet

        detail, shell = self._detail, cast("Shell", self.app)

        def painter(ink: Ink, width: int) -> list[Row]:
            return list(detail(Shape.SHEET, 2, width, 1000))

        async def show() -> None:
            if self._known is not None:
                await self._known()  # else the sheet would grow under the eyes
            shell.push_screen(Pages(painter))

        shell.spawn(show())

    # --- filter -----------------------------------------------------------------------------------------

    @property
    def _line(self) -> Input:
        return self.query_one(Input)

    def ask_filter(self) -> None:
        """Open the filter line."""
        self._line.display = True
        self._line.focus()

    def filter_by(self, text: str) -> None:
        """Filter as if this had been typed."""
        with self.prevent(Input.Changed):
            self._line.value = text
        self._line.display = False
        self.table.set_filter(text)

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        self.table.set_filter(event.value.strip())

    @on(Input.Submitted)
    def _taken(self, event: Input.Submitted) -> None:
        event.stop()
        self._line.display = False
        self.table.focus()

    def on_key(self, event: events.Key) -> None:
        if not self._line.has_focus:
            return
        if event.key == "escape":
            event.stop()
            self.escape()
        elif event.key in ("up", "down", "pageup", "pagedown"):
            event.stop()
            event.prevent_default()
            step = {"up": -1, "down": 1, "pageup": -10, "pagedown": 10}[event.key]
            self.table.move(step)

    def escape(self) -> bool:
        """Lift the filter, else the marks; False where there is neither."""
        if self._line.display or self.table.filter:
            self.table.focus()
            self.filter_by("")
            return True
        if self.table.marks:
            self.table.clear_marks()
            return True
        return False
