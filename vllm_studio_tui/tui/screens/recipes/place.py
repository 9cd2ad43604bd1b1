"""The widget of the recipes screen: the table, the details of the recipe under the cursor, and the form."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container

from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.services.recipes.form import Reading, texts_of
from vllm_studio_tui.tui.keys import actions
from vllm_studio_tui.tui.paint.ink import Row
from vllm_studio_tui.tui.place import Place
from vllm_studio_tui.tui.screens.recipes import choosing, detail, marked, plans, table
from vllm_studio_tui.tui.screens.recipes.flows import RecipeFlows
from vllm_studio_tui.tui.screens.recipes.form import RecipeForm
from vllm_studio_tui.tui.screens.recipes.path_list import WORDS
from vllm_studio_tui.tui.terminal.deferred import deferred
from vllm_studio_tui.tui.widgets.canvas import Canvas
from vllm_studio_tui.tui.widgets.listing import Listing, Shape
from vllm_studio_tui.tui.widgets.table import Table

if TYPE_CHECKING:
    from vllm_studio_tui.tui.keys.action import Action

#: Seconds that the cursor stays on a recipe before its command and checks are computed.
REST = 0.12


class RecipesPlace(Place):
    """The recipes screen. The form, while it is open, replaces the table."""

    SCOPE = "recipes"
    BINDINGS: ClassVar[list[BindingType]] = [*actions.bindings("recipes")]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        #: The recipes as they are stored; None: not read yet.
        self._rows: list[tuple[str, dict[str, Any]]] | None = None
        self._plans: dict[str, plans.Plan] = {}
        #: Recipes whose plan was made before runs began or ended.
        self._stale: set[str] = set()
        self._states: tuple[tuple[str, str], ...] = ()
        self._timer: Any = None
        #: The kinds of engine that are not installed here, as far as they were looked for.
        self._engines_missing: frozenset[str] = frozenset()
        self._pins: frozenset[str] = frozenset()

    @cached_property
    def flows(self) -> RecipeFlows:
        return RecipeFlows(self)

    def compose(self) -> ComposeResult:
        with Container(id="recipes-list"):
            made = table.recipes_table(self.get_ink, lambda: self.size_class, lambda: self.shell.read_only)
            yield Listing(made, detail=self._paint_detail, known=self._known, id="recipes-listing")

    @property
    def table(self) -> Table[table.Line]:
        return self.query_one("#recipes-table", Table)

    @property
    def listing(self) -> Listing:
        return self.query_one("#recipes-listing", Listing)

    @property
    def form(self) -> RecipeForm | None:
        """The form, while it is open."""
        found = self.query(RecipeForm)
        return found.first() if found else None

    def shown(self) -> None:
        self._plans.clear()
        self.shell.spawn(self._read(), group="recipes")
        super().shown()

    async def _read(self) -> None:
        await self.reload()
        engines = await self.shell.in_thread(self.studio.engines_here)
        self._engines_missing = frozenset(engine.name for engine in engines if engine.usable is False)
        self.update_place()

    def read_again(self) -> None:
        self.shell.spawn(self._read(), group="recipes")

    def focus_first(self) -> None:
        form = self.form
        if form is None:
            self.table.focus()
            return
        for field in form.query("FieldInput"):
            field.focus()
            return  # a form that is being made has no fields yet; it goes to one itself

    async def reload(self, choose: str | None = None) -> None:
        """Read the recipes again, and move the cursor to the recipe `choose`."""
        self._rows = await self.shell.in_thread(self.studio.recipe_list)
        self._pins = frozenset(await self.shell.in_thread(self.studio.recipes.pins))
        self._plans.clear()
        if choose is not None:
            self.table.choose(choose)
        self.update_place()
        self._plan_soon()
        self.shell.update_frame()

    # --- painting ---------------------------------------------------------------------------------------

    def update_place(self) -> None:
        snapshot = self.snapshot
        states = tuple((run.run_id, str(run.state)) for run in snapshot.every) if snapshot is not None else ()
        if states != self._states:
            self._states = states
            self._stale.update(self._plans)
            self._plan_soon()
        if self._rows is not None:
            gpus_here = len(snapshot.tick.gpus.gpus) if snapshot is not None else None
            here = table.Here(self.ink.glyphs, gpus_here, self._engines_missing, self._pins, time.time())
            self.table.show_items(table.lines(self._rows, self._last(), here))
        super().update_place()

    def _last(self) -> dict[str, RunView]:
        snapshot = self.snapshot
        return {run.recipe_id: run for run in snapshot.every} if snapshot is not None else {}

    def _paint_detail(self, shape: Shape, x: int, width: int, height: int) -> list[Row]:
        plan, now = self._plan(), time.time()
        if plan is None:
            return [detail.reading(self.table.chosen, x, width)]
        if shape is Shape.BELOW:
            return detail.few_rows(plan, self.ink.glyphs, x, width, height, now)
        return detail.detail_rows(plan, self.ink.glyphs, x, width, now)

    def _plan(self) -> plans.Plan | None:
        return self._plans.get(self.chosen or "")

    @property
    def chosen(self) -> str | None:
        """The id of the recipe under the cursor."""
        return self.table.key

    def chosen_recipe(self) -> str | None:
        return self.chosen

    def chosen_run(self) -> RunView | None:
        """Return the latest run of the recipe under the cursor."""
        return self._last().get(self.chosen or "")

    def on_canvas_chosen(self, event: Canvas.Chosen) -> None:
        event.stop()
        self._plan_soon()
        self.shell.update_frame()

    def _plan_soon(self, seconds: float = REST) -> None:
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(seconds, self._plan_now)

    def _plan_now(self) -> None:
        key = self.chosen
        if key is not None and (key not in self._plans or key in self._stale) and self.display:
            self.run_worker(deferred(self._work_out, key), group="plan", exclusive=True, exit_on_error=False)
        else:
            self.update_place()

    async def _known(self) -> None:
        if (key := self.chosen) is not None and key not in self._plans:
            await self._work_out(key)

    async def _work_out(self, key: str) -> None:
        rows, states = self._rows, self._states
        plan = await self.shell.in_thread(partial(plans.plan_of_stored, self.studio, self.snapshot, key))
        self._plans[key] = plan
        if rows is self._rows and states == self._states and not plan.failed:
            self._stale.discard(key)
        else:  # recipes were changed, or runs began or ended, while it was made; or it was not made
            self._stale.add(key)
            self._plan_soon(plans.AGAIN if plan.failed else REST)
        self.update_place()

    def next_part(self, step: int) -> None:
        if (form := self.form) is not None:
            form.turn(step)
        else:
            super().next_part(step)

    def labelled(self, action: Action) -> Action:
        if action.id == "form.next-section":  # `tab` is the shorter of the two ways
            action = replace(action, footer=actions.keys_text(self.shell.keys_of("app.next-part"), 1))
        if action.id in WORDS and self.form is not None and self.form.paths is not None:
            return replace(action, label=WORDS[action.id])
        return super().labelled(action)

    def escape(self) -> bool:
        return self.form is None and self.listing.escape()

    # --- actions ----------------------------------------------------------------------------------------

    def possible(self, name: str) -> bool:
        if self.form is not None:
            return False
        run = self.chosen_run()
        live = run is not None and run.live
        if name in ("stop", "chat"):
            return live or (name == "chat" and self._is_external())
        if name == "log":
            return run is not None
        if name == "view":
            return len(self.table.marks) == 2
        if name == "run":
            return bool(self.table.marks) or (self.chosen is not None and not live)
        if name == "open":
            return self.chosen is not None and (run is not None or not self.shell.read_only)
        return name in ("new", "import") or self.chosen is not None

    def _is_external(self) -> bool:
        return any(key == self.chosen and data.get("backend") == "external" for key, data in self._rows or ())

    def action_open(self) -> None:
        if (run := self.chosen_run()) is not None:
            self.shell.open_run(run.run_id)
        elif self.chosen is not None:
            self.shell.spawn(self.edit(self.chosen))

    def action_run(self) -> None:
        if self.table.marks:
            self.shell.spawn(self._run_marked())
        elif self.chosen is not None:
            self.shell.spawn(self.commands.launch(self.chosen))

    def action_stop(self) -> None:
        if (run := self.chosen_run()) is not None and run.live:
            self.shell.spawn(self.commands.stop(run))

    def action_chat(self) -> None:
        if self.chosen is not None:
            self.shell.spawn(self.commands.chat_with(self.chosen))

    def action_log(self) -> None:
        if (run := self.chosen_run()) is not None:
            self.shell.spawn(self.commands.open_log(run.run_id))

    def action_edit(self) -> None:
        if self.chosen is not None:
            self.shell.spawn(self.edit(self.chosen))

    def action_new(self) -> None:
        from vllm_studio_tui.tui.flows.starting import what_to_run

        self.shell.spawn(what_to_run(self.shell))

    def action_duplicate(self) -> None:
        if self.chosen is not None:
            self.shell.spawn(self.flows.duplicate(self.chosen))

    @property
    def _marked(self) -> list[str]:
        """The marked recipes, in the order of the table."""
        return [line.recipe_id for line in self.table.picked if line.recipe_id in self.table.marks]

    async def _run_marked(self) -> None:
        if await marked.run_all(self.commands, self._marked):
            self.table.clear_marks()

    async def _delete_marked(self) -> None:
        if await marked.delete_all(self.commands, self._marked):
            await self.reload()

    def action_view(self) -> None:
        self.shell.spawn(marked.compare_two(self.shell, *self._marked))

    def action_delete(self) -> None:
        if self.table.marks:
            self.shell.spawn(self._delete_marked())
        elif self.chosen is not None:
            self.shell.spawn(self.flows.delete(self.chosen))

    def action_revisions(self) -> None:
        if self.chosen is not None:
            from vllm_studio_tui.tui.flows.changes import bring_back

            self.shell.spawn(bring_back(self.shell, self.chosen))

    def action_yaml(self) -> None:
        if self.chosen is not None:
            self.shell.spawn(self.flows.yaml(self.chosen))

    def action_import(self) -> None:
        self.shell.spawn(self.flows.import_())

    def action_export(self) -> None:
        self.shell.spawn(self.flows.export(sorted(self.table.marks)))

    def action_pin(self) -> None:
        if self.chosen is not None:
            self._pins ^= {self.chosen}
            self.update_place()
            pin = partial(self.studio.recipes.pin, self.chosen, pinned=self.chosen in self._pins)
            self.shell.spawn(self.shell.in_thread(pin))

    def action_copy_command(self) -> None:
        if self.chosen is not None:
            self.shell.spawn(self._copy_command(self.chosen))

    async def _copy_command(self, key: str) -> None:
        self.flows.copy_command(await self._plan_of(key))

    def action_copy_as(self) -> None:
        if self.chosen is not None:
            self.shell.spawn(self._copy_as(self.chosen))

    async def _copy_as(self, key: str) -> None:
        plan = await self._plan_of(key)
        await self.flows.copy_as(key, plan.preview.shell if plan.preview is not None else "")

    async def _plan_of(self, key: str) -> plans.Plan:
        """Return what is known of a recipe; compute it where the cursor has only just moved there."""
        if key in self._plans:
            return self._plans[key]
        return await self.shell.in_thread(partial(plans.plan_of_stored, self.studio, self.snapshot, key))

    # --- form -------------------------------------------------------------------------------------------

    async def edit(self, recipe_id: str) -> None:
        """Open the form on a recipe."""
        recipe = await self.shell.in_thread(partial(self.studio.recipes.get, recipe_id))
        await self._open_form(recipe)

    async def new(self, draft: Recipe | None = None, texts: Mapping[str, str] | None = None) -> None:
        """Open the form of a new recipe: empty, with that of a draft, or with some texts filled in."""
        given = {name: text for name, text in texts_of(draft).items() if text} if draft is not None else {}
        await self._open_form(None, {**given, **(texts or {})})

    async def import_from(self, kind: str, value: str) -> None:
        """Import a `command`, a `text`, a `file` by its path, an engine that is `running`, or ask for one (`paste`)."""
        await self.flows.import_from(kind, value)

    async def _open_form(self, recipe: Recipe | None, draft: Mapping[str, str] | None = None) -> None:
        if self.form is not None:
            return
        engines = await self.shell.in_thread(self.studio.engines_here)
        revisions = (
            await self.shell.in_thread(partial(plans.revisions_of, self.studio, recipe.id))
            if recipe is not None
            else []
        )
        if self.form is not None:
            return  # another was opened meanwhile
        self.query_one("#recipes-list").display = False
        form = RecipeForm(
            recipe,
            self.get_ink,
            lambda: self.size_class,
            engines=engines,
            revisions=revisions,
            draft=draft,
            preset=choosing.first_texts(engines) if recipe is None else None,
        )
        await self.mount(form)
        self.on_recipe_form_changed(RecipeForm.Changed(form.reading))
        self.shell.update_frame()

    async def close_form(self, choose: str | None = None) -> None:
        """Close the form and show the table, with the cursor on the recipe `choose`."""
        form = self.form
        if form is not None:
            await form.remove()
        self.query_one("#recipes-list").display = True
        self.table.focus()
        await self.reload(choose)

    def on_recipe_form_changed(self, event: RecipeForm.Changed) -> None:
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(0.2, partial(self._preview_form, event.reading))

    def _preview_form(self, reading: Reading) -> None:
        self.run_worker(deferred(self._side, reading), group="plan", exclusive=True, exit_on_error=False)

    async def _side(self, reading: Reading) -> None:
        if reading.recipe is None or self.form is None:
            return
        plan = await self.shell.in_thread(partial(plans.plan_of, self.studio, self.snapshot, reading.recipe))
        form = self.form
        if form is not None:
            form.show_plan(reading, plan)

    def on_recipe_form_done(self, event: RecipeForm.Done) -> None:
        self.shell.spawn(self.flows.save(event.recipe, event.was, launch=event.launch))

    def on_recipe_form_asked(self, event: RecipeForm.Asked) -> None:
        if (form := self.form) is not None:
            self.shell.spawn(self.flows.asked(form, event.what, event.name))
