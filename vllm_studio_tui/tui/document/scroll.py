"""Scrolling blocks: only visible lines are made, and only rows that changed are written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, cast

from rich.segment import Segment
from textual import events
from textual.geometry import Region
from textual.message import Message as Notice
from textual.strip import Strip

from vllm_studio_tui.tui.document.blocks import Block, Surroundings
from vllm_studio_tui.tui.document.line_breaking import Line, cells
from vllm_studio_tui.tui.document.selection import Selection, highlighted
from vllm_studio_tui.tui.paint.ink import fit
from vllm_studio_tui.tui.widgets.whole_lines import WholeLines

if TYPE_CHECKING:
    from vllm_studio_tui.tui.paint.ink import Ink
    from vllm_studio_tui.tui.shell import Shell

#: Strips kept. The end of a growing answer makes new ones with each frame; each is twenty objects, and thousands of
#: them make the garbage collector's pauses felt.
KEPT = 250


class BlockScroll(WholeLines, can_focus=True):
    """Shows blocks.

    The scroll position is a block and a line of it, never a count of lines: the height of a block is not known before
    it was visible.

    Attributes:
        following: The view stays at the end while it grows.
        widest: The most cells of a line; None: as many as there are.
        words: Words that are highlighted.
        hit: The block, the line of it and the match on that line that stands out among them.
    """

    ALLOW_SELECT = False
    DEFAULT_CSS = "BlockScroll { height: 1fr; width: 1fr; }"
    widest: int | None = None

    class Moved(Notice):
        """What is visible, the cursor or what is looked for has changed."""

    def __init__(self, get_ink: Callable[[], Ink], *, id: str | None = None) -> None:  # noqa: A002, RUF100
        super().__init__(id=id)
        self._get_ink = get_ink
        self._blocks: list[Block] = []
        self.following = True
        self.selection = Selection()
        self.words = ""
        self.hit: tuple[int, int, int] | None = None
        self._top: tuple[int, int] = (0, 0)  # block and line within it
        self._top_block: Block | None = None
        self._seen: list[tuple[int, int, Line] | None] = []
        self._alive: list[Line] = []
        self._drawn: list[object] = []
        self._strips: dict[int, tuple[Line, Strip]] = {}
        self._thumbs: dict[int, tuple[Strip, Strip]] = {}
        self._look: tuple[object, ...] = ()
        self._thumb_at: tuple[int, int] | None = None
        self._broken = ""  # what is shown where nothing can be drawn
        self._total: tuple[float, int, int] = (0.0, 0, 0)  # when, for which width, how many lines

    @property
    def blocks(self) -> list[Block]:
        """The blocks; visible lines of a list that was replaced are forgotten."""
        return self._blocks

    @blocks.setter
    def blocks(self, blocks: list[Block]) -> None:
        self._blocks, self._seen = blocks, []

    # --- for subclasses ------------------------------------------------------------------

    def advance(self) -> bool:
        """Bring the blocks up to date; return whether anything changed."""
        return False

    def marked(self, block: Block) -> bool:
        """Whether a block is under the cursor."""
        return False

    @property
    def mark(self) -> object:
        """What `marked` depends on: when it changes, all rows are drawn anew."""
        return None

    @property
    def below(self) -> int:
        """How many lines stand below what is visible, as far as is known; blank ones at the end do not count."""
        seen = next((one for one in reversed(self._seen) if one is not None), None)
        if self.following or seen is None:
            return 0
        width, (index, line, _) = self._left_and_width[1], seen
        after = [block.height(width) for block in self.blocks[index + 1 :]]
        rest = self.blocks[index].lines(width, self._around())[line + 1 :]
        return len(rest) + sum(after) if after or any(one.text.strip() for one in rest) else 0

    # --- layout -----------------------------------------------------------------------------------------

    @property
    def _left_and_width(self) -> tuple[int, int]:
        """The text's first column, and its width."""
        width = self.size.width
        left = 2 if width >= 50 else 1 if width >= 20 else 0
        room = max(1, width - left - (2 if width >= 20 else 1))
        return left, room if self.widest is None else min(room, self.widest)

    def _around(self) -> Surroundings:
        app = self.app

        def ready() -> None:
            app.call_from_thread(self.redraw)

        ink = self._get_ink()
        drawing = cast("Shell", app).drawing
        return Surroundings(ink.glyphs, ready, self.has_focus, drawing=drawing, height=self.size.height)

    def recolour(self) -> None:
        self.redraw()

    def redraw(self) -> None:
        """Work out the visible lines; only rows that differ are written."""
        if not self.size.width or not self.size.height or not self.is_attached:
            # What was visible may be gone: until it is worked out again, before it shows, nothing is drawn.
            self._seen, self._drawn = [], []
            return
        was, self._broken = self._broken, ""
        try:
            self.advance()
            self._place()
        except Exception as error:  # noqa: BLE001, RUF100
            self._broken, self._seen = self.fault_words(error), []
        if was != self._broken:
            self._look = ()
        self._refresh_changed()

    def _place(self) -> None:
        """Find the visible lines."""
        width, height = self._left_and_width[1], self.size.height
        around, blocks = self._around(), self.blocks
        if self.following:
            self._top = self._from_end(blocks, width, height, around)
        else:
            index, line = self._top
            if self._top_block is not None and (index >= len(blocks) or blocks[index] is not self._top_block):
                try:
                    index = blocks.index(self._top_block)
                except ValueError:
                    index = min(index, max(0, len(blocks) - 1))
            self._top = (index, line)
        seen = self._from(blocks, width, height, around)
        if len(seen) < height and not self.following and blocks:
            end = self._from_end(blocks, width, height, around)
            if end < self._top:
                self._top = end
                seen = self._from(blocks, width, height, around)
        self._top_block = blocks[self._top[0]] if self._top[0] < len(blocks) else None
        blanks: list[tuple[int, int, Line] | None] = [None] * (height - len(seen))
        self._seen = [*seen, *blanks]

    def _from(
        self, blocks: Sequence[Block], width: int, height: int, around: Surroundings
    ) -> list[tuple[int, int, Line]]:
        index, line = self._top
        seen: list[tuple[int, int, Line]] = []
        while index < len(blocks) and len(seen) < height:
            lines = blocks[index].lines(width, around)
            for at in range(max(0, line), len(lines)):
                seen.append((index, at, lines[at]))
                if len(seen) == height:
                    break
            index, line = index + 1, 0
        return seen

    def _from_end(self, blocks: Sequence[Block], width: int, height: int, around: Surroundings) -> tuple[int, int]:
        """Return the block and line at the top when the last line is at the bottom."""
        room = height
        for index in range(len(blocks) - 1, -1, -1):
            size = len(blocks[index].lines(width, around))
            if size >= room:
                return index, size - room
            room -= size
        return 0, 0

    def _refresh_changed(self) -> None:
        look = (id(self._get_ink()), self.size, self.has_focus, self.mark, self.words, self.hit, self.selection.version)
        width = self.size.width
        marks: list[object] = [None if one is None else id(one[2]) for one in self._seen]
        thumb = self._thumb()
        if look != self._look:
            self._look = look
            self._strips.clear()
            self._thumbs.clear()
            self._drawn, self._thumb_at = marks, thumb
            self.refresh()
            return
        regions = [
            Region(0, y, width, 1)
            for y, mark in enumerate(marks)
            if y >= len(self._drawn) or mark != self._drawn[y] or (mark is None and self._drawn[y] is not None)
        ]
        if thumb != self._thumb_at:
            regions += [Region(width - 1, at[0], 1, at[1] - at[0]) for at in (thumb, self._thumb_at) if at is not None]
        # Kept alive, so that the id() of a line that is compared is not one that has been reused.
        self._alive = [one[2] for one in self._seen if one is not None]
        self._drawn, self._thumb_at = marks, thumb
        if regions:
            self.refresh(*regions)

    def _thumb(self) -> tuple[int, int] | None:
        width, height = self._left_and_width[1], self.size.height
        blocks = self.blocks
        heights = [block.height(width) for block in blocks]
        total = sum(heights)
        if total <= height or height < 3:
            return None
        above = sum(heights[: self._top[0]]) + self._top[1]
        size = max(1, height * height // total)
        first = (
            height - size if self.following else min(height - size, above * (height - size) // max(1, total - height))
        )
        return first, first + size

    # --- drawing ----------------------------------------------------------------------------------------

    def render_line(self, y: int) -> Strip:
        ink = self._get_ink()
        width = self.line_width or self.size.width
        one = self._seen[y] if y < len(self._seen) else None
        if one is None:
            words = fit(self._broken, width) if y == 0 else ""
            strip = Strip([Segment(words, ink.style("err"))]).adjust_cell_length(width, ink.style("fg"))
        else:
            index, at, line = one
            marked = (self.has_focus or bool(self.words)) and self.marked(self.blocks[index])
            selected = self.selection.on(index, at)
            if marked or selected is not None or self.words:
                hit = self.hit[2] if self.hit is not None and self.hit[:2] == (index, at) else None
                strip = self._strip(line, ink, width, marked=marked, selected=selected, hit=hit)
            else:
                known = self._strips.get(id(line))
                if known is None or known[0] is not line:
                    if len(self._strips) > KEPT:
                        self._strips.clear()
                    known = (line, self._strip(line, ink, width))
                    self._strips[id(line)] = known
                strip = known[1]
        if self._thumb_at is not None and self._thumb_at[0] <= y < self._thumb_at[1] and width > 1:
            return self._with_thumb(strip, width, ink)
        return strip

    def _with_thumb(self, strip: Strip, width: int, ink: Ink) -> Strip:
        known = self._thumbs.get(id(strip))
        if known is None or known[0] is not strip:
            if len(self._thumbs) > KEPT:
                self._thumbs.clear()
            mark = Segment("|" if ink.glyphs.ascii else "▐", ink.style("faint"))
            known = self._thumbs[id(strip)] = (strip, Strip.join([strip.crop(0, width - 1), Strip([mark], 1)]))
        return known[1]

    def _strip(
        self,
        line: Line,
        ink: Ink,
        width: int,
        *,
        marked: bool = False,
        selected: tuple[int, int] | None = None,
        hit: int | None = None,
    ) -> Strip:
        left, room = self._left_and_width
        parts = line.parts
        if self.words:
            parts = highlighted(parts, self.words, hit)
        segments = [Segment(text, ink.style(style, line.plane)) for text, style in parts]
        used = sum(cells(text) for text, _ in parts)
        fill = room - used
        if line.right and fill > len(line.right) + 2:
            segments.append(Segment(" " * (fill - len(line.right) - 1), ink.style("fg", line.plane)))
            segments.append(Segment(f"{line.right} ", ink.style(line.right_style, line.plane)))
        elif fill > 0:
            segments.append(Segment(" " * fill, ink.style("fg", line.plane)))
        strip = Strip(segments)
        if selected is not None:
            start, end = min(selected[0], used), min(selected[1], used)
            strip = Strip.join(
                [
                    strip.crop(0, start),
                    strip.crop(start, end).apply_style(ink.style("fg reverse")),
                    strip.crop(end, strip.cell_length),
                ]
            )
        lead = [Segment(" " * left, ink.style("fg"))]
        if marked and left:
            lead = [Segment(" " * (left - 1), ink.style("fg")), Segment(ink.glyphs.cursor, ink.style("accent bold"))]
            if left > 1:
                lead = [
                    Segment(" " * (left - 2), ink.style("fg")),
                    Segment(ink.glyphs.cursor, ink.style("accent bold")),
                    Segment(" ", ink.style("fg")),
                ]
        return Strip.join([Strip(lead, left), strip]).adjust_cell_length(width, ink.style("fg"))

    # --- scrolling --------------------------------------------------------------------------------------

    def scroll_lines(self, step: int) -> None:
        """Scroll by lines; at the end the view follows again."""
        blocks = self.blocks
        if not blocks or not self.size.height:
            return
        width, around = self._left_and_width[1], self._around()
        index, line = self._top
        line += step
        while line < 0 and index > 0:
            index -= 1
            line += len(blocks[index].lines(width, around))
        while index < len(blocks) - 1 and line >= len(blocks[index].lines(width, around)):
            line -= len(blocks[index].lines(width, around))
            index += 1
        wanted = (index, max(0, line))
        end = self._from_end(blocks, width, self.size.height, around)
        was = self.following, self._top
        self.following = wanted >= end
        self._top = min(wanted, end)
        self._top_block = blocks[self._top[0]]
        if was != (self.following, self._top):
            self.post_message(self.Moved())
        self.redraw()

    def to_end(self) -> None:
        self.following = True
        self.post_message(self.Moved())
        self.redraw()

    def to_start(self) -> None:
        self.following = False
        self._top, self._top_block = (0, 0), self.blocks[0] if self.blocks else None
        self.post_message(self.Moved())
        self.redraw()

    def show_at(self, index: int, line: int) -> None:
        """Have a line of a block at the top."""
        self.following = False
        self._top, self._top_block = (index, line), self.blocks[index]
        self.post_message(self.Moved())
        self.redraw()

    def page(self, step: int) -> None:
        self.scroll_lines(step * max(1, self.size.height - 2))

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self.scroll_lines(3)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self.scroll_lines(-3)

    # --- events -----------------------------------------------------------------------------------------

    def on_mount(self) -> None:
        self.redraw()

    def on_show(self) -> None:
        self.redraw()

    def on_resize(self) -> None:
        self.line_width = None
        self._strips.clear()
        self._thumbs.clear()
        self.redraw()

    def on_focus(self) -> None:
        self.redraw()

    def on_blur(self) -> None:
        self.redraw()
