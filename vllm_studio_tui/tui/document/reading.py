"""Reading blocks: finding words in them, and selecting text with the mouse."""

from __future__ import annotations

import re
from bisect import bisect_right
from itertools import accumulate

from rich.cells import set_cell_size
from textual import events

from vllm_studio_tui.tui.document.line_breaking import cells
from vllm_studio_tui.tui.document.scroll import BlockScroll
from vllm_studio_tui.tui.document.selection import Point

#: A cell of a picture that the terminal draws, with its accents.
_PICTURE = re.compile(r"\U0010eeee[^\w\s]{0,3}")


class BlockReader(BlockScroll):
    """Blocks that are read with keys, searched and selected."""

    def clicked(self, point: Point) -> None:
        """Handle a click that selected nothing."""

    def point_at(self, block: int) -> None:
        """Move the cursor to a block that was found."""

    # --- keys -------------------------------------------------------------------------------------------

    def move(self, step: int) -> None:
        """Move the cursor; where there is none, scroll."""
        self.scroll_lines(step)

    def action_up(self) -> None:
        self.move(-1)

    def action_down(self) -> None:
        self.move(1)

    def action_page_up(self) -> None:
        self.page(-1)

    def action_page_down(self) -> None:
        self.page(1)

    def action_first(self) -> None:
        self.to_start()

    def action_last(self) -> None:
        self.to_end()

    # --- find -------------------------------------------------------------------------------------------

    #: The hit that was found last, from 0 on, and the scroll position then: it counts until somebody scrolls.
    _found: tuple[int, tuple[int, int]] | None = None
    #: From where the last step to a hit began anew, in words; empty: it did not.
    went_round = ""

    def find(self, words: str) -> None:
        """Highlight some words, and go to the first hit from what is visible on; without any, end that."""
        self.words = words.strip()
        self._found, self.hit, self.went_round = None, None, ""
        if self._hits():
            self.find_next(1, here=True)
        self.post_message(self.Moved())
        self.redraw()

    def _hits(self) -> list[tuple[int, int]]:
        """Return the blocks that hold the words, and how often."""
        wanted = self.words.casefold()
        if not wanted:
            return []
        counts = ((index, block.source().casefold().count(wanted)) for index, block in enumerate(self.blocks))
        return [(index, count) for index, count in counts if count]

    def _lines_with(self, index: int) -> list[int]:
        """Return the lines of a block that hold the words, each as often as it does.

        Those may be fewer than its hits, where a line break parts the words.
        """
        lines, wanted = self.blocks[index].lines(self._left_and_width[1], self._around()), self.words.casefold()
        return [at for at, line in enumerate(lines) for _ in range(line.text.casefold().count(wanted))]

    def _first_from_top(self, hits: list[tuple[int, int]]) -> int:
        """Return the number of the first hit from the top line on."""
        top, line = self._top
        number = sum(count for index, count in hits if index < top)
        here = next((count for index, count in hits if index == top), 0)
        return number + min(here, sum(at < line for at in self._lines_with(top))) if here else number

    def find_next(self, step: int, *, here: bool = False) -> None:
        """Go to the next hit, from the one found last, else from the top line on; wraps around.

        Args:
            here: Stay with the first hit from the top line on; at the end of what is followed, the last one.
        """
        hits = self._hits()
        if not hits:
            return
        sums = list(accumulate(count for _, count in hits))
        total = sums[-1]
        if here:
            number = total - 1 if self.following else min(total - 1, self._first_from_top(hits))
        elif self._found is not None and self._found[1] == self._top:
            number = self._found[0] + step
        else:
            number = self._first_from_top(hits) - (step < 0)
        self.went_round = "from the top again" if number >= total else "from the end again" if number < 0 else ""
        self._go_to_hit(hits, sums, number % total)
        self.post_message(self.Moved())

    def _go_to_hit(self, hits: list[tuple[int, int]], sums: list[int], number: int) -> None:
        at = bisect_right(sums, number)
        block, which = hits[at][0], number - (sums[at] - hits[at][1])
        lines = self._lines_with(block) or [0]
        line = lines[min(which, len(lines) - 1)]
        self.hit = (block, line, min(which, len(lines) - 1) - lines.index(line))
        self.following = False
        self.point_at(block)
        self._top, self._top_block = (block, max(0, line - 1)), self.blocks[block]
        self.redraw()
        self._found = (number, self._top)

    def on_resize(self) -> None:
        found = self._found if self._found is not None and self._found[1] == self._top else None
        super().on_resize()
        hits = self._hits() if found is not None else []
        sums = list(accumulate(count for _, count in hits))
        if found is not None and sums and found[0] < sums[-1] and self.size.width and self.size.height:
            self._go_to_hit(hits, sums, found[0])  # it may stand on another line now

    def hit_words(self) -> str:
        """Return which hit was found, of how many: `3 of 17`; empty where nothing is looked for."""
        if not self.words:
            return ""
        total = sum(count for _, count in self._hits())
        if not total:
            return "nothing holds that"
        if self._found is None or self._found[1] != self._top or self._found[0] >= total:
            return "1 hit" if total == 1 else f"{total} hits"
        place = f"{self._found[0] + 1} of {total}"
        return f"{place}, {self.went_round}" if self.went_round else place

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
                    out.append(_PICTURE.sub("", text[head:end]).rstrip())
        return "\n".join(out).strip("\n")
