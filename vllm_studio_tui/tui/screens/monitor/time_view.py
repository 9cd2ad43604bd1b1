"""Which stretch of time the charts show, and which moments of it are looked at.

A moment is a time, not a column: it stays where it is while time goes on, and when the axis is zoomed.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, replace

from vllm_studio_tui.kit import numbers

#: What the axis can span, in seconds: the last minute to 30 days.
SPANS = (60.0, 300.0, 900.0, 1800.0, 3 * 3600.0, 86_400.0, 7 * 86_400.0, 30 * 86_400.0)
SPAN_WORDS = ("1 min", "5 min", "15 min", "30 min", "3 h", "24 h", "7 days", "30 days")
FIRST_SPAN = 3
#: Seconds that a column may have.
STEPS = (
    1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 45, 60, 90, 120, 150, 180, 240, 300, 360, 450, 600, 720, 900, 1200,
    1500, 1800, 2400, 2700, 3600, 5400, 7200, 9000, 10_800, 14_400, 18_000, 21_600, 28_800, 36_000, 43_200, 86_400,
)  # fmt: skip
DAY = 86_400.0
#: The moments that can be marked: two are compared.
MARKS = 2


def moment(at: float, now: float) -> str:
    """Return a time of the axis: that of the clock within a day, over midnight too; before, its day."""
    if 0 <= now - at < DAY:
        return time.strftime("%H:%M", time.localtime(at))
    return numbers.moment(at, now)


@dataclass(frozen=True, slots=True)
class Axis:
    """The time axis of the charts: `count` columns of `step` seconds, which begin at whole multiples of it.

    Attributes:
        until: The time in the last column; in seconds since the epoch, as all times are.
        now: The present.
        cursor: The moment that is looked at; None for none.
        marks: Moments that were marked, the earlier first.
        follows: The last column is the present.
    """

    words: str
    step: float
    count: int
    until: float
    now: float
    cursor: float | None = None
    marks: tuple[float, ...] = ()
    follows: bool = True

    @property
    def first(self) -> int:
        """Return the number of the first column, counted from the epoch."""
        return math.ceil(self.until / self.step - 1e-9) - self.count

    @property
    def since(self) -> float:
        """Return the time at the left end."""
        return self.first * self.step

    @property
    def end(self) -> float:
        """Return the time at the right end."""
        return (self.first + self.count) * self.step

    def column(self, at: float) -> int | None:
        """Return the column of a time; None where it is not shown."""
        found = math.floor(at / self.step + 1e-9) - self.first
        if found == self.count and at <= self.until:
            found -= 1
        return found if 0 <= found < self.count else None

    @property
    def half(self) -> int:
        """Return how many columns on either side of a mark are compared: a fifteenth of the axis, with its own."""
        return max(0, self.count // 30)

    def around(self, at: float) -> tuple[float, float]:
        """Return the range around a mark that is compared, from and to; also where it is not in sight."""
        column = math.floor(at / self.step + 1e-9)
        return (column - self.half) * self.step, min((column + self.half + 1) * self.step, self.now)

    def time_of(self, column: int) -> float:
        """Return the middle of a column."""
        return (self.first + column + 0.5) * self.step

    @property
    def looked_at(self) -> int | None:
        """Return the column of the cursor; None where there is none."""
        return None if self.cursor is None else self.column(self.cursor)


@dataclass(slots=True)
class TimeView:
    """What the keys change.

    Attributes:
        span: The index of the span.
        until: The time at the right end; None: the present, which is followed.
        cursor: The moment that is looked at.
        marks: Moments that were marked, in the order in which they were.
    """

    span: int = FIRST_SPAN
    until: float | None = None
    cursor: float | None = None
    marks: list[float] = field(default_factory=list)
    _drawn: Axis | None = None
    #: What has to be in sight when it is drawn next.
    _shown: float | None = None

    @property
    def drawn(self) -> Axis | None:
        """Return the axis as it was drawn last."""
        return self._drawn

    @property
    def touched(self) -> bool:
        """Whether it shows anything but the present."""
        return self.until is not None or self.cursor is not None or bool(self.marks)

    def axis(self, now: float, room: int) -> Axis:
        """Return the axis for so many columns."""
        span = SPANS[self.span]
        step = next((step for step in STEPS if span / step <= max(1, room)), STEPS[-1])
        if self.marks and self.until is None:
            self.until = now  # what is marked stays where it is
        if self.until is not None and self.until >= now and not self.marks:
            self.until = None
        until = now if self.until is None else min(now, self.until)
        count = max(1, min(room, math.ceil(span / step)))
        marks = tuple(sorted(self.marks))
        marks = tuple(sorted(self.marks))
        made = Axis(SPAN_WORDS[self.span], step, count, until, now, self.cursor, marks, self.until is None)
        shown, self._shown = self._shown, None
        if shown is not None and made.column(shown) is None:
            # Beside what lies further on in this direction there is more of what one comes from.
            column = math.floor(shown / step + 1e-9)
            last = column + ((count - 1) // 4 if shown > until else (count - 1) * 3 // 4)
            self.until = None if (last + 0.5) * step >= now else (last + 0.5) * step
            made = replace(made, until=now if self.until is None else self.until, follows=self.until is None)
        self._drawn = made
        return made

    def move(self, columns: int) -> None:
        """Move the moment by columns; the first step to the left is the last one, right of it is the present."""
        axis = self._drawn
        if axis is None:
            return
        if self.cursor is None:
            if columns < 0:
                self.cursor = min(axis.time_of(axis.count - 1), axis.until)
            return
        wanted = math.floor(self.cursor / axis.step + 1e-9) + columns
        if wanted * axis.step > axis.now:
            self.to_now()
        else:
            self.go(min((wanted + 0.5) * axis.step, axis.now))

    def go(self, at: float) -> None:
        """Look at a moment, and bring it into sight."""
        self.cursor = self._shown = at

    def to_now(self) -> None:
        """Follow the present."""
        self.cursor = None
        self.until = None
        self.marks.clear()

    def zoom(self, step: int) -> None:
        """Show more or less time; what is looked at stays in sight."""
        self.span = min(len(SPANS) - 1, max(0, self.span + step))
        self._shown = self.cursor if self.cursor is not None else self.marks[-1] if self.marks else None

    def mark(self) -> None:
        """Mark the moment that is looked at, or the present; take the mark away from one that has it."""
        axis = self._drawn
        if axis is None:
            return
        at = self.cursor if self.cursor is not None else min(axis.time_of(axis.count - 1), axis.until)
        here = [one for one in self.marks if abs(one - at) < axis.step / 2]
        if here:
            self.marks = [one for one in self.marks if one not in here]
            if not self.marks and self.until is not None and axis.now - self.until < SPANS[self.span]:
                self.until = None
            return
        self.marks = [*self.marks, at][-MARKS:]
        self.cursor = at
        self.until = axis.until if self.until is None else self.until
