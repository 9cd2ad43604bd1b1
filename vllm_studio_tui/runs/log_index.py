"""Counting the lines of a log of any size, a piece at a time: how many, which are errors, and the number of each.

Nothing is counted until somebody asks for it. A step is for a thread, and ends in time.
"""

from __future__ import annotations

import re
import time
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from threading import Lock

from vllm_studio_tui.runs.log_pieces import LogCounts
from vllm_studio_tui.runs.log_text import LogText, decoded, level_of, tells

#: Bytes between two places of which the line's number is remembered.
PIECE = 256 * 1024
#: So many places of errors, of warnings and of hits are remembered; the rest is only counted.
MOST = 1_000_000
#: The same words, of which most pieces of most logs have none: looking for each by itself is far faster.
_WORDS = (
    b"ERROR", b"CRITICAL", b"FATAL", b"WARN", b"Exception", b"Error", b"Interrupt", b"Warning: ", b"error: ", b"Killed",
    b"Aborted", b"core dumped", b"Segmentation fault", b"terminate called", b" E ", b" W ",
)  # fmt: skip
_ATTEMPT = b"[vllm-studio] attempt "
_TELLING = re.compile(
    rb"ERROR|CRITICAL|FATAL|WARN|Exception|Error|Interrupt|Warning: |error: |Killed|Aborted|core dumped"
    rb"|Segmentation fault|terminate called| [EW] "
)


class Scan:
    """Looks through a log that grows, a piece of whole lines at a time.

    Attributes:
        upto: Bytes looked through.
    """

    def __init__(self, file: LogText) -> None:
        self._file = file
        self._size = -1
        self._lock = Lock()
        self.upto = 0

    @property
    def complete(self) -> bool:
        """Whether everything was looked through, but for a line that has not ended yet."""
        return self._size == self._file.size

    @property
    def unsettled(self) -> bool:
        """Whether the next step finds out something that was asked for meanwhile."""
        return False

    @property
    def share(self) -> float:
        """How much was looked through, 0-1."""
        return 1.0 if self.complete else min(1.0, self.upto / max(1, self._file.size))

    def reset(self) -> None:
        """Begin anew: the file has become shorter."""
        self.upto = 0

    def step(self, *, deadline: float = 0.02, most: int | None = None) -> bool:
        """Look through what follows until time is up; return whether there was anything. For a thread.

        Args:
            most: Places that are found, at which it ends too.
        """
        with self._lock:
            return self._step(deadline, most)

    def _step(self, deadline: float, most: int | None) -> bool:
        file, until, moved = self._file, time.monotonic() + deadline, False
        size = file.size
        if size < self.upto:
            self.reset()
        while self.upto < size:
            if time.monotonic() >= until or (most is not None and moved and self.places_found >= most):
                return moved
            data = file.data_from(self.upto)
            if data > self.upto:
                self.upto = data
            else:
                raw = file.read(self.upto, PIECE)
                cut = raw.rfind(b"\n") + 1
                if not cut and len(raw) < PIECE:
                    break
                raw = raw[: cut or len(raw)]
                self.look(raw)
                self.upto += len(raw)
            moved = True
            self.passed()
        self._size = size
        return moved

    def look(self, raw: bytes) -> None:
        """Take a piece that begins at `upto`."""
        raise NotImplementedError

    @property
    def places_found(self) -> int:
        """How many places are remembered."""
        return 0

    def passed(self) -> None:
        """Note where the piece has ended."""


class LogIndex(Scan):
    """What is known of the whole of a log, as far as it has been looked through.

    Attributes:
        lines: Lines that were looked through.
        errors, warnings: How many of those are; tracebacks count once.
        error_at, warning_at: Where these begin, in bytes.
        attempts: Where the attempts of the engine begin, in bytes.
    """

    def __init__(self, file: LogText) -> None:
        super().__init__(file)
        self.reset()

    def reset(self) -> None:
        super().reset()
        self.lines = self.errors = self.warnings = 0
        self.error_at, self.warning_at, self.attempts = array("Q"), array("Q"), array("Q")
        self._places, self._counts = array("Q", [0]), array("Q", [0])
        self._asked = (0, 0)

    @property
    def places_found(self) -> int:
        return len(self.error_at) + len(self.warning_at) + len(self.attempts)

    def passed(self) -> None:
        if self.upto - self._places[-1] >= PIECE // 2:
            self._places.append(self.upto)
            self._counts.append(self.lines)

    def look(self, raw: bytes) -> None:
        at = 0 if any(word in raw for word in _WORDS) else len(raw)
        while (found := _TELLING.search(raw, at)) is not None:
            begin, end = raw.rfind(b"\n", 0, found.start()) + 1, raw.find(b"\n", found.start())
            end = len(raw) if end < 0 else end
            text = decoded(raw[begin : min(end, begin + 4096)])
            if tells(text, "warning"):
                if level_of(text) == "error":
                    self.errors += 1
                    if len(self.error_at) < MOST:
                        self.error_at.append(self.upto + begin)
                else:
                    self.warnings += 1
                    if len(self.warning_at) < MOST:
                        self.warning_at.append(self.upto + begin)
            at = end
        at = raw.find(_ATTEMPT)
        while at >= 0:
            if at == 0 or raw[at - 1 : at] == b"\n":
                self.attempts.append(self.upto + at)
            at = raw.find(_ATTEMPT, at + 1)
        self.lines += raw.count(b"\n")

    def number(self, offset: int) -> int | None:
        """Return the number of the line that begins at a byte, from 1; None where it is not known yet."""
        if offset > self.upto:
            return None
        place, count = self._known_before(offset)
        while place < offset:
            raw = self._file.read(place, min(PIECE, offset - place))
            if not raw:
                break
            count += raw.count(b"\n")
            place += len(raw)
        self._asked = (place, count)
        return count + 1

    def _known_before(self, offset: int) -> tuple[int, int]:
        """Return the nearest place at or before a byte, and how many lines begin before that."""
        at = bisect_right(self._places, offset) - 1
        place, count = self._places[at], self._counts[at]
        # The lines that are drawn are asked for one after the other.
        return self._asked if place <= self._asked[0] <= offset else (place, count)

    def offset(self, number: int) -> int | None:
        """Return where the line of a number begins, in bytes; None where it is not known."""
        if number > self.lines + 1 or number < 1:
            return None
        at = bisect_left(self._counts, number) - 1 if number > 1 else 0
        place, left = self._places[max(0, at)], number - 1 - self._counts[max(0, at)]
        while left > 0 and place < self.upto:
            raw = self._file.read(place, PIECE)
            if not raw:
                return None
            count = raw.count(b"\n")
            if count < left:
                place, left = place + len(raw), left - count
                continue
            cut = -1
            for _ in range(left):
                cut = raw.find(b"\n", cut + 1)
            return place + cut + 1
        return place

    def numbers(self, offsets: Sequence[int]) -> list[int | None]:
        """Return the numbers of the lines that begin at some bytes. For a thread."""
        return [self.number(at) for at in offsets]

    # --- a stretch by itself ----------------------------------------------------------------------------

    def begin_at(self, offset: int) -> None:
        """Count from a byte on only."""
        self.upto = offset
        self._places, self._counts = array("Q", [offset]), array("Q", [0])

    def found(self) -> LogCounts:
        """Return what was counted since `begin_at`."""
        return LogCounts(
            self.upto,
            self.lines,
            self.errors,
            self.warnings,
            tuple(self.error_at),
            tuple(self.warning_at),
            tuple(self.attempts),
            tuple(self._places[1:]),
            tuple(self._counts[1:]),
        )

    def take(self, found: LogCounts) -> None:
        """Go on with what was counted elsewhere from `upto` on."""
        self._places.extend(found.places)
        self._counts.extend(self.lines + count for count in found.counts)
        self.lines, self.errors, self.warnings = (
            self.lines + found.lines,
            self.errors + found.errors,
            self.warnings + found.warnings,
        )
        self.error_at.extend(found.error_at[: MOST - len(self.error_at)])
        self.warning_at.extend(found.warning_at[: MOST - len(self.warning_at)])
        self.attempts.extend(found.attempts)
        self.upto = found.upto
        self.passed()

    def beside(self, offset: int, step: int, least: str) -> int | None:
        """Return where the next error (least `error`), or also warning, before or after a line begins."""
        found = []
        for places in (self.error_at,) if least == "error" else (self.error_at, self.warning_at):
            at = bisect_right(places, offset) if step > 0 else bisect_left(places, offset) - 1
            if 0 <= at < len(places):
                found.append(places[at])
        return (min(found) if step > 0 else max(found)) if found else None


class Hits(Scan):
    """The lines of a log that hold some words, found a piece at a time.

    Attributes:
        count: How many there are in what was looked through.
        at: Where they begin, in bytes.
    """

    def __init__(self, file: LogText, words: str, accept: Callable[[str], bool] | None = None) -> None:
        super().__init__(file)
        self.words, self._accept = words, accept
        self._wanted = words.lower().encode("utf-8", "replace")
        self.reset()

    def reset(self) -> None:
        super().reset()
        self.count, self.at = 0, array("Q")

    @property
    def places_found(self) -> int:
        return len(self.at)

    def look(self, raw: bytes) -> None:
        lower = raw.lower()
        at = lower.find(self._wanted) if self._wanted else -1
        while at >= 0:
            begin, end = lower.rfind(b"\n", 0, at) + 1, lower.find(b"\n", at)
            end = len(raw) if end < 0 else end
            if self._accept is None or self._accept(decoded(raw[begin : min(end, begin + 4096)])):
                self.count += 1
                if len(self.at) < MOST:
                    self.at.append(self.upto + begin)
            at = lower.find(self._wanted, end)

    def place(self, offset: int) -> int | None:
        """Return which hit a line is, from 1; None where it is none."""
        at = bisect_left(self.at, offset)
        return at + 1 if at < len(self.at) and self.at[at] == offset else None
