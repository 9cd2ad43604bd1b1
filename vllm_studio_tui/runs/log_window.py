"""The part of a log that is in memory: a range of the file, and the lines in it that a filter lets through."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vllm_studio_tui.runs.log_lines import is_from, parse
from vllm_studio_tui.runs.log_text import RANK, LogLine, LogText, in_traceback, level_of

#: Lines in memory at most, and how many are read at once.
WINDOW = 4000
STEP = 800
#: When more bytes than this have come at once, only the end of them is read: so many lines. Nobody reads that fast.
FLOOD = 128 * 1024
LAST = 240
#: Bytes looked through at once for lines that a filter lets through.
PIECE = 256 * 1024
#: A line that `level_of` takes for more than information has one of these, or a letter as llama.cpp writes it.
_TELLING = (
    b"ERROR", b"CRITICAL", b"FATAL", b"WARN", b"Traceback", b"Exception", b"Error", b"Interrupt", b"Warning: ",
    b"error: ", b"Killed", b"Aborted", b"core dumped", b"Segmentation fault", b"terminate called",
)  # fmt: skip
_LETTER = re.compile(rb"[\s\[\](|][EW][\s:\]|)]")


def groups(lines: Sequence[LogLine]) -> Iterator[tuple[list[LogLine], str]]:
    """Yield lines, and tracebacks as a whole, each with its level; only lines adjacent in the file are joined."""
    group: list[LogLine] = []
    for line in lines:
        if in_traceback(line.text, bool(group) and group[-1].end == line.offset):
            if group and group[-1].end != line.offset:
                yield group, "error"
                group = []
            group.append(line)
            continue
        if group:
            yield group, "error"
            group = []
        yield [line], level_of(line.text)
    if group:
        yield group, "error"


def may_tell(raw: bytes) -> bool:
    """Return whether one of these lines may be a warning or an error; False is certain."""
    return any(word in raw for word in _TELLING) or _LETTER.search(raw) is not None


def _continues(line: LogLine) -> bool:
    """Return whether only the lines before show that a line belongs to a traceback."""
    return in_traceback(line.text, True) and not in_traceback(line.text, False)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which lines are kept; false: all.

    Attributes:
        level: `all`, `warning` (and errors) or `error`.
        source: Who wrote them, as `log_lines` names it; empty for everybody.
        words: What they hold, ignoring case; empty for anything.
    """

    level: str = "all"
    source: str = ""
    words: str = ""

    def __bool__(self) -> bool:
        return self.level != "all" or bool(self.source) or bool(self.words)

    def may_keep(self, raw: bytes) -> bool:
        """Return whether one of these lines may be kept; False is certain."""
        if self.level != "all" and not may_tell(raw):
            return False
        return not self.words or self.words.lower().encode("utf-8", "replace") in raw.lower()

    def keeps(self, lines: Sequence[LogLine], level: str) -> bool:
        """Return whether a line, or a traceback as a whole, is kept."""
        if self.level != "all" and RANK[level] < RANK[self.level]:
            return False
        if self.source and not any(is_from(parse(line.text).prefix.source, self.source) for line in lines):
            return False
        words = self.words.lower()
        return not words or any(words in line.text.lower() for line in lines)

    def keeps_text(self, text: str) -> bool:
        """Return whether a line may be among those that are kept, by its text alone."""
        if self.level != "all" and RANK[level_of(text)] < RANK[self.level] and not in_traceback(text, True):
            return False
        if self.source and not is_from(parse(text).prefix.source, self.source):
            return False
        return not self.words or self.words.lower() in text.lower()


class LogWindow:
    """A stretch of a log.

    Attributes:
        filter: Which lines are kept; of a traceback all of them or none.
        lines: What is kept of the stretch, in order.
        start, end: The stretch, in bytes.
        skipped: Bytes that came too fast to be read.
        rewritten: The file does not hold any more what it held.
    """

    def __init__(self, file: LogText) -> None:
        self.file = file
        self.filter = Filter()
        self.lines: list[LogLine] = []
        self.start = self.end = self.skipped = 0
        self.rewritten = False
        self._last: LogLine | None = None
        self.tail()

    def _select(self, lines: Sequence[LogLine]) -> list[LogLine]:
        if not self.filter:
            return list(lines)
        return [line for group, level in groups(lines) if self.filter.keeps(group, level) for line in group]

    # --- moving -----------------------------------------------------------------------------------------

    def _show(self, lines: list[LogLine]) -> None:
        self.start = lines[0].offset if lines else 0
        self.end = lines[-1].end if lines else 0
        self._last = lines[-1] if lines else None
        self.lines = self._select(lines)

    def tail(self, lines: int = STEP) -> None:
        """Show the end of the file."""
        self._show(self.file.tail(lines))

    def head(self) -> None:
        """Show the beginning of the file."""
        self._show(self.file.after(0, STEP))

    def around(self, offset: int) -> None:
        """Show the lines around a byte."""
        self._show([*self.file.before(offset, STEP // 2), *self.file.after(offset, STEP)])

    def look_around(self, offset: int) -> None:
        """Read what `around` reads, and change nothing. For a thread."""
        self.file.before(offset, STEP // 2)
        self.file.after(offset, STEP)

    def set_filter(self, wanted: Filter) -> None:
        """Keep only what a filter lets through, from the end of the file on."""
        self.filter = wanted
        self.tail()

    @property
    def at_start(self) -> bool:
        return self.start <= 0

    @property
    def at_end(self) -> bool:
        return self.end >= self.file.size

    # --- what comes -------------------------------------------------------------------------------------

    def follow(self) -> bool:
        """Take what was written since; whether anything was. A flood is passed over, with a filter left to `fetch`."""
        size = self.file.size
        if size < self.end or (self._last is not None and not self._still_there(self._last)):
            self.rewritten = True
            self.tail()
        elif size == self.end:
            return False
        elif self.filter and size - self.end > FLOOD:
            return False  # `fetch` looks through it for what is kept
        elif size - self.end > FLOOD:
            before = self.end  # what lies between is there when it is scrolled to
            self.tail(LAST)
            self.skipped += max(0, self.start - before)
        else:
            self._append()
        return True

    def _append(self) -> None:
        at, last = self.end, self._last
        goes_on = last is not None and not self._ends_a_line(last)
        if last is not None and goes_on:
            at = last.offset  # its rest has come
        new = self.file.after(at, WINDOW)
        if goes_on and self.lines and self.lines[-1] is last:
            self.lines.pop()
        if not new:
            return
        again = 0
        while self.filter and again < min(len(self.lines), 200):  # a traceback may go on
            if self.lines[-1 - again].end != (self.lines[-again].offset if again else at):
                break
            again += 1
        joint = self.lines[len(self.lines) - again :]
        self.lines = self.lines[: len(self.lines) - again] + self._select([*joint, *new])
        self.end, self._last = new[-1].end, new[-1]
        self._trim_start()

    def _still_there(self, line: LogLine) -> bool:
        return line.hole or self.file.after(line.offset, 1, end=line.end) == [line]

    def _ends_a_line(self, line: LogLine) -> bool:
        return self.file.read(line.end - 1, 1) == b"\n"

    # --- reading on -------------------------------------------------------------------------------------

    def fetch(self, step: int, edge: int, *, deadline: float = 0.2) -> tuple[list[LogLine], int]:
        """Return lines above (`step` -1) or below (1) a byte, and the offset reached. Changes nothing; for a thread.

        Without a filter one step of lines; with one it looks on until some are found or time is up.
        """
        if not self.filter:
            lines = self.file.before(edge, STEP) if step < 0 else self.file.after(edge, STEP)
            return lines, self._far(lines, step, edge)
        until = time.monotonic() + deadline
        found: list[LogLine] = []
        while len(found) < STEP // 2 and time.monotonic() < until:
            lines, far = self._look(step, edge)
            if far == edge:
                break
            edge = far
            found = [*self._select(lines), *found] if step < 0 else [*found, *self._select(lines)]
        return found, edge

    def _far(self, lines: Sequence[LogLine], step: int, edge: int) -> int:
        if not lines:
            return 0 if step < 0 else edge
        return lines[0].offset if step < 0 else lines[-1].end

    def _look(self, step: int, edge: int) -> tuple[list[LogLine], int]:
        """Read the next piece: return its lines where it may hold some that are kept, and the offset where it ends.

        Most pieces hold none, and are passed over without being cut into lines: that is thirty times faster. No
        piece ends within a traceback, as far as that can be told.
        """
        begin, end = self._piece(step, edge)
        if not self.filter.may_keep(self.file.read(begin, end - begin)):
            return [], begin if step < 0 else end
        lines = self.file.after(begin, end - begin, end=end)
        if step < 0 and begin > 0:
            first = next((at for at, line in enumerate(lines) if not _continues(line)), 0)
            lines = lines[first:]
        elif step > 0 and end < self.file.size:
            last = 0
            for group, _ in groups(lines):
                last = len(group)
            lines = lines[:-last] if 1 < last < len(lines) else lines
        return lines, self._far(lines, step, begin if step < 0 else end)

    def _piece(self, step: int, edge: int) -> tuple[int, int]:
        """Return the range of whole lines above or below a byte; a hole is a range of its own."""
        file = self.file
        if step < 0:
            hole = file.hole_before(max(0, edge - 1))
            if hole is not None and hole[1] >= edge:
                return hole[0], edge
            return file.start_of(max(hole[1] if hole is not None else 0, edge - PIECE)), edge
        begin = max(edge, file.data_from(edge))
        if begin > edge:
            return edge, begin
        end = min(file.size, begin + PIECE)
        if end < file.size:
            cut = file.start_of(end)
            end = cut if cut > begin else end
        return begin, end

    def add(self, step: int, edge: int, lines: list[LogLine], far: int) -> bool:
        """Take what `fetch` found, if the stretch still ends where it was asked from; whether it grew."""
        if (self.start if step < 0 else self.end) != edge or far == edge:
            return False
        if step < 0:
            self.lines, self.start = [*lines, *self.lines], far
            if len(self.lines) > WINDOW:
                self.lines = self.lines[:WINDOW]
                self._last = self.lines[-1]
                self.end = self._last.end
        else:
            self.lines, self.end = [*self.lines, *lines], far
            self._last = lines[-1] if lines and lines[-1].end == far else self._line_before(far)
            self._trim_start()
        return True

    def _line_before(self, offset: int) -> LogLine | None:
        lines = self.file.before(offset, 1)
        return lines[-1] if lines else None

    def _trim_start(self) -> None:
        if len(self.lines) > WINDOW:
            self.lines = self.lines[-WINDOW:]
            self.start = self.lines[0].offset
