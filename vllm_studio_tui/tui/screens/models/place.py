"""The widget of the models screen: the table, what is being downloaded, and what is known of the model chosen."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.tui.keys import actions
from vllm_studio_tui.tui.look.sizes import Size, margin
from vllm_studio_tui.tui.paint.downloads import STOPPED
from vllm_studio_tui.tui.paint.ink import Row
from vllm_studio_tui.tui.place import Place
from vllm_studio_tui.tui.screens.models import rows as paint
from vllm_studio_tui.tui.screens.models.detail import detail_rows, few_rows
from vllm_studio_tui.tui.screens.models.fitting import Fitting
from vllm_studio_tui.tui.screens.models.knowledge import Knowledge, Known
from vllm_studio_tui.tui.screens.models.lines import ORDER_WORDS, Line, columns_of, lead, lines_of, rank
from vllm_studio_tui.tui.terminal.deferred import deferred
from vllm_studio_tui.tui.widgets.canvas import Canvas
from vllm_studio_tui.tui.widgets.listing import Listing, Shape
from vllm_studio_tui.tui.widgets.table import Table

if TYPE_CHECKING:
    from vllm_studio_tui.domain.model import Model
    from vllm_studio_tui.runs.read import RunView
    from vllm_studio_tui.tui.flows.pulls import Pulls
    from vllm_studio_tui.tui.keys.action import Action

#: Rows of what stands below the table at least, and of the table beside those of models: title, headings, blanks.
BELOW, AROUND = 8, 6
#: Models that are asked about at once whether they fit, and in all.
AT_ONCE, MOST_ASKED = 12, 300
#: Seconds that the cursor stays on a model before its files are looked at.
REST = 0.12


class ModelsPlace(Place):
    """The models screen."""

    SCOPE = "models"
    BINDINGS: ClassVar[list[BindingType]] = [*actions.bindings("models")]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._facts = paint.Facts()
        self._known: dict[str, Known] = {}
        self._lines: list[Line] = []
        self._busy = False
        #: What is to be looked for after the look that goes on: None, or whether anew.
        self._wanted: bool | None = None
        self._timer: Any = None
        self._knowledge: Knowledge | None = None
        #: What fits of each model, as far as that was asked; None: of none yet.
        self._fits: dict[str, Fitting | None] | None = None
        self._fit_gpus = -1
        self._asking = False

    def compose(self) -> ComposeResult:
        yield Listing(
            Table(
                lambda: columns_of(self.ink.glyphs, time.time(), self.size_class, self._fits),
                self.get_ink,
                lambda: self.size_class,
                title="MODELS",
                key=lambda line: line.key,
                words=Line.words,
                rank=rank,
                rank_words=ORDER_WORDS,
                lead=lambda line: lead(line, self.ink.glyphs),
                above=lambda width, height: paint.above(self._facts, self.ink.glyphs, self.size_class, width),
                note=lambda: paint.note(self._facts, self.size_class, time.time()),
                nothing=self._paint_nothing,
                can_mark=True,
                id="models-table",
            ),
            detail=self._paint_detail,
            beside=(60, 10_000),  # names and bars need the whole width
            below=(BELOW, 20),
            known=self._wait_known,
            id="models-listing",
        )

    @property
    def table(self) -> Table[Line]:
        return self.query_one("#models-table", Table)

    @property
    def line(self) -> Line | None:
        """The row under the cursor; None also while the screen is being made."""
        table = self.one("#models-table")
        return table.chosen if table is not None else None

    @property
    def listing(self) -> Listing:
        return self.query_one("#models-listing", Listing)

    @property
    def pulls(self) -> Pulls:
        return self.shell.pulls

    def focus_first(self) -> None:
        self.table.focus()

    # --- looking ----------------------------------------------------------------------------------------

    def shown(self) -> None:
        super().shown()
        self.look()

    def read_again(self) -> None:
        self.look(fresh=True)

    def look(self, *, fresh: bool = False) -> None:
        """Look for models in a thread; what is asked for meanwhile is done after it.

        Args:
            fresh: Look at the disks, whatever is remembered.
        """
        self.pulls.look()
        if self._busy:
            self._wanted = fresh or bool(self._wanted)
            return
        self._busy = True
        self.shell.spawn(self._read(fresh), group="models")

    async def _read(self, fresh: bool) -> None:
        try:
            while True:
                self._wanted = None
                self._facts = await self.shell.in_thread(partial(self._find, fresh))
                self._known.clear()
                self._show()
                self._know_soon()
                if fresh:
                    self._fits = None
                self._fit_soon()
                if self._wanted is None:
                    return
                fresh = self._wanted
        finally:
            self._busy = False

    def _find(self, fresh: bool) -> paint.Facts:
        """Find the models. Blocking."""
        if self._knowledge is None:
            self._knowledge = Knowledge(self.studio)
        try:
            return self._knowledge.facts(fresh=fresh)
        except StudioError as error:
            return replace(self._facts, error=error)

    # --- what fits --------------------------------------------------------------------------------------

    @property
    def _unasked(self) -> list[Model]:
        """The models of which nobody has asked yet whether they fit, in the order of the table."""
        known = self._fits or {}
        if len(known) >= MOST_ASKED:
            return []
        return [line.model for line in self.table.shown if line.model is not None and line.path not in known]

    @property
    def _gpus(self) -> int:
        """How many GPUs that machine has, as far as the last sample knows."""
        return len(self.snapshot.tick.gpus.gpus) if self.snapshot is not None else 0

    def _fit_soon(self) -> None:
        """Ask what fits, where the table shows it and not all was asked yet."""
        if self.snapshot is None:
            return
        if self._gpus != self._fit_gpus:  # the first picture knows of none
            self._fit_gpus, self._fits = self._gpus, None
            self._known.clear()
            self._know_soon()
        if self._asking or self.size_class < Size.WIDE or self._knowledge is None:
            return
        if self._unasked:
            self._asking = True
            self.shell.spawn(self._fit_all(), group="models")

    async def _fit_all(self) -> None:
        """Ask some at a time: each takes some milliseconds of this machine."""
        try:
            while self.display and self._knowledge is not None and (some := self._unasked[:AT_ONCE]):
                gpus = self._fit_gpus
                found = await self.shell.in_thread(partial(self._knowledge.fits, some, gpus))
                if gpus == self._fit_gpus:
                    self._fits = {**(self._fits or {}), **found}
                self._lines = []
                self._show()
        finally:
            self._asking = False

    def update_place(self) -> None:
        self._show()
        self._fit_soon()

    def _show(self) -> None:
        if not self.is_attached or not self.display or self.one("#models-table") is None:
            return  # it is being made, or taken away
        self._facts = replace(self._facts, downloads=tuple(self.pulls.unfinished))
        if self._facts.models is not None or self._facts.downloads:
            live: dict[str, list[RunView]] = defaultdict(list)
            for run in self.snapshot.every if self.snapshot is not None else ():
                if run.live:
                    live[run.recipe_id].append(run)
            lines = lines_of(self._facts.models or (), self._facts.downloads, live)
            coming = [line for line in lines if line.download is not None]
            only = self.size_class <= Size.STRIP and bool(coming)  # there is room for what changes, and nothing else
            if only and self.table.title != "DOWNLOADS":
                self.table.choose(coming[0].key)
            self.table.title, lines = ("DOWNLOADS", coming) if only else ("MODELS", lines)
            if lines != self._lines or not self.table.shown:
                self._lines = lines
                self.table.show_items(lines)
        self._fit_below()
        for canvas in self.listing.query(Canvas):
            canvas.repaint()
        self.shell.update_frame()

    def on_resize(self) -> None:
        self._lines = []  # which rows there are, and what is in them, depends on the size
        self._show()
        self._fit_soon()

    def _fit_below(self) -> None:
        """Give the table the room that its rows need; the rest begins right below it."""
        wanted = max(BELOW, self.size.height // 3, self.size.height - len(self._lines) - AROUND)
        self.listing.give_below(wanted if self._lines else 0)

    # --- painting ---------------------------------------------------------------------------------------

    def _paint_nothing(self, x: int, width: int) -> list[Row]:
        if self._facts.models is None:
            return paint.reading(x, width)
        return paint.nothing(self._facts.places, x, width, read_only=self.shell.read_only, far=self.studio.host)

    def _paint_detail(self, shape: Shape, x: int, width: int, height: int) -> list[Row]:
        now, glyphs, line = time.time(), self.ink.glyphs, self.line
        writes = not self.shell.read_only
        known = self._known.get(line.key) if line is not None else None
        if shape is Shape.SHEET:
            return detail_rows(line, known, self.snapshot, glyphs, x, width, now, writes=writes, alone=True)
        x = margin(self.size_class)
        coming = paint.downloads(self._facts, glyphs, x, width, now=now, writes=writes, most=max(2, height - 4))
        rows = [*coming, Row()] if coming else []
        left = height - len(rows)
        if self.size_class >= Size.FULL:
            disk = paint.disk_row(self._facts, glyphs, x, width)
            rows += detail_rows(line, known, self.snapshot, glyphs, x, width, now, writes=writes, alone=False)[
                : left - (2 if disk is not None else 0)
            ]
            if disk is not None:
                rows += [Row(), disk]
            return rows[:height]
        return [*rows, *few_rows(line, known, self.snapshot, glyphs, x, width, left, now)][:height]

    def on_canvas_chosen(self, event: Canvas.Chosen) -> None:
        event.stop()
        self._know_soon()
        for canvas in self.query(".listing-detail").results(Canvas):
            canvas.repaint()
        self.shell.update_frame()

    # --- what is known of the model under the cursor ----------------------------------------------------

    def _know_soon(self) -> None:
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(REST, self._know_now)

    def _know_now(self) -> None:
        line = self.line
        if line is not None and line.model is not None and line.key not in self._known and self.display:
            self.run_worker(deferred(self._work_out, line), group="plan", exclusive=True, exit_on_error=False)

    async def _wait_known(self) -> None:
        line = self.line
        if line is not None and line.model is not None and line.key not in self._known:
            await self._work_out(line)

    async def _work_out(self, line: Line) -> None:
        facts, gpus = self._facts, self._gpus
        assert line.model is not None
        if self._knowledge is None:
            return
        known = await self.shell.in_thread(partial(self._knowledge.known, line.model, gpus))
        if facts.at == self._facts.at and gpus == self._gpus:  # else it is looked for anew
            self._known[line.key] = known
        for canvas in self.query(".listing-detail").results(Canvas):
            canvas.repaint()

    # --- actions ----------------------------------------------------------------------------------------

    def chosen_run(self) -> RunView | None:
        line = self.line
        return line.runs[0] if line is not None and line.runs else None

    def possible(self, name: str) -> bool:
        line = self.line
        if name == "new":
            return True
        if line is None:
            return False
        download = line.download
        if name == "stop":
            return download is not None and line.going
        if name == "run":
            if download is not None:
                return download.state in STOPPED
            one = line.model
            return (
                not line.live and one is not None and one.complete is not False and (one.runnable or bool(one.recipes))
            )
        if name == "open":
            begins = line.model is not None and line.model.runnable and line.download is None
            return bool(line.runs or line.recipes) or not begins or not self.shell.read_only
        return True

    def labelled(self, action: Action) -> Action:
        line = self.line
        if line is not None and line.download is not None:
            words = {"models.run": "go on", "models.delete": "cancel", "models.open": "details"}
            if action.id in words:
                return replace(action, label=words[action.id])
        return super().labelled(action)

    def escape(self) -> bool:
        return self.listing.escape()

    def action_open(self) -> None:
        line = self.line
        if line is None:
            return
        if line.runs:
            self.shell.open_run(line.runs[0].run_id)
        elif line.download is not None or line.model is None or not line.model.runnable or line.model.complete is False:
            self.listing.show_as_sheet()
        else:
            from vllm_studio_tui.tui.screens.models.flows import open_model

            self.shell.spawn(open_model(self.commands, line))

    def action_run(self) -> None:
        line = self.line
        if line is None:
            return
        if line.download is not None:
            from vllm_studio_tui.tui.flows.pulling import go_on

            self.shell.spawn(go_on(self.shell, line.download))
        else:
            from vllm_studio_tui.tui.screens.models.flows import run_model

            self.shell.spawn(run_model(self.commands, line))

    def action_stop(self) -> None:
        line = self.line
        if line is not None and line.download is not None:
            from vllm_studio_tui.tui.flows.pulling import pause

            self.shell.spawn(pause(self.shell, line.download))

    def action_new(self) -> None:
        from vllm_studio_tui.tui.screens.models.flows import get_model

        async def work() -> None:
            begun = await get_model(self.shell)
            if begun is not None:
                self.table.choose(begun)
                self.look()

        self.shell.spawn(work())

    def action_delete(self) -> None:
        from vllm_studio_tui.tui.screens.models.flows import take_away

        picked = list(self.table.picked)

        async def work() -> None:
            if await take_away(self.shell, picked):
                self.table.clear_marks()
                self.look(fresh=True)

        self.shell.spawn(work())

    def action_copy(self) -> None:
        paths = [line.path for line in self.table.picked if line.path]
        if paths:
            self.shell.copy("\n".join(paths))
