"""The cursor on the entries of a log, and what is copied from there."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from typing import TYPE_CHECKING

from vllm_studio_tui.runs.log_pieces import NotHere
from vllm_studio_tui.runs.log_text import LogLine
from vllm_studio_tui.tui.document.blocks import Block
from vllm_studio_tui.tui.document.log_block import LogBlock
from vllm_studio_tui.tui.screens.logs.stretch import AROUND, LogStretch

if TYPE_CHECKING:
    from vllm_studio_tui.tui.paint.ink import Ink


class LogCursor(LogStretch):
    """A part of a log with a cursor on one of its entries.

    Attributes:
        at: Where the entry under the cursor begins in the file, in bytes; None without a cursor.
    """

    def __init__(self, get_ink: Callable[[], Ink], *, id: str | None = None) -> None:  # noqa: A002, RUF100
        super().__init__(get_ink, id=id)
        self.at: int | None = None

    def marked(self, block: Block) -> bool:
        return self.at is not None and isinstance(block, LogBlock) and block.start <= self.at < block.end

    @property
    def mark(self) -> object:
        return self.at

    @property
    def current(self) -> LogBlock | None:
        """The entry under the cursor."""
        at = self._index(self.at) if self.at is not None else None
        return self._log_block(at) if at is not None else None

    def _log_block(self, at: int) -> LogBlock | None:
        block = self.blocks[at] if 0 <= at < len(self.blocks) else None
        return block if isinstance(block, LogBlock) else None

    def _index(self, offset: int) -> int | None:
        """Return the place among the blocks of the one that holds a byte, or of the next."""
        ends = [block.end if isinstance(block, LogBlock) else 0 for block in self.blocks]
        at = bisect_right(ends, offset)
        return at if self._log_block(at) is not None else None

    # --- lines to copy ----------------------------------------------------------------------------------

    def around_cause(self) -> list[LogLine]:
        """Return the lines around the cause."""
        at, window = self.facts.cause_at, self._window
        if at is None or window is None:
            return []
        return self.lines_around(at, at, AROUND, AROUND + 1)

    def lines_around(self, start: int, end: int, before: int, after: int) -> list[LogLine]:
        """Return lines that end at a byte, and lines that begin at one; of a log elsewhere those in memory."""
        window = self._window
        if window is None:
            return []
        try:
            return [*window.file.before(start, before), *window.file.after(end, after)]
        except NotHere:
            above = [line for line in window.lines if line.end <= start][-before:]
            return [*above, *[line for line in window.lines if line.offset >= end][:after]]

    def last_lines(self, count: int) -> list[str]:
        """Return the last lines in memory."""
        lines = self._window.lines[-count:] if self._window is not None else ()
        return [line.text for line in lines]

    @property
    def selected_text(self) -> str:
        """What is selected with the mouse: of several lines the lines as they are written."""
        if not self.selection:
            return ""
        first, last = self.selection.range
        if first.block == last.block:
            return super().selected_text
        return "\n".join(block.source() for block in self.blocks[first.block : last.block + 1])

    def lines_at_cursor(self) -> list[str]:
        """Return the lines of the entry under the cursor as they are written; at the cause those around it, too."""
        block = self.current
        if block is None:
            return []
        if block.role == "cause":
            return [line.text for line in self.around_cause()]
        return [line.text for line in block.entry.lines if line.text.strip()]

    def around_cursor(self, count: int) -> list[str]:
        """Return the lines around the cursor, as many above it as below."""
        block, window = self.current, self._window
        if block is None or window is None:
            return []
        around = self.lines_around(block.start, block.end, count, count)
        above = [line for line in around if line.offset < block.start]
        lines = [*above, *block.entry.lines, *around[len(above) :]]
        return [line.text for line in lines]

    def visible_lines(self) -> list[str]:
        """Return the lines that are visible, those that are folded too."""
        seen = sorted({one[0] for one in self._seen if one is not None})
        blocks = [block for at in seen if (block := self._log_block(at)) is not None]
        return [line.text for block in blocks for line in block.entry.lines]
