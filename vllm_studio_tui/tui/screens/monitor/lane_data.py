"""The values of the charts by column: at once where they are in memory, else looked up in a thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from vllm_studio_tui.tui.screens.monitor.time_view import Axis

if TYPE_CHECKING:
    from vllm_studio_tui.tui.screens.monitor.lane_groups import Lane
    from vllm_studio_tui.tui.shell import Shell

#: Seconds of which the mean is the present value.
PRESENT = 3.0
#: Seconds after which what was looked up is looked up again.
AGAIN = 5.0


class LaneData:
    """Values of series over the axis.

    Args:
        changed: Called when something was looked up that the picture waits for.
    """

    def __init__(self, shell: Shell, changed: Callable[[], None]) -> None:
        self._shell = shell
        self._changed = changed
        #: The axis and the names that were looked up last, when, and the columns by their number.
        self._key: tuple[float, int] | None = None
        self._found: dict[str, dict[int, float | None]] = {}
        self._asked: tuple[Sequence[str], Axis] | None = None
        self._at = 0.0
        self._turn = 0.0
        #: Counts what was looked up.
        self.version = 0

    def known(self, name: str) -> bool:
        """Return whether there is a series of this name."""
        return name in self._shell.studio.sampler.history

    def present(self, lane: Lane, at: float) -> float | None:
        """Return the latest value of a chart."""
        history = self._shell.studio.sampler.history
        known = [value for name in lane.series if (value := history.over(name, 1, PRESENT, at)[0]) is not None]
        if not known:
            return None
        return known[0] if len(lane.series) == 1 else lane.together(known)

    def columns(self, names: Sequence[str], axis: Axis) -> dict[str, list[float | None]]:
        """Return the columns of each series; those that are still looked up are unknown."""
        studio = self._shell.studio
        if not self._behind(axis):
            return studio.timeline.over(names, axis.until - axis.step * axis.count, axis.until, axis.count)
        self._look_up(names, axis)
        first = axis.first
        nothing: dict[int, float | None] = {}
        return {
            name: [found.get(first + column) for column in range(axis.count)]
            for name in names
            for found in (self._found.get(name, nothing),)
        }

    def look_again(self, axis: Axis, turn: float) -> bool:
        """Look the columns up that were looked up last, once in each turn; False where they are in memory."""
        if not self._found or not self._behind(axis):
            return False
        if turn != self._turn and self._asked is None:
            self._turn = turn
            self._begin(tuple(self._found), axis)
        return True

    def _behind(self, axis: Axis) -> bool:
        """Return whether columns are looked up, because not all of them are in memory."""
        reach = self._shell.studio.sampler.history.reach
        return reach is None or axis.since < reach

    def _look_up(self, names: Sequence[str], axis: Axis) -> None:
        """Look columns up, unless that is under way or was just done."""
        key = (axis.step, axis.count)
        known = self._key == key and all(name in self._found for name in names)
        fresh = time.monotonic() - self._at < min(AGAIN, max(1.0, axis.step / 4))
        there = known and self._covers(names, axis)
        if not names or self._asked is not None or (there and fresh):
            return  # where there is no room for a chart nothing is waited for
        self._begin(tuple(names), axis)

    def _begin(self, names: Sequence[str], axis: Axis) -> None:
        self._asked = names, axis
        there = self._key == (axis.step, axis.count) and self._covers(names, axis)
        self._shell.spawn(self._read(names, axis, known=there), group="lanes")

    def _covers(self, names: Sequence[str], axis: Axis) -> bool:
        """Return whether all columns but the last ones, which time brings, are there."""
        some = self._found.get(names[0], {}) if names else {}
        return axis.first in some and (axis.first + axis.count - 2 in some or axis.count < 3)

    async def _read(self, names: Sequence[str], axis: Axis, *, known: bool) -> None:
        timeline = self._shell.studio.timeline
        try:
            since = axis.until - axis.step * axis.count
            found = await self._shell.in_thread(lambda: timeline.over(names, since, axis.until, axis.count))
            self._key = axis.step, axis.count
            self._found = {name: dict(enumerate(values, axis.first)) for name, values in found.items()}
            self._at = time.monotonic()
            self.version += 1
        finally:
            self._asked = None
        if not known:
            self._changed()
