"""Reading blocks: finding words in them, and selecting text with the mouse."""

from __future__ import annotations

from rich.cells import set_cell_size
from textual import events

from vllm_studio_tui.tui.document.line_breaking import cells
from vllm_studio_tui.tui.document.scroll import BlockScroll
from vllm_studio_tui.tui.document.selection import Point


class BlockReader(BlockScroll):
    """Blocks that can be searched and selected."""

    def clicked(self, point: Point) -> None:
        """Handle a click that selected nothing."""

    # --- find -------------------------------------------------------------------------------------------

    #: The line that was found last, and the scroll position then: it counts until somebody scrolls.
    _found: tuple[tuple[int, int], tuple[int, int]] | None = None

    def find(self, words: str) -> int:
        """Highlight some words; return in how many blocks they are."""
        self.words = words.strip()
        found = len(self._hits())
        if found:
            self.find_next(1, here=True)
        self.redraw()
        return found

    def _hits(self) -> list[int]:
        wanted = self.words.casefold()
        return (
            [index for index, block in enumerate(self.blocks) if wanted in block.source().casefold()] if wanted else []
        )

    def _lines_with(self, index: int) -> list[int]:
        """Return the lines of a block that hold the words; its first one where a line break parts them."""
        lines, wanted = self.blocks[index].lines(self._left_and_width[1], self._around()), self.words.casefold()
        return [at for at, line in enumerate(lines) if wanted in line.text.casefold()] or [0]

    def _next(self, hits: list[int], start: tuple[int, int], step: int) -> tuple[int, int] | None:
        """Return the nearest line with the words after `start`, or before it."""
        for index in hits if step > 0 else reversed(hits):
            if (index - start[0]) * step < 0:
                continue
            lines = [(index, at) for at in self._lines_with(index)]
            after = [one for one in lines if one > start] if step > 0 else [one for one in lines if one < start][::-1]
            if after:
                return after[0]
        return None

    def find_next(self, step: int, *, here: bool = False) -> None:
        """Go to the next line with the words, from the one found last, else from the top one; wraps around.

        Args:
            here: The line itself counts too; at the end of what is followed, the last one.
        """
        hits = self._hits()
        if not hits:
            return
        start = self._found[0] if self._found is not None and self._found[1] == self._top else self._top
        first, last = (hits[0], -1), (hits[-1], self._lines_with(hits[-1])[-1] + 1)
        wanted: tuple[int, int] | None
        if here:
            wanted = None if self.following else self._next(hits, (start[0], start[1] - 1), 1)
            wanted = wanted or self._next(hits, last, -1)
        else:
            wanted = self._next(hits, start, step) or self._next(hits, first if step > 0 else last, step)
        assert wanted is not None
        self.following = False
        self._top, self._top_block = (wanted[0], max(0, wanted[1] - 1)), self.blocks[wanted[0]]
        self.post_message(self.Moved())
        self.redraw()
        self._found = (wanted, self._top)

    # --- mouse selection --------------------------------------------------------------------------------

    def _point(self, x: int, y: int) -> Point | None:
        if not 0 <= y < len(self._seen) or self._seen[y] is None:
            return None
        one = self._seen[y]
        assert one is not None
        return Point(one[0], one[1], max(0, x - self._left_and_width[0]))

    def on_mouse_down(self, event: events.MouseDown) -> None:
        self.selection.clear()
        point = self._point(event.x, event.y)
        if point is not None:
            self.selection.start(point)
            self.capture_mouse()
        self.redraw()

    def on_mouse_move(self, event: events.MouseMove) -> None:
        if self.selection.going:
            if event.y <= 0:
                self.scroll_lines(-1)
            elif event.y >= self.size.height - 1:
                self.scroll_lines(1)
            point = self._point(event.x, min(max(0, event.y), self.size.height - 1))
            if point is not None:
                self.selection.extend(point)
                self.redraw()

    def on_mouse_up(self, event: events.MouseUp) -> None:
        if self.selection.going:
            self.selection.stop()
            self.release_mouse()
            point = self._point(event.x, event.y)
            if not self.selection and point is not None:
                self.clicked(point)
            self.redraw()

    @property
    def selected_text(self) -> str:
        """The text that is selected with the mouse."""
        if not self.selection:
            return ""
        width, around = self._left_and_width[1], self._around()
        first, last = self.selection.range
        out = []
        blocks = self.blocks
        for index in range(first.block, min(last.block, len(blocks) - 1) + 1):
            for at, line in enumerate(blocks[index].lines(width, around)):
                span = self.selection.on(index, at)
                if span is not None:
                    text = line.text
                    head = len(set_cell_size(text, min(span[0], cells(text))))
                    end = len(set_cell_size(text, min(span[1], cells(text))))
                    out.append(text[head:end].rstrip())
        return "\n".join(out).strip("\n")
