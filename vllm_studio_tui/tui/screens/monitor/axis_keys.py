"""What keys do on the time axis of the monitor: move, zoom, mark, pin, go from event to event."""

from __future__ import annotations

import time
from functools import cached_property
from typing import Any

from vllm_studio_tui.tui.place import Place
from vllm_studio_tui.tui.screens.monitor.lanes import Happening
from vllm_studio_tui.tui.screens.monitor.story import Story, stops
from vllm_studio_tui.tui.screens.monitor.time_view import TimeView

#: What is done on the time axis.
ON_THE_AXIS = frozenset({"earlier", "later", "zoom-in", "zoom-out", "mark", "pin", "previous-stop", "next-stop"})


class AxisKeys(Place):
    """A screen with a time axis."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._time = TimeView()
        self._events: list[Happening] = []

    @cached_property
    def _story(self) -> Story:
        return Story(self.shell, self.update_place)

    def _again(self) -> None:
        self.update_place()
        self.shell.update_frame()

    def action_earlier(self) -> None:
        self._time.move(-1)
        self._again()

    def action_later(self) -> None:
        self._time.move(1)
        self._again()

    def action_zoom_in(self) -> None:
        self._time.zoom(-1)
        self._again()

    def action_zoom_out(self) -> None:
        self._time.zoom(1)
        self._again()

    def action_mark(self) -> None:
        self._time.mark()
        self._again()

    def action_pin(self) -> None:
        """Pin the moment that is looked at, or the present; take a pin away."""
        axis = self._time.drawn
        if axis is None:
            return
        at = self._time.cursor if self._time.cursor is not None else axis.now

        async def work() -> None:
            from vllm_studio_tui.tui.screens.monitor.flows import pin

            if await pin(self.shell, at, self._story.pin_at(axis, at)):
                self._story.again()
                self.update_place()

        self.shell.spawn(work())

    def action_previous_stop(self) -> None:
        self._to_stop(-1)

    def action_next_stop(self) -> None:
        self._to_stop(1)

    def _to_stop(self, step: int) -> None:
        """Look at the moment of the event before or after the one that is looked at."""
        at = self._time.cursor if self._time.cursor is not None else self._now
        there = [one for one in stops(self._events) if (one < at - 0.5 if step < 0 else one > at + 0.5)]
        if there:
            self._time.go(max(there) if step < 0 else min(there))
            self._again()
        elif step > 0 and self._time.touched:
            self._time.to_now()
            self._again()
        else:
            self.shell.tell("No event before this one is known." if step < 0 else "No event is later.")

    @property
    def _now(self) -> float:
        """The present: in a recording its moment."""
        return self.snapshot.now if self.snapshot is not None else time.time()
