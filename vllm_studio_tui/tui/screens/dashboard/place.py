"""The widget of the dashboard screen: runs, GPUs, recipes, events and tokens."""

from __future__ import annotations

import time
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType

from vllm_studio_tui.domain.run import State
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.tui.flows.run_facts import Facts
from vllm_studio_tui.tui.keys import actions
from vllm_studio_tui.tui.look.sizes import Size, margin
from vllm_studio_tui.tui.paint import run_words
from vllm_studio_tui.tui.paint.ink import Row
from vllm_studio_tui.tui.place import Place
from vllm_studio_tui.tui.screens.dashboard.rows import Picture
from vllm_studio_tui.tui.widgets.canvas import Canvas, ListCanvas

if TYPE_CHECKING:
    from vllm_studio_tui.tui.sheets.starting import WhatToRun


class Dashboard(Place):
    """The dashboard screen."""

    SCOPE = "dashboard"
    BINDINGS: ClassVar[list[BindingType]] = [*actions.bindings("dashboard")]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._recipes: list[tuple[str, dict[str, Any]]] | None = None
        self._models: int | None = None

    @cached_property
    def _facts(self) -> Facts:
        return Facts(self.shell, self.update_place)

    def compose(self) -> ComposeResult:
        yield ListCanvas(self._paint, self.get_ink, id="ledger")

    def shown(self) -> None:
        super().shown()
        self.shell.spawn(self._load_recipes(), group="recipes")

    def read_again(self) -> None:
        self.shell.spawn(self._load_recipes(), group="recipes")

    async def _load_recipes(self) -> None:
        self._recipes = await self.shell.in_thread(self._read_recipes)
        self.update_place()
        await self._offer_start()
        if self._models is None and self.snapshot is not None and not self.snapshot.runs:
            self._models = await self.shell.in_thread(self._find_models)
            self.update_place()

    async def _offer_start(self) -> None:
        """Ask "What do you want to run?" where there is nothing yet, instead of showing nothing."""
        start = self.one("#start")
        empty = not self._recipes and self.snapshot is not None and not self.snapshot.runs and not self.shell.read_only
        if empty and start is None and self.size_class > Size.STRIP:
            from vllm_studio_tui.tui.sheets.starting import WhatToRun  # it needs fields, the first picture none

            await self.mount(WhatToRun(id="start"))
        elif not empty and start is not None:
            await start.remove()
            self.query_one("#ledger").focus()
        self.query_one("#ledger").display = self.one("#start") is None
        self.shell.update_frame()

    def on_what_to_run_taken(self, event: WhatToRun.Taken) -> None:
        event.stop()
        from vllm_studio_tui.tui.flows.starting import take

        self.shell.spawn(take(self.shell, event.key))

    def update_place(self) -> None:
        super().update_place()
        if self.one("#start") is not None and self.snapshot is not None and self.snapshot.runs:
            self.shell.spawn(self._offer_start(), group="recipes")

    def focus_first(self) -> None:
        start = self.one("#start")
        if start is not None:
            start.focus_first()
        else:
            super().focus_first()

    def escape(self) -> bool:
        start = self.one("#start")
        return start is not None and bool(start.escape())

    def _read_recipes(self) -> list[tuple[str, dict[str, Any]]]:
        """Read the recipes, and import their engines for the engines' titles. Blocking."""
        found = self.studio.recipe_list()
        for backend in {str(data.get("backend")) for _, data in found}:
            run_words.backend_word(backend)
        return found

    def _find_models(self) -> int:
        """Count the models on this machine, for an empty dashboard. Blocking."""
        return len(self.studio.find_models())

    # --- painting ---------------------------------------------------------------------------------------

    def _paint(self, width: int, height: int) -> list[Row]:
        size = self.size_class
        if self.snapshot is None:
            row = Row()
            row.put(margin(size), "reading runs and GPUs", "faint")
            return [row] if size > Size.STRIP else []
        facts = self._facts.all(sparks=40 if size > Size.STRIP else 8) if size > Size.LINE else []
        return Picture(
            self.snapshot,
            facts,
            self._recipes or [],
            self._models,
            lambda: self.studio.sampler.history,
            self.ink.glyphs,
            size,
            time.time(),
            read_only=self.shell.read_only,
        ).rows(width, height)

    # --- actions ----------------------------------------------------------------------------------------

    def chosen_run(self) -> RunView | None:
        """Return the run under the cursor."""
        canvas = self.query_one("#ledger", ListCanvas)
        return self.commands.run_of(canvas.key) if canvas.key is not None else None

    def possible(self, name: str) -> bool:
        run = self.chosen_run()
        if name in ("launch",):
            return bool(self._recipes)
        if name in ("new", "demo", "foreign"):
            return True
        if run is None:
            return False
        if name == "chat":
            return run.live
        if name == "stop":
            return run.live
        if name == "probe":
            return run.state is State.READY
        if name == "fix":
            return bool(self._facts.fix_of(run))
        if name == "dismiss":
            return run.state is State.FAILED
        return True

    def why_not(self, name: str) -> bool:
        run = self.chosen_run()
        if name == "fix" and run is not None and run.state is State.FAILED:
            self.action_fix()
            return True
        return False

    def on_canvas_chosen(self, event: Canvas.Chosen) -> None:
        event.stop()
        self.shell.update_frame()

    def action_open(self) -> None:
        if (run := self.chosen_run()) is not None:
            self.shell.open_run(run.run_id)

    def action_log(self) -> None:
        if (run := self.chosen_run()) is not None:
            self.shell.spawn(self.commands.open_log(run.run_id))

    def action_launch(self) -> None:
        self.commands.quick_launch()

    def action_stop(self) -> None:
        if (run := self.chosen_run()) is not None:
            self.shell.spawn(self.commands.stop(run))

    def action_chat(self) -> None:
        if (run := self.chosen_run()) is not None:
            self.shell.spawn(self.commands.chat_with(run.run_id))

    def action_fix(self) -> None:
        if (run := self.chosen_run()) is not None:
            from vllm_studio_tui.tui.flows.fixing import fix  # it needs dialogs, the first picture none

            self.shell.spawn(fix(self.shell, run))

    def action_edit(self) -> None:
        if (run := self.chosen_run()) is not None:
            self.shell.spawn(self.commands.edit_recipe(run.recipe_id))

    def action_dismiss(self) -> None:
        if (run := self.chosen_run()) is not None:
            self.shell.spawn(self.commands.dismiss(run))

    def action_new(self) -> None:
        if (start := self.one("#start")) is not None:
            start.action_filter()
            return
        from vllm_studio_tui.tui.flows.starting import what_to_run

        self.shell.spawn(what_to_run(self.shell))

    def action_probe(self) -> None:
        if (run := self.chosen_run()) is not None:
            self.shell.spawn(self.commands.probe(run))

    def action_foreign(self) -> None:
        from vllm_studio_tui.tui.screens.dashboard.flows import (
            foreign_engines,  # imports dialogs, which the first screen does not need
        )

        self.shell.spawn(foreign_engines(self.shell))

    def action_demo(self) -> None:
        self.shell.spawn(self.commands.demo())
