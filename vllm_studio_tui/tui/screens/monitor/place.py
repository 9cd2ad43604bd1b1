"""The widget of the monitor screen: engines, GPUs and their history on a common time axis."""

from __future__ import annotations

import time
from functools import cached_property
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType

from vllm_studio_tui.services.watching.snapshot import Snapshot
from vllm_studio_tui.tui.flows.run_facts import Facts, by_trouble
from vllm_studio_tui.tui.keys import actions
from vllm_studio_tui.tui.look.sizes import Size, margin
from vllm_studio_tui.tui.paint import events as happened
from vllm_studio_tui.tui.paint import gpus
from vllm_studio_tui.tui.paint import runs as run_rows
from vllm_studio_tui.tui.paint.ink import Row
from vllm_studio_tui.tui.place import Place
from vllm_studio_tui.tui.screens.monitor import lanes
from vllm_studio_tui.tui.screens.monitor import rows as paint
from vllm_studio_tui.tui.screens.monitor.engine_rows import engines
from vllm_studio_tui.tui.widgets.canvas import Canvas, ListCanvas

#: The time spans of the history charts, in seconds.
SPANS = (120.0, 300.0, 900.0, 1800.0, 10_800.0, 86_400.0)
#: Rows around the charts: their head, events and times.
AROUND_LANES = 3
#: Rows that processes need below the charts.
LEAST_PROCESSES = 4


class Monitor(Place):
    """The monitor screen."""

    SCOPE = "monitor"
    BINDINGS: ClassVar[list[BindingType]] = [*actions.bindings("monitor")]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._span = 2
        self._cursor: int | None = None
        self._held: Snapshot | None = None
        self._table = False

    @cached_property
    def _facts(self) -> Facts:
        return Facts(self.shell, self.update_place)

    def compose(self) -> ComposeResult:
        yield ListCanvas(self._paint, self.get_ink, id="monitor-canvas")

    def update_place(self) -> None:
        # While the screen is paused nothing changes.
        if self._held is None:
            super().update_place()

    # --- painting ---------------------------------------------------------------------------------------

    def _paint(self, width: int, height: int) -> list[Row]:
        snapshot = self._held or self.snapshot
        size = self.size_class
        if snapshot is None:
            row = Row()
            row.put(margin(size), "reading GPUs and engines", "faint")
            return [row] if size > Size.STRIP else []
        glyphs = self.ink.glyphs
        if size == Size.LINE:
            from vllm_studio_tui.tui.paint.strip import line

            return [line(snapshot, glyphs, width)]
        now = time.time()
        facts = self._facts.all(sparks=8)
        if size <= Size.STRIP:
            return self._strip(snapshot, width, height)
        rows: list[Row] = [Row()] if size >= Size.BASE else []
        if size == Size.COMPACT:
            for run_facts in by_trouble(facts)[:4]:
                rows += run_rows.rows(run_facts, glyphs, width, Size.COMPACT, now)
        else:
            rows += engines(by_trouble(facts)[: max(1, height // 4)], glyphs, width, size, now)
        rows.append(Row())
        rows += self._gpu_rows(snapshot, width, size)
        if size >= Size.WIDE:
            rows += [Row(), paint.host_row(snapshot.tick.host, glyphs, width, size)]
        rows.append(Row())
        room = height - len(rows)
        if self._table:
            return rows + paint.processes(snapshot, glyphs, width, size, room)
        return rows + self._lanes(snapshot, width, room, size, now)

    def _gpu_rows(self, snapshot: Snapshot, width: int, size: Size) -> list[Row]:
        report, glyphs = snapshot.tick.gpus, self.ink.glyphs
        if not report.gpus:
            return [gpus.none_row(report, margin(size), width)] if size >= Size.BASE else []
        rows: list[Row] = []
        if size >= Size.WIDE:
            rows.append(gpus.head(report, glyphs, margin(size), width, size))
            rows.append(gpus.heads(size, detail=True))
        elif report.stale is not None:
            rows.append(gpus.head(report, glyphs, margin(size), width, size))
        return rows + gpus.table(report, snapshot.runs, glyphs, width, size, detail=size >= Size.WIDE)

    def _lanes(self, snapshot: Snapshot, width: int, room: int, size: Size, now: float) -> list[Row]:
        """Draw the charts and, where there is room below them, the processes."""
        if room < 2:
            return []
        history, at, span = self.studio.sampler.history, snapshot.tick.at, SPANS[self._span]
        wanted = lanes.groups(snapshot, titles=size >= Size.WIDE)
        shown = lanes.that_fit(wanted, lambda name: name in history, room - AROUND_LANES)
        made = lanes.rows(
            shown,
            lambda name, columns: history.over(name, columns, span, at),
            happened.events(snapshot.every),
            lanes.Axis(span, at, now, self._cursor, self._held is not None),
            self.ink.glyphs,
            width,
            size,
        )
        left = room - len(made) - 1
        if left >= LEAST_PROCESSES and any(gpu.processes for gpu in snapshot.tick.gpus.gpus):
            made += [Row(), *paint.processes(snapshot, self.ink.glyphs, width, size, left)]
        return made[:room]

    def _strip(self, snapshot: Snapshot, width: int, height: int) -> list[Row]:
        from vllm_studio_tui.kit import numbers

        glyphs, report = self.ink.glyphs, snapshot.tick.gpus
        gpu_rows = gpus.table(report, snapshot.runs, glyphs, width, Size.STRIP)
        room = max(1, height - 1 - min(len(gpu_rows), max(0, height - 3)))
        facts = by_trouble(self._facts.all(sparks=4))[:room]
        rows = [row for run_facts in facts for row in run_rows.rows(run_facts, glyphs, width, Size.STRIP, 0.0)]
        if not rows:
            row = Row()
            row.put(0, "Nothing runs yet.", "dim")
            rows.append(row)
        rows += gpu_rows[: max(0, height - 1 - len(rows))]
        total = Row()
        drawn = [gpu.power_draw for gpu in report.gpus if gpu.power_draw is not None]
        total.put(0, numbers.power(sum(drawn)) if drawn else "", "dim")
        end = total.put_right(width, "q quit", "dim")
        total.put_right(end - 2, "? help", "dim")
        return [*rows[: max(0, height - 1)], total]

    # --- actions ----------------------------------------------------------------------------------------

    def possible(self, name: str) -> bool:
        if self._table and name in ("earlier", "later", "zoom-in", "zoom-out"):
            return False  # there is no time axis to move on
        return name != "open" or self._chosen_run() is not None

    def _chosen_run(self) -> str | None:
        """Return the id of the run under the cursor."""
        key = self.query_one("#monitor-canvas", ListCanvas).key
        return None if key is None or key.startswith("pid:") else key.removeprefix("run:")

    def on_canvas_chosen(self, event: Canvas.Chosen) -> None:
        event.stop()
        self.shell.update_frame()

    def escape_word(self) -> str:
        return "" if self._cursor is None and self._held is None else "now"

    def action_open(self) -> None:
        if (run_id := self._chosen_run()) is not None:
            self.shell.open_run(run_id)

    def escape(self) -> bool:
        if self._cursor is not None or self._held is not None:
            self._cursor = None
            self._held = None
            super().update_place()
            return True
        return False

    def _again(self) -> None:
        super().update_place()
        self.shell.update_frame()

    def action_earlier(self) -> None:
        self._cursor = (self._cursor if self._cursor is not None else -1) + 1
        self._again()

    def action_later(self) -> None:
        if self._cursor is not None:
            self._cursor = self._cursor - 1 if self._cursor > 0 else None
        self._again()

    def action_zoom_in(self) -> None:
        self._span = max(0, self._span - 1)
        self._again()

    def action_zoom_out(self) -> None:
        self._span = min(len(SPANS) - 1, self._span + 1)
        self._again()

    def action_hold(self) -> None:
        self._held = None if self._held is not None else self.snapshot
        self._again()

    def action_view(self) -> None:
        self._table = not self._table
        self._again()
