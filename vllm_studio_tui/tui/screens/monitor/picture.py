"""The picture of the monitor: engines, GPUs, charts over time, and below them what there is room for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from vllm_studio_tui.services.watching.snapshot import Snapshot
from vllm_studio_tui.tui.look.sizes import Size, margin
from vllm_studio_tui.tui.paint import gpus
from vllm_studio_tui.tui.paint import runs as run_rows
from vllm_studio_tui.tui.paint.glyphs import Glyphs
from vllm_studio_tui.tui.paint.ink import Row
from vllm_studio_tui.tui.paint.run_parts import RunFacts
from vllm_studio_tui.tui.screens.monitor import lane_groups, lanes
from vllm_studio_tui.tui.screens.monitor import rows as paint
from vllm_studio_tui.tui.screens.monitor.alert_rows import put_alerts
from vllm_studio_tui.tui.screens.monitor.engine_rows import engines
from vllm_studio_tui.tui.screens.monitor.lane_data import LaneData
from vllm_studio_tui.tui.screens.monitor.lane_groups import Group
from vllm_studio_tui.tui.screens.monitor.lanes import Happening
from vllm_studio_tui.tui.screens.monitor.processes_rows import Line, short
from vllm_studio_tui.tui.screens.monitor.time_view import TimeView

#: Rows around the charts: their head, events and times.
AROUND_LANES = 3
#: Rows that processes need below the charts, and that they have at most while there are charts to draw.
LEAST_PROCESSES = 4
#: Rows of alerts below the engines; the first says how many more there are.
MOST_ALERTS = 3
#: Where the alerts begin beside the processes, in the largest windows.
ALERTS_AT = 116
#: Seconds from one picture of the charts to the next, as a share of a column, and the most.
PACE, SLOWEST = 4, 5.0


@dataclass(slots=True)
class Picture:
    """Everything that the painter needs.

    Attributes:
        facts: The runs, trouble first.
        box: Rows between the charts and the processes: why it was slow.
        processes: The tree of processes, as it was last seen.
        asked: There is room for them.
        kept: The charts as they were drawn last.
        held: Why the picture is not of the present; empty: it is.
        alerts: The lines of the list of alerts.
        ray: What is known of a Ray cluster, in a row.
    """

    snapshot: Snapshot
    facts: Sequence[RunFacts]
    view: TimeView
    data: LaneData
    kept: Charts
    glyphs: Glyphs
    size: Size
    now: float
    events: Sequence[Happening] = ()
    box: Sequence[Row] = ()
    before: tuple[float, float] | None = None
    held: str = ""
    alerts: Sequence[Sequence[tuple[str, str]]] = ()
    ray: Sequence[Row] = ()
    processes: Sequence[Line] = ()
    asked: bool = False

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
        rows += [*self._alerts_now(width), *self.ray]
        rows.append(Row())
        rows += self._gpus(width)
        if size >= Size.WIDE and not self.box:
            rows += [Row(), paint.host_row(self.snapshot.tick.host, glyphs, width, size)]
        return [*rows, Row()] if size >= Size.BASE else rows

    def _alerts_now(self, width: int) -> list[Row]:
        """Draw what is wrong now, below the engines; the largest windows list it with all rules."""
        if self.size == Size.FULL or not self.snapshot.alerts:
            return []
        from vllm_studio_tui.tui.paint.strip import alert_rows

        most = 1 if self.size == Size.COMPACT else MOST_ALERTS
        return alert_rows(self.snapshot, self.glyphs, width, self.now, left=margin(self.size))[:most]

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
            made = [*made, *gap, *box]  # the charts are kept for the next picture as they are
        return (made + self._below(width, room - len(made) - 1))[:room]

    def _below(self, width: int, room: int) -> list[Row]:
        """Draw the processes, and in the largest windows the alerts beside them."""
        if room < LEAST_PROCESSES:
            return []
        alerts = self.alerts if self.size == Size.FULL else ()
        rows: list[Row] = []
        self.asked = True
        if self.processes:
            rows = short(self.processes, self.glyphs, ALERTS_AT - 2 if alerts else width, self.size, room)
        if alerts:
            rows = put_alerts(rows, alerts, ALERTS_AT, width, room)
        return [Row(), *rows] if rows else []

    def groups(self) -> list[Group]:
        """Return all charts that there are."""
        found = lane_groups.groups(self.snapshot, titles=self.size >= Size.WIDE)
        return lane_groups.that_fit(found, self.data.known, sum(len(one.lanes) + 1 for one in found))

    def _charts(self, width: int, room: int) -> list[Row]:
        """Draw the charts; their picture is kept for a part of a column, because little of it would change."""
        size, view = self.size, self.view
        if room < 2:
            return []
        axis = view.axis(self.now, lanes.room_of(width, size, looking=view.cursor is not None))
        pace = max(1.0, min(SLOWEST, axis.step / PACE))
        turn = self.now // pace
        if self.data.look_again(axis, turn):
            turn = 0.0  # they are drawn when that is there, rather than then and with the turn
        asked = (
            width, size, room, self.before, self.held, self.events, id(self.glyphs), self.data.version,
            axis.words, axis.cursor, axis.marks, axis.first if not axis.follows else None, turn,
            [(run.run_id, run.state) for run in self.snapshot.runs],
            [gpu.uuid for gpu in self.snapshot.tick.gpus.gpus],
        )  # fmt: skip
        if self.kept.asked == asked:
            return self.kept.rows
        wanted = lane_groups.groups(self.snapshot, titles=size >= Size.WIDE)
        around = AROUND_LANES if size >= Size.BASE else AROUND_LANES - 1  # the smallest has no row of times
        shown = lane_groups.that_fit(wanted, self.data.known, room - around)
        names = list(dict.fromkeys(name for group in shown for lane in group.lanes for name in lane.series))
        self.kept.rows = lanes.rows(
            shown,
            self.data.columns(names, axis),
            lambda lane: self.data.present(lane, self.now),
            self.events,
            axis,
            self.glyphs,
            width,
            size,
            before=self.before,
            held=self.held,
        )[:room]
        self.kept.asked = asked
        return self.kept.rows


@dataclass(slots=True)
class Charts:
    """The charts as they were drawn last, and for what."""

    asked: object = None
    rows: list[Row] = field(default_factory=list)
