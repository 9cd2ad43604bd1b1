"""The charts of the monitor on a common time axis: columns, the moments that are looked at, and their values beside."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len

from vllm_studio_tui.kit import numbers
from vllm_studio_tui.tui.look.sizes import Size, margin
from vllm_studio_tui.tui.paint import charts
from vllm_studio_tui.tui.paint.glyphs import Glyphs
from vllm_studio_tui.tui.paint.ink import Row
from vllm_studio_tui.tui.screens.monitor.lane_groups import Group, Lane
from vllm_studio_tui.tui.screens.monitor.time_view import DAY, Axis, moment

#: The highest value of a chart without a scale of its own stands at this share of its height.
HEADROOM = 0.8
#: Cells of the column of a value.
VALUE = 10
#: From this multiple of the usual on a column alarms, and a value is shown as worse.
JUMP = 2.0
WORSE = 1.5

Columns = Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Happening:
    """Something on the row of events.

    Attributes:
        mark: Its character and colour.
        urgent: It stands in words beside the row before others do.
    """

    at: float
    mark: tuple[str, str]
    words: str
    urgent: bool = False


def start_of(size: Size) -> int:
    """Return the first column of the charts."""
    return margin(size) + {Size.FULL: 21, Size.WIDE: 19, Size.BASE: 16}.get(size, 15)


def room_of(width: int, size: Size, *, looking: bool) -> int:
    """Return how many columns the charts have at most.

    Args:
        looking: A moment is looked at: its values stand beside those of now.
    """
    return max(1, width - start_of(size) - 1 - VALUE * values_of(size, looking=looking))


def values_of(size: Size, *, looking: bool) -> int:
    """Return how many columns of values there are; large windows keep room for all, so that the charts stay."""
    if size >= Size.WIDE:
        return 3
    return 2 if size == Size.BASE or looking else 1


def rows(
    shown: Sequence[Group],
    columns: Mapping[str, Columns],
    now: Callable[[Lane], float | None],
    events: Iterable[Happening],
    axis: Axis,
    glyphs: Glyphs,
    width: int,
    size: Size,
    *,
    before: tuple[float, float] | None = None,
    held: str = "",
) -> list[Row]:
    """Draw charts with the marks of events and the moments that are looked at.

    Args:
        columns: The values of each series by column, the newest last.
        now: The present value of a lane.
        before: From when to when the moment is compared with; None: with all that is shown before it.
        held: Why the picture is not of the present, such as the name of a record; empty: it is.
    """
    x, start = margin(size), start_of(size)
    lay = _Lay(x, start, axis, glyphs, values_of(size, looking=axis.cursor is not None), before)
    made = [_head(lay, width, size, held)]
    for group in shown:
        if group.title:
            row = Row()
            at = x
            if group.state is not None:
                mark, colour = glyphs.state(group.state)
                at = row.put(x, mark, colour) + 1
            row.put(at, group.title, "fg bold", max(4, start + axis.count - at))
            made.append(row)
        indent = 2 if group.title and size >= Size.BASE else 0
        made += [_lane(lane, columns, now, lay, indent) for lane in group.lanes]
    made.append(_events(events, lay, width, size))
    for row in made[1:]:
        _moments(row, lay)
    return [*made, _times(lay)] if size >= Size.BASE else made


@dataclass(frozen=True, slots=True)
class _Lay:
    """Where everything stands.

    Attributes:
        values: The number of columns of values.
        before: What the moment is compared with, from when to when.
    """

    x: int
    start: int
    axis: Axis
    glyphs: Glyphs
    values: int
    before: tuple[float, float] | None

    @property
    def end(self) -> int:
        return self.start + self.axis.count

    def value_end(self, number: int) -> int:
        """Return the cell after a column of values."""
        return self.end + 1 + VALUE * (number + 1)

    @property
    def compares(self) -> bool:
        """Whether the two moments that are marked are compared, where there is room for both and the change."""
        return len(self.axis.marks) > 1 and self.values > 1

    def range_of(self, at: float) -> tuple[int, int]:
        """Return the columns around a marked moment that are compared: a fifteenth of the axis, at least one."""
        column = self.axis.column(at)
        if column is None:
            return 0, 0
        return max(0, column - self.axis.half), min(self.axis.count, column + self.axis.half + 1)


def _head(lay: _Lay, width: int, size: Size, held: str) -> Row:
    axis, row = lay.axis, Row()
    after = row.run(lay.x, [("TIME", "dim bold"), (f"  {axis.words}", "dim")])
    if size >= Size.WIDE:
        after = row.put(after, f", {_seconds(axis.step)} a column", "faint")
    if held:
        after = row.put(after + 2, held, "warn", max(0, lay.end - after - 24))
    heads = _heads(lay, size)
    for number, (text, style) in enumerate(heads):
        row.put_right(lay.value_end(number), text, style)
    column = axis.looked_at
    if column is not None or axis.marks:
        words = "marked" if axis.marks else ""
        at = axis.cursor if axis.cursor is not None else axis.marks[-1]
        said = f"{words} {clock(at, axis)}".strip()
        if len(axis.marks) > 1:
            said = " and ".join(clock(one, axis) for one in axis.marks)
            said = f"marked {said}" if size >= Size.WIDE else said
        middle = lay.start + (column if column is not None else axis.count // 2) - len(said) // 2
        place = max(after + 2, min(middle, lay.end - len(said)))
        row.put(place, said, "accent", max(0, lay.value_end(0) - 4 - place))
    return row


def _heads(lay: _Lay, size: Size) -> list[tuple[str, str]]:
    axis = lay.axis
    if lay.compares:
        first, second = (_moment(one, axis) for one in axis.marks)
        return [(first, "accent"), (second, "accent"), ("change", "faint")][: lay.values]
    if axis.cursor is not None:
        return [("now", "faint"), (_moment(axis.cursor, axis), "accent"), ("before", "faint")][: lay.values]
    return [("now", "faint"), ("mean", "faint"), ("most", "faint")][: lay.values]


def _lane(
    lane: Lane, columns: Mapping[str, Columns], now: Callable[[Lane], float | None], lay: _Lay, indent: int
) -> Row:
    axis, glyphs = lay.axis, lay.glyphs
    nothing: Columns = [None] * axis.count
    values = combined([columns.get(name, nothing) for name in lane.series], lane.together)
    known = [value for value in values if value is not None]
    top = lane.top if lane.top is not None else max(known, default=0.0) / HEADROOM
    limit = lane.limit
    if lane.alarms and len(known) > 2:
        limit = max(JUMP * statistics.median(known), statistics.median(known) + lane.least)
    row = Row()
    (parts,) = charts.columns(glyphs, values, 1, top, limit=limit)
    row.run(lay.start, parts)
    row.put(lay.x + indent, lane.label, "dim", max(0, lay.start - lay.x - indent - 1))
    for number, (text, style) in enumerate(_values(lane, values, now(lane), lay)[: lay.values]):
        row.put_right(lay.value_end(number), text, style)
    return row


def _values(lane: Lane, values: Columns, present: float | None, lay: _Lay) -> list[tuple[str, str]]:
    axis, form = lay.axis, lane.form
    if lay.compares:
        first, second = (mean(values[slice(*lay.range_of(at))]) for at in axis.marks)
        worse = is_worse(lane, second, first)
        return [
            (form(first), "fg"),
            (form(second), "err" if worse else "fg bold"),
            (change_words(first, second), "dim"),
        ]
    latest = (form(present), "fg bold")
    column = axis.looked_at
    if axis.cursor is None:
        known = [value for value in values if value is not None]
        return [latest, (form(mean(values)), "dim"), (form(max(known, default=None)), "dim")]
    if column is None:
        return [latest, (lay.glyphs.unknown, "faint"), (lay.glyphs.unknown, "faint")]
    there, before = values[column], usual(values, axis, lay.before)
    style = "fg bold"
    if lane.limit is not None and there is not None and there > lane.limit:
        style = "warn"
    elif is_worse(lane, there, before):
        style = "err"
    return [latest, (form(there), style), (form(before), "dim")]


def usual(values: Columns, axis: Axis, before: tuple[float, float] | None) -> float | None:
    """Return the mean of what the moment is compared with: a range, else all that is shown before it."""
    column = axis.looked_at
    if column is None:
        return None
    if before is None:
        return mean(values[: max(0, column)])
    return mean([value for at, value in enumerate(values) if before[0] <= axis.time_of(at) <= before[1]])


def mean(values: Iterable[float | None]) -> float | None:
    """Return the mean of the known values."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    return sum(known) / len(known) if known else None


def is_worse(lane: Lane, there: float | None, before: float | None) -> bool:
    """Return whether a value is so much worse than another that it is worth a colour."""
    if not lane.worse or there is None or before is None:
        return False
    more, less = (there, before) if lane.worse > 0 else (before, there)
    return more > less * WORSE and more - less > lane.least


def change_words(first: float | None, second: float | None) -> str:
    """Return how much a value changed: `+12%`, `x14`; empty where that says nothing."""
    if first is None or second is None or not first:
        return ""
    change = (second - first) / abs(first)
    return f"{change:+.0%}" if abs(change) < 10 else f"x{second / first:.0f}" if second / first < 1000 else "more"


def _moments(row: Row, lay: _Lay) -> None:
    """Draw the cursor and the marks into a row."""
    axis = lay.axis
    for at in dict.fromkeys((*axis.marks, *([axis.cursor] if axis.cursor is not None else []))):
        column = axis.column(at)
        if column is not None:
            row.put(lay.start + column, lay.glyphs.inside, "accent")


def _events(events: Iterable[Happening], lay: _Lay, width: int, size: Size) -> Row:
    axis, row = lay.axis, Row()
    row.put(lay.x + (2 if size >= Size.WIDE else 0), "events", "dim")
    row.put(lay.start, lay.glyphs.hairline * axis.count, "track")
    shown = [one for one in events if axis.column(one.at) is not None]
    for one in sorted(shown, key=lambda one: (one.urgent, one.at)):
        column = axis.column(one.at)
        if column is not None:
            row.put(lay.start + column, *one.mark)
    if size >= Size.WIDE:
        _event_words(row, shown, lay, width)
    return row


def _event_words(row: Row, shown: Sequence[Happening], lay: _Lay, width: int) -> None:
    """Say what happened last, beside the row: what is urgent first, as far as there is room, the earlier first."""
    x = lay.end + 3
    room = width - x - 2
    chosen: list[tuple[float, Happening, str]] = []
    for one in sorted(shown, key=lambda one: (not one.urgent, -one.at)):
        words = f"{_moment(one.at, lay.axis)} {one.words}"
        if chosen and cell_len(words) + 3 > room:
            break
        chosen.append((one.at, one, words))
        room -= cell_len(words) + 3
    for _, one, words in sorted(chosen, key=lambda found: found[0]):
        x = row.put(x, words, "fg" if one.urgent else "dim", max(0, width - x - 2)) + 3


def _times(lay: _Lay) -> Row:
    axis, row = lay.axis, Row()
    first = row.put(lay.start, _moment(axis.since, axis), "faint")
    last = row.put_right(lay.end, _moment(axis.until, axis), "faint")
    middle = _moment(axis.time_of(axis.count // 2), axis)
    place = lay.start + axis.count // 2 - len(middle) // 2
    if first + 8 < place and place + len(middle) + 8 < last:
        row.put(place, middle, "faint")
    return row


def clock(at: float, axis: Axis) -> str:
    """Return a moment as exact as the axis is."""
    import time

    if axis.step < 60 and axis.now - at < 86_400:
        return time.strftime("%H:%M:%S", time.localtime(at))
    return _moment(at, axis)


def _moment(at: float, axis: Axis) -> str:
    if axis.step >= 600 and axis.now - at >= DAY:
        return numbers.day_time(at, axis.now)
    return moment(at, axis.now)


def _seconds(step: float) -> str:
    for size, unit in ((3600, "h"), (60, "min")):
        if step >= size and step % size == 0:
            return f"{step / size:.0f} {unit}"
    return f"{step:.0f} s" if step < 120 else numbers.duration(step)


def combined(series: Sequence[Columns], together: Callable[[Sequence[float]], float]) -> list[float | None]:
    """Return one value for each column: unknown where no series knows it."""
    if len(series) == 1:
        return list(series[0])
    found: list[float | None] = []
    for values in zip(*series, strict=True):
        known = [value for value in values if value is not None]
        made = together(known) if known else None
        found.append(made if made is not None and math.isfinite(made) else None)
    return found
