"""The widget of the recipes screen: the table, the details of the recipe under the cursor, and the form."""

from __future__ import annotations

import time
from functools import cached_property, partial
from typing import Any, ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container, Horizontal
from textual.widgets import Input

from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.tui.keys import actions
from vllm_studio_tui.tui.look.sizes import Size, margin
from vllm_studio_tui.tui.paint.ink import Row
from vllm_studio_tui.tui.place import Place
from vllm_studio_tui.tui.screens.recipes import choosing, plans, table
from vllm_studio_tui.tui.screens.recipes import rows as paint
from vllm_studio_tui.tui.screens.recipes.flows import RecipeFlows
from vllm_studio_tui.tui.screens.recipes.form import RecipeForm
from vllm_studio_tui.tui.widgets.canvas import Canvas, ListCanvas

#: Seconds that the cursor stays on a recipe before its command and checks are computed.
REST = 0.12


class RecipesPlace(Place):
    """The recipes screen. The form, while it is open, replaces the table."""

    SCOPE = "recipes"
    BINDINGS: ClassVar[list[BindingType]] = [*actions.bindings("recipes")]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._rows: list[tuple[str, dict[str, Any]]] = []
        self._loaded = False
        self._plans: dict[str, plans.Plan] = {}
        self._timer: Any = None

    @cached_property
    def flows(self) -> RecipeFlows:
        return RecipeFlows(self)

    def compose(self) -> ComposeResult:
        with Container(id="recipes-list"):
            with Horizontal():
                yield ListCanvas(self._paint_table, self.get_ink, id="recipes-table", header=3)
                yield Canvas(self._paint_rail, self.get_ink, id="recipes-rail")
            yield Input(placeholder="search recipes", id="recipes-search")

    def on_mount(self) -> None:
        self.query_one("#recipes-search", Input).display = False

    @property
    def form(self) -> RecipeForm | None:
        """The form, while it is open."""
        found = self.query(RecipeForm)
        return found.first() if found else None

    def shown(self) -> None:
        self._plans.clear()
        self.shell.spawn(self.reload(), group="recipes")
        super().shown()

    def focus_first(self) -> None:
        form = self.form
        if form is not None:
            form.query("FieldInput").first().focus()
        else:
            self.query_one("#recipes-table").focus()

    async def reload(self, choose: str | None = None) -> None:
        """Read the recipes again, and move the cursor to the recipe `choose`."""
        self._rows = await self.shell.in_thread(self.studio.recipe_list)
        self._loaded = True
        self._plans.clear()
        self.update_place()
        if choose is not None:
            self.query_one("#recipes-table", ListCanvas).choose(choose)
        self._plan_soon()
        self.shell.update_frame()

    # --- painting ---------------------------------------------------------------------------------------

    def _found(self) -> list[tuple[str, dict[str, Any]]]:
        words = self.query_one("#recipes-search", Input).value.lower().split()
        return [
            (recipe_id, data)
            for recipe_id, data in self._rows
            if all(word in table.words_of(recipe_id, data) for word in words)
        ]

    def _last(self) -> dict[str, RunView]:
        snapshot = self.snapshot
        return {run.recipe_id: run for run in snapshot.every} if snapshot is not None else {}

    def _paint_table(self, width: int, height: int) -> list[Row]:
        size = self.size_class
        found, x = self._found(), margin(size)
        title = table.title(x, len(found), len(self._rows) if self._loaded else None)
        rows = [Row(), title] if size >= Size.WIDE else [title]
        if not self._loaded:
            return rows
        if not self._rows:
            return [*rows, Row(), *table.nothing(x, read_only=self.shell.read_only)]
        if not found:
            return [*rows, Row(), table.no_match(x, self.query_one("#recipes-search", Input).value)]
        rows += table.table(found, self._last(), self.ink.glyphs, width, size, time.time())
        self.query_one("#recipes-table", ListCanvas).header = 3 if size >= Size.WIDE else 2
        if size < Size.FULL and height > len(rows) + 8 and (plan := self._plan()) is not None:
            line = Row()
            line.put(x, self.ink.glyphs.hairline * (width - 2 * x), "track")
            gap = height - len(rows) - 9
            rows += [Row() for _ in range(max(0, min(1, gap)))]
            rows += [line, *paint.plan_rows(plan, self.ink.glyphs, x, width, size, time.time())]
        return rows

    def _paint_rail(self, width: int, height: int) -> list[Row]:
        plan = self._plan()
        rows = [Row(), *(paint.plan_rows(plan, self.ink.glyphs, 3, width, Size.FULL, time.time()) if plan else [])]
        rows += [Row() for _ in range(max(0, height - len(rows)))]
        for row in rows[1:]:
            row.put(0, self.ink.glyphs.inside, "track")
        return rows

    def _plan(self) -> plans.Plan | None:
        key = self.chosen
        return self._plans.get(key) if key is not None else None

    @property
    def chosen(self) -> str | None:
        """The id of the recipe under the cursor."""
        return self.query_one("#recipes-table", ListCanvas).key

    def chosen_run(self) -> RunView | None:
        """Return the latest run of the recipe under the cursor."""
        return self._last().get(self.chosen or "")

    def on_canvas_chosen(self, event: Canvas.Chosen) -> None:
        event.stop()
        self._plan_soon()
        self.shell.update_frame()

    def _plan_soon(self) -> None:
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(REST, self._plan_now)

    def _plan_now(self) -> None:
        key = self.chosen
        if key is not None and key not in self._plans and self.display:
            self.run_worker(self._work_out(key), group="plan", exclusive=True, exit_on_error=False)
        else:
            self.update_place()

    async def _work_out(self, key: str) -> None:
        plan = await self.shell.in_thread(partial(plans.plan_of_stored, self.studio, self.snapshot, key))
        self._plans[key] = plan
        self.update_place()

    # --- search -----------------------------------------------------------------------------------------

    def action_find(self) -> None:
        search = self.query_one("#recipes-search", Input)
        search.display = True
        search.focus()

    @on(Input.Changed, "#recipes-search")
    def _searched(self, event: Input.Changed) -> None:
        event.stop()
        self.update_place()

    @on(Input.Submitted, "#recipes-search")
    def _search_done(self, event: Input.Submitted) -> None:
        event.stop()
        self.query_one("#recipes-table").focus()

    def on_key(self, event: events.Key) -> None:
        search = self.query_one("#recipes-search", Input)
        if event.key == "escape" and search.has_focus:
            event.stop()
            self.escape()

    def escape(self) -> bool:
        search = self.query_one("#recipes-search", Input)
        if search.display:
            search.value = ""
            search.display = False
            self.query_one("#recipes-table").focus()
            self.update_place()
            return True
        return False

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
        if name in ("launch", "switch"):
            return self.chosen is not None and not live
        if name in ("new", "import", "starter"):
            return True
        return self.chosen is not None

    def _is_external(self) -> bool:
        return any(key == self.chosen and data.get("backend") == "external" for key, data in self._rows)

    def action_launch(self) -> None:
        if self.chosen is not None:
            self.shell.spawn(self.commands.launch(self.chosen))

    def action_switch(self) -> None:
        if self.chosen is not None:
            self.shell.spawn(self.commands.switch(self.chosen))

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
        self.shell.spawn(self.new())

    def action_duplicate(self) -> None:
        if self.chosen is not None:
            self.shell.spawn(self.flows.duplicate(self.chosen))

    def action_delete(self) -> None:
        if self.chosen is not None:
            self.shell.spawn(self.flows.delete(self.chosen))

    def action_yaml(self) -> None:
        if self.chosen is not None:
            self.shell.spawn(self.flows.yaml(self.chosen))

    def action_import(self) -> None:
        self.shell.spawn(self.flows.import_())

    def action_export(self) -> None:
        self.shell.spawn(self.flows.export())

    def action_starter(self) -> None:
        self.shell.spawn(self.flows.starter())

    def action_copy_command(self) -> None:
        if self.chosen is not None:
            self.shell.spawn(self._copy_command(self.chosen))

    async def _copy_command(self, key: str) -> None:
        """Copy the command of a recipe; compute it first where the cursor has only just moved there."""
        plan = self._plans.get(key)
        if plan is None:
            plan = await self.shell.in_thread(partial(plans.plan_of_stored, self.studio, self.snapshot, key))
        if plan.preview is not None:
            self.shell.copy(plan.preview.shell)
        else:
            self.shell.tell(plan.error or "There is no command to copy.")

    # --- form -------------------------------------------------------------------------------------------

    async def edit(self, recipe_id: str) -> None:
        """Open the form on a recipe."""
        recipe = await self.shell.in_thread(partial(self.studio.recipes.get, recipe_id))
        await self._open_form(recipe)

    async def new(self) -> None:
        """Open an empty form."""
        await self._open_form(None)

    async def _open_form(self, recipe: Recipe | None) -> None:
        if self.form is not None:
            return
        self.query_one("#recipes-list").display = False
        form = RecipeForm(recipe, self.get_ink, lambda: self.size_class)
        await self.mount(form)
        self.on_recipe_form_changed(RecipeForm.Changed(form.reading))
        self.shell.update_frame()

    async def close_form(self, choose: str | None = None) -> None:
        """Close the form and show the table, with the cursor on the recipe `choose`."""
        form = self.form
        if form is not None:
            await form.remove()
        self.query_one("#recipes-list").display = True
        self.query_one("#recipes-table").focus()
        await self.reload(choose)

    def on_recipe_form_changed(self, event: RecipeForm.Changed) -> None:
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(0.2, partial(self._preview_form, event.reading))

    def _preview_form(self, reading: Any) -> None:
        self.run_worker(self._side(reading), group="plan", exclusive=True, exit_on_error=False)

    async def _side(self, reading: Any) -> None:
        form = self.form
        if form is None:
            return
        if reading.recipe is None:
            rows = paint.error_rows(reading.errors, self.ink.glyphs, 3)
        else:
            plan = await self.shell.in_thread(partial(plans.plan_of, self.studio, self.snapshot, reading.recipe))
            rows = paint.check_rows(plan, self.ink.glyphs, 3, form.query_one("#form-side").size.width or 50)
        for row in rows:
            row.put(0, self.ink.glyphs.inside, "track")
        form.side = rows
        form.repaint()

    def on_recipe_form_done(self, event: RecipeForm.Done) -> None:
        self.shell.spawn(self.flows.save(event.recipe, event.was, launch=event.launch))

    def on_recipe_form_asked(self, event: RecipeForm.Asked) -> None:
        form = self.form
        if form is None:
            return
        if event.what == "choose":
            self.shell.spawn(choosing.choose_value(self.shell, form, event.name))
        elif event.what == "yaml":
            self.shell.spawn(self.flows.yaml_of_form(form))
        else:
            self.shell.spawn(self.flows.leave(form))
