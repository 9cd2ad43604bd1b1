"""A widget that renders complete lines, each cell with its style and background, without Textual's own styling."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.segment import Segment
from textual.filter import ANSIToTruecolor
from textual.strip import Strip
from textual.widget import Widget

from vllm_studio_tui.tui.paint.ink import fit

if TYPE_CHECKING:
    from collections.abc import Iterable

    from textual.geometry import Region


class WholeLines(Widget):
    """Passes lines to the compositor as `render_line` returns them.

    Textual applies padding, border, background and opacity to each line, which takes three times as long as rendering
    the line itself. These widgets use none of it; where a style sheet sets a border, padding or opacity after all,
    Textual's own rendering is used.
    """

    #: The width of a line in cells, and how many there are. Kept while lines are rendered, because Textual computes
    #: `size` at each access.
    line_width: int | None = None
    line_count: int = 0

    def recolour(self) -> None:
        """Draw every line anew: the theme or the size class has changed."""
        self.refresh()

    def render_lines(self, crop: Region) -> list[Strip]:
        lines = self.whole_lines(crop.line_range)
        if lines is None:
            return super().render_lines(crop)
        strips = list(lines.values())
        if crop.column_span != (0, self.line_width):
            begin, end = crop.column_span
            strips = [strip.crop(begin, end) for strip in strips]
        return strips

    def whole_lines(self, wanted: Iterable[int]) -> dict[int, Strip] | None:
        """Return lines by their number, as they are shown; None where Textual's own styling is needed."""
        if any(self.gutter) or self.opacity != 1.0:
            self.line_width = None
            return None
        width, self.line_count = self.size
        self.line_width = width
        lines = {y: self._line(y, width) for y in wanted}
        # The colours are already true colours, or meant as the terminal's own: none has to be translated.
        filters = [one for one in self.get_line_filters() if not isinstance(one, ANSIToTruecolor)]
        if filters:
            _, background = self.background_colors
            for one in filters:
                lines = {y: strip.apply_filter(one, background) for y, strip in lines.items()}
        return lines

    def _line(self, y: int, width: int) -> Strip:
        try:
            return self.render_line(y)
        except Exception as error:  # noqa: BLE001, RUF100
            words = self.fault_words(error)
            return Strip([Segment(fit(words, width))]).adjust_cell_length(width)

    def fault_words(self, error: BaseException) -> str:
        """Report an error met while drawing this widget; return what to show in its place."""
        app: Any = self.app
        return f"This part cannot be drawn: {app.faults.words(error)} (report: {app.report_fault(error)})"
