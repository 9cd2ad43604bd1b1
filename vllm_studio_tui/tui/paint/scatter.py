"""Points in two dimensions, joined by dots, with round numbers at both axes: what is drawn of a benchmark.

Box drawing and dots, one sign a cell. Where several things meet in a cell the more important one is drawn: a point,
then its label, then a dot, then a line of the grid.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from rich.cells import cell_len

from vllm_studio_tui.kit import numbers
from vllm_studio_tui.tui.paint.charts import joined
from vllm_studio_tui.tui.paint.glyphs import Glyphs
from vllm_studio_tui.tui.paint.ink import Row

#: Steps between two numbers of an axis, for each power of ten.
STEPS = (1.0, 1.2, 1.5, 1.6, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
#: Cells between two numbers of the lower axis at least, and rows between two of the left one.
APART, ROWS = 10, 3
#: How much wider a plot may become so that a limit is in it.
STRETCH = 2.2


@dataclass(frozen=True, slots=True)
class Point:
    """A point: where it is, what stands beside it, and its own sign where it has one."""

    x: float
    y: float
    label: str = ""
    sign: str = ""
    style: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """Points that belong together, in their order.

    Attributes:
        sign: What a point is drawn as.
        style, dots: The styles of its points and labels, and of the dots between them.
        below: Labels stand below the points, where there is room; else above.
    """

    points: tuple[Point, ...]
    sign: str
    style: str = "accent"
    dots: str = "data"
    below: bool = False


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis: where it begins, how far it is from one number to the next, and how many there are after the first."""

    start: float
    step: float
    count: int

    @property
    def end(self) -> float:
        return self.start + self.step * self.count

    @property
    def ticks(self) -> list[float]:
        return [self.start + self.step * index for index in range(self.count + 1)]

    def at(self, value: float, cells: int) -> int:
        """Return the cell of a value, of so many."""
        share = (value - self.start) / (self.end - self.start)
        return max(0, min(cells - 1, round(share * (cells - 1))))


def axis_of(low: float, high: float, count: int, *, least: int = 1) -> Axis:
    """Return an axis from `low` or before to `high` or after, in `least` to `count` round steps: the tightest."""
    high = max(high, low)
    found: list[Axis] = []
    for steps in range(max(1, count), max(1, min(least, count)) - 1, -1):
        narrow = (high - low) / steps
        narrow = narrow if narrow > 1e-9 * max(abs(high), 1e-6) else abs(high) / steps
        narrow = narrow if narrow > 1e-12 else 1.0
        power = 10.0 ** math.floor(math.log10(narrow))
        for step in (one * scale for scale in (power, power * 10) for one in STEPS):
            start = math.floor(low / step + 1e-9) * step
            if step >= narrow * (1 - 1e-9) and start + step * steps >= high - step * 1e-9:
                found.append(Axis(start, step, max(1, math.ceil((high - start) / step - 1e-9))))
                break
    return min(found, key=lambda one: one.end - one.start) if found else Axis(low, max(high - low, 1.0), 1)


def scatter(
    glyphs: Glyphs,
    lines: Sequence[Line],
    width: int,
    height: int,
    *,
    limit: float | None = None,
    limit_words: str = "",
    x: int = 0,
    unit: str = "",
) -> list[Row]:
    """Draw lines of points in `width` cells from cell `x` on, and `height` rows; none of them below zero.

    Args:
        limit: A value of the lower axis that is marked, where it is near enough.
        limit_words: Stands beside it.
        unit: What the lower axis counts, behind its last number, where there is room.
    """
    found = [point for line in lines for point in line.points if math.isfinite(point.x) and math.isfinite(point.y)]
    tall = height - 1
    if not found or tall < 3 or width < 20:
        return []
    up = axis_of(0.0, max(point.y for point in found) * 1.02, max(1, min(4, (tall - 1) // ROWS)), least=2)
    gutter = max(cell_len(_number(value, up.step)) for value in up.ticks) + 3
    wide = width - gutter
    low, high = min(point.x for point in found), max(point.x for point in found)
    if limit is not None and not _near(limit, low, high):
        limit = None
    if limit is not None:
        low, high = min(low, limit), max(high, limit)
    spare = (high - low or high or 1.0) * 0.04
    across = axis_of(max(0.0, low - spare), high + spare, max(1, min(6, wide // APART)), least=2)
    cells = _Cells(glyphs, wide, tall, across, up)
    cells.grid()
    if limit is not None:
        cells.mark_limit(limit)
    for line in lines:
        cells.join(line)
    for line in lines:
        cells.put_points(line)
    for line in lines[::-1]:
        cells.put_labels(line)
    if limit is not None:
        cells.name_limit(limit, limit_words)
    ticks = {tall - 1 - up.at(value, tall): value for value in up.ticks}
    rows = []
    for y in range(tall):
        row = Row()
        if y in ticks:
            row.put_right(x + gutter - 3, _number(ticks[y], up.step), "faint")
            row.put(x + gutter - 2, glyphs.hairline, "track")
        row.put(x + gutter - 1, glyphs.inside, "track")
        row.run(x + gutter, cells.row(y))
        rows.append(row)
    return [*rows, _lower(across, x + gutter, wide, unit)]


def _near(limit: float, low: float, high: float) -> bool:
    span = high - low or high or 1.0
    return low - span * (STRETCH - 1) <= limit <= high + span * (STRETCH - 1)


def _number(value: float, step: float) -> str:
    """Return a number of an axis, with a decimal where its steps have one."""
    if step >= 1 and step == int(step):
        return numbers.count(round(value))
    digits = min(6, max(1, math.ceil(-math.log10(step)) + (1 if step < 1 else 0))) if step > 0 else 1
    return f"{value:.{digits}f}".rstrip("0").rstrip(".") or "0"


def _lower(axis: Axis, x: int, cells: int, unit: str) -> Row:
    row, free, end = Row(), x - 3, x + cells
    if unit and cell_len(unit) < cells // 2:
        end = row.put_right(end, unit, "faint") - 2
    for value in axis.ticks:
        text = _number(value, axis.step)
        start = min(x + axis.at(value, cells) - len(text) // 2, x + cells - len(text))
        if free <= start and start + len(text) <= end:
            free = row.put(start, text, "faint") + 2
    return row


class _Cells:
    """The inside of a plot, cell by cell: what is drawn in each, how, and how much that matters."""

    def __init__(self, glyphs: Glyphs, width: int, height: int, across: Axis, up: Axis) -> None:
        self._glyphs = glyphs
        self._width, self._height = width, height
        self._across, self._up = across, up
        self._cells: list[list[tuple[str, str, int]]] = [[(" ", "", 0)] * width for _ in range(height)]

    def _put(self, x: int, y: int, sign: str, style: str, rank: int) -> None:
        if 0 <= x < self._width and 0 <= y < self._height and self._cells[y][x][2] <= rank:
            self._cells[y][x] = (sign, style, rank)

    def _place(self, point: Point) -> tuple[int, int]:
        return self._across.at(point.x, self._width), self._height - 1 - self._up.at(point.y, self._height)

    def grid(self) -> None:
        for value in self._up.ticks:
            y = self._height - 1 - self._up.at(value, self._height)
            for x in range(self._width):
                self._put(x, y, self._glyphs.hairline, "track", 1)

    def mark_limit(self, limit: float) -> None:
        """Draw the limit as an upright line."""
        x = self._across.at(limit, self._width)
        for y in range(self._height - 1):
            self._put(x, y, self._glyphs.inside, "track", 1)

    def name_limit(self, limit: float, words: str) -> None:
        """Draw what the limit is beside its line, as low as there is room."""
        x, long = self._across.at(limit, self._width), cell_len(words)
        for y in range(self._height - 2, -1, -1):
            for start in (x + 2, x - 1 - long):
                if self._free(start, y, long):
                    self._text(start, y, words, "faint", 5)
                    return

    def join(self, line: Line) -> None:
        dot = "." if self._glyphs.ascii else "·"
        places = [self._place(point) for point in line.points]
        for (x, y), (to_x, to_y) in pairwise(places):
            steps = max(abs(to_x - x), abs(to_y - y))
            for step in range(1, steps):
                share = step / steps
                self._put(round(x + (to_x - x) * share), round(y + (to_y - y) * share), dot, line.dots, 3)

    def put_points(self, line: Line) -> None:
        for point in line.points:
            x, y = self._place(point)
            self._put(x, y, point.sign or line.sign, point.style or line.style, 9)

    def put_labels(self, line: Line) -> None:
        """Put each label where it hides nothing: above or below its point, else beside it, else nowhere."""
        style = "fg bold" if not line.below else "faint"
        for point in line.points:
            x, y = self._place(point)
            long = cell_len(point.label)
            over, under = (x - long // 2 + 1, y - 1), (x - long // 2, y + 1)
            sides = [(x + 2, y), (x - 1 - long, y)]
            for start, at in [under, *sides[::-1], over] if line.below else [over, *sides, under]:
                if point.label and self._free(start, at, long):
                    self._text(start, at, point.label, style, 5)
                    break

    def _free(self, start: int, y: int, long: int) -> bool:
        if not (0 <= y < self._height and start >= 0 and start + long <= self._width):
            return False
        around = self._cells[y][max(0, start - 1) : start + long + 1]
        return all(rank <= 1 for _, _, rank in around)

    def _text(self, x: int, y: int, text: str, style: str, rank: int) -> None:
        for index, sign in enumerate(text):
            self._put(x + index, y, sign, style, rank)

    def row(self, y: int) -> list[tuple[str, str]]:
        return joined([(sign, style) for sign, style, _ in self._cells[y]])
