"""What keys do on the time axis of the monitor: move, zoom, mark, pin, go from event to event."""

from __future__ import annotations

import math
import time
from functools import cached_property
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.tui.flows import replaying
from vllm_studio_tui.tui.look.sizes import Size
from vllm_studio_tui.tui.place import Place
from vllm_studio_tui.tui.screens.monitor.lanes import Happening
from vllm_studio_tui.tui.screens.monitor.story import Story, stops
from vllm_studio_tui.tui.screens.monitor.time_view import TimeView

if TYPE_CHECKING:
    from vllm_studio_tui.services.watching.snapshot import Replay

#: What is done on the time axis.
ON_THE_AXIS = frozenset({"earlier", "later", "zoom-in", "zoom-out", "mark", "pin", "previous-stop", "next-stop"})


class AxisKeys(Place):
    """A screen with a time axis."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._time = TimeView()
        self._events: list[Happening] = []
        #: The speed of the recording before it was held.
        self._pace = 1.0

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
        axis = self._time.drawn
        if self._replay is not None and self._time.cursor is None and axis is not None:
            replaying.seek(self.shell, self._replay.at + axis.step)  # there is more after what is shown
            return
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

    def _has_axis(self) -> bool:
        """Whether there is a time axis to move on."""
        return self.size_class > Size.STRIP

    def _to_end(self, step: int) -> bool:
        """Go to an end of the time axis: that of a recording, else now; return whether there is one."""
        if not self._has_axis() or (step < 0 and self._replay is None):
            return False
        if self._replay is not None and (step < 0 or not self._time.touched):
            replaying.seek(self.shell, self._replay.since if step < 0 else self._replay.until)
        self._time.to_now()
        self._again()
        return True

    def _to_stop(self, step: int) -> None:
        """Look at the moment of the event before or after the one that is looked at."""
        at = self._time.cursor if self._time.cursor is not None else self._now
        there = [one for one in stops(self._events) if (one < at - 0.5 if step < 0 else one > at + 0.5)]
        replay = self._replay
        if not there and step > 0 and replay is not None:
            self._time.to_now()
            self.shell.spawn(self._to_next_event(replay.at + 0.5))
            return
        if there:
            self._time.go(max(there) if step < 0 else min(there))
            self._again()
        elif step > 0 and self._time.touched:
            self._time.to_now()
            self._again()
        else:
            self.shell.tell("No event before this one is known." if step < 0 else "No event is later.")

    @property
    def _replay(self) -> Replay | None:
        """Where in a recording this is; None: it is the present."""
        return self.snapshot.replay if self.snapshot is not None else None

    def action_stop(self) -> None:
        """Have the recording stand still."""
        if self._replay is not None and self._replay.speed:
            self._pace = self._replay.speed
        replaying.set_speed(self.shell, 0.0)

    def action_run(self) -> None:
        """Let the recording go on, with the speed that it had."""
        replaying.set_speed(self.shell, self._pace)

    def _play_from(self, at: float) -> None:
        """Have the recording go on from the moment that is looked at."""
        self._time.to_now()
        replaying.seek(self.shell, at)
        self._again()

    async def _to_next_event(self, after: float) -> None:
        """Go on in the recording to what happens next."""
        timeline = self.studio.timeline
        found = await self.shell.in_thread(lambda: timeline.events(after, math.inf))
        if found:
            replaying.seek(self.shell, found[0].at)
        else:
            self.shell.tell("No event is later in this recording.")

    @property
    def _now(self) -> float:
        """The present: in a recording its moment."""
        return self.snapshot.now if self.snapshot is not None else time.time()
