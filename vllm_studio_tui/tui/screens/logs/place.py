"""What the keys of the logs screen do."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, ClassVar

from textual import on
from textual.binding import BindingType

from vllm_studio_tui.domain.run import State
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.runs.log_window import Filter
from vllm_studio_tui.tui.keys import actions
from vllm_studio_tui.tui.keys.action import Action
from vllm_studio_tui.tui.screens.logs.picture import LogsPicture
from vllm_studio_tui.tui.screens.logs.view import LEVELS
from vllm_studio_tui.tui.widgets.find_line import FindLine

#: Lines that are copied where there is no cursor; and above and below it, where lines around it are wanted.
LAST = 50
AROUND = 5


class LogsPlace(LogsPicture):
    """The logs screen: its actions."""

    SCOPE = "logs"
    BINDINGS: ClassVar[list[BindingType]] = [*actions.bindings("logs")]

    def possible(self, name: str) -> bool:
        run, view = self.run_view, self.log_view
        if name == "runs":
            return self.snapshot is not None and bool(self.snapshot.every)
        if run is None or view.path is None:
            return False
        index = view.index
        if name == "fix":
            return run.state is State.FAILED and not self.shell.read_only and bool(self.fix_of(run))
        if name == "why":
            return run.state is State.FAILED
        if name == "again":
            return run.status.final
        if name == "follow":
            return not view.following and not view.fits
        if name == "filter":
            return bool(view.words)
        if name in ("previous-stop", "next-stop"):
            if view.hits is not None:
                return view.hits.count > 0
            return index is not None and (index.errors > 0 or index.warnings > 0)
        if name in ("previous", "next"):
            return bool(view.facts.stages)
        if name == "info":
            return view.current is not None
        if name == "editor":
            return view.host is None
        return True

    def labelled(self, action: Action) -> Action:
        if action.id == "logs.previous-stop" and self.log_view.hits is not None:
            return replace(action, label="hit")
        if action.id == "logs.follow" and self.run_view is not None and not self.run_view.live:
            return replace(action, label="end")
        return super().labelled(action)

    def why_not(self, name: str) -> bool:
        if name == "editor" and self.log_view.host is not None:
            self.shell.tell(f"The file lies on {self.log_view.host}. x writes it to a file here.")
            return True
        if name == "fix" and self.run_view is not None and self.run_view.state is State.FAILED:
            self.action_fix()
            return True
        return False

    def escape_word(self) -> str:
        return "end search" if self.find_line.display else "fold" if self.log_view.unfolded else ""

    def escape(self) -> bool:
        """One step back: what is looked for, then what was unfolded, then the filter, then where one came from."""
        view = self.log_view
        if not self.find_line.display and view.fold_again():
            return True
        hidden = view.hides_all
        if self.end_finding():
            if view.filter.words:
                view.set_filter(replace(view.filter, words=""))
            if hidden and view.filter:
                view.set_filter(Filter())
            return True
        if view.filter:
            view.set_filter(Filter())
            return True
        return self.go_back()

    # --- moving -----------------------------------------------------------------------------------------

    def action_previous_stop(self) -> None:
        self.go_to_stop(-1)

    def action_next_stop(self) -> None:
        self.go_to_stop(1)

    @on(FindLine.Kept)
    def _kept(self, event: FindLine.Kept) -> None:
        event.stop()
        self.log_view.focus()
        if not self.log_view.words:
            self.find_line.close()
        elif self.log_view.place_of_hit is None:
            self.go_to_stop(-1 if self.log_view.following else 1)
        else:
            self.log_view.unfold_hit()

    @on(FindLine.Stepped)
    def _stepped(self, event: FindLine.Stepped) -> None:
        event.stop()
        if self.log_view.words:
            self.go_to_stop(event.step)

    def go_to_stop(self, step: int) -> None:
        """Go to the next hit, after the last one to the first; or to the next error."""
        self.shell.spawn(self._go_to_stop(step), group="search")

    async def _go_to_stop(self, step: int) -> None:
        view = self.log_view
        words = view.words
        if await view.next_stop(step) or (words and await view.next_stop(step, anew=True)):
            return
        if words:
            self.shell.tell(f'Nothing holds "{words}".')
        else:
            self.shell.tell("There is no error before this." if step < 0 else "There is no error after this.")

    def action_previous(self) -> None:
        self.log_view.next_stage(-1)

    def action_next(self) -> None:
        self.log_view.next_stage(1)

    def action_follow(self) -> None:
        self.log_view.to_end()

    def on_canvas_clicked(self, event: Any) -> None:
        if event.action.startswith("log:"):
            event.stop()
            self.log_view.go_to(int(event.action[4:]))
        else:
            super().on_canvas_clicked(event)

    def action_find(self) -> None:
        self.find_line.open()

    # --- what is shown ----------------------------------------------------------------------------------

    def action_level(self) -> None:
        view = self.log_view
        level = LEVELS[(LEVELS.index(view.filter.level) + 1) % len(LEVELS)]
        view.set_filter(replace(view.filter, level=level))

    def action_source(self) -> None:
        view = self.log_view
        sources = ["", *view.sources()]
        at = sources.index(view.filter.source) if view.filter.source in sources else 0
        if len(sources) == 1:
            self.shell.tell("The lines do not say who wrote them.")
            return
        view.set_filter(replace(view.filter, source=sources[(at + 1) % len(sources)]))

    def action_filter(self) -> None:
        view = self.log_view
        view.set_filter(replace(view.filter, words="" if view.filter.words else view.words))

    def action_fold(self) -> None:
        self.log_view.toggle_all()
        self.shell.update_frame()

    def action_open(self) -> None:
        self.log_view.toggle()
        self.shell.update_frame()

    def action_info(self) -> None:
        self.log_view.toggle_whole()
        self.shell.update_frame()

    def action_runs(self) -> None:
        from vllm_studio_tui.tui.sheets.chooser import Choice

        every = self.snapshot.every if self.snapshot is not None else ()
        now = time.time()
        glyphs = self.ink.glyphs
        moments = {run.run_id: numbers.moment(run.status.started_at, now) for run in every}
        widest = max(map(len, moments.values()), default=0)
        choices = [
            Choice(
                run.run_id,
                run.name,
                f"{moments[run.run_id]:{widest}}   {run.status.title or run.state}",
                words=run.run_id,
                mark=glyphs.state(run.state),
            )
            for run in reversed(every)
        ]
        self.shell.spawn(self._choose(choices))

    async def _choose(self, choices: list[Any]) -> None:
        from vllm_studio_tui.tui.sheets.chooser import Chooser

        run_id = await self.shell.ask(Chooser(choices, title="the log of which run", empty="No run yet."))
        if run_id is not None:
            await self.open_run(run_id)

    # --- the failure ------------------------------------------------------------------------------------

    def action_fix(self) -> None:
        if (run := self.run_view) is not None:
            from vllm_studio_tui.tui.flows.fixing import fix  # it needs dialogs, the first picture none

            self.shell.spawn(fix(self.shell, run))

    def action_again(self) -> None:
        if (run := self.run_view) is not None:
            self.shell.spawn(self.commands.launch(run.recipe_id))

    def action_why(self) -> None:
        from vllm_studio_tui.tui.screens.logs.why import why_sheet

        if (run := self.run_view) is not None:
            self.shell.push_screen(why_sheet(run, self.log_view.facts, self.since_it_worked(run)))

    # --- taking lines elsewhere -------------------------------------------------------------------------

    def action_copy(self) -> None:
        view = self.log_view
        text = view.selected_text
        lines = [text] if text else view.lines_at_cursor() or view.last_lines(LAST)
        self.shell.copy("\n".join(lines))

    def action_copy_as(self) -> None:
        self.shell.spawn(self._copy_as())

    async def _copy_as(self) -> None:
        from vllm_studio_tui.tui.sheets.chooser import Choice, Chooser

        view = self.log_view
        offered: dict[str, tuple[str, list[str]]] = {}
        if (block := view.current) is not None:
            offered["message"] = ("what the line says", [block.entry.text])
            offered["whole"] = ("the lines under the cursor, whole", [line.text for line in block.entry.lines])
            offered["around"] = (f"{AROUND} lines above and below", view.around_cursor(AROUND))
        if view.facts.cause_at is not None:
            offered["cause"] = ("the cause with what stands around it", [line.text for line in view.around_cause()])
        offered["visible"] = ("what is visible", view.visible_lines())
        offered["last"] = (f"the last {LAST} lines", view.last_lines(LAST))
        offered["path"] = (f"the path of the log{f' on {view.host}' if view.host else ''}", [str(view.path)])
        choices = [
            Choice(key, words, rows_of(lines) if key != "path" else str(view.path))
            for key, (words, lines) in offered.items()
        ]
        said = await self.shell.ask(Chooser(choices, title="copy"))
        if said is not None:
            self.shell.copy("\n".join(offered[said][1]))

    def action_editor(self) -> None:
        from vllm_studio_tui.tui.terminal.editor import open_file

        view = self.log_view
        if view.path is not None:
            number = view.index.number(view.at) if view.index is not None and view.at is not None else None
            open_file(self.shell, view.path, number)

    def action_export(self) -> None:
        run = self.run_view
        if run is not None:
            self.shell.spawn(self._export())

    async def _export(self) -> None:
        from vllm_studio_tui.tui.screens.logs.export import export_log

        run, view = self.run_view, self.log_view
        if run is not None:
            await export_log(self.shell, run, view.filter)


def rows_of(lines: list[str]) -> str:
    """Return how many lines there are, in words."""
    return "1 line" if len(lines) == 1 else f"{len(lines)} lines"
