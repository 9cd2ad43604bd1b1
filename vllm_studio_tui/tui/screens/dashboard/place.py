"""The widget of the dashboard screen: runs, GPUs, recipes, events and tokens."""

from __future__ import annotations

import time
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType

from vllm_studio_tui.domain.run import State
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.tui.flows.run_facts import Facts, by_trouble
from vllm_studio_tui.tui.keys import actions
from vllm_studio_tui.tui.look.sizes import Size, margin
from vllm_studio_tui.tui.paint import run_words
from vllm_studio_tui.tui.paint.events import EVENT
from vllm_studio_tui.tui.paint.ink import Row
from vllm_studio_tui.tui.paint.run_parts import with_names
from vllm_studio_tui.tui.place import Place
from vllm_studio_tui.tui.screens.dashboard.rows import EVENTS, MORE, RECIPE, RECIPES, Picture
from vllm_studio_tui.tui.widgets.canvas import Canvas, ListCanvas

if TYPE_CHECKING:
    from textual.widgets import Input

    from vllm_studio_tui.services.protocols import StudioApi
    from vllm_studio_tui.tui.sheets.starting import WhatToRun

#: Seconds after which recipes of a studio elsewhere are read again.
ELSEWHERE_EVERY = 5.0


class Dashboard(Place):
    """The dashboard screen."""

    SCOPE = "dashboard"
    DEFAULT_CSS = "Dashboard > Input { dock: bottom; margin: 0 1; }"
    BINDINGS: ClassVar[list[BindingType]] = [*actions.bindings("dashboard")]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._recipes: list[tuple[str, dict[str, Any]]] | None = None
        self._models: int | None = None
        self._written: tuple[int, ...] = ()
        self._side = RECIPES
        self._had_runs = False
        self._unfolded = False
        self._filter = ""

    @cached_property
    def _facts(self) -> Facts:
        return Facts(self.shell, self._found_out)

    def _found_out(self) -> None:
        """Show what was looked up, also the keys that it makes possible."""
        self.update_place()
        self.shell.update_frame()

    @cached_property
    def _ledger(self) -> ListCanvas:
        return ListCanvas(self._paint, self.get_ink, id="ledger")

    def compose(self) -> ComposeResult:
        yield self._ledger

    def shown(self) -> None:
        super().shown()
        self.shell.spawn(self._load_recipes(), group="recipes")

    def read_again(self) -> None:
        self.shell.spawn(self._load_recipes(), group="recipes")

    async def _load_recipes(self) -> None:
        self._written = _written(self.studio)
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
        runs = bool(self.snapshot is not None and self.snapshot.runs)
        if runs and not self._had_runs:
            self._ledger.choose(next(iter(self._ledger.keys), None))  # the first run takes the cursor from the recipes
        self._had_runs = runs
        if self._recipes is not None and (written := _written(self.studio)) != self._written:
            self._written = written  # another program may have made a recipe
            self.shell.spawn(self._load_recipes(), group="recipes")
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
        if start is not None:
            return bool(start.escape())
        if (line := self.one("#dashboard-filter")) is not None:
            line.remove()
        if self._filter or line is not None or self._unfolded:
            self._filter, self._unfolded = "", False
            self._ledger.focus()
            self.update_place()
            return True
        return False

    def _read_recipes(self) -> list[tuple[str, dict[str, Any]]]:
        """Read the recipes, and import their engines for the engines' titles. Blocking."""
        found = self.studio.recipe_list()
        for backend in {str(data.get("backend")) for _, data in found}:
            run_words.backend_word(backend)
        return found

    def _find_models(self) -> int:
        """Count the models on this machine, for an empty dashboard. Blocking."""
        return len([one for one in self.studio.models.list() if one.runnable])

    # --- painting ---------------------------------------------------------------------------------------

    def _paint(self, width: int, height: int) -> list[Row]:
        size = self.size_class
        if self.snapshot is None:
            row = Row()
            row.put(margin(size), "reading runs and GPUs", "faint")
            return [row] if size > Size.STRIP else []
        facts = self._facts.all(sparks=40 if size > Size.STRIP else 8)
        return Picture(
            self.snapshot,
            with_names(by_trouble([one for one in facts if self._matches(_words_of(one.run))])),
            [
                one
                for one in self._recipes or []
                if self._matches(f"{one[0]} {one[1].get('name')} {one[1].get('model_path')}")
            ],
            self._models,
            lambda: self.studio.sampler.history,
            self.ink.glyphs,
            size,
            time.time(),
            read_only=self.shell.read_only,
            unfolded=self._unfolded,
            side=self._side,
            filtered=self._filter,
        ).rows(width, height)

    def _matches(self, words: str) -> bool:
        return all(word in words.lower() for word in self._filter.lower().split())

    # --- what the cursor is on --------------------------------------------------------------------------

    def chosen_run(self) -> RunView | None:
        """Return the run under the cursor, or that of the event there."""
        key = self._ledger.key or ""
        if key.startswith(EVENT):
            run_id = key.removeprefix(EVENT).rpartition(":")[0]
            every = self.snapshot.every if self.snapshot is not None else ()
            return next((run for run in every if run.run_id == run_id), None)
        return self.commands.run_of(key) if key and not key.startswith(RECIPE) and key != MORE else None

    def chosen_recipe(self) -> str | None:
        """Return the recipe under the cursor, or that of the run there."""
        key = self._ledger.key or ""
        if key.startswith(RECIPE):
            return key.removeprefix(RECIPE)
        run = self.chosen_run()
        return run.recipe_id if run is not None else None

    # --- actions ----------------------------------------------------------------------------------------

    def possible(self, name: str) -> bool:
        run = self.chosen_run()
        if name == "open":
            return self._ledger.key is not None
        if name in ("next-part", "previous-part"):
            return len(self._parts()) > 1
        if name == "run":
            return bool(self._recipes)
        if name == "filter":
            return bool(self._recipes) or bool(self.snapshot and self.snapshot.runs)
        if name in ("new", "import"):
            return True
        if name in ("edit", "bench"):
            return self.chosen_recipe() is not None
        if run is None:
            return False
        if name in ("chat", "stop"):
            return run.live
        if name == "probe":
            return run.state is State.READY
        if name == "fix":
            return bool(self._facts.fix_of(run))
        if name == "dismiss":
            return run.state is State.FAILED and not run.dismissed
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

    def on_list_canvas_listed(self, event: ListCanvas.Listed) -> None:
        event.stop()
        self.shell.update_frame()

    def _parts(self) -> dict[str, str]:
        """Return the parts that the cursor can be in, each with its first key."""
        parts: dict[str, str] = {}
        for key in self._ledger.keys:
            parts.setdefault(key.partition(":")[0] if key.startswith((RECIPE, EVENT)) else "runs", key)
        if self.size_class >= Size.WIDE:
            # One of the two lists beside each other has keys at a time.
            if RECIPE[:-1] in parts and self.snapshot is not None and self.snapshot.every:
                parts[EVENT[:-1]] = ""
            elif EVENT[:-1] in parts and self._recipes:
                parts = {**{name: key for name, key in parts.items() if name == "runs"}, RECIPE[:-1]: "",
                         EVENT[:-1]: parts[EVENT[:-1]]}  # fmt: skip
        return parts

    def _turn_part(self, step: int) -> None:
        parts = self._parts()
        if not parts:
            return
        key = self._ledger.key or ""
        here = key.partition(":")[0] if key.startswith((RECIPE, EVENT)) else "runs"
        names = list(parts)
        name = names[(names.index(here) + step if here in names else 0) % len(names)]
        self._side = EVENTS if name == EVENT[:-1] else RECIPES
        self._ledger.repaint()
        self._ledger.choose(next((key for key in self._ledger.keys if key.startswith(f"{name}:")), parts[name]))

    def action_next_part(self) -> None:
        self._turn_part(1)

    def action_previous_part(self) -> None:
        self._turn_part(-1)

    def action_open(self) -> None:
        key = self._ledger.key or ""
        if key == MORE:
            self._unfolded = True
            self.update_place()
        elif key.startswith(RECIPE):
            self.shell.spawn(self.commands.edit_recipe(key.removeprefix(RECIPE)))
        elif (run := self.chosen_run()) is not None:
            self.shell.open_run(run.run_id)

    def action_log(self) -> None:
        if (run := self.chosen_run()) is not None:
            self.shell.spawn(self.commands.open_log(run.run_id))

    def action_run(self) -> None:
        """Run the recipe under the cursor, or that of a run that has ended; else ask which."""
        key, run = self._ledger.key or "", self.chosen_run()
        if key.startswith(RECIPE):
            self.shell.spawn(self.commands.launch(key.removeprefix(RECIPE)))
        elif run is not None and run.status.final:
            self.shell.spawn(self.commands.launch(run.recipe_id))
        else:
            self.commands.quick_launch()

    def action_filter(self) -> None:
        if self.one("#dashboard-filter") is None:
            from textual.widgets import Input  # the first picture needs no field

            line = Input(self._filter, placeholder="filter", id="dashboard-filter", select_on_focus=False)
            self.mount(line)
            line.focus()
        else:
            self.query_one("#dashboard-filter").focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._filter = event.value.strip()
        self.update_place()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        event.input.remove()
        self._ledger.focus()

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
        if (recipe_id := self.chosen_recipe()) is not None:
            self.shell.spawn(self.commands.edit_recipe(recipe_id))

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

    def action_import(self) -> None:
        from vllm_studio_tui.tui.screens.dashboard.flows import (
            foreign_engines,  # imports dialogs, which the first screen does not need
        )

        self.shell.spawn(foreign_engines(self.shell))


def _words_of(run: RunView) -> str:
    """Return what a filter looks through."""
    return f"{run.name} {run.recipe_id} {run.model or ''} {run_words.engine_word(run)} {run.backend or ''} {run.state}"


def _written(studio: StudioApi) -> tuple[int, ...]:
    """Return when the database was last written, by any program: its files are looked at, not into.

    Those of a studio elsewhere cannot be looked at: there it may have been every few seconds.
    """
    if studio.host is not None:
        return (int(time.monotonic() / ELSEWHERE_EVERY),)
    places = studio.places
    marks = []
    for path in (places.database, places.database.with_name(f"{places.database.name}-wal")):
        try:
            found = path.stat()
        except OSError:
            marks.append(0)
        else:
            marks += [found.st_mtime_ns, found.st_size]
    return tuple(marks)
