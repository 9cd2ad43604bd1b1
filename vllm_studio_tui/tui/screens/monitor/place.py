"""The widget of the monitor screen: engines, GPUs and their history on a common time axis."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import cached_property, partial
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.message import Message

from vllm_studio_tui.services.watching.panels import Panels, panels_of_packages
from vllm_studio_tui.services.watching.snapshot import Snapshot
from vllm_studio_tui.tui.flows.run_facts import Facts, by_trouble
from vllm_studio_tui.tui.keys import actions
from vllm_studio_tui.tui.keys.action import Action
from vllm_studio_tui.tui.look.sizes import Size, margin
from vllm_studio_tui.tui.paint import events as happened
from vllm_studio_tui.tui.paint import gpus
from vllm_studio_tui.tui.paint import runs as run_rows
from vllm_studio_tui.tui.paint.ink import Row
from vllm_studio_tui.tui.paint.run_parts import RunFacts
from vllm_studio_tui.tui.place import Place
from vllm_studio_tui.tui.screens.monitor import lanes
from vllm_studio_tui.tui.screens.monitor import rows as paint
from vllm_studio_tui.tui.screens.monitor.engine_rows import engines
from vllm_studio_tui.tui.screens.monitor.panel_rows import PANEL, panel_rows
from vllm_studio_tui.tui.widgets.canvas import Canvas, ListCanvas

#: The time spans of the history charts, in seconds.
SPANS = (120.0, 300.0, 900.0, 1800.0, 10_800.0, 86_400.0)
#: Rows around the charts: their head, events and times.
AROUND_LANES = 3
#: Rows that processes need below the charts.
LEAST_PROCESSES = 4


#: What is below the engines and GPUs; the last one only where a package brings a panel.
CHARTS, PROCESSES, PANELS = "charts", "processes", "panels"


class Monitor(Place):
    """The monitor screen."""

    class PanelsChanged(Message):
        """A panel of a package looks different."""

    SCOPE = "monitor"
    BINDINGS: ClassVar[list[BindingType]] = [*actions.bindings("monitor")]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._span = 2
        self._cursor: int | None = None
        self._held: Snapshot | None = None
        self._view = CHARTS
        self._panels: Panels | None = None

    @cached_property
    def _facts(self) -> Facts:
        return Facts(self.shell, self.update_place)

    def compose(self) -> ComposeResult:
        yield ListCanvas(self._paint, self.get_ink, id="monitor-canvas")

    def shown(self) -> None:
        super().shown()
        if self._panels is None:
            self._panels = Panels((), lambda: None)
            self.shell.spawn(self._find_panels(), group="panels")

    async def _find_panels(self) -> None:
        found, _ = await self.shell.in_thread(panels_of_packages)
        self._panels = Panels(found, lambda: self.post_message(self.PanelsChanged()))

    async def leaving(self) -> None:
        if self._panels is not None:
            self._panels.close()

    def on_monitor_panels_changed(self) -> None:
        if self.display and self._view == PANELS:
            super().update_place()

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
        now = time.time()
        facts = by_trouble(self._facts.all(sparks=8 if size > Size.STRIP else 4))
        if size <= Size.STRIP:
            from vllm_studio_tui.tui.paint.strip import lines, strip

            return (lines if size == Size.LINE else strip)(snapshot, facts, glyphs, width, height, now)
        rows: list[Row] = [Row()] if size >= Size.BASE else []
        room = 4 if size == Size.COMPACT else max(1, height // 4)
        rest: list[RunFacts] = []
        if len(facts) > room:
            from vllm_studio_tui.tui.paint.strip import some_named

            facts, rest = some_named(facts, max(1, room - 1))
        if size == Size.COMPACT and facts:
            for run_facts in facts:
                rows += run_rows.rows(run_facts, glyphs, width, Size.COMPACT, now)
        else:
            rows += engines(facts, glyphs, width, size, now)
        if rest:
            from vllm_studio_tui.tui.paint.strip import count_row

            rows.append(count_row(rest, glyphs, margin(size) + (0 if size == Size.COMPACT else 2), width))
        rows.append(Row())
        rows += self._gpu_rows(snapshot, width, size)
        if size >= Size.WIDE:
            rows += [Row(), paint.host_row(snapshot.tick.host, glyphs, width, size)]
        rows.append(Row())
        room = height - len(rows)
        if self._view == PROCESSES:
            return rows + paint.processes(snapshot, glyphs, width, size, room, whole=True)
        if self._view == PANELS and self._panels is not None:
            return rows + panel_rows(self._panels.look(snapshot), width, size)
        return rows + self._lanes(snapshot, width, room, size, now)

    def _gpu_rows(self, snapshot: Snapshot, width: int, size: Size) -> list[Row]:
        report, glyphs = snapshot.tick.gpus, self.ink.glyphs
        if not report.gpus:
            return [gpus.none_row(report, margin(size), width)]
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

    # --- actions ----------------------------------------------------------------------------------------

    def possible(self, name: str) -> bool:
        if self._view != CHARTS and name in ("earlier", "later", "zoom-in", "zoom-out"):
            return False  # there is no time axis to move on
        return name != "open" or self._chosen_run() is not None or self._chosen_process() is not None

    def labelled(self, action: Action) -> Action:
        if action.id == "monitor.view":
            return replace(action, label=self._next_view)
        if action.id == "monitor.open":
            return replace(action, label="open run" if self._chosen_run() is not None else "details")
        return super().labelled(action)

    @property
    def _next_view(self) -> str:
        if self._view == PROCESSES:
            return PANELS if self._panels else CHARTS
        return CHARTS if self._view == PANELS else PROCESSES

    @property
    def _key(self) -> str:
        return self.query_one("#monitor-canvas", ListCanvas).key or ""

    def _chosen_run(self) -> str | None:
        """Return the id of the run under the cursor, or of that of the process there."""
        if (process := self._chosen_process()) is not None:
            return process.process.run_id if process.run is not None else None
        if self._key in ("", "more") or self._key.startswith(PANEL):
            return None
        return self._key.removeprefix("run:")

    def _chosen_process(self) -> paint.Seen | None:
        """Return the process under the cursor."""
        snapshot = self._held or self.snapshot
        if snapshot is None or not self._key.startswith(paint.PROCESS):
            return None
        return next((one for one in paint.seen_processes(snapshot, self.ink.glyphs) if one.key == self._key), None)

    def on_canvas_chosen(self, event: Canvas.Chosen) -> None:
        event.stop()
        self.shell.update_frame()

    def escape_word(self) -> str:
        return "" if self._cursor is None and self._held is None else "now"

    def action_open(self) -> None:
        if (run_id := self._chosen_run()) is not None:
            self.shell.open_run(run_id)
        elif (process := self._chosen_process()) is not None:
            from vllm_studio_tui.tui.sheets.dialogs import Pages

            self.shell.push_screen(Pages(partial(paint.details, process)))

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
        self._view = self._next_view
        self._again()
