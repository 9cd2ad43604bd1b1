"""What the logs screen shows: the log of a run, above it the cause of its failure, below it its stages."""

from __future__ import annotations

from functools import cached_property, partial
from typing import Any

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical

from vllm_studio_tui.domain.run import State
from vllm_studio_tui.runs.find import pick_run
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.services.run_logs.run_log import open_log
from vllm_studio_tui.tui.flows.run_facts import Facts
from vllm_studio_tui.tui.look.sizes import Size, margin
from vllm_studio_tui.tui.paint.ink import Row
from vllm_studio_tui.tui.place import Place
from vllm_studio_tui.tui.screens.logs import rows
from vllm_studio_tui.tui.screens.logs.stretch import AROUND
from vllm_studio_tui.tui.screens.logs.view import LogView
from vllm_studio_tui.tui.widgets.canvas import Canvas
from vllm_studio_tui.tui.widgets.find_line import FindLine


class LogsPicture(Place):
    """What the logs screen shows."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._run_id: str | None = None
        self._back: tuple[str, str] | None = None

    @cached_property
    def _facts(self) -> Facts:
        return Facts(self.shell, self.update_place)

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Canvas(self._paint_head, self.get_ink, id="log-head")
            yield LogView(self.get_ink, id="log")
            yield Canvas(self._paint_foot, self.get_ink, id="log-foot")
            yield FindLine(self.get_ink, self._hit_words, more=self._keys_while_typing, id="log-find")

    @property
    def log_view(self) -> LogView:
        return self.query_one("#log", LogView)

    @property
    def find_line(self) -> FindLine:
        return self.query_one("#log-find", FindLine)

    def focus_first(self) -> None:
        self.log_view.focus()

    # --- the run ----------------------------------------------------------------------------------------

    def shown(self) -> None:
        self._back = None
        super().shown()
        self._open_latest()

    def update_place(self) -> None:
        self._open_latest()
        run = self.run_view
        if run is not None and self.log_view.run_changed(run) and self.log_view.following:
            self._show_cause(run)
        self._set_columns()
        self._fit()

    def on_resize(self) -> None:
        self.call_after_refresh(self.update_place)

    def _fit(self) -> None:
        """Draw head and foot anew, as high as what they have to say."""
        width = max(1, self.size.width)
        for name, made in (("#log-head", self._head_rows(width)), ("#log-foot", self._foot_rows(width))):
            canvas = self.query_one(name, Canvas)
            if canvas.styles.height is None or canvas.styles.height.value != len(made):
                canvas.styles.height = len(made)
            canvas.repaint()

    def _set_columns(self) -> None:
        """Leave out the columns for which there is no room."""
        size, view = self.size_class, self.log_view
        width = view.size.width
        number = max(4 if width >= 100 else 3, len(str(view.lines_known[0])))
        dim = self.ink.colour("dim") or ""
        view.set_columns(
            number=number if size >= Size.BASE else 0,
            time=8 if size >= Size.COMPACT else 0,
            source=(8 if size >= Size.WIDE else 6) if size >= Size.COMPACT else 0,
            note=16 if size >= Size.FULL else 0,
            # Where there are only 16 colours dim is too faint for a whole page.
            plain="fg" if "bright_black" in dim else "dim",
        )

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

    async def open_run(self, run_id: str, *, back: tuple[str, str] | None = None) -> None:
        """Show the log of a run; if it failed, at the cause.

        Args:
            back: Where escape goes back to: a screen, and the run whose page stood over it; empty for none.
        """
        self._back = back
        every = self.snapshot.every if self.snapshot is not None else ()
        run = pick_run(every, run_id)
        if run is None:
            return
        self._open(run)
        self.log_view.focus()

    def _open(self, run: RunView) -> None:
        self._run_id = run.run_id
        self.find_line.close()
        try:
            self.log_view.open(run, partial(open_log, self.shell.studio, run))
        except OSError as error:
            self.log_view.close_file()
            self.log_view.redraw()
            self.shell.tell(f"{run.log} cannot be read: {error.strerror}", "warning")
        self._show_cause(run)
        self.call_after_refresh(self.update_place)

    def _show_cause(self, run: RunView) -> None:
        """Go to what made a run fail; in a strip it stands above the last line anyway."""
        if run.state is State.FAILED and self.size_class > Size.STRIP:
            self.log_view.show_cause()

    def go_back(self) -> bool:
        """Go back to where the log was opened from; return whether it was opened from anywhere."""
        if self._back is None:
            return False
        self.shell.spawn(self._go_back(*self._back))
        self._back = None
        return True

    async def _go_back(self, screen: str, run_id: str) -> None:
        await self.shell.show_place(screen)
        if run_id:
            self.shell.open_run(run_id)

    def fix_of(self, run: RunView) -> str:
        """Return the change that is offered against the failure of a run; empty for none."""
        return self._facts.of(run, 1).fix if self.snapshot is not None else ""

    def since_it_worked(self, run: RunView) -> str:
        """Return what has changed since the recipe of a failed run worked, in words."""
        return self._facts.of(run, 1).since if self.snapshot is not None else ""

    # --- painting ---------------------------------------------------------------------------------------

    def _counts(self) -> rows.Counts:
        view = self.log_view
        index = view.index
        lines, known = view.lines_known
        if index is None:
            return rows.Counts(0, True, 0, 0)
        return rows.Counts(lines, known, index.errors, index.warnings, view.facts.first, view.last_time)

    def _shown_as(self) -> list[tuple[str, str]]:
        """Return how the log is shown, in words for the head: the least important first."""
        view = self.log_view
        telling = [("from", view.filter.source or "all"), ("level", rows.LEVEL_WORDS[view.filter.level])]
        if self.run_view is not None and self.run_view.live and not view.fits:
            telling.append(("", "following" if view.following else "not following, G"))
        if view.filter.words:
            telling.append(("only", f'"{view.filter.words}"'))
        if view.lost:
            telling.append(("", f"not heard: {view.lost}" if self.size.width >= 60 else "not heard"))
        if view.searching:
            telling.append(("", f"looked through {view.searching}"))
        return telling

    def _hit_words(self) -> str:
        hits, place = self.log_view.hits, self.log_view.place_of_hit
        if hits is None:
            return ""
        if hits.complete and not hits.count:
            return "nothing holds that"
        if place is None:
            return rows.numbered(hits.count, "line")
        words = f"{place} of {'' if hits.complete else '~'}{hits.count}"
        return f"{words}, {self.log_view.went_round}" if self.log_view.went_round else words

    def _keys_while_typing(self) -> list[tuple[str, str]]:
        return [("^f", "all lines" if self.log_view.filter.words else "only these")]

    def _head_rows(self, width: int) -> list[Row]:
        run, size = self.run_view, self.size_class
        if run is None:
            row = Row()
            row.put(margin(size), "No run yet, so there is no log.", "dim")
            return [Row(), row]
        first = rows.head(run, self._counts(), self._shown_as(), self.ink.glyphs, width, size)
        made = [Row(), first] if size >= Size.WIDE else [first]
        if run.state is State.FAILED:
            made += [Row()] if size >= Size.WIDE else []
            made += self._cause_rows(run, width, size)
        if size >= Size.WIDE:
            made += [Row(), self._titles(width)] if self.log_view.columns.note else [Row()]
        elif size == Size.BASE:
            made.append(Row())
        return made

    def _titles(self, width: int) -> Row:
        """Draw the heads of the columns where they stand."""
        columns, row = self.log_view.columns, Row()
        at = 2 + columns.number
        row.put_right(at, "line", "faint")
        at += 2
        row.put(at, "time", "faint")
        at += columns.time + 3
        row.put(at, "from", "faint")
        row.put(at + columns.source + 1, "text", "faint")
        row.put_right(width - 3, "stage", "faint")
        return row

    def _cause_rows(self, run: RunView, width: int, size: Size) -> list[Row]:
        view, status = self.log_view, run.status
        found, index = view.facts.diagnosis, view.index
        title = (found.title if found is not None else None) or status.title or "It ended, and its log does not say why"
        advice = (found.advice if found is not None else None) or status.advice or ""
        number = index.number(view.facts.cause_at) if index is not None and view.facts.cause_at is not None else None
        echoed = [at for at, kind in view.facts.echoes.items() if kind == "echo"]
        echoes = [known for at in echoed if index is not None and (known := index.number(at)) is not None]
        keys = []
        if self.possible("fix") and not self.shell.read_only:
            keys.append(("f", "shows the fix"))
        keys.append(("w", "why"))
        if self.possible("next-stop"):
            keys.append(("]", "next hit" if view.hits is not None else "next error"))
        if number is not None and view.at == view.facts.cause_at:
            keys.append(("y", f"copy {max(1, number - AROUND)} to {min(view.lines_known[0], number + AROUND)}"))
        return rows.cause_box(title, advice, "" if number is None else str(number), echoes, keys, width, size)

    def _foot_rows(self, width: int) -> list[Row]:
        run, size, view = self.run_view, self.size_class, self.log_view
        if run is None or size < Size.BASE:
            return []
        index, glyphs = view.index, self.ink.glyphs
        starts = [
            (start.name, index.number(start.offset) if index is not None else None, start.offset)
            for start in view.facts.stages
        ]
        busy = run.state in (State.STARTING, State.LOADING, State.FAILED)
        made = rows.stages(run, starts, glyphs, width, size) if busy or size >= Size.WIDE else []
        if size < Size.FULL:
            return [Row(), *made] if made and size >= Size.WIDE else made
        made = [Row(), *made] if made else []
        block = view.current
        if block is not None and not block.whole:
            line = next((one for one in block.entry.lines if one.text.strip()), block.entry.lines[0])
            prefix = rows.folded_prefix(line.text, block.entry.prefix.size, block.entry.prefix.source, width)
        else:
            prefix = []
        found = rows.remarks(view.facts.remarks, glyphs, width, 6)
        return [*([Row(), *(prefix or [Row()])]), *made, *([Row(), *found] if found else [])]

    def _paint_head(self, width: int, height: int) -> list[Row]:
        return self._head_rows(width)

    def _paint_foot(self, width: int, height: int) -> list[Row]:
        return self._foot_rows(width)

    def on_log_study_status(self) -> None:
        self._set_columns()
        self._fit()
        self.find_line.update()
        self.shell.update_frame()

    # --- finding ----------------------------------------------------------------------------------------

    @on(FindLine.Typed)
    def _typed(self, event: FindLine.Typed) -> None:
        event.stop()
        self.log_view.look_for(event.words)

    def end_finding(self) -> bool:
        """Stop looking for words; return whether any were looked for."""
        if not self.find_line.display and not self.log_view.words:
            return False
        self.find_line.close()
        self.log_view.look_for("")
        self.log_view.focus()
        return True
