"""A widget that shows rows of styled text and redraws only the rows that changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

from rich.segment import Segment
from textual import events
from textual.binding import BindingType
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip

from vllm_studio_tui.tui.keys import actions
from vllm_studio_tui.tui.paint.ink import Ink, Row, wrap
from vllm_studio_tui.tui.widgets.whole_lines import WholeLines

if TYPE_CHECKING:
    from collections.abc import Hashable

#: Returns the rows for a width and height in cells; rows beyond the height are reached by scrolling.
Painter = Callable[[int, int], Sequence[Row]]


class Canvas(WholeLines):
    """Shows the rows that a painter returns.

    Args:
        painter: Called whenever the rows may have changed.
        get_ink: Returns the colours and glyphs in use.
        header: The number of rows at the top that do not scroll.
        plane: The background of rows that have none of their own.
    """

    ALLOW_SELECT = False
    DEFAULT_CSS = "Canvas { height: 1fr; width: 1fr; }"

    class Chosen(Message):
        """The cursor moved to another key."""

        def __init__(self, canvas: Canvas, key: str | None) -> None:
            super().__init__()
            self.canvas = canvas
            self.key = key

        @property
        def control(self) -> Canvas:
            return self.canvas

    class Clicked(Message):
        """A link was clicked, or (with action `open`) the row under the cursor was clicked again."""

        def __init__(self, canvas: Canvas, action: str) -> None:
            super().__init__()
            self.canvas = canvas
            self.action = action

        @property
        def control(self) -> Canvas:
            return self.canvas

    def __init__(
        self,
        painter: Painter,
        get_ink: Callable[[], Ink],
        *,
        header: int = 0,
        plane: str = "",
        id: str | None = None,  # noqa: A002, RUF100
        classes: str | None = None,
    ) -> None:
        super().__init__(id=id, classes=classes)
        self._painter = painter
        self._get_ink = get_ink
        self.header = header
        self.plane = plane
        self.rows: list[Row] = []
        self.top = 0
        self.key: str | None = None
        self._wanted: str | None = None
        self._strips: dict[int, Strip] = {}
        self._drawn: tuple[Hashable, ...] = ()

    # --- what is shown ----------------------------------------------------------------------------------

    def repaint(self) -> None:
        """Call the painter, and redraw the rows that changed."""
        width, height = self.size
        if not width or not height or not self.is_attached:
            return
        fresh = self._paint_rows(width, height)
        before, self.rows = self.rows, fresh
        self._keep_cursor(before)
        top = self.top
        if self._wanted is not None and self._wanted in self.keys:
            wanted, self._wanted = self._wanted, None
            self._set_key(wanted)
            self.show_cursor()
        self._clamp()
        # A cursor that stays on its key may be on another line now: its mark is no piece of the row.
        line = next((index for index, row in enumerate(fresh) if row.key is not None and row.key == self.key), None)
        now = (width, height, self.top, self.key, line, self.has_focus, id(self._get_ink()), self._thumb(height))
        if now != self._drawn or top != self.top:
            self._drawn = now
            self._strips.clear()
            self.refresh()
            return
        shared = min(len(before), len(fresh))
        changed = [index for index in range(shared) if not fresh[index].same(before[index])]
        changed += range(shared, max(len(before), len(fresh)))
        regions: list[Region] = []
        for index in changed:
            y = self._line_of(index)
            if y is None or y >= height:
                continue
            self._strips.pop(y, None)
            spans = fresh[index].changed_spans(before[index], width) if index < shared else [(0, width)]
            regions += [Region(start, y, end - start, 1) for start, end in spans]
        if regions:
            self.refresh(*regions)

    def _paint_rows(self, width: int, height: int) -> list[Row]:
        try:
            rows = list(self._painter(width, height))
        except Exception as error:  # noqa: BLE001, RUF100
            rows = []
            for line in wrap(self.fault_words(error), max(1, width - 4))[: max(1, height)]:
                row = Row(bar="err")
                row.put(2, line, "err" if not rows else "dim")
                rows.append(row)
        for row in rows:
            row.plane = row.plane or self.plane
        return rows

    def render_line(self, y: int) -> Strip:
        strip = self._strips.get(y)
        if strip is None:
            strip = self._strips[y] = self._draw(y)
        return strip

    def _draw(self, y: int) -> Strip:
        ink = self._get_ink()
        width, height = self.size if self.line_width is None else (self.line_width, self.line_count)
        index = self._row_at(y)
        if index is None or index >= len(self.rows):
            return Strip([Segment(" " * width, ink.style("fg", self.plane))], width)
        row = self.rows[index]
        under = row.key is not None and row.key == self.key
        strip = ink.strip(
            row,
            width,
            cursor=under,
            focused=self.has_focus or not self.can_focus,
            lead=not index or self.rows[index - 1].key != row.key,
        )
        thumb = self._thumb(height)
        if thumb is not None and thumb[0] <= y < thumb[1]:
            mark = Strip([Segment("|" if ink.glyphs.ascii else "▐", ink.style("faint", self.plane))], 1)
            return Strip.join([strip.crop(0, width - 1), mark])
        return strip

    def _thumb(self, height: int) -> tuple[int, int] | None:
        """Return the first line of the scroll bar's thumb and the line after its last; None when all is visible."""
        room, total = height - self.header, len(self.rows) - self.header
        if total <= room or room < 2:
            return None
        size = max(1, room * room // total)
        first = self.header + (room - size) * self.top // max(1, total - room)
        return first, first + size

    def _row_at(self, y: int) -> int | None:
        return y if y < self.header else y + self.top

    def _line_of(self, index: int) -> int | None:
        if index < self.header:
            return index
        y = index - self.top
        return y if y >= self.header else None

    # --- cursor and scrolling ---------------------------------------------------------------------------

    @property
    def keys(self) -> list[str]:
        """The keys of the rows in order, each once."""
        return list(dict.fromkeys(row.key for row in self.rows if row.key is not None))

    def _keep_cursor(self, before: Sequence[Row]) -> None:
        """Keep the cursor on its key; if the key is gone, move to the row now in its place."""
        keys = self.keys
        if self.key in keys or (not keys and self.key is None):
            return
        old = list(dict.fromkeys(row.key for row in before if row.key is not None))
        index = old.index(self.key) if self.key in old else 0
        self._set_key(keys[min(index, len(keys) - 1)] if keys else None)

    def _set_key(self, key: str | None) -> None:
        if key != self.key:
            self.key = key
            # Textual lets no message rise past the widget that handled a message when it was sent.
            self.post_message(self.Chosen(self, key).set_sender(self))

    def choose(self, key: str | None) -> None:
        """Move the cursor to a key and scroll to it; if its row is not drawn yet, do so when it is."""
        if key is None or key in self.keys:
            self._set_key(key)
        else:
            self._wanted = key
        self.show_cursor()
        self._redraw()

    def move(self, step: int) -> None:
        """Move the cursor by `step` keys; where no row has a key, scroll."""
        keys = self.keys
        if not keys:
            self.scroll_lines(step)
            return
        index = keys.index(self.key) if self.key in keys else 0
        wanted = min(len(keys) - 1, max(0, index + step))
        if wanted == index and self.key in keys:
            self.scroll_lines(step)
            return
        self._set_key(keys[wanted])
        self.show_cursor()
        self._redraw()

    def show_cursor(self) -> None:
        """Scroll so that the rows of the cursor are visible."""
        lines = [index for index, row in enumerate(self.rows) if row.key is not None and row.key == self.key]
        if not lines:
            return
        height = self.size.height
        if lines[0] - self.top < self.header:
            # With the cursor on the first key, show the rows above it too.
            first = next((index for index, row in enumerate(self.rows) if row.key is not None), 0)
            self.top = 0 if lines[0] <= first else lines[0] - self.header
        elif lines[-1] - self.top >= height:
            self.top = lines[-1] - height + 1
        self._clamp()

    def scroll_lines(self, step: int) -> None:
        """Scroll by `step` rows; negative scrolls up."""
        top = self.top
        self.top += step
        self._clamp()
        if self.top != top:
            self._redraw()

    def _clamp(self) -> None:
        self.top = max(0, min(self.top, len(self.rows) - max(1, self.size.height)))

    def recolour(self) -> None:
        self._redraw()

    def _redraw(self) -> None:
        self._strips.clear()
        self._drawn = ()
        self.repaint()

    # --- events -----------------------------------------------------------------------------------------

    def on_mount(self) -> None:
        self.repaint()

    def on_resize(self) -> None:
        self.show_cursor()
        self._redraw()

    def on_show(self) -> None:
        self.repaint()

    def on_focus(self) -> None:
        self._redraw()

    def on_blur(self) -> None:
        self._redraw()

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._strips.clear()

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self.scroll_lines(3)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self.scroll_lines(-3)

    def on_click(self, event: events.Click) -> None:
        index = self._row_at(event.y)
        if index is None or index >= len(self.rows):
            return
        row = self.rows[index]
        for start, end, action in row.links:
            if start <= event.x < end:
                self.post_message(self.Clicked(self, action))
                return
        if row.key is not None and self.can_focus:
            if row.key == self.key and event.chain > 1:
                self.post_message(self.Clicked(self, "open"))
            self.choose(row.key)


class ListCanvas(Canvas, can_focus=True):
    """A canvas with a cursor."""

    BINDINGS: ClassVar[list[BindingType]] = [*actions.bindings("list")]

    class Listed(Message):
        """It has other keys than before: what can be done with them may be other than what the footer says."""

    def _keep_cursor(self, before: Sequence[Row]) -> None:
        super()._keep_cursor(before)
        if {row.key for row in before} != {row.key for row in self.rows}:
            self.post_message(self.Listed().set_sender(self))

    def action_up(self) -> None:
        self.move(-1)

    def action_down(self) -> None:
        self.move(1)

    def action_page_up(self) -> None:
        self.move(-max(1, self.size.height - 4))

    def action_page_down(self) -> None:
        self.move(max(1, self.size.height - 4))

    def action_first(self) -> None:
        self.move(-len(self.rows) - 1)
        self.scroll_lines(-len(self.rows))

    def action_last(self) -> None:
        self.move(len(self.rows) + 1)
        self.scroll_lines(len(self.rows))
