"""A log of any size: follows its end, filters, folds tracebacks, finds. Only a window of it is in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from textual.message import Message as Notice
from textual.timer import Timer

from vllm_studio_tui.runs.logtext import RANK, LogLine, LogText, in_traceback, level_of
from vllm_studio_tui.tui.document.blocks import Block, Surroundings
from vllm_studio_tui.tui.document.flow import Line, Part, fold
from vllm_studio_tui.tui.document.reading import BlockReader
from vllm_studio_tui.tui.document.selection import Point

if TYPE_CHECKING:
    from vllm_studio_tui.tui.paint.ink import Ink

#: Lines in memory at most, and how many are read at once.
WINDOW = 4000
STEP = 800
#: Seconds between two looks at a log that is followed.
EVERY = 0.2
#: When more bytes than this have come, only the end of them is read.
FLOOD = 512 * 1024
LEVELS = ("all", "warning", "error")


class LogBlock(Block):
    """A line, or a traceback folded to one."""

    def __init__(self, index: int, lines: Sequence[LogLine], level: str, *, cause: bool) -> None:
        super().__init__(index)
        self.log_lines = tuple(lines)
        self.level = level
        self._cause = cause
        self.open = False

    @property
    def folded(self) -> bool:
        """Whether it is a traceback that can be opened."""
        return len(self.log_lines) > 1

    def make(self, width: int, around: Surroundings) -> list[Line]:
        glyphs = around.glyphs
        mark = {"error": (f"{glyphs.failed} ", "err"), "warning": (f"{glyphs.warning} ", "warn")}.get(
            self.level, ("  ", "fg")
        )
        plane = "sel" if self._cause else ""
        style = "fg bold" if self._cause else "fg" if self.level in ("error", "warning") else "dim"
        later: tuple[Part, ...] = (("  ", "fg"),)
        if self.folded and not self.open:
            head: list[Part] = [(f"{glyphs.folded} Traceback, {len(self.log_lines)} lines", "dim")]
            return fold(head, width, (mark,), later)
        out: list[Line] = []
        for line in self.log_lines:
            out += fold([(line.text.expandtabs(4), style)], width, (mark,), later, plane) or [Line((mark,), plane)]
        return out

    def estimate(self, width: int) -> int:
        return 1 if self.folded and not self.open else max(1, len(self.log_lines[0].text) // max(1, width) + 1)

    def toggle(self) -> bool:
        if not self.folded:
            return False
        self.open = not self.open
        self.changed()
        return True

    def source(self) -> str:
        return "\n".join(line.text for line in self.log_lines)


class LogView(BlockReader):
    """Shows a log.

    Attributes:
        level: Which lines are shown: all, those from warning up, errors.
    """

    class Status(Notice):
        """What the screen says of the log has changed."""

    def __init__(self, get_ink: Callable[[], Ink], *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(get_ink, id=id)
        self._file: LogText | None = None
        self._lines: list[LogLine] = []
        self._secrets: tuple[str, ...] = ()
        self._causes: tuple[str, ...] = ()
        self._timer: Timer | None = None
        self._busy = False
        self.level = "all"
        self.current: int | None = None
        self.skipped = 0
        self.searching = ""

    @property
    def path(self) -> Path | None:
        return self._file.path if self._file is not None else None

    @property
    def size_bytes(self) -> int:
        return self._file.size if self._file is not None else 0

    # --- the file ---------------------------------------------------------------------------------------

    def open(self, path: Path, *, secrets: Sequence[str] = (), causes: Sequence[str] = ()) -> None:
        """Show a log from its end. `causes` are lines that tell why the engine failed.

        Raises:
            OSError: It cannot be opened.
        """
        file = LogText(path, secrets)
        self.close_file()
        self._file = file
        self._secrets, self._causes = tuple(secrets), tuple(cause.strip() for cause in causes if cause.strip())
        self.words, self.skipped, self.current = "", 0, None
        self.following = self.growing = True
        self._lines = file.tail(STEP)
        self._build()
        if self._timer is None:
            self._timer = self.set_interval(EVERY, self._poll)

    def close_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        self._lines = []
        self.blocks = []

    def on_unmount(self) -> None:
        self.close_file()

    def _poll(self) -> None:
        """Take what has come, while the end is looked at."""
        file = self._file
        if file is None or not self.following or self._busy or not self.is_on_screen or not self.size.height:
            return
        with suppress(OSError):
            if file.replaced():
                self.open(file.path, secrets=self._secrets, causes=self._causes)
                return
        end = self._lines[-1].end if self._lines else 0
        size = file.size
        if size < end:
            self._lines = file.tail(STEP)
        elif self._lines and not self._still_there(self._lines[-1]):
            self._lines = file.tail(STEP)  # it was written anew
        elif size == end:
            return
        elif size - end > FLOOD:
            # Nobody reads that fast: what lies between is there when it is scrolled to.
            self._lines = file.tail(STEP)
            self.skipped += max(0, self._lines[0].offset - end) if self._lines else 0
        else:
            last = self._lines[-1] if self._lines else None
            start = end
            if last is not None and not self._ends_a_line(last):
                start = last.offset  # its rest has come
                self._lines.pop()
            self._lines += file.after(start, WINDOW)
        self._lines = self._lines[-WINDOW:]
        self._build()

    def _still_there(self, line: LogLine) -> bool:
        assert self._file is not None
        return line.hole or self._file.after(line.offset, 1, end=line.end) == [line]

    def _ends_a_line(self, line: LogLine) -> bool:
        assert self._file is not None
        return self._file.read(line.end - 1, 1) == b"\n"

    def _build(self) -> None:
        """The blocks of the lines in memory; those that were there already stay as they are."""
        known = {block.log_lines[0].offset: block for block in self.blocks if isinstance(block, LogBlock)}
        least = RANK.get(self.level, 0) if self.level != "all" else 0
        blocks: list[Block] = []
        group: list[LogLine] = []

        def put(lines: list[LogLine], level: str) -> None:
            if not lines or RANK[level] < least:
                return
            old = known.get(lines[0].offset)
            if old is not None and old.log_lines == tuple(lines):
                old.message = len(blocks)
                blocks.append(old)
                return
            cause = level == "error" and any(cause in lines[0].text for cause in self._causes)
            made = LogBlock(len(blocks), lines, level, cause=cause)
            if old is not None:
                made.open = old.open
            blocks.append(made)

        for line in self._lines:
            if in_traceback(line.text, bool(group)):
                group.append(line)
                continue
            put(group, "error")
            group = []
            put([line], level_of(line.text))
        put(group, "error")
        self.blocks = blocks
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
        return self._file is None or not self._lines or self._lines[-1].end >= self._file.size

    def _more_before(self) -> None:
        """Read on upwards when the view comes near the first line in memory."""
        if self._file is None or not self._lines or self._top[0] > 60 or self._lines[0].offset == 0:
            return
        self._lines = [*self._file.before(self._lines[0].offset, STEP), *self._lines][:WINDOW]
        self.following = False
        self._build()

    def _more_after(self) -> None:
        if self._file is None or not self._lines or len(self.blocks) - self._top[0] > 200:
            return
        self._lines = [*self._lines, *self._file.after(self._lines[-1].end, STEP)][-WINDOW:]
        self._build()

    def to_end(self) -> None:
        if self._file is not None and not self._at_end():
            self._lines = self._file.tail(STEP)
            self._build()
        super().to_end()
        self.post_message(self.Status())

    def to_start(self) -> None:
        if self._file is not None and self._lines and self._lines[0].offset > 0:
            self._lines = self._file.after(0, STEP)
            self.following = False
            self._build()
        super().to_start()
        self.post_message(self.Status())

    def go_to(self, offset: int) -> None:
        """Show the line at a byte, with some before it."""
        if self._file is None:
            return
        if not self._lines or not self._lines[0].offset <= offset < self._lines[-1].end:
            self._lines = [*self._file.before(offset, STEP // 2), *self._file.after(offset, STEP)]
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
        """Show all lines, those from warning up, or errors."""
        self.level = level
        self.following = True
        self._build()

    def clicked(self, point: Point) -> None:
        self.current = point.block
        self.blocks[point.block].toggle()

    def toggle(self) -> bool:
        """Fold or open the traceback under the cursor, else all that are seen."""
        if self.current is not None and self.current < len(self.blocks) and self.blocks[self.current].toggle():
            self.redraw()
            return True
        seen = {one[0] for one in self._seen if one is not None}
        folded = [self.blocks[index] for index in seen if getattr(self.blocks[index], "folded", False)]
        for block in folded:
            block.toggle()
        self.redraw()
        return bool(folded)

    # --- finding ----------------------------------------------------------------------------------------

    def look_for(self, words: str) -> None:
        """Mark words; `search` goes to them."""
        self.words = words.strip()
        self.redraw()
        self.post_message(self.Status())

    async def search(self, step: int) -> bool:
        """Go to the next line with the words, through the whole file; False where there is none."""
        file = self._file
        if file is None or not self.words:
            return False
        block = self.blocks[self._top[0]] if self._top[0] < len(self.blocks) else None
        if self.current is not None and self.current < len(self.blocks):
            block = self.blocks[self.current]
        here = 0
        if isinstance(block, LogBlock):
            here = block.log_lines[-1].end if step > 0 else block.log_lines[0].offset
        words = self.words
        self._busy = True
        try:
            at, found = here, None
            while found is None and self.words == words and self._file is file:
                found, seen = await asyncio.to_thread(file.search, words, at, step, deadline=0.3)
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
        """Go to the line that tells why it failed, else to the first error."""
        file = self._file
        if file is None:
            return False
        for cause in self._causes:
            offset, _ = await asyncio.to_thread(file.search, cause[:200], 0, 1)
            if offset is not None:
                self.go_to(offset)
                return True
        at, line = 0, None
        while line is None and at < file.size and self._file is file:
            line, at = await asyncio.to_thread(file.first_error, at)
            self.searching = f"{at * 100 // max(1, file.size)}%" if line is None else ""
            self.post_message(self.Status())
        self.searching = ""
        if line is not None and self._file is file:
            self.go_to(line.offset)
        return line is not None

    def last_lines(self, count: int) -> str:
        """The last lines in memory, for copying."""
        return "\n".join(line.text for line in self._lines[-count:])
