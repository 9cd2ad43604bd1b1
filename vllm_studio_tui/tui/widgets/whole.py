"""Widgets whose own lines are complete: every cell has its style and its plane."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.filter import ANSIToTruecolor
from textual.widget import Widget

if TYPE_CHECKING:
    from textual.geometry import Region
    from textual.strip import Strip


class WholeLines(Widget):
    """Lines go to the compositor as `render_line` makes them.

    Textual's own way puts padding, border, background and opacity around each line, which takes three times as long as
    our lines themselves: here none of it is used. Where a style sheet asks for it after all, its way is taken.
    """

    #: How wide a line is to be; set before lines are asked for, because Textual works a size out anew each time.
    line_width: int | None = None

    def render_lines(self, crop: Region) -> list[Strip]:
        if any(self.gutter) or self.opacity != 1.0:
            self.line_width = None
            return super().render_lines(crop)
        width = self.line_width = self.size.width
        strips = [self.render_line(y) for y in crop.line_range]
        # Our colours are true colours, or the terminal's own where it is told so: none has to be translated.
        filters = [one for one in self.get_line_filters() if not isinstance(one, ANSIToTruecolor)]
        if filters:
            _, background = self.background_colors
            for one in filters:
                strips = [strip.apply_filter(one, background) for strip in strips]
        if crop.column_span != (0, width):
            begin, end = crop.column_span
            strips = [strip.crop(begin, end) for strip in strips]
        return strips
