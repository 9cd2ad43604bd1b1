"""The last lines of a log with their numbers, and those around one of them; what was read once is not read again."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vllm_studio_tui.runs.log_text import BLOCK, LogLine, LogText

#: Seconds that one look counts lines for. A log of gigabytes has its numbers after some looks.
PATIENCE = 0.25
_BLOCKS = 16


@dataclass(frozen=True, slots=True)
class NumberedLine:
    """A line of a log; `number` counts line feeds from 1, None while they are not all counted."""

    number: int | None
    text: str


@dataclass(frozen=True, slots=True)
class LogEnd:
    """The end of a log.

    Attributes:
        lines: The last lines.
        count: The number of lines; None while they are not all counted.
        around: The lines around the one that was asked for; empty while it was not come to.
    """

    lines: tuple[NumberedLine, ...] = ()
    count: int | None = None
    around: tuple[NumberedLine, ...] = ()


class LastLines:
    """Follows the end of a log. Blocking; one thread at a time.

    Args:
        secrets: Are not shown.
        around: The number of a line that is of interest.
        before, after: So many lines before and after it.
    """

    def __init__(
        self, path: Path, secrets: Sequence[str] = (), *, around: int | None = None, before: int = 4, after: int = 8
    ) -> None:
        self._path = path
        self._secrets = tuple(secrets)
        self._wanted = max(1, around - before) if around is not None else None
        self._span = before + after + 1
        self._log: LogText | None = None
        self._begin()

    def _begin(self) -> None:
        self._counted = 0  # bytes that were looked at for line feeds
        self._feeds = 0
        self._size = -1
        self._start: int | None = 0 if self._wanted == 1 else None  # where the first line of interest begins
        self._tail: list[LogLine] = []
        self._end = LogEnd()

    def look(self, lines: int) -> LogEnd:
        """Return the last lines now; an empty end where the log cannot be read."""
        with contextlib.suppress(OSError):
            if self._log is None or self._log.replaced():
                self.close()
                self._log = LogText(self._path, self._secrets)
                self._begin()
            return self._look(self._log, lines)
        return LogEnd()

    def close(self) -> None:
        if self._log is not None:
            self._log.close()
            self._log = None

    def _look(self, log: LogText, lines: int) -> LogEnd:
        size = log.size
        if size < self._size:
            self._begin()
        if size == self._size and self._counted >= size:
            return self._end
        grown, self._size = size != self._size, size
        self._count(log, size)
        if grown:
            self._tail = log.tail(lines)
        open_line = size > 0 and log.read(size - 1, 1) != b"\n"
        count = self._feeds + open_line if self._counted >= size else None
        self._end = LogEnd(_numbered(log, self._tail, last=count), count, self._around(log))
        return self._end

    def _count(self, log: LogText, size: int) -> None:
        until = time.monotonic() + PATIENCE
        while self._counted < size and time.monotonic() < until:
            self._counted = max(self._counted, min(log.data_from(self._counted), size))
            block = log.read(self._counted, min(_BLOCKS * BLOCK, size - self._counted))
            if not block:
                break
            feeds = block.count(b"\n")
            if self._start is None and self._wanted is not None and self._feeds + feeds >= self._wanted - 1:
                at = -1
                for _ in range(self._wanted - 1 - self._feeds):
                    at = block.index(b"\n", at + 1)
                self._start = self._counted + at + 1
            self._feeds += feeds
            self._counted += len(block)

    def _around(self, log: LogText) -> tuple[NumberedLine, ...]:
        if self._start is None or self._wanted is None:
            return ()
        found: list[LogLine] = log.after(self._start, self._span)
        return _numbered(log, found, first=self._wanted)


def _numbered(
    log: LogText, lines: Sequence[LogLine], *, first: int | None = None, last: int | None = None
) -> tuple[NumberedLine, ...]:
    """Number lines from the first or from the last one; the pieces of a long line have one number."""
    steps = [int(log.read(line.end - 1, 1) == b"\n") for line in lines[:-1]]
    if first is None and last is not None:
        first = last - sum(steps)
    numbers = itertools.accumulate(steps, initial=first) if first is not None else itertools.repeat(None)
    return tuple(NumberedLine(number, line.text) for number, line in zip(numbers, lines, strict=False))
