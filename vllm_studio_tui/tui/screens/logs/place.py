"""The widget of the logs screen: the log of a run, and above it the cause of its failure."""

from __future__ import annotations

import time
from functools import cached_property
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.widgets import Input

from vllm_studio_tui.domain.run import State
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.runs.find import pick_run
from vllm_studio_tui.runs.logs import known_secrets
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.tui.flows.run_facts import Facts
from vllm_studio_tui.tui.keys import actions
from vllm_studio_tui.tui.look.sizes import Size, margin
from vllm_studio_tui.tui.paint.ink import Row
from vllm_studio_tui.tui.place import Place
from vllm_studio_tui.tui.screens.logs import rows as diagnosis
from vllm_studio_tui.tui.screens.logs.view import LEVELS, LogView
from vllm_studio_tui.tui.sheets.chooser import Choice, Chooser
from vllm_studio_tui.tui.widgets.canvas import Canvas


class Log(LogView):
    """The log view with the key bindings of lists."""

    BINDINGS: ClassVar[list[BindingType]] = [*actions.bindings("list")]

    def action_up(self) -> None:
        self.scroll_lines(-1)

    def action_down(self) -> None:
        self.scroll_lines(1)

    def action_page_up(self) -> None:
        self.page(-1)

    def action_page_down(self) -> None:
        self.page(1)

    def action_first(self) -> None:
        self.to_start()

    def action_last(self) -> None:
        self.to_end()


class LogsPlace(Place):
    """The logs screen."""

    SCOPE = "logs"
    BINDINGS: ClassVar[list[BindingType]] = [
        *actions.bindings("logs"),
    ]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._run_id: str | None = None

    @cached_property
    def _facts(self) -> Facts:
        return Facts(self.shell, self.update_place)

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Canvas(self._paint_head, self.get_ink, id="log-head")
            yield Log(self.get_ink, id="log")
            yield Input(placeholder="search the log", id="log-find")

    def on_mount(self) -> None:
        self.query_one("#log-find").display = False

    @property
    def log_view(self) -> Log:
        return self.query_one("#log", Log)

    def focus_first(self) -> None:
        self.log_view.focus()

    def shown(self) -> None:
        super().shown()
        self._open_latest()

    def update_place(self) -> None:
        self._open_latest()
        head = self.query_one("#log-head", Canvas)
        rows = len(self._head_rows(max(1, self.size.width)))
        if head.styles.height is None or head.size.height != rows:
            head.styles.height = rows
        head.repaint()

    def _open_latest(self) -> None:
        """Where no run is chosen yet, open the latest failed run, else the latest run."""
        if self._run_id is None and self.snapshot is not None and self.snapshot.every:
            shown = self.snapshot.runs or self.snapshot.every
            failed = [run for run in shown if run.state is State.FAILED]
            self._open((failed or list(shown))[-1])

    @property
    def run_view(self) -> RunView | None:
        """The run whose log is shown."""
        every = self.snapshot.every if self.snapshot is not None else ()
        return next((run for run in every if run.run_id == self._run_id), None)

    async def open_run(self, run_id: str) -> None:
        """Show the log of a run; if it failed, at the cause."""
        every = self.snapshot.every if self.snapshot is not None else ()
        run = pick_run(every, run_id)
        if run is None:
            return
        self._open(run)
        if run.state is State.FAILED:
            await self.log_view.first_error()
        self.log_view.focus()

    def _open(self, run: RunView) -> None:
        self._run_id = run.run_id
        try:
            self.log_view.open(run.log, secrets=known_secrets(run), causes=run.status.evidence)
        except OSError as error:
            self.log_view.close_file()
            self.log_view.redraw()
            self.shell.tell(f"{run.log} cannot be read: {error.strerror}", "warning")
        self.call_after_refresh(self.update_place)

    # --- painting ---------------------------------------------------------------------------------------

    def _head_rows(self, width: int) -> list[Row]:
        run, size = self.run_view, self.size_class
        x = margin(size)
        if run is None:
            row = Row()
            row.put(x, "No run yet, so there is no log.", "dim")
            return [Row(), row]
        row = Row()
        mark, colour = self.ink.glyphs.state(run.state)
        at = row.run(x, [(run.name, "fg bold"), ("  ", "fg"), (f"{mark} ", colour), (str(run.state), colour)])
        at = row.put(at + 3, numbers.moment(run.status.started_at, time.time()), "faint") + 3
        view = self.log_view
        right = []
        if view.searching:
            right.append(f"searching {view.searching}")
        if view.words:
            right.append(f"/{view.words}")
        right.append(
            "all levels" if view.level == "all" else f"{view.level} and up" if view.level == "warning" else "errors"
        )
        right.append(numbers.size(view.size_bytes))
        if not view.following:
            right.append("following off, G to resume")
        text = "   ".join(right)
        row.put_right(width - 2, text if at + len(text) < width - 2 else right[-1], "dim")
        rows = [Row(), row] if size >= Size.BASE else [row]
        if run.state is State.FAILED and size >= Size.COMPACT:
            fix = self._facts.of(run, 1).fix if not self.shell.read_only else ""
            rows += diagnosis.panel(run, fix, self.ink.glyphs, width, size)
        return [*rows, Row()] if size >= Size.BASE else rows

    def _paint_head(self, width: int, height: int) -> list[Row]:
        return self._head_rows(width)

    def on_log_view_status(self) -> None:
        self.query_one("#log-head", Canvas).repaint()

    # --- actions ----------------------------------------------------------------------------------------

    def possible(self, name: str) -> bool:
        if name == "run":
            return self.snapshot is not None and bool(self.snapshot.every)
        if name in ("find-next", "find-previous"):
            return bool(self.log_view.words)
        run = self.run_view
        failed = run is not None and run.state is State.FAILED
        if name == "fix":
            return failed
        if name == "follow" and failed:
            return self.shell.read_only  # else the key is that of `fix`
        return self._run_id is not None

    def escape(self) -> bool:
        find = self.query_one("#log-find", Input)
        if find.display or self.log_view.words:
            find.display = False
            find.value = ""
            self.log_view.look_for("")
            self.log_view.focus()
            return True
        if not self.log_view.following:
            self.log_view.to_end()
            return True
        return False

    async def action_run(self) -> None:
        every = self.snapshot.every if self.snapshot is not None else ()
        now = time.time()
        glyphs = self.ink.glyphs
        choices = [
            Choice(
                run.run_id,
                run.name,
                f"{numbers.moment(run.status.started_at, now)}   {run.status.title or run.state}",
                words=run.run_id,
                mark=glyphs.state(run.state),
            )
            for run in reversed(every)
        ]
        self.shell.spawn(self._choose(choices))

    async def _choose(self, choices: list[Choice]) -> None:
        run_id = await self.shell.ask(Chooser(choices, title="the log of which run", empty="No run yet."))
        if run_id is not None:
            await self.open_run(run_id)

    def action_first_error(self) -> None:
        self.shell.spawn(self._first_error())

    async def _first_error(self) -> None:
        if not await self.log_view.first_error():
            self.shell.tell("There is no error in this log.")

    def action_level(self) -> None:
        view = self.log_view
        view.set_level(LEVELS[(LEVELS.index(view.level) + 1) % len(LEVELS)])

    def action_find(self) -> None:
        find = self.query_one("#log-find", Input)
        find.display = True
        find.focus()

    @on(Input.Changed, "#log-find")
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        self.log_view.look_for(event.value)

    @on(Input.Submitted, "#log-find")
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        event.input.display = False
        self.log_view.focus()
        self._search(-1)

    def _search(self, step: int) -> None:
        self.shell.spawn(self._searched(step), group="search")

    async def _searched(self, step: int) -> None:
        words = self.log_view.words
        if words and not await self.log_view.search(step):
            self.shell.tell(f'Nothing more matches "{words}".')

    def action_find_next(self) -> None:
        self._search(1)

    def action_find_previous(self) -> None:
        self._search(-1)

    def action_fold(self) -> None:
        self.log_view.toggle()

    def action_fix(self) -> None:
        if (run := self.run_view) is not None:
            from vllm_studio_tui.tui.flows.fixing import fix  # it needs dialogs, the first picture none

            self.shell.spawn(fix(self.shell, run))

    def action_follow(self) -> None:
        self.log_view.to_end()

    def action_copy(self) -> None:
        self.shell.copy(self.log_view.last_lines(50))
