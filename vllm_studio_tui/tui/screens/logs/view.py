"""The log on its screen: a cursor, jumps to errors, hits and stages, folding, and what is copied."""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, ClassVar

from textual.binding import BindingType

from vllm_studio_tui.runs.log_index import Scan
from vllm_studio_tui.runs.log_lines import parse
from vllm_studio_tui.runs.log_window import Filter, LogWindow
from vllm_studio_tui.tui.document.log_block import LogBlock
from vllm_studio_tui.tui.document.selection import Point
from vllm_studio_tui.tui.keys import actions
from vllm_studio_tui.tui.screens.logs.cursor import LogCursor

if TYPE_CHECKING:
    from vllm_studio_tui.runs.read import RunView
    from vllm_studio_tui.services.run_logs.run_log import RunLog
    from vllm_studio_tui.tui.paint.ink import Ink

LEVELS = ("all", "warning", "error")


class LogView(LogCursor):
    """Shows a log, with a cursor on one of its entries."""

    BINDINGS: ClassVar[list[BindingType]] = [*actions.bindings("list")]

    def __init__(self, get_ink: Callable[[], Ink], *, id: str | None = None) -> None:  # noqa: A002, RUF100
        super().__init__(get_ink, id=id)
        self._seek_cause = False
        self._for_words: list[LogBlock] = []  # unfolded to show a hit

    def open(self, run: RunView, opened: Callable[[], RunLog]) -> None:
        self.at, self._seek_cause, self._top_block = None, False, None
        super().open(run, opened)

    # --- the cursor -------------------------------------------------------------------------------------

    def move(self, step: int) -> None:
        """Move the cursor up or down; below the last line the log is followed again."""
        seen = sorted({one[0] for one in self._seen if one is not None})
        if not seen:
            return
        here = self._index(self.at) if self.at is not None else None
        if here is None:
            if self.following and step > 0:
                return
            wanted = seen[-1] if step < 0 else seen[0]
        else:
            wanted = here + step
            if self._runs_on(here, step):
                self.scroll_lines(step * 3)
                return
        if wanted >= len(self.blocks) and self._at_end():
            self.to_end()
            return
        self._point_at(min(max(0, wanted), len(self.blocks) - 1))

    def _runs_on(self, here: int, step: int) -> bool:
        """Return whether the entry under the cursor goes on beyond what is visible, in this direction."""
        lines = [one[1] for one in self._seen if one is not None and one[0] == here]
        last = len(self.blocks[here].lines(self._left_and_width[1], self._around())) - 1
        return bool(lines) and (lines[-1] < last if step > 0 else lines[0] > 0)

    def _point_at(self, index: int) -> None:
        block = self._log_block(index)
        if block is None:
            return
        self.at, self.following = block.start, False
        self._reveal(index)
        if index <= 60:
            self._fill(-1)
        if index >= len(self.blocks) - 60:
            self._fill(1)
        self.post_message(self.Status())

    def _reveal(self, index: int) -> None:
        """Scroll so far that an entry is visible."""
        width, height, around = self._left_and_width[1], self.size.height, self._around()
        first = (index, 0)
        if first < self._top:
            self._top = first
        else:
            end = self._from_end(self.blocks[: index + 1], width, height, around)
            self._top = max(self._top, min(end, first))
        self._top_block = self.blocks[self._top[0]]
        self.redraw()

    def scroll_lines(self, step: int) -> None:
        if step < 0:
            self.following = False if self._wants(-1) else self.following
            self._fill(-1)
        super().scroll_lines(step)
        if step > 0 and not self._at_end():
            self.following = False
            self._fill(1)
        self._keep_cursor()
        self.post_message(self.Status())

    def _keep_cursor(self) -> None:
        """Keep the cursor among what is visible."""
        seen = sorted({one[0] for one in self._seen if one is not None})
        here = self._index(self.at) if self.at is not None else None
        if self.following:
            self.at = None
        elif here is not None and seen and not seen[0] <= here <= seen[-1]:
            block = self._log_block(seen[0] if here < seen[0] else seen[-1])
            self.at = block.start if block is not None else None
        self.redraw()

    def to_end(self) -> None:
        """Show the last line, and follow the log."""
        self.reading(self._to_end)

    def _to_end(self) -> None:
        self.at = None
        if self._window is not None and not self._at_end():
            self._window.tail()
            self._build(fresh=True)
        super().to_end()
        self._fill(-1)
        self.post_message(self.Status())

    def to_start(self) -> None:
        """Show the first line of the file."""
        self.reading(self._to_start)

    def _to_start(self) -> None:
        if self._window is not None and not self._window.at_start:
            self._window.head()
            self.following = False
            self._build(fresh=True)
        super().to_start()
        block = self._log_block(0)
        self.at = block.start if block is not None else None
        self.redraw()
        self._fill(1)
        self.post_message(self.Status())

    def go_to(self, offset: int) -> bool:
        """Put the cursor on the line at a byte, with some lines before it; return whether it is shown by now."""
        shown: list[bool] = []
        self.reading(lambda: shown.append(self._go_to(offset)))
        return any(shown)

    def _go_to(self, offset: int) -> bool:
        window = self._window
        if window is None:
            return False
        if not window.start <= offset < window.end:
            window.around(offset)
            self.following = False
            self._build(fresh=True)
        index = self._index(offset)
        block = self._log_block(index) if index is not None else None
        if index is None or block is None:
            return False
        self.at, self.following = offset, False
        visible = {one[0] for one in self._seen[1:-1] if one is not None}
        if index not in visible:
            first = max(0, index - max(1, self.size.height // 3))
            self._top, self._top_block = (first, 0), self.blocks[first]
        self.redraw()
        self._fill(-1)
        self._fill(1)
        self.post_message(self.Status())
        return True

    def on_resize(self) -> None:
        self.call_after_refresh(lambda: self.at is None or self.go_to(self.at))

    # --- jumps ------------------------------------------------------------------------------------------

    def _here(self, step: int) -> int:
        """Return where a jump begins: at the entry under the cursor, else at the edge of what is visible."""
        block = self.current
        if block is not None and self.at is not None:
            # A folded entry counts as one line.
            return (block.end - 1 if block.folded and not block.open else self.at) if step > 0 else block.start
        window = self._window
        if window is None:
            return 0
        if self.following:
            return window.file.size
        top = self._log_block(self._top[0])
        return top.start if top is not None else 0

    async def next_stop(self, step: int, *, anew: bool = False) -> bool:
        """Go to the next hit of what is looked for, else to the next error; return False where there is none.

        Args:
            anew: Begin at the beginning of the file, or at its end.
        """
        window, index = self._window, self.index
        if window is None or index is None:
            return False
        scan: Scan = self.hits if self.hits is not None else index
        try:
            await self._looked_through(scan)
            return window is not self._window or await self._to_stop(window, step, anew=anew)
        except OSError as error:
            if window is self._window:
                self.away(error)  # of a log elsewhere nobody knows what else there is
            return True

    async def _to_stop(self, window: LogWindow, step: int, *, anew: bool) -> bool:
        offset: int | None = self._here(step)
        if anew:
            offset = -1 if step > 0 else window.file.size
        self.went_round = "" if not anew else "from the top again" if step > 0 else "from the end again"
        for _ in range(1000):
            offset = self._beside(offset, step) if offset is not None else None
            if offset is None:
                return False
            if self.host is None:
                line = next(iter(window.file.after(offset, 1)), None)
            else:
                (line,) = await asyncio.to_thread(window.file.lines_at, [offset])
                await asyncio.to_thread(window.look_around, offset)
                if window is not self._window:
                    return True
            if line is None or (self.filter and not self.filter.keeps_text(line.text)):
                continue
            if self.go_to(offset):
                self.unfold_hit()
                return True
        return False

    def _beside(self, offset: int, step: int) -> int | None:
        if self.hits is not None:
            places = self.hits.at
            at = bisect_right(places, offset) if step > 0 else bisect_left(places, offset) - 1
            return places[at] if 0 <= at < len(places) else None
        assert self.index is not None
        least = "error" if self.index.errors and self.filter.level != "warning" else "warning"
        return self.index.beside(offset, step, least)

    async def _looked_through(self, scan: Scan) -> None:
        """Wait until the whole log was looked through, and show how far that is."""
        try:
            while not scan.complete and self._window is not None:
                await asyncio.to_thread(scan.step)
                self.searching = f"{scan.share:.0%}"
                self.post_message(self.Status())
        finally:
            self.searching = ""
            self.post_message(self.Status())

    def unfold_hit(self) -> None:
        """Show the words that were found under the cursor, where they are folded away."""
        block = self.current
        if block is None or not self.words:
            return
        line = next((one for one in block.entry.lines if one.offset == self.at), block.entry.lines[0])
        words = self.words.casefold()
        if block.folded and not block.open and words not in block.entry.text.casefold():
            block.toggle()
            self._for_words.append(block)
        if not block.whole and words not in parse(line.text).text.casefold():
            block.show_whole(True)
            self._for_words.append(block)
        self.redraw()

    def next_stage(self, step: int) -> bool:
        """Go to where the next stage begins, or the one before; return False where there is none."""
        starts = [start.offset for start in self.facts.stages]
        here = self._here(-1)
        at = bisect_right(starts, here) if step > 0 else bisect_left(starts, here) - 1
        return 0 <= at < len(starts) and self.go_to(starts[at])

    def show_cause(self) -> None:
        """Go to the cause of the failure; as soon as it is known."""
        if self.facts.cause_at is not None:
            self.go_to(self.facts.cause_at)
        elif not self.studied:
            self._seek_cause = True

    def learned(self) -> None:
        if self._seek_cause and self.facts.cause_at is not None:
            self._seek_cause = False
            self.go_to(self.facts.cause_at)

    def set_filter(self, wanted: Filter) -> None:
        """Show the lines that a filter lets through: around the cursor, else from the end on."""
        at, self.at = self.at, None
        super().set_filter(wanted)
        if at is not None:
            self.go_to(at)

    # --- folding, finding, copying ----------------------------------------------------------------------

    def clicked(self, point: Point) -> None:
        block = self._log_block(point.block)
        if block is not None:
            self.at, self.following = block.start, False
            block.toggle()
            self.post_message(self.Status())

    def toggle(self) -> bool:
        """Fold or unfold the entry under the cursor; return False where it is a single line."""
        block = self.current
        if block is None or not block.toggle():
            return False
        self.redraw()
        return True

    def toggle_all(self) -> None:
        """Fold or unfold everything."""
        self._all_open = not self._all_open
        for block in self.blocks:
            if isinstance(block, LogBlock) and block.folded and block.open != self._all_open:
                block.toggle()
        self.redraw()

    def toggle_whole(self) -> bool:
        """Show the whole line under the cursor, with what stands before its message, or fold that again."""
        block = self.current
        if block is None:
            return False
        block.show_whole(not block.whole)
        self.redraw()
        return True

    def fold_again(self) -> bool:
        """Fold what a person has unfolded, all of it; return whether there was anything."""
        found = self.unfolded
        self._all_open = False
        self._fold(found)
        return bool(found)

    @property
    def unfolded(self) -> list[LogBlock]:
        """What a person has unfolded."""
        found = [block for block in self.blocks if isinstance(block, LogBlock) and (block.open or block.whole)]
        return [block for block in found if block not in self._for_words]

    def _fold(self, blocks: Iterable[LogBlock]) -> None:
        for block in blocks:
            block.show_whole(False)
            if block.open:
                block.toggle()
        self.redraw()

    def look_for(self, words: str) -> None:
        """Set the words to look for, highlight and count them; what was unfolded to show a hit is folded again."""
        self.words, self.went_round = words.strip(), ""
        self._fold(self._for_words)
        self._for_words.clear()
        self._find_hits()
        self.redraw()
        self.post_message(self.Status())

    @property
    def place_of_hit(self) -> int | None:
        """Which of the hits is under the cursor, from 1."""
        return self.hits.place(self.at) if self.hits is not None and self.at is not None else None
