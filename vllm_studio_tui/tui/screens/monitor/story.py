"""What happened on the time axis, pins on it, and what alerts say: read in a thread, now and then."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.tui.paint import events as happened
from vllm_studio_tui.tui.screens.monitor.lanes import Happening
from vllm_studio_tui.tui.screens.monitor.time_view import Axis

if TYPE_CHECKING:
    from vllm_studio_tui.domain.alerts import Alert, AlertRule
    from vllm_studio_tui.domain.timeline import Pin, TimelineEvent
    from vllm_studio_tui.services.watching.snapshot import Snapshot
    from vllm_studio_tui.tui.paint.glyphs import Glyphs
    from vllm_studio_tui.tui.shell import Shell

#: Seconds from one look to the next while the axis stays where it is.
AGAIN = 10.0
#: Seconds of a day, in which an alert that spoke is shown.
DAY = 86_400.0
#: What needs a person; it stands in words beside the row of events.
URGENT = (State.FAILED, State.UNHEALTHY, State.BACKOFF)
#: What runs themselves tell at once: these are not taken from what was read.
OF_RUNS = frozenset({"started", "ready", "failed", "stopped", "restarted", "stalled"})


@dataclass(slots=True)
class Known:
    """What was read."""

    events: Sequence[TimelineEvent] = ()
    pins: Sequence[Pin] = ()
    rules: Sequence[AlertRule] = ()
    spoke: Sequence[Alert] = ()


@dataclass(slots=True)
class Story:
    """What is known of a stretch of time.

    Args:
        changed: Called when something was read that is not shown yet.
    """

    shell: Shell
    changed: Callable[[], None]
    known: Known = field(default_factory=Known)
    _at: float = -AGAIN
    _range: tuple[float, float] = (0.0, 0.0)
    _reading: bool = False

    def again(self) -> None:
        """Read again: something was changed."""
        self._at = -AGAIN

    def follow(self, axis: Axis, *, alerts: bool) -> None:
        """Read what happened on the axis, unless it is known.

        Args:
            alerts: Also rules and what they said.
        """
        now = time.monotonic()
        inside = self._range[0] <= axis.since and axis.until <= self._range[1] + AGAIN
        if self._reading or (inside and now - self._at < AGAIN):
            return
        self._reading, self._at = True, now  # what is changed while it is read is read after it
        self.shell.spawn(self._read(axis, alerts), group="story")

    async def _read(self, axis: Axis, alerts: bool) -> None:
        studio = self.shell.studio

        def read() -> Known:
            events = studio.timeline.events(axis.since, axis.end)
            found = Known(events, studio.timeline.pins())
            if alerts:
                found.rules = studio.alerts.rules()
                found.spoke = studio.alerts.history(time.time() - DAY, 50)
            return found

        try:
            found = await self.shell.in_thread(read)
        except StudioError:  # the charts are drawn without
            found = self.known
        finally:
            self._reading = False
            self._range = axis.since, axis.end
        if found != self.known or self._at < 0:
            self.known = found
            self.changed()

    def pin_at(self, axis: Axis, at: float) -> Pin | None:
        """Return the pin in the column of a moment."""
        column = axis.column(at)
        return next((pin for pin in self.known.pins if column is not None and axis.column(pin.at) == column), None)

    def happenings(self, snapshot: Snapshot, glyphs: Glyphs) -> list[Happening]:
        """Return everything for the row of events: runs as they are now, the rest as it was read."""
        found = []
        here = {run.run_id for run in snapshot.every}
        for one in happened.events(snapshot.every):
            urgent = one.state in URGENT
            mark = glyphs.state(one.state)
            found.append(Happening(one.at, mark, f"{mark[0]} {one.name}" if urgent else one.name, urgent))
        for event in self.known.events:
            if event.kind in OF_RUNS:
                if event.subject not in here or event.kind == "restarted":
                    found.append(Happening(event.at, glyphs.state(event.state), event.title))
            elif event.kind == "alert":
                found.append(Happening(event.at, (glyphs.warning, "warn"), glyphs.plain(event.title), urgent=True))
            elif event.kind == "pin":
                found.append(Happening(event.at, (glyphs.pinned, "accent"), event.title, urgent=True))
            else:
                found.append(Happening(event.at, (glyphs.bullet, "dim"), event.title))
        return found


def stops(events: Sequence[Happening]) -> list[float]:
    """Return the moments that one goes to from event to event, the earlier first."""
    return sorted({one.at for one in events})
