"""The widget of the monitor screen: engines, GPUs and their history on a common time axis."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.message import Message

from vllm_studio_tui.domain.run import ANSWERING, State
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.services.watching.panels import Panels, panels_of_packages
from vllm_studio_tui.tui.flows.run_facts import Facts, by_trouble
from vllm_studio_tui.tui.keys import actions
from vllm_studio_tui.tui.keys.action import Action
from vllm_studio_tui.tui.keys.actions import keys_text
from vllm_studio_tui.tui.look.sizes import Size, margin
from vllm_studio_tui.tui.paint.ink import Row
from vllm_studio_tui.tui.screens.monitor import lanes
from vllm_studio_tui.tui.screens.monitor.alert_rows import alert_rows
from vllm_studio_tui.tui.screens.monitor.axis_canvas import AxisCanvas
from vllm_studio_tui.tui.screens.monitor.axis_keys import ON_THE_AXIS, AxisKeys
from vllm_studio_tui.tui.screens.monitor.comparing import COMPARED, Comparison, compared_rows, ranges_of
from vllm_studio_tui.tui.screens.monitor.lane_data import LaneData
from vllm_studio_tui.tui.screens.monitor.panel_rows import PANEL, panel_rows
from vllm_studio_tui.tui.screens.monitor.picture import Charts, Picture
from vllm_studio_tui.tui.screens.monitor.processes import ProcessesView
from vllm_studio_tui.tui.screens.monitor.processes_rows import PROCESS, Line
from vllm_studio_tui.tui.screens.monitor.ray_data import RayData
from vllm_studio_tui.tui.screens.monitor.ray_rows import RAY, ray_line, ray_rows
from vllm_studio_tui.tui.screens.monitor.why_box import WhyBox, show_change, show_requests
from vllm_studio_tui.tui.screens.monitor.why_rows import in_words, why_rows
from vllm_studio_tui.tui.widgets.canvas import Canvas, ListCanvas

#: What is below the engines and GPUs; that of Ray only where one is known, the last where a package brings a panel.
CHARTS, COMPARE, PROCESSES, CLUSTER, PANELS = "charts", "compare", "processes", "Ray", "panels"
#: Seconds between two looks at the processes while they stand below the charts.
BESIDE_CHARTS = 5.0


class Monitor(AxisKeys):
    """The monitor screen."""

    class PanelsChanged(Message):
        """A panel of a package looks different."""

    SCOPE = "monitor"
    BINDINGS: ClassVar[list[BindingType]] = [*actions.bindings("monitor")]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._charts = Charts()
        self._view = CHARTS
        #: Rows of the engines and GPUs, where the processes have the rest.
        self._top = 0
        #: There is room for the processes below the charts.
        self._asked = False
        self._panels: Panels | None = None

    @cached_property
    def _facts(self) -> Facts:
        return Facts(self.shell, self.update_place)

    @cached_property
    def _data(self) -> LaneData:
        return LaneData(self.shell, self.update_place)

    @cached_property
    def _comparison(self) -> Comparison:
        return Comparison(self.shell, self.update_place)

    @cached_property
    def _why(self) -> WhyBox:
        return WhyBox(self.shell, self._again)

    @cached_property
    def _ray(self) -> RayData:
        return RayData(self.shell, self._ray_changed)

    def compose(self) -> ComposeResult:
        yield AxisCanvas(self._paint, self.get_ink, id="monitor-canvas")
        yield ProcessesView(lambda: self.commands, lambda: self._canvas.repaint(), id="processes")

    @property
    def _canvas(self) -> ListCanvas:
        return self.query_one("#monitor-canvas", ListCanvas)

    @property
    def _processes(self) -> ProcessesView:
        return self.query_one("#processes", ProcessesView)

    def on_mount(self) -> None:
        self._processes.display = False
        self.query_one("#monitor-canvas", AxisCanvas).to_end = self._to_end

    def on_resize(self) -> None:
        self._share()

    def focus_first(self) -> None:
        (self._processes.table if self._view == PROCESSES else self._canvas).focus()

    def update_place(self) -> None:
        if self._view == PROCESSES:
            self._processes.look()
            super().update_place()
            return
        self._canvas.repaint()  # what is hidden need not be looked for
        if self._view == CLUSTER or (self._view == CHARTS and self.size_class > Size.STRIP):
            self._ray.look()
        if self._view == CHARTS and self._asked:
            self._processes.look(every=BESIDE_CHARTS)

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
            self.update_place()

    def _ray_changed(self) -> None:
        """Draw what the cluster says now; where none is known any more the charts come back."""
        if self._ray.view is None and self._view == CLUSTER:
            self._choose(CHARTS)
        elif self.display and self._view in (CHARTS, CLUSTER):
            self._again()

    # --- painting ---------------------------------------------------------------------------------------

    def _paint(self, width: int, height: int) -> list[Row]:
        snapshot, size, glyphs = self.snapshot, self.size_class, self.ink.glyphs
        if snapshot is None:
            row = Row()
            row.put(margin(size), "reading GPUs and engines", "faint")
            return [row] if size > Size.STRIP else []
        cluster = self._ray.view if self._view == CLUSTER else None
        if cluster is not None and Size.LINE < size < Size.WIDE:
            return ray_rows(cluster, glyphs, width, size, snapshot.now)
        facts = by_trouble(self._facts.all(sparks=8 if size > Size.STRIP else 4))
        if size <= Size.STRIP:
            from vllm_studio_tui.tui.paint.strip import lines, strip

            return (lines if size == Size.LINE else strip)(snapshot, facts, glyphs, width, height, snapshot.now)
        picture = Picture(snapshot, facts, self._time, self._data, self._charts, glyphs, size, snapshot.now)
        self._tell(picture, width)
        if self._view == PROCESSES:
            height = self.size.height  # else what is shared out would become less with each picture
        rows = picture.top(width, height)
        room = height - len(rows)
        if self._view == PROCESSES:
            if len(rows) != self._top:
                self._top = len(rows)
                self.call_after_refresh(self._share)
            return rows
        if cluster is not None:
            return rows + ray_rows(cluster, glyphs, width, size, snapshot.now)
        if self._view == PANELS and self._panels is not None:
            return rows + panel_rows(self._panels.look(snapshot), width, size)
        if self._view == COMPARE:
            return rows + self._compared(picture, width)
        # Runs come first: the cursor begins on what is there before others, and before the first sample none is known.
        report = snapshot.tick.gpus
        sampled = bool(report.gpus or report.error) and not snapshot.runs
        picture.processes = self._processes.lines() if facts or sampled else ()
        rows += picture.over_time(width, room)
        self._asked = picture.asked
        return rows

    def _compared(self, picture: Picture, width: int) -> list[Row]:
        """Draw the two moments that are marked beside each other."""
        axis = self._time.axis(picture.now, lanes.room_of(width, picture.size, looking=True))
        ranges = ranges_of(axis)
        groups = picture.groups()
        if ranges is not None:
            self._comparison.ask(ranges, [lane for group in groups for lane in group.lanes], picture.now)
        return compared_rows(groups, self._comparison.found, axis, picture.glyphs, width, picture.size)

    def _tell(self, picture: Picture, width: int) -> None:
        """Give the picture what happened, what alerts say, and why it was slow."""
        snapshot, size, glyphs = picture.snapshot, picture.size, picture.glyphs
        if snapshot.replay is not None:
            picture.held = f"replay of {snapshot.replay.name}"
        if self._ray.view is not None and self._view == CHARTS:
            picture.ray = ray_line(self._ray.view, glyphs, width, size)
        self._events = picture.events = self._story.happenings(snapshot, glyphs)
        if self._time.drawn is not None:
            self._story.follow(self._time.drawn, alerts=size == Size.FULL)
        if size == Size.FULL:
            known = self._story.known
            picture.alerts = alert_rows(known.rules, known.spoke, snapshot.alerts, glyphs, snapshot.now)
        if self._why.open:
            box, now = self._why, snapshot.now
            box.ask(box.run_id, box.name, self._time.cursor, now)  # the box follows the moment
            keys = box.keys(self._key_of)
            picture.box = why_rows(in_words(box.why, glyphs), box.name, box.at, now, width, size, keys)
            picture.before = box.before

    def _key_of(self, name: str) -> str:
        """Return the key of an action as it is drawn; empty where it cannot be done here."""
        writes = actions.BY_ID[f"monitor.{name}"].writes
        return "" if writes and self.shell.read_only else keys_text(self.shell.keys_of(f"monitor.{name}"), 1)

    def _has_axis(self) -> bool:
        return super()._has_axis() and self._view == CHARTS

    # --- actions ----------------------------------------------------------------------------------------

    def possible(self, name: str) -> bool:
        if name in ON_THE_AXIS and not self._has_axis():
            return False
        if name in ("fix", "why") and self._view == PROCESSES and not self._canvas.has_focus:
            return False  # the keys are for the processes
        if name == "fix":
            return bool(self._why.open and self._why.why and self._why.why.changes) or self._failed() is not None
        if name == "why":
            return self._has_axis() and self._asked_about() is not None
        if name in ("stop", "run"):
            replay = self._replay if self._view != PROCESSES else None
            return replay is not None and (replay.speed > 0) is (name == "stop")
        if name == "limit":
            return self._told and bool(self._why.why and self._why.why.key)
        if name != "open" or self._looks_back or self._told:
            return True
        return self._chosen_run() is not None or self._chosen_process() is not None

    @property
    def _told(self) -> bool:
        """Whether it is told why a run was slow, and there are requests that made it so."""
        return self._view == CHARTS and self._why.has_requests

    def labelled(self, action: Action) -> Action:
        if action.id == "monitor.view":
            return replace(action, label=self._next_view)
        if action.id == "monitor.open" and self._looks_back:
            return replace(action, label="play from here")
        if action.id == "monitor.open" and self._told:
            return replace(action, label="its requests")
        if action.id == "monitor.open":
            return replace(action, label="open run" if self._chosen_run() is not None else "details")
        return super().labelled(action)

    @property
    def _next_view(self) -> str:
        if self._view == PROCESSES and self._ray.view is not None:
            return CLUSTER
        if self._view in (PROCESSES, CLUSTER):
            return PANELS if self._panels else CHARTS
        if self._view == PANELS:
            return CHARTS
        return COMPARE if self._view == CHARTS and len(self._time.marks) > 1 else PROCESSES

    @property
    def _key(self) -> str:
        return self.query_one("#monitor-canvas", ListCanvas).key or ""

    def _chosen_run(self) -> str | None:
        """Return the id of the run under the cursor, or of that of the process there."""
        if (process := self._chosen_process()) is not None:
            return process.one.run_id if process.run is not None else None
        if self._key in ("", "more") or self._key.startswith((PANEL, COMPARED, RAY)):
            return None
        return self._key.removeprefix("run:")

    def _chosen_process(self) -> Line | None:
        """Return the process under the cursor."""
        if not self._key.startswith(PROCESS):
            return None
        return next((one for one in self._processes.lines() if one.key == self._key), None)

    def on_canvas_chosen(self, event: Canvas.Chosen) -> None:
        event.stop()
        self.shell.update_frame()

    def escape_word(self) -> str:
        if self._view == PROCESSES:
            return self._processes.escape_word()
        if self._view in (COMPARE, CLUSTER):
            return CHARTS
        return "close" if self._why.open else "now" if self._time.touched else ""

    @property
    def _looks_back(self) -> bool:
        """Whether a moment of a recording is looked at."""
        return self._replay is not None and self._has_axis() and self._time.cursor is not None

    def action_open(self) -> None:
        if self._looks_back and self._time.cursor is not None:
            self._play_from(self._time.cursor)
        elif self._told and self.snapshot is not None:
            self.shell.spawn(show_requests(self.shell, self._why.requests(self.snapshot.now)))
        elif (run_id := self._chosen_run()) is not None:
            self.shell.open_run(run_id)
        elif (process := self._chosen_process()) is not None:
            self._processes.show_details(process)

    def escape(self) -> bool:
        if self._view == PROCESSES:
            if not self._processes.escape():
                self._choose(CHARTS)
            return True
        if self._view in (COMPARE, CLUSTER):
            self._choose(CHARTS)
            return True
        if self._why.open:
            self._why.close()
            self._again()
            return True
        if self._time.touched:
            self._time.to_now()
            self._again()
            return True
        return False

    def _asked_about(self) -> RunView | None:
        """Return the run that `why` is for: that under the cursor, else the first; at a moment one that answers."""
        runs = self.snapshot.runs if self.snapshot is not None else ()
        chosen = self._chosen_run()
        here = next((run for run in runs if run.run_id == chosen), None)
        if here is not None and (here.state in ANSWERING or self._time.cursor is None):
            return here
        return next((run for run in runs if run.state in ANSWERING), None)

    def _failed(self) -> RunView | None:
        """Return the run under the cursor, if it failed: `fix` is for its failure then."""
        runs, chosen = self.snapshot.runs if self.snapshot is not None else (), self._chosen_run()
        return next((run for run in runs if run.run_id == chosen and run.state is State.FAILED), None)

    def action_why(self) -> None:
        if self._why.open and self._why.run_id == getattr(self._asked_about(), "run_id", ""):
            self._why.close()
            self._again()
        elif (run := self._asked_about()) is not None and self.snapshot is not None:
            if run.state not in ANSWERING:  # its page tells why it failed, or what it waits for
                self.shell.open_run(run.run_id)
                return
            self._why.ask(run.run_id, run.name, self._time.cursor, self.snapshot.now)
            self._again()

    def action_fix(self) -> None:
        why = self._why.why
        if self._why.open and why is not None and why.changes:
            run = next(
                (one for one in (self.snapshot.runs if self.snapshot is not None else ()) if one.run_id == why.run_id),
                None,
            )
            if run is not None:
                self.shell.spawn(show_change(self.shell, why, run.recipe_id))
        elif (run := self._failed()) is not None:
            from vllm_studio_tui.tui.flows.fixing import fix

            self.shell.spawn(fix(self.shell, run))

    def action_limit(self) -> None:
        if (why := self._why.why) is not None and why.key:
            from vllm_studio_tui.tui.flows.limiting import limit_key

            self.shell.spawn(limit_key(self.shell, why.key, why.key_limit or 1))

    def action_new(self) -> None:
        async def work() -> None:
            from vllm_studio_tui.tui.screens.monitor.flows import new_alert

            if await new_alert(self.shell):
                self._story.again()
                self.update_place()

        self.shell.spawn(work())

    def action_view(self) -> None:
        self._choose(self._next_view)

    def _choose(self, view: str) -> None:
        self._view = view
        self._processes.display = view == PROCESSES
        self._share()
        if view == PROCESSES:
            self._processes.draw()
        self.focus_first()
        self._again()

    def _share(self) -> None:
        """Share the rows: the processes have what engines and GPUs leave, and half of them at least."""
        shared, small = self._view == PROCESSES, self.size_class < Size.BASE
        self._canvas.display = not (shared and small)
        self._canvas.styles.height = min(self._top, self.size.height // 2) if shared and self._top else "1fr"
