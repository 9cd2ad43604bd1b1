"""A ring buffer of samples over time, for charts."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterator, Sequence


def average(values: Sequence[float]) -> float:
    """Return the arithmetic mean of at least one value."""
    return math.fsum(values) / len(values)


class Ring:
    """The last `size` samples of one value. Unknown values are kept as such and left out of every sum.

    Memory is two arrays of doubles, which grow to `size` and no further. Times are seconds of any clock that does not
    go back.
    """

    __slots__ = ("_count", "_next", "_size", "_times", "_values")

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError("a ring needs room for one sample")
        self._size = size
        self._times = array("d")
        self._values = array("d")
        self._next = 0
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[tuple[float, float | None]]:
        """Yield pairs of time and value, oldest first."""
        start = self._next - self._count
        for offset in range(self._count):
            index = (start + offset) % self._count
            value = self._values[index]
            yield self._times[index], None if math.isnan(value) else value

    def append(self, at: float, value: float | None) -> None:
        """Add a sample; a full ring drops the oldest. None, NaN and infinities are unknown."""
        kept = value if value is not None and math.isfinite(value) else math.nan
        if self._count < self._size:
            self._times.append(at)
            self._values.append(kept)
            self._count += 1
        else:
            self._times[self._next] = at
            self._values[self._next] = kept
        self._next = (self._next + 1) % self._size

    def since(self, at: float) -> list[tuple[float, float | None]]:
        """Return the samples after a moment, oldest first, and the one before them if there is one."""
        found: list[tuple[float, float | None]] = []
        for offset in range(1, self._count + 1):
            index = (self._next - offset) % self._count
            value = self._values[index]
            found.append((self._times[index], None if math.isnan(value) else value))
            if self._times[index] <= at:
                break
        found.reverse()
        return found

    def columns(
        self, since: float, width: float, count: int, *, hold: float = 0.0, take: Callable[[Sequence[float]], float]
    ) -> list[float | None]:
        """Return what `take` makes of the samples of each of some columns of equal time, from `since` on.

        A column without a sample repeats the last one for up to `hold` seconds after it, as `over` does.
        """
        shares: list[list[float]] = [[] for _ in range(count)]
        last: list[tuple[float, float | None] | None] = [None] * count
        before: tuple[float, float | None] | None = None
        for at, value in self.since(since):
            if at <= since:
                before = (at, value)
                continue
            column = math.ceil((at - since) / width) - 1
            if column >= count:
                break
            last[column] = (at, value)
            if value is not None:
                shares[column].append(value)
        out: list[float | None] = []
        for column, share in enumerate(shares):
            if last[column] is not None:
                before = last[column]
                out.append(take(share) if share else None)
            elif before is not None and since + (column + 0.5) * width - before[0] <= hold:
                out.append(before[1])
            else:
                out.append(None)
        return out

    def values(self) -> list[float | None]:
        """Return all values, oldest first."""
        return [value for _, value in self]

    def known(self) -> list[float]:
        """Return the known values, oldest first."""
        return [value for _, value in self if value is not None]

    def max(self) -> float | None:
        """Return the largest known value; None if there is none."""
        return max(self.known(), default=None)

    def over(
        self,
        columns: int,
        span: float,
        now: float,
        *,
        hold: float = 0.0,
    ) -> list[float | None]:
        """Return the last `span` seconds before `now` as `columns` averages over equal times, newest last.

        A column without a sample repeats the last one for up to `hold` seconds after it, so that columns
        narrower than the sampling period show no gaps, while a real gap stays one.
        """
        if columns < 1 or not span > 0:
            return []
        width = span / columns
        start = now - span
        shares: list[list[float]] = [[] for _ in range(columns)]
        seen: list[float | None] = [None] * columns  # time of the newest sample, known or not, in the column
        last: list[float | None] = [None] * columns
        before: tuple[float, float | None] | None = None
        for at, value in self.since(start):
            if at > now:
                continue
            if at <= start:
                before = (at, value)
                continue
            column = min(columns - 1, max(0, math.ceil((at - start) / width) - 1))
            seen[column], last[column] = at, value
            if value is not None:
                shares[column].append(value)
        out: list[float | None] = []
        for column, share in enumerate(shares):
            if seen[column] is not None:
                before = (seen[column] or 0.0, last[column])
                out.append(average(share) if share else None)
            elif before is not None and start + (column + 0.5) * width - before[0] <= hold:
                out.append(before[1])
            else:
                out.append(None)
        return out
