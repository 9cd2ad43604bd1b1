"""The part of a log that is in memory, as blocks on the screen: following, reading on, filters, what is known."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from vllm_studio_tui.runs.log_folding import entries
from vllm_studio_tui.runs.log_text import LogLine
from vllm_studio_tui.runs.log_window import Filter, LogWindow
from vllm_studio_tui.tui.document.blocks import Block
from vllm_studio_tui.tui.document.log_block import Columns, LogBlock, Notice
from vllm_studio_tui.tui.screens.logs.source import LogSource

if TYPE_CHECKING:
    from vllm_studio_tui.runs.read import RunView
    from vllm_studio_tui.services.run_logs.run_log import RunLog
    from vllm_studio_tui.tui.paint.ink import Ink

#: The number of blocks to have in memory above the visible ones.
NEAR = 60
#: Lines above and below the cause that are copied with it.
AROUND = 4


class LogStretch(LogSource):
    """Shows a part of a log, and reads on where it is looked at.

    Attributes:
        columns: The columns of its lines.
    """

    def __init__(self, get_ink: Callable[[], Ink], *, id: str | None = None) -> None:  # noqa: A002, RUF100
        super().__init__(get_ink, id=id)
        self._filling = False
        self.columns = Columns()

    def set_columns(self, *, number: int, time: int, source: int, note: int, plain: str) -> None:
        """Set the columns of all lines."""
        wanted = Columns(number, time, source, note, plain)
        if wanted != self.columns:
            self.columns.number, self.columns.time, self.columns.source = number, time, source
            self.columns.note, self.columns.plain = note, plain
            for block in self.blocks:
                block.changed()
            self.redraw()

    # --- the file ---------------------------------------------------------------------------------------

    def begin(self, log: RunLog, window: LogWindow) -> None:
        self._window, self.index = window, log.index()
        self._build(fresh=True)
        self._fill(-1)
        self._study_more()

    def run_changed(self, run: RunView) -> bool:
        """Take the state of the run as it is now; return whether it has ended since: then why is looked up."""
        before, self._run = self._run, run
        ended = before is not None and before.state is not run.state and run.status.final
        if ended:
            self.facts.studied = False
        return ended

    @property
    def fits(self) -> bool:
        """Whether the whole log is visible."""
        window = self._window
        if window is None:
            return True
        return window.at_start and not window.filter and self._thumb_at is None and self.size.height > 2

    def follow(self) -> None:
        """Show what was added."""
        window = self._window
        if window is None:
            return
        # Below a log that does not fill the view there is room for what comes: it moves nothing.
        follows = self.following or self.fits
        new = follows and window.follow()
        with suppress(OSError):
            if self._run is not None and self._opened is not None and (window.rewritten or window.file.replaced()):
                self.open(self._run, self._opened)
                return
        if follows:
            if new:
                self._build()
            if window.filter:
                self._fill(1)
            self._fill(-1)
        self._study_more()

    # --- blocks -----------------------------------------------------------------------------------------

    def rebuild(self) -> None:
        self._build(fresh=True)

    def number_late(self) -> None:
        """Draw the lines again whose numbers were not known."""
        late = [block for block in self.blocks if isinstance(block, LogBlock) and not block.numbered]
        for block in late:
            block.changed()
        if late:
            self.redraw()

    def _build(self, *, fresh: bool = False) -> None:
        """Build the blocks of the lines in memory. Those in the middle of what was built before stay as they are."""
        assert self._window is not None
        lines = self._window.lines
        old = [block for block in self.blocks if isinstance(block, LogBlock)]
        opened = {block.start for block in old if block.open != self._all_open}
        kept: list[LogBlock] = []
        above: Sequence[LogLine] = lines
        below: Sequence[LogLine] = ()
        if lines and not fresh:
            first, last = lines[0].offset, lines[-1].end
            # The first and the last two may go on in what was read since.
            kept = [block for block in old[1:-2] if block.start >= first and block.end <= last]
        if kept:
            begin = next(at for at, line in enumerate(lines) if line.offset >= kept[0].start)
            end = begin + sum(len(block.entry.lines) for block in kept)
            if end <= len(lines) and lines[begin] == kept[0].entry.lines[0] and lines[end - 1].end == kept[-1].end:
                above, below = lines[:begin], lines[end:]
            else:
                kept = []
        self.blocks = [*self._made(above, opened), *kept, *self._made(below, opened)]
        if not self.blocks:
            self.blocks = self._nothing()
        if self._top_block is not None and self._top_block not in self.blocks:
            self._keep_top()
        self.redraw()
        self.post_message(self.Status())

    def _keep_top(self) -> None:
        """Stay at the same line where its block was made anew."""
        top = self._top_block
        self._top_block = None
        if isinstance(top, LogBlock):
            ends = [block.end if isinstance(block, LogBlock) else 0 for block in self.blocks]
            at = bisect_right(ends, top.start)
            self._top = (min(at, max(0, len(ends) - 1)), self._top[1])

    def _made(self, lines: Sequence[LogLine], opened: set[int]) -> list[Block]:
        alone = () if self.facts.cause_at is None else (self.facts.cause_at,)
        made: list[Block] = []
        for entry in entries(lines, alone):
            block = LogBlock(entry, self.columns, self._number)
            block.open = self._all_open != (block.start in opened)
            self._dress(block)
            made.append(block)
        return made

    def _dress(self, block: LogBlock) -> None:
        facts = self.facts
        role = facts.role_of(block.start, block.end)
        if role == "cause":
            note = "root cause"
        elif role:
            number = self._number(facts.cause_at) if facts.cause_at is not None else None
            word = "echo of" if role == "echo" else "same as"
            note = f"{word} {number}" if number is not None else "echo"
        else:
            note = self.stage_word(facts.stage_of(block.start))
        block.dress(role, note)

    def dress(self) -> None:
        for block in self.blocks:
            if isinstance(block, LogBlock):
                self._dress(block)
        self.redraw()

    def stage_word(self, stage: str) -> str:
        """Return the name of a stage for people."""
        from vllm_studio_tui.tui.paint.run_words import stage_word

        return stage_word(stage)

    def _nothing(self) -> list[Block]:
        """Return what is shown where no line is."""
        window = self._window
        if window is None or not window.filter:
            return [Notice("The engine has written nothing yet.")] if window is not None else []
        if not (window.at_start and window.at_end):
            return []
        lines, known = self.lines_known
        said = [
            *(["are warnings or worse"] if self.filter.level == "warning" else []),
            *(["are errors"] if self.filter.level == "error" else []),
            *([f"are from {self.filter.source}"] if self.filter.source else []),
            *([f'hold "{self.filter.words}"'] if self.filter.words else []),
        ]
        count = f"{lines}" if known else f"about {lines}"
        return [Notice(f"0 of {count} lines {' and '.join(said)}.   esc shows all {count}")]

    @property
    def hides_all(self) -> bool:
        """Whether the filter hides every line."""
        return bool(self.filter) and not any(isinstance(block, LogBlock) for block in self.blocks)

    def set_filter(self, wanted: Filter) -> None:
        """Show the lines that a filter lets through, from the end on."""
        self.filter = wanted
        self.following = True
        if self._window is not None:
            self.reading(partial(self._show_kept, wanted))

    def _show_kept(self, wanted: Filter) -> None:
        if self._window is not None and self.filter == wanted:
            self._window.set_filter(wanted)
            if self.hits is not None:
                self._find_hits()
            self._build(fresh=True)
            self._fill(-1)

    # --- reading on -------------------------------------------------------------------------------------

    def _at_end(self) -> bool:
        return self._window is None or self._window.at_end

    def _wants(self, step: int) -> bool:
        """Return whether more lines are needed above (-1) or below (1) the visible ones."""
        window = self._window
        if window is None or (window.at_start if step < 0 else window.at_end):
            return False
        first = len(self.blocks) - self.size.height if self.following else self._top[0]
        return first <= NEAR if step < 0 else len(self.blocks) - first <= 200

    def _fill(self, step: int) -> None:
        """Read more lines above or below: at once; in the background where a filter hides some, and from elsewhere."""
        window = self._window
        if window is None or not self._wants(step):
            return
        if not window.filter and self.host is None:
            edge = window.start if step < 0 else window.end
            if window.add(step, edge, *window.fetch(step, edge)):
                self._build()
        elif not self._filling:
            self._filling = True
            self.run_worker(self._look_on(window), group="log-level")

    async def _look_on(self, window: LogWindow) -> None:
        """Read lines that the filter lets through until the view has enough of them or the file ends."""
        wanted, grew = window.filter, True
        try:
            while grew:
                grew = False
                for step in (1, -1):
                    if not self._wants(step):
                        continue
                    edge = window.start if step < 0 else window.end
                    lines, far = await asyncio.to_thread(window.fetch, step, edge)
                    if window is not self._window or window.filter != wanted:
                        return
                    if window.add(step, edge, lines, far):
                        grew = True
                        if lines or (window.at_start and window.at_end):
                            self._build()
                    elif far != edge:
                        return  # somebody looks at another part of it by now
                    size = max(1, window.file.size)
                    if wanted:
                        self.searching = f"{(size - far if step < 0 else far) * 100 // size}%"
                    self.post_message(self.Status())
        except OSError as error:
            if window is self._window:
                self.away(error)
        finally:
            self._filling = False
            self.searching = ""
            self.post_message(self.Status())
            if window is self._window and window.filter != wanted:
                self._fill(-1)
