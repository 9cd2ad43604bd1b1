"""A log that lies elsewhere: what is shown is mirrored, what is looked through as a whole is looked through there."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from vllm_studio_tui.runs.log_index import Hits, LogIndex
from vllm_studio_tui.runs.log_pieces import NotHere
from vllm_studio_tui.runs.log_stages import StageStart
from vllm_studio_tui.runs.log_text import LogLine, LogText
from vllm_studio_tui.runs.log_window import Filter, LogWindow
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.services.run_logs.far_text import FarText

if TYPE_CHECKING:
    from vllm_studio_tui.runs.diagnose import Diagnosis
    from vllm_studio_tui.services.protocols import LogsApi, StudioApi

#: Numbers of lines that are remembered, and asked for at once.
NUMBERS = 20_000
AT_ONCE = 2_000


class FarLog:
    """The log of a run of a studio elsewhere."""

    def __init__(self, studio: StudioApi, run: RunView) -> None:
        self._studio = studio
        self._logs: LogsApi = studio.logs
        self._text = FarText(self._logs, run)
        self.file: LogText = self._text
        self.host = studio.host

    def window(self) -> LogWindow:
        self._text.refresh()
        return FarWindow(self._text, self._logs)

    def index(self) -> LogIndex:
        return FarIndex(self._text, self._logs)

    def hits(self, words: str, wanted: Filter) -> Hits:
        return FarHits(self._text, words, wanted, self._logs)

    def never_wait_here(self) -> None:
        self._text.never_wait_here()

    def bring(self, missing: NotHere) -> None:
        self._text.bring(missing)

    def stages(self, begin: int) -> list[StageStart]:
        found = self._text.ask(partial(self._logs.stages, self._text.run_id, begin))
        return [StageStart(offset, name) for offset, name in found]

    def diagnosis(self, run: RunView) -> Diagnosis:
        return self._text.ask(partial(self._studio.runs.diagnosis, run))


class FarWindow(LogWindow):
    """A stretch of a log elsewhere; lines that a filter lets through are found there."""

    def __init__(self, file: FarText, logs: LogsApi) -> None:
        self._logs = logs
        self._text = file
        super().__init__(file)

    def fetch(self, step: int, edge: int, *, deadline: float = 0.2) -> tuple[list[LogLine], int]:
        if not self.filter:
            return super().fetch(step, edge, deadline=deadline)
        lines, far = self._text.ask(partial(self._logs.kept, self._text.run_id, self.filter, step, edge))
        # What came since the size was asked for is taken when that is known.
        return [line for line in lines if line.end <= self.file.size], min(far, self.file.size)

    def _line_before(self, offset: int) -> LogLine | None:
        try:
            return super()._line_before(offset)
        except NotHere:
            return None


class FarIndex(LogIndex):
    """Counts of a log elsewhere: counted there, a stretch at a time."""

    def __init__(self, file: FarText, logs: LogsApi) -> None:
        self._text, self._logs = file, logs
        self._numbers: dict[int, int] = {}
        self._wanted: set[int] = set()
        super().__init__(file)

    def reset(self) -> None:
        super().reset()
        self._numbers.clear()
        self._wanted.clear()

    def _step(self, deadline: float, most: int | None) -> bool:
        file, until, moved = self._text, time.monotonic() + deadline, False
        size = file.size
        moved = self._settle()
        while self.upto < size:
            upto = self.upto
            self.take(file.ask(partial(self._logs.counts, file.run_id, upto)))
            if self.upto == upto:
                break
            moved = True
            if time.monotonic() >= until and self.upto < size:
                return moved
        self._size = size
        return moved

    @property
    def unsettled(self) -> bool:
        return bool(self._wanted)

    def number(self, offset: int) -> int | None:
        """Return the number of a line; what would have to be asked for is None, and known after the next step."""
        if offset > self.upto:
            return None
        if (known := self._numbers.get(offset)) is not None:
            return known
        if self._text.waits:
            return self.numbers([offset])[0]
        try:
            return super().number(offset)
        except NotHere:
            if len(self._wanted) < AT_ONCE:
                self._wanted.add(offset)
            return None

    def numbers(self, offsets: Sequence[int]) -> list[int | None]:
        missing = [at for at in dict.fromkeys(offsets) if at <= self.upto and at not in self._numbers]
        for begin in range(0, len(missing), AT_ONCE):
            asked = missing[begin : begin + AT_ONCE]
            known = [self._known_before(at) for at in asked]
            ranges = [(place, at) for (place, _), at in zip(known, asked, strict=True)]
            feeds = self._text.ask(partial(self._logs.feeds, self._text.run_id, ranges))
            for (_, count), at, more in zip(known, asked, feeds, strict=True):
                self._numbers[at] = count + more + 1
        found = [self._numbers.get(at) for at in offsets]
        if len(self._numbers) > NUMBERS:
            self._numbers.clear()
        return found

    def _settle(self) -> bool:
        """Ask for the numbers that were wanted where nobody could wait; return whether there were any."""
        wanted = list(self._wanted)
        self.numbers(wanted)
        self._wanted.difference_update(wanted)
        return bool(wanted)


class FarHits(Hits):
    """The lines of a log elsewhere with some words, found there, a stretch at a time."""

    def __init__(self, file: FarText, words: str, wanted: Filter, logs: LogsApi) -> None:
        self._text, self._logs, self._filter = file, logs, wanted
        super().__init__(file, words)

    def _step(self, deadline: float, most: int | None) -> bool:
        file, until, moved = self._text, time.monotonic() + deadline, False
        size = file.size
        while self.upto < size and self.words:
            upto = self.upto
            found = file.ask(partial(self._logs.hits, file.run_id, self.words, self._filter, upto))
            self.count, self.upto = self.count + found.count, found.upto
            self.at.extend(found.at)
            if self.upto == upto:
                break
            moved = True
            if time.monotonic() >= until and self.upto < size:
                return moved
        self._size = size
        return moved
