"""A view of a log of any size, of which it keeps a part in memory: follow, filter by level, fold tracebacks, search."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from textual.message import Message as Notice
from textual.timer import Timer

from vllm_studio_tui.runs.log_text import LogText
from vllm_studio_tui.runs.log_window import LogWindow, groups
from vllm_studio_tui.tui.document.blocks import Block
from vllm_studio_tui.tui.document.log_block import LogBlock
from vllm_studio_tui.tui.document.reading import BlockReader
from vllm_studio_tui.tui.document.selection import Point

if TYPE_CHECKING:
    from vllm_studio_tui.tui.paint.ink import Ink

#: Seconds between two reads of a log that is followed.
EVERY = 0.2
#: The number of blocks to have in memory above the visible ones.
NEAR = 60
LEVELS = ("all", "warning", "error")


class LogView(BlockReader):
    """Shows a log.

    Attributes:
        level: The lines that are shown: all, warnings and errors, or errors.
    """

    class Status(Notice):
        """The position, the level or the search changed, which the screen shows beside the log."""

    def __init__(self, get_ink: Callable[[], Ink], *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(get_ink, id=id)
        self._window: LogWindow | None = None
        self._secrets: tuple[str, ...] = ()
        self._causes: tuple[str, ...] = ()
        self._timer: Timer | None = None
        self._busy = self._filling = False
        self.level = "all"
        self.current: int | None = None
        self.searching = ""

    @property
    def path(self) -> Path | None:
        return self._window.file.path if self._window is not None else None

    @property
    def size_bytes(self) -> int:
        return self._window.file.size if self._window is not None else 0

    # --- the file ---------------------------------------------------------------------------------------

    def open(self, path: Path, *, secrets: Sequence[str] = (), causes: Sequence[str] = ()) -> None:
        """Show a log at its end. `causes` are the lines that name the cause of the failure.

        Raises:
            OSError: The file cannot be opened.
        """
        file = LogText(path, secrets)
        self.close_file()
        self._secrets, self._causes = tuple(secrets), tuple(cause.strip() for cause in causes if cause.strip())
        self.words, self.current = "", None
        self.following = True
        self._window = LogWindow(file)
        self.set_level(self.level)
        if self._timer is None:
            self._timer = self.set_interval(EVERY, self._poll)

    def close_file(self) -> None:
        """Close the file of the log."""
        if self._window is not None:
            self._window.file.close()
            self._window = None
        self.blocks = []

    def on_unmount(self) -> None:
        self.close_file()

    def _poll(self) -> None:
        """Read new lines while the log is followed."""
        window = self._window
        if window is None or not self.following or self._busy or not self.is_on_screen or not self.size.height:
            return
        with suppress(OSError):
            if window.file.replaced():
                self.open(window.file.path, secrets=self._secrets, causes=self._causes)
                return
        if window.follow():
            self._build()
        if window.level != "all":
            self._fill(1)
        self._fill(-1)

    def _build(self) -> None:
        """Build the blocks of the lines in memory, and keep those that exist already."""
        assert self._window is not None
        known = {block.log_lines[0].offset: block for block in self.blocks if isinstance(block, LogBlock)}
        current = self.blocks[self.current] if self.current is not None and self.current < len(self.blocks) else None
        blocks: list[Block] = []
        for lines, level in groups(self._window.lines):
            old = known.get(lines[0].offset)
            if old is not None and old.log_lines == tuple(lines):
                old.message = len(blocks)
                blocks.append(old)
                continue
            cause = level == "error" and any(cause in lines[0].text for cause in self._causes)
            made = LogBlock(len(blocks), lines, level, cause=cause)
            if old is not None:
                made.open = old.open
            blocks.append(made)
        self.blocks = blocks
        at = current.message if current is not None else -1
        self.current = at if 0 <= at < len(blocks) and blocks[at] is current else None
        self.redraw()
        self.post_message(self.Status())

    # --- moving -----------------------------------------------------------------------------------------

    def scroll_lines(self, step: int) -> None:
        if step < 0:
            self._more_before()
        super().scroll_lines(step)
        if step > 0 and not self._at_end():
            self._more_after()
        self.post_message(self.Status())

    def _at_end(self) -> bool:
        return self._window is None or self._window.at_end

    def _more_before(self) -> None:
        """Read earlier lines when the view comes near the first line in memory."""
        if self._wants(-1):
            self.following = False
            self._fill(-1)

    def _more_after(self) -> None:
        if self._wants(1):
            self._fill(1)

    def _wants(self, step: int) -> bool:
        """Return whether more lines are needed above (-1) or below (1) the visible ones."""
        window = self._window
        if window is None or (window.at_start if step < 0 else window.at_end):
            return False
        first = len(self.blocks) - self.size.height if self.following else self._top[0]
        return first <= NEAR if step < 0 else len(self.blocks) - first <= 200

    def _fill(self, step: int) -> None:
        """Read more lines above or below: at once, or in the background where lines are filtered by level."""
        window = self._window
        if window is None or not self._wants(step):
            return
        if window.level == "all":
            edge = window.start if step < 0 else window.end
            if window.add(step, edge, *window.fetch(step, edge)):
                self._build()
        elif not self._filling:
            self._filling = True
            self.run_worker(self._look_on(window), group="log-level")

    async def _look_on(self, window: LogWindow) -> None:
        """Read lines of the level until the view has enough of them or the file ends."""
        level, grew = window.level, True
        try:
            while grew:
                grew = False
                for step in (1, -1):
                    if not self._wants(step):
                        continue
                    edge = window.start if step < 0 else window.end
                    lines, far = await asyncio.to_thread(window.fetch, step, edge)
                    if window is not self._window or window.level != level:
                        return
                    if window.add(step, edge, lines, far):
                        grew = True
                        if lines:
                            self._build()
                    size = max(1, window.file.size)
                    self.searching = f"{(size - far if step < 0 else far) * 100 // size}%"
                    self.post_message(self.Status())
        finally:
            self._filling = False
            self.searching = ""
            self.post_message(self.Status())

    def to_end(self) -> None:
        """Show the last line, and follow the log."""
        if self._window is not None and not self._at_end():
            self._window.tail()
            self._build()
        super().to_end()
        self._fill(-1)
        self.post_message(self.Status())

    def to_start(self) -> None:
        """Show the first line of the file."""
        if self._window is not None and not self._window.at_start:
            self._window.head()
            self.following = False
            self._build()
        super().to_start()
        self._fill(1)
        self.post_message(self.Status())

    def go_to(self, offset: int) -> None:
        """Show the line at a byte offset, with some lines before it."""
        window = self._window
        if window is None:
            return
        if not window.start <= offset < window.end:
            window.around(offset)
            self.following = False
            self._build()
        index = next(
            (
                at
                for at, block in enumerate(self.blocks)
                if isinstance(block, LogBlock) and block.log_lines[-1].end > offset
            ),
            None,
        )
        if index is None:
            return
        self.current = index
        self.following = False
        first = max(0, index - max(1, self.size.height // 3))
        self._top, self._top_block = (first, 0), self.blocks[first]
        self.redraw()
        self.post_message(self.Status())

    # --- what is shown ----------------------------------------------------------------------------------

    def marked(self, block: Block) -> bool:
        return self.current is not None and block.message == self.current

    @property
    def mark(self) -> object:
        return self.current

    def set_level(self, level: str) -> None:
        """Show all lines, warnings and errors, or errors."""
        self.level = level
        self.following = True
        if self._window is not None:
            self._window.set_level(level)
            self._build()
            self._fill(-1)

    def clicked(self, point: Point) -> None:
        self.current = point.block
        self.blocks[point.block].toggle()

    def toggle(self) -> bool:
        """Fold or unfold the traceback under the cursor, else all visible tracebacks."""
        if self.current is not None and self.current < len(self.blocks) and self.blocks[self.current].toggle():
            self.redraw()
            return True
        seen = {line[0] for line in self._seen if line is not None}
        folded = [self.blocks[index] for index in seen if getattr(self.blocks[index], "folded", False)]
        for block in folded:
            block.toggle()
        self.redraw()
        return bool(folded)

    # --- finding ----------------------------------------------------------------------------------------

    def look_for(self, words: str) -> None:
        """Set the words to search for, and highlight them."""
        self.words = words.strip()
        self.redraw()
        self.post_message(self.Status())

    async def search(self, step: int) -> bool:
        """Go to the next line of the file that has the words; return False where there is none."""
        window = self._window
        if window is None or not self.words:
            return False
        file = window.file
        block = self.blocks[self._top[0]] if self._top[0] < len(self.blocks) else None
        if self.current is not None and self.current < len(self.blocks):
            block = self.blocks[self.current]
        here = 0
        if self.following and self.current is None and step < 0:
            here = window.end  # search the visible lines too
        elif isinstance(block, LogBlock):
            here = block.log_lines[-1].end if step > 0 else block.log_lines[0].offset
        words = self.words
        self._busy = True
        try:
            at, found = here, None
            while found is None and self.words == words and self._window is window:
                found, seen = await asyncio.to_thread(window.search, words, at, step)
                if found is None and (seen == at or seen <= 0 or seen >= file.size):
                    break
                at = seen
                self.searching = f"{at * 100 // max(1, file.size)}%"
                self.post_message(self.Status())
        finally:
            self._busy = False
            self.searching = ""
            self.post_message(self.Status())
        if found is not None:
            self.go_to(found)
        return found is not None

    async def first_error(self) -> bool:
        """Go to the line with the cause of the failure, else to the first error."""
        window = self._window
        if window is None:
            return False
        file = window.file
        for cause in self._causes:
            offset, _ = await asyncio.to_thread(file.search, cause[:200], 0, 1)
            if offset is not None:
                self.go_to(offset)
                return True
        at, line = 0, None
        while line is None and at < file.size and self._window is window:
            line, at = await asyncio.to_thread(file.first_error, at)
            self.searching = f"{at * 100 // max(1, file.size)}%" if line is None else ""
            self.post_message(self.Status())
        self.searching = ""
        if line is not None and self._window is window:
            self.go_to(line.offset)
        return line is not None

    def last_lines(self, count: int) -> str:
        """Return the last lines in memory, for copying."""
        lines = self._window.lines[-count:] if self._window is not None else ()
        return "\n".join(line.text for line in lines)
