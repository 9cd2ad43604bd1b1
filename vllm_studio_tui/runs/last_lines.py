"""The last lines of a log with their numbers, and those around one of them; what was read once is not read again."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vllm_studio_tui.runs.log_index import LogIndex
from vllm_studio_tui.runs.log_lines import parse
from vllm_studio_tui.runs.log_text import LogLine, LogText

#: Seconds that one look counts lines for. A log of gigabytes has its numbers after some looks.
PATIENCE = 0.25
#: So many times the lines that are shown are read: those that say the same again are left out.
MORE = 4


@dataclass(frozen=True, slots=True)
class NumberedLine:
    """A line of a log; `number` counts line feeds from 1, None while they are not all counted."""

    number: int | None
    text: str


@dataclass(frozen=True, slots=True)
class LogEnd:
    """The end of a log.

    Attributes:
        lines: The last lines; of those that say the same one after the other the last one.
        count: The number of lines; None while they are not all counted.
        around: The lines around the one that was asked for; empty while it was not come to.
    """

    lines: tuple[NumberedLine, ...] = ()
    count: int | None = None
    around: tuple[NumberedLine, ...] = ()


def of_file(path: Path, secrets: Sequence[str] = ()) -> Callable[[], tuple[LogText, LogIndex]]:
    """Return what opens a file of this machine, with what counts its lines.

    Args:
        secrets: Are not shown.
    """

    def opened() -> tuple[LogText, LogIndex]:
        log = LogText(path, secrets)
        return log, LogIndex(log)

    return opened


class LastLines:
    """Follows the end of a log. Blocking; one thread at a time.

    Args:
        opened: Opens it, and makes what counts its lines.
        around: The number of a line that is of interest.
        before, after: So many lines before and after it.
    """

    def __init__(
        self,
        opened: Callable[[], tuple[LogText, LogIndex]],
        *,
        around: int | None = None,
        before: int = 4,
        after: int = 8,
    ) -> None:
        self._opened = opened
        self._wanted = max(1, around - before) if around is not None else None
        self._span = before + after + 1
        self._log: LogText | None = None
        self._index: LogIndex | None = None
        self._size = -1
        self._tail: list[LogLine] = []
        self._end = LogEnd()

    def look(self, lines: int) -> LogEnd:
        """Return the last lines now; where the log cannot be read those that were, if any."""
        with contextlib.suppress(OSError):
            if self._log is not None:
                self._log.refresh()
            if self._log is None or self._index is None or self._log.replaced():
                self.close()
                self._end = LogEnd()
                log, self._index = self._opened()
                self._log, self._size = log, -1
                log.refresh()
            return self._look(self._log, self._index, lines)
        return self._end

    def close(self) -> None:
        if self._log is not None:
            self._log.close()
            self._log = None

    def _look(self, log: LogText, index: LogIndex, lines: int) -> LogEnd:
        size = log.size
        if size == self._size and self._end.count is not None:
            return self._end
        if size != self._size:
            self._size, self._tail = size, _once(log.tail(lines * MORE))[-lines:]
        index.step(deadline=PATIENCE)
        count = index.lines + (index.upto < size) if index.complete else None
        around = index.offset(self._wanted) if self._wanted is not None else None
        lines_around = log.after(around, self._span) if around is not None else []
        self._end = LogEnd(_numbered(index, self._tail), count, _numbered(index, lines_around))
        return self._end


def _once(lines: Sequence[LogLine]) -> list[LogLine]:
    """Return the lines without those that the next one says again at another time, as an idle engine does."""
    said = [(parts.text if parts.prefix.size else None) for parts in (parse(line.text) for line in lines)]
    return [
        line for at, line in enumerate(lines) if said[at] is None or at + 1 == len(lines) or said[at] != said[at + 1]
    ]


def _numbered(index: LogIndex, lines: Sequence[LogLine]) -> tuple[NumberedLine, ...]:
    """Number lines as far as they are counted; the pieces of a long line have one number."""
    # Of a line that has not ended yet only the first piece is known to the index.
    ends = index.upto if index.complete else None
    offsets = [line.offset if ends is None else min(line.offset, ends) for line in lines]
    numbers = index.numbers(offsets)
    return tuple(NumberedLine(number, line.text) for number, line in zip(numbers, lines, strict=True))
