"""Two ranges of the time axis beside each other: mean, 95th percentile and most of every chart, and the change."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.timeline import RangeFigures, of_samples
from vllm_studio_tui.tui.look.sizes import Size, margin
from vllm_studio_tui.tui.paint.glyphs import Glyphs
from vllm_studio_tui.tui.paint.ink import Row
from vllm_studio_tui.tui.screens.monitor.lane_groups import Group, Lane
from vllm_studio_tui.tui.screens.monitor.lanes import VALUE, change_words, clock, is_worse, start_of
from vllm_studio_tui.tui.screens.monitor.time_view import Axis

if TYPE_CHECKING:
    from vllm_studio_tui.tui.shell import Shell

#: The beginning of the keys of their rows, which the cursor goes to where not all of them are in sight.
COMPARED = "compared:"
#: Seconds after which ranges that are not over are looked up again.
AGAIN = 5.0
#: Columns that the figures of several series together are computed of.
PARTS = 240

Ranges = tuple[tuple[float, float], tuple[float, float]]
Found = Mapping[tuple[str, ...], tuple[RangeFigures, RangeFigures]]


class Comparison:
    """The figures of two ranges, looked up in a thread.

    Args:
        changed: Called when they are there.
    """

    def __init__(self, shell: Shell, changed: Callable[[], None]) -> None:
        self._shell = shell
        self._changed = changed
        self._asked: tuple[Ranges, frozenset[tuple[str, ...]]] | None = None
        self._at = 0.0
        self.found: Found | None = None

    def ask(self, ranges: Ranges, lanes: Sequence[Lane], now: float) -> None:
        """Look the figures of these charts up, unless they are there."""
        key = ranges, frozenset(lane.series for lane in lanes)
        over = ranges[1][1] < now - AGAIN
        if self._asked == key and (over or time.monotonic() - self._at < AGAIN):
            return
        if self._asked is None or self._asked[0] != ranges:
            self.found = None
        self._asked, self._at = key, time.monotonic()
        self._shell.spawn(self._look(key, ranges, tuple(lanes)), group="compare")

    async def _look(self, key: object, ranges: Ranges, lanes: Sequence[Lane]) -> None:
        timeline = self._shell.studio.timeline

        def look() -> Found:
            single = [lane.series[0] for lane in lanes if len(lane.series) == 1]
            first, second = (timeline.figures(single, *one) for one in ranges)
            made: dict[tuple[str, ...], tuple[RangeFigures, RangeFigures]]
            made = {(name,): (first[name], second[name]) for name in single}
            for lane in lanes:
                if len(lane.series) > 1:
                    before, after = (together(timeline.over, lane, *one) for one in ranges)
                    made[lane.series] = before, after
            return made

        try:
            found = await self._shell.in_thread(look)
        except StudioError:  # a studio elsewhere that does not answer: the rows stay without
            found = {}
        if self._asked == key:
            self.found = found
            self._changed()


def together(
    over: Callable[[Sequence[str], float, float, int], Mapping[str, Sequence[float | None]]],
    lane: Lane,
    since: float,
    until: float,
) -> RangeFigures:
    """Return the figures of a chart of several series: those of its columns, in each of which they are one value."""
    from vllm_studio_tui.tui.screens.monitor.lanes import combined

    columns = max(1, min(PARTS, int(until - since)))
    found = over(lane.series, since, until, columns)
    known = [one for one in combined([found[name] for name in lane.series], lane.together) if one is not None]
    return of_samples(known, (until - since) / columns, until - since)


def ranges_of(axis: Axis) -> Ranges | None:
    """Return the two ranges that are marked, the earlier first; None where fewer than two are."""
    if len(axis.marks) < 2:
        return None
    first, second = (axis.around(at) for at in axis.marks)
    return first, second


def compared_rows(
    groups: Sequence[Group], found: Found | None, axis: Axis, glyphs: Glyphs, width: int, size: Size
) -> list[Row]:
    """Draw a row for each chart, with as many of the figures as there is room for: means first, then p95, then most."""
    ranges = ranges_of(axis)
    if ranges is None:
        return []
    x, start = margin(size), start_of(size)
    room = (width - start - 1) // VALUE
    change = room >= 9
    parts = ("mean", "p95", "most")[: max(1, room // (3 if change else 2))]
    rows = [_head(axis, ranges, x, width, size), *_titles(parts, axis, start, change=change)]
    for group in groups:
        if group.title:
            title = Row()
            at = x
            if group.state is not None:
                mark, colour = glyphs.state(group.state)
                at = title.put(x, mark, colour) + 1
            title.put(at, group.title, "fg bold", max(4, width - at - 1))
            rows.append(title)
        indent = 2 if group.title and size >= Size.BASE else 0
        for lane in group.lanes:
            row = Row(key=f"{COMPARED}{len(rows)}")
            row.put(x + indent, lane.label, "dim", max(0, start - x - indent - 1))
            both = None if found is None else found.get(lane.series)
            cells = [("", "faint")] if both is None else _cells(lane, both, parts, glyphs, change=change)
            for number, (text, style) in enumerate(cells):
                row.put_right(start + VALUE * (number + 1), text, style)
            rows.append(row)
    return rows


def _head(axis: Axis, ranges: Ranges, x: int, width: int, size: Size) -> Row:
    row = Row()
    end = row.put(x, "COMPARE", "dim bold") + 2
    said = " against ".join(f"{clock(one[0], axis)} to {clock(one[1], axis)}" for one in ranges)
    if end + len(said) > width - 1:
        said = said.replace(" to ", "-").replace(" against ", ", ")
    row.put(end, said, "accent", max(0, width - end - 1))
    return row


def _titles(parts: Sequence[str], axis: Axis, start: int, *, change: bool) -> list[Row]:
    names, moments = Row(), Row()
    each = 3 if change else 2
    for number, part in enumerate(parts):
        names.put_right(start + VALUE * (each * number + 1), part, "dim bold")
        for place, at in enumerate(axis.marks):
            text = clock(at, axis)
            moments.put_right(
                start + VALUE * (each * number + place + 1),
                text,
                "accent",
            )
        if change:
            moments.put_right(start + VALUE * (each * number + 3), "change", "faint")
    return [names, moments]


def _cells(
    lane: Lane, both: tuple[RangeFigures, RangeFigures], parts: Sequence[str], glyphs: Glyphs, *, change: bool
) -> list[tuple[str, str]]:
    cells = []
    for part in parts:
        first, second = ({"mean": one.mean, "p95": one.p95, "most": one.max}[part] for one in both)
        worse = is_worse(lane, second, first)
        cells += [(lane.form(first), "fg" if first is not None else "faint")]
        cells += [(lane.form(second), "err" if worse else "fg bold" if second is not None else "faint")]
        if change:
            cells.append((change_words(first, second), "dim"))
    return cells
