"""The widget of the set-up of a benchmark."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container, Vertical
from textual.css.query import NoMatches
from textual.widgets import Input

from vllm_studio_tui.domain.bench import BenchPlan
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.tui.keys import actions
from vllm_studio_tui.tui.look.sizes import Size, margin
from vllm_studio_tui.tui.paint.ink import Row
from vllm_studio_tui.tui.place import Page
from vllm_studio_tui.tui.screens.measure import rows
from vllm_studio_tui.tui.screens.measure.fields import (
    FIELDS,
    HINTS,
    KINDS,
    MOVES,
    MeasureField,
    MeasureInput,
    first_plan,
    kind_of,
    read_fields,
    values_of,
)
from vllm_studio_tui.tui.widgets.canvas import Canvas

if TYPE_CHECKING:
    from textual.widget import Widget

    from vllm_studio_tui.domain.bench import BenchResult
    from vllm_studio_tui.domain.recipe import Recipe
    from vllm_studio_tui.runs.read import RunView


class MeasurePage(Page):
    """A few fields, and what comes of them."""

    SCOPE = "measure"
    BINDINGS: ClassVar[list[BindingType]] = [one for one in actions.bindings("measure") if one.id not in MOVES]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._recipe = ""
        self._plan = first_plan()
        self._kind = "sweep"
        self._wrong: dict[str, str] = {}
        self._touched = False
        self._given = False
        self._known: Recipe | None = None
        self._earlier: tuple[BenchResult, ...] | None = None

    def compose(self) -> ComposeResult:
        yield Canvas(lambda w, _: rows.head_rows(self.facts, self.ink.glyphs, self.size_class, w), self.get_ink,
                     id="measure-head")  # fmt: skip
        with Container(id="measure-body"):
            with Vertical(id="measure-fields"):
                for spec in FIELDS:
                    yield MeasureField(spec, self.get_ink, self._reason, self._step, self._go)
            yield Canvas(self._paint_side, self.get_ink, id="measure-side")
            yield Canvas(self._paint_foot, self.get_ink, id="measure-foot")

    # --- which run --------------------------------------------------------------------------------------

    def open_item(self, item: str) -> None:
        given = json.loads(item)
        if given["recipe"] == self._recipe and given.get("plan") is None and self._touched:
            return  # as it was left
        self._recipe = given["recipe"]
        self._given = given.get("plan") is not None
        self._take(BenchPlan.of_json(given["plan"]) if self._given else first_plan())
        self._touched, self._known, self._earlier = False, None, None
        self.shell.spawn(self._look(), group="bench")

    def _take(self, plan: BenchPlan) -> None:
        """Show a plan in the fields."""
        self._plan, self._kind = plan, kind_of(plan)
        values = values_of(plan)
        for field in self.query(MeasureInput):
            field.show(values[field.field])
        self._read()

    async def _look(self) -> None:
        """Read the recipe and its earlier results: the last plan of it is a better beginning than any other."""
        recipe = self._recipe
        try:
            known, earlier = await self.shell.in_thread(partial(self._find, recipe))
        except StudioError:
            return  # starting it says what is wrong
        if recipe != self._recipe or not self.is_attached:
            return
        self._known, self._earlier = known, tuple(earlier)
        mine = next((one for one in earlier if one.source == "studio"), None)
        if mine is not None and not self._given and not self._touched:
            self._take(mine.plan)
        self.update_place()

    def _find(self, recipe: str) -> tuple[Recipe, list[BenchResult]]:
        return self.studio.recipes.get(recipe), self.studio.bench.list(recipe, 10)

    def focus_first(self) -> None:
        try:
            self.query_one("#measure-kind", MeasureInput).focus()
        except NoMatches:
            self.call_after_refresh(self.focus_first)

    @property
    def _run(self) -> RunView | None:
        runs = self.snapshot.runs if self.snapshot is not None else ()
        found = [run for run in runs if run.recipe_id == self._recipe]
        return next((run for run in found if run.live), found[0] if found else None)

    @property
    def facts(self) -> rows.SetUp:
        run, recipe = self._run, self._known
        metrics = self.snapshot.engine(run.run_id) if run is not None and self.snapshot is not None else None
        return rows.SetUp(
            self._recipe,
            self._plan,
            run,
            recipe.max_model_len if recipe is not None else None,
            recipe.max_num_seqs if recipe is not None else None,
            int(metrics.running) if metrics is not None and metrics.running else None,
            self._earlier,
            self.shell.benches.progress,
            bool(self._wrong),
            recipe is not None and recipe.backend == "external",
            self.shell.read_only,
        )

    # --- painting ---------------------------------------------------------------------------------------

    def update_place(self) -> None:
        focused = self.shell.focused
        first = not (isinstance(focused, MeasureInput) and self in focused.ancestors)
        for row in self.query(MeasureField):
            row.set_class(row.input is focused or (first and row.field == "kind"), "-here")
            if row.field == "loads":
                row.label = "A second" if self._kind in ("constant", "poisson") else "Users"
        super().update_place()

    def on_descendant_focus(self) -> None:
        self.update_place()

    def on_resize(self) -> None:
        self.call_after_refresh(self.update_place)

    def _paint_side(self, width: int, height: int) -> list[Row]:
        head = Row()
        head.put(2, "WHAT COMES OF IT", "dim bold")
        return [head, *rows.side_rows(self.facts, self.ink.glyphs, 2, width - 2, height - 1)]

    def _paint_foot(self, width: int, height: int) -> list[Row]:
        focused = self.shell.focused
        name = focused.field if isinstance(focused, MeasureInput) else "kind"
        style, words = self._reason(name)
        x, blank = margin(self.size_class), self.size_class >= Size.BASE
        hint = Row()
        hint.put(x, words, style, max(0, width - x))
        if self.size_class <= Size.STRIP:  # the words stand below the field
            return rows.side_rows(self.facts, self.ink.glyphs, 0, width, height)
        out = [*([Row()] if blank else []), hint, *([Row()] if blank else [])]
        return [*out, *rows.side_rows(self.facts, self.ink.glyphs, x, width - 2, max(0, height - len(out)))]

    def _reason(self, name: str) -> tuple[str, str]:
        if name in self._wrong:
            return "err", self._wrong[name]
        if name == "loads" and self._kind == "limit":
            return "faint", "doubled until they are too many, then halved"
        if name == "loads" and self._kind != "sweep":
            return "faint", "requests a second, a step each"
        return "faint", HINTS[name]

    # --- typing -----------------------------------------------------------------------------------------

    @on(Input.Changed, ".measure-field")
    def _changed(self, event: Input.Changed) -> None:
        event.stop()
        if isinstance(event.input, MeasureInput) and not event.input.choice:
            self._touched = True
            self._read()
            self.update_place()

    @on(Input.Submitted, ".measure-field")
    def _entered(self, event: Input.Submitted) -> None:
        event.stop()
        if isinstance(event.input, MeasureInput):
            self._go(event.input.field, 1)

    def _read(self) -> None:
        values = {field.field: field.value for field in self.query(MeasureInput)}
        if values:
            self._plan, self._wrong = read_fields(self._plan, self._kind, values)

    def _go(self, name: str, step: int) -> None:
        """Go to the field beside one; in a small window it is shown in its place."""
        fields = list(self.query(MeasureField))
        index = next(index for index, one in enumerate(fields) if one.field == name)
        wanted = fields[(index + step) % len(fields)]
        for one in fields:
            one.set_class(one is wanted, "-here")
        self.call_after_refresh(wanted.input.focus)

    def _step(self, name: str, step: int) -> None:
        names = [one[0] for one in KINDS]
        self._choose_kind(names[(names.index(self._kind) + step) % len(names)])

    def _choose_kind(self, kind: str) -> None:
        """Take another way to ask; what its loads are begins anew where they were of another kind."""
        before, self._kind, self._touched = self._kind, kind, True
        fields = {field.field: field for field in self.query(MeasureInput)}
        fields["kind"].show(next(words for name, words, *_ in KINDS if name == kind))
        rates = ("constant", "poisson")
        if kind == "limit":
            fields["loads"].show("")
        elif before == "limit" or (before in rates) != (kind in rates):
            fields["loads"].show("1 2 4 8" if kind in rates else "1 2 4 8 16 32")
        self._read()
        self.update_place()

    # --- actions ----------------------------------------------------------------------------------------

    def parts(self) -> list[Widget]:
        return list(self.query(MeasureInput))

    def possible(self, name: str) -> bool:
        focused = self.shell.focused
        if name == "choose":
            return isinstance(focused, MeasureInput) and focused.field in ("kind", "file")
        return True

    def action_choose(self) -> None:
        self.shell.spawn(self._choose())

    async def _choose(self) -> None:
        from vllm_studio_tui.tui.sheets.chooser import Choice, Chooser

        choices = [Choice(name, words, "") for name, words, *_ in KINDS]
        said = await self.shell.ask(Chooser(choices, title="what is measured"))
        if said is not None:
            self._choose_kind(str(said))

    def action_launch(self) -> None:
        if self._wrong:
            name = next(iter(self._wrong))
            self.query_one(f"#measure-{name}", MeasureInput).focus()
            label = next(one[1] for one in FIELDS if one[0] == name)
            self.shell.tell(f"{label}: {self._wrong[name]}.".replace("..", "."), "warning")
            return
        from vllm_studio_tui.tui.flows.benching import start

        recipe, plan = self._recipe, self._plan
        self._touched = False
        self.shell.spawn(start(self.shell, recipe, plan))

    def escape(self) -> bool:
        self.shell.close_page()
        return True

    def escape_word(self) -> str:
        return "back"
