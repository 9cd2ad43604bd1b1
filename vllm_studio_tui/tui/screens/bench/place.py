"""The widget of the bench screen: the page of a result, and the table of all."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType

from vllm_studio_tui.tui.keys import actions
from vllm_studio_tui.tui.look.sizes import Size
from vllm_studio_tui.tui.paint.ink import Row
from vllm_studio_tui.tui.screens.bench import results as listed
from vllm_studio_tui.tui.screens.bench import rows as paint
from vllm_studio_tui.tui.screens.bench.doing import BenchActions
from vllm_studio_tui.tui.screens.bench.facts import Facts, Known
from vllm_studio_tui.tui.screens.bench.knowledge import NONE, Limits, candidates, read
from vllm_studio_tui.tui.screens.bench.words import limits_of, state_of
from vllm_studio_tui.tui.widgets.canvas import Canvas, ListCanvas
from vllm_studio_tui.tui.widgets.listing import Listing
from vllm_studio_tui.tui.widgets.table import Table

if TYPE_CHECKING:
    from vllm_studio_tui.domain.bench import BenchProgress, BenchResult
    from vllm_studio_tui.tui.keys.action import Action

#: What is shown: the page with its plot, its steps alone, or the table of all results.
PLOT, STEPS, RESULTS = "plot", "steps", "results"
VIEWS = (PLOT, STEPS, RESULTS)


class BenchPlace(BenchActions):
    """The bench screen."""

    SCOPE = "bench"
    BINDINGS: ClassVar[list[BindingType]] = [*actions.bindings("bench")]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._known = Known()
        self._read = False
        self._view = PLOT
        self._shown: str | None = None
        self._against: str | None = None
        self._limits: Limits | None = None
        self._busy = self._again = False
        #: Where the cursor was put without being asked.
        self._begun_at: str | None = None
        #: The step of which the results were read last: a new one is another result.
        self._seen: tuple[str, int] | None = None

    def compose(self) -> ComposeResult:
        yield self._page
        yield self._listing

    @cached_property
    def _page(self) -> ListCanvas:
        return ListCanvas(self._paint, self.get_ink, id="bench-page")

    @cached_property
    def table(self) -> Table[BenchResult]:
        return listed.ResultsTable(
            lambda: listed.columns_of(self.ink.glyphs, time.time(), self._known.limits),
            self.get_ink,
            lambda: self.size_class,
            title="RESULTS",
            key=lambda one: one.id,
            words=listed.words_of,
            rank_words="latest first",
            lead=lambda one: state_of(one, self.ink.glyphs),
            can_mark=True,
            id="bench-results",
        )

    @cached_property
    def _listing(self) -> Listing:
        listing = Listing(self.table, id="bench-listing")
        listing.display = False
        return listing

    def focus_first(self) -> None:
        (self.table if self._view == RESULTS else self._page).focus()

    # --- reading ----------------------------------------------------------------------------------------

    @property
    def progress(self) -> BenchProgress | None:
        """Where the benchmark is that is shown; None: what is shown is over."""
        now = self.shell.benches.progress
        shown = self._known.shown
        return now if now is not None and shown is not None and shown.id == now.id else None

    def shown(self) -> None:
        super().shown()
        self.shell.benches.look()
        self.look()

    def read_again(self) -> None:
        self.look()

    def update_place(self) -> None:
        now = self.shell.benches.progress
        seen = (now.id, now.step) if now is not None else None
        if seen != self._seen:
            if now is not None and (self._seen is None or self._seen[0] != now.id):
                self._shown = self._against = None  # what begins is what one looks at
            self._seen = seen
            self.look()
        super().update_place()

    def look(self) -> None:
        """Read the results in a thread; what is asked for meanwhile is read after it."""
        if self._busy:
            self._again = True
            return
        self._busy = True
        self.shell.spawn(self._look(), group="bench")

    async def _look(self) -> None:
        try:
            while True:
                self._again = False
                asked = (self._shown, self._against, self._limits)
                known = await self.shell.in_thread(partial(read, self.studio, *asked))
                if known.error is not None and self._known.shown is not None:
                    known = replace(self._known, error=known.error)
                other = (known.shown and known.shown.id) != (self._known.shown and self._known.shown.id)
                self._known, self._read = known, True
                self._shown = known.shown.id if known.shown is not None else None
                self._show()
                if other or self._page.key == self._begun_at:
                    self._begin_at_a_step()
                if not self._again:
                    return
        finally:
            self._busy = False

    def _show(self) -> None:
        if not self.is_attached:
            return
        known = self._known
        if not known.results and self._view == RESULTS:
            self._set_view(PLOT)
        self.table.show_items(known.results)
        self.shell.show_tab("bench", shown=bool(known.results))
        super().update_place()
        self.shell.update_frame()

    def _begin_at_a_step(self) -> None:
        """Put the cursor on the step that one looks at first: what goes on, else the last that was measured.

        Until somebody moves it, it goes on with what goes on: that is often known a moment after the result is.
        """
        line = replace(self._facts(*self._page.size), key=None).chosen
        first = next((one.key for one in self._facts(*self._page.size).steps), None)
        if line is not None or first is not None:
            self._begun_at = line.key if line is not None else first
            self._page.choose(self._begun_at)
            super().update_place()

    def open_result(self, bench_id: str | None, against: str | None = None) -> None:
        """Show a result, and another one beside it."""
        self._shown, self._against = bench_id, against
        self.table.clear_marks()
        self._set_view(PLOT)
        self.look()

    def _set_view(self, view: str) -> None:
        self._view = view
        inside = self._page.has_focus or self.table.has_focus
        self._page.display, self._listing.display = view != RESULTS, view == RESULTS
        if inside or self.shell.focused is None:
            self.focus_first()
        super().update_place()
        self.shell.update_frame()

    # --- painting ---------------------------------------------------------------------------------------

    def _facts(self, width: int, height: int) -> Facts:
        shown, progress = self._known.shown, self.progress
        limits = self._limits
        if limits is None:
            limits = limits_of(shown.plan) if shown is not None else (None, None)
        return Facts(
            self._known,
            self.ink.glyphs,
            self.size_class,
            width,
            height,
            time.time(),
            progress,
            self._others(progress),
            frozenset(self.table.marks),
            limits,
            self._page.key,
            self._gpus(),
        )

    def _others(self, progress: BenchProgress | None) -> int | None:
        """Return how many requests of others the engine answers meanwhile."""
        shown = self._known.shown
        if progress is None or not progress.step or progress.words or shown is None or shown.run_id is None:
            return None  # while prompts are made the engine is asked to count them
        if self.snapshot is None:
            return None
        metrics = self.snapshot.engine(shown.run_id)
        if metrics is None or metrics.running is None:
            return None
        # A sample is a moment older than the other: of a closed loop all users may be under way.
        ours = max(progress.running, int(progress.load) if shown.plan.arrivals == "closed" else 0)
        return max(0, int(metrics.running + (metrics.waiting or 0)) - ours)

    def _gpus(self) -> str:
        """Return the GPUs of the run in the words of the other screens, while it lives."""
        shown = self._known.shown
        runs = self.snapshot.every if self.snapshot is not None else ()
        run = next((run for run in runs if shown is not None and run.run_id == shown.run_id), None)
        return f"GPU {' '.join(run.spec.gpus)}" if run is not None and run.spec is not None and run.spec.gpus else ""

    def _paint(self, width: int, height: int) -> list[Row]:
        if self._known.shown is None:
            return paint.nothing_rows(
                self._known.error, self.size_class, width, read=self._read, read_only=self.shell.read_only
            )
        return paint.page_rows(self._facts(width, height), numbers_only=self._view == STEPS)

    def on_canvas_chosen(self, event: Canvas.Chosen) -> None:
        event.stop()
        event.canvas.call_after_refresh(event.canvas.repaint)
        self.shell.update_frame()

    def on_list_canvas_listed(self, event: ListCanvas.Listed) -> None:
        event.stop()
        self.shell.update_frame()

    # --- what is chosen ---------------------------------------------------------------------------------

    @property
    def result(self) -> BenchResult | None:
        """The result that keys are for: that under the cursor of a list, else the one that is shown."""
        if self._view == RESULTS:
            return self.table.chosen
        key = self._page.key or ""
        if key.startswith("result:"):
            return next((one for one in self._known.results if one.id == key.removeprefix("result:")), None)
        return self._known.shown

    @property
    def _marked(self) -> list[BenchResult]:
        """The two that are marked, the later one first; fewer or more are none."""
        found = [one for one in self._known.results if one.id in self.table.marks]
        return found if len(found) == 2 else []

    def possible(self, name: str) -> bool:
        result, progress = self.result, self.shell.benches.progress
        if name in ("new", "import"):
            return True
        if name == "stop":
            return progress is not None
        if result is None:
            return False
        if name == "mark":
            return self._view == RESULTS or (self._page.key or "").startswith("result:")
        if name == "open":
            return self._view == RESULTS or bool(self._page.key)
        if name in ("previous", "next"):
            return self._view != RESULTS and bool(candidates(self._known.results, result))
        if name in ("next-part", "previous-part"):
            return self._view != RESULTS and len(self._parts()) > 1
        if name == "again":
            return progress is None and result.source == "studio"
        if name == "duplicate":
            return result.source == "studio"
        if name == "revisions":
            return result.recipe_id is not None and result.revision is not None
        if name == "delete":
            return progress is None or progress.id != result.id
        return True

    def labelled(self, action: Action) -> Action:
        if action.id == "bench.view":
            word = "compare" if self._marked else self._next_view()
            return replace(action, label=word)
        if action.id == "bench.open" and self._view != RESULTS and not (self._page.key or "").startswith("result:"):
            return replace(action, label="figures")
        return super().labelled(action)

    def _views(self) -> tuple[str, ...]:
        return VIEWS if self.size_class >= Size.BASE else (PLOT, RESULTS)

    def _next_view(self) -> str:
        views = self._views()
        at = views.index(self._view) if self._view in views else 0
        return views[(at + 1) % len(views)]

    def escape(self) -> bool:
        if self._view == RESULTS and self._listing.escape():
            return True
        if self.table.marks:
            self.table.clear_marks()
            super().update_place()
            return True
        if self._view != PLOT:
            self._set_view(PLOT)
            return True
        return False

    def _parts(self) -> list[str]:
        """Return the first key of each part that the cursor can be in."""
        parts: dict[str, str] = {}
        for key in self._page.keys:
            parts.setdefault(key.partition(":")[0], key)
        return list(parts.values())

    # --- actions ----------------------------------------------------------------------------------------

    def _turn_part(self, step: int) -> None:
        parts = self._parts()
        names = [key.partition(":")[0] for key in parts]
        here = (self._page.key or "").partition(":")[0]
        if parts:
            self._page.choose(parts[(names.index(here) + step if here in names else 0) % len(parts)])

    def action_next_part(self) -> None:
        self._turn_part(1)

    def action_previous_part(self) -> None:
        self._turn_part(-1)

    def action_view(self) -> None:
        if marked := self._marked:
            self.open_result(marked[0].id, marked[1].id)
        else:
            self._set_view(self._next_view())

    def action_mark(self) -> None:
        result = self.result
        if result is None:
            return
        self.table.marks ^= {result.id}
        if marked := self._marked:
            self.open_result(marked[0].id, marked[1].id)
        else:
            super().update_place()
            self.shell.update_frame()

    def action_open(self) -> None:
        result, key = self.result, self._page.key or ""
        if self._view == RESULTS or key.startswith("result:"):
            if result is not None:
                self.open_result(result.id)
        else:
            from vllm_studio_tui.tui.screens.bench.sheets import step_sheet

            self.shell.push_screen(step_sheet(self._facts(80, 40), key))

    def action_previous(self) -> None:
        self._turn_against(1)

    def action_next(self) -> None:
        self._turn_against(-1)

    def _turn_against(self, step: int) -> None:
        """Compare with the result before or after the one beside the shown one; between the ends is none."""
        shown = self._known.shown
        if shown is None:
            return
        ids = [NONE, *(one.id for one in candidates(self._known.results, shown))]
        against = self._known.against
        at = ids.index(against.id) if against is not None and against.id in ids else 0
        self._against = ids[(at + step) % len(ids)]
        self.look()
