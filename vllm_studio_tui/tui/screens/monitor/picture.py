"""The picture of the monitor: engines, GPUs, charts over time, and below them what there is room for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vllm_studio_tui.domain.run import State
from vllm_studio_tui.services.watching.snapshot import Snapshot
from vllm_studio_tui.tui.look.sizes import Size, margin
from vllm_studio_tui.tui.paint import events as happened
from vllm_studio_tui.tui.paint import gpus
from vllm_studio_tui.tui.paint import runs as run_rows
from vllm_studio_tui.tui.paint.glyphs import Glyphs
from vllm_studio_tui.tui.paint.ink import Row
from vllm_studio_tui.tui.paint.run_parts import RunFacts
from vllm_studio_tui.tui.screens.monitor import lane_groups, lanes
from vllm_studio_tui.tui.screens.monitor import rows as paint
from vllm_studio_tui.tui.screens.monitor.engine_rows import engines
from vllm_studio_tui.tui.screens.monitor.lane_data import LaneData
from vllm_studio_tui.tui.screens.monitor.lanes import Happening
from vllm_studio_tui.tui.screens.monitor.time_view import TimeView

#: Rows around the charts: their head, events and times.
AROUND_LANES = 3
#: Rows that processes need below the charts, and that they have at most while there are charts to draw.
LEAST_PROCESSES = 4
#: What needs a person; it stands in words beside the row of events.
URGENT = (State.FAILED, State.UNHEALTHY, State.BACKOFF)


@dataclass(slots=True)
class Picture:
    """Everything that the painter needs.

    Attributes:
        facts: The runs, trouble first.
        box: Rows between the charts and the processes: why it was slow.
        held: Why the picture is not of the present; empty: it is.
    """

    snapshot: Snapshot
    facts: Sequence[RunFacts]
    view: TimeView
    data: LaneData
    glyphs: Glyphs
    size: Size
    now: float
    events: Sequence[Happening] = ()
    box: Sequence[Row] = ()
    before: tuple[float, float] | None = None
    held: str = ""

    def top(self, width: int, height: int) -> list[Row]:
        """Draw engines, GPUs and, where there is room, the host."""
        glyphs, size, facts = self.glyphs, self.size, self.facts
        rows: list[Row] = [Row()] if size >= Size.WIDE else []
        room = 4 if size == Size.COMPACT else max(1, height // 4)
        rest: list[RunFacts] = []
        if len(facts) > room:
            from vllm_studio_tui.tui.paint.strip import some_named

            facts, rest = some_named(facts, max(1, room - 1))
        if size == Size.COMPACT and facts:
            for run_facts in facts:
                rows += run_rows.rows(run_facts, glyphs, width, Size.COMPACT, self.now)
        else:
            others = [(one, self.snapshot.tick.engines.get(one.key)) for one in self.snapshot.foreign]
            rows += engines(facts, glyphs, width, size, self.now, others[: max(1, room - len(facts))])
        if rest:
            from vllm_studio_tui.tui.paint.strip import count_row

            rows.append(count_row(rest, glyphs, margin(size) + (0 if size == Size.COMPACT else 2), width))
        rows.append(Row())
        rows += self._gpus(width)
        if size >= Size.WIDE and not self.box:
            rows += [Row(), paint.host_row(self.snapshot.tick.host, glyphs, width, size)]
        return [*rows, Row()]

    def _gpus(self, width: int) -> list[Row]:
        report, glyphs, size = self.snapshot.tick.gpus, self.glyphs, self.size
        if not report.gpus:
            return [gpus.none_row(report, margin(size), width)]
        rows: list[Row] = []
        if size >= Size.WIDE:
            rows.append(gpus.head(report, glyphs, margin(size), width, size))
            rows.append(gpus.heads(size, detail=True))
        elif report.stale is not None:
            rows.append(gpus.head(report, glyphs, margin(size), width, size))
        return rows + gpus.table(report, self.snapshot.runs, glyphs, width, size, detail=size >= Size.WIDE)

    def over_time(self, width: int, room: int) -> list[Row]:
        """Draw the charts, why it was slow, and the processes, as far as there is room."""
        size, box = self.size, list(self.box)
        if room < 2:
            return box[:room]
        gap = [Row()] if box and size >= Size.BASE else []
        made = self._charts(width, max(0, room - len(box) - len(gap)))
        if box:
            made += [*gap, *box]
        left = room - len(made) - 1
        if left >= LEAST_PROCESSES and any(gpu.processes for gpu in self.snapshot.tick.gpus.gpus):
            made += [Row(), *paint.processes(self.snapshot, self.glyphs, width, size, left)]
        return made[:room]

    def _charts(self, width: int, room: int) -> list[Row]:
        size, history = self.size, self.data
        if room < 2:
            return []
        looking = self.view.cursor is not None
        axis = self.view.axis(self.now, lanes.room_of(width, size, looking=looking))
        wanted = lane_groups.groups(self.snapshot, titles=size >= Size.WIDE)
        shown = lane_groups.that_fit(wanted, history.known, room - AROUND_LANES)
        names = list(dict.fromkeys(name for group in shown for lane in group.lanes for name in lane.series))
        return lanes.rows(
            shown,
            history.columns(names, axis),
            lambda lane: history.present(lane, self.now),
            self.events,
            axis,
            self.glyphs,
            width,
            size,
            before=self.before,
            held=self.held,
        )[:room]


def happenings(snapshot: Snapshot, glyphs: Glyphs) -> list[Happening]:
    """Return what happened to runs, for the row of events, the newest first."""
    found = []
    for one in happened.events(snapshot.every):
        urgent = one.state in URGENT
        mark = glyphs.state(one.state)
        found.append(Happening(one.at, mark, f"{mark[0]} {one.name}" if urgent else one.name, urgent))
    return found


def stops(events: Iterable[Happening]) -> list[float]:
    """Return the moments that one goes to from event to event, the earlier first."""
    return sorted({one.at for one in events})
