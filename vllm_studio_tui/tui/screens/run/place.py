"""The widget of the page of a run."""

from __future__ import annotations

import time
from functools import cached_property
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType

from vllm_studio_tui.domain.run import State
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.tui.flows.run_facts import Facts
from vllm_studio_tui.tui.keys import actions
from vllm_studio_tui.tui.paint.ink import Row
from vllm_studio_tui.tui.place import Page
from vllm_studio_tui.tui.screens.run.rows import page_rows
from vllm_studio_tui.tui.widgets.canvas import ListCanvas


class RunPage(Page):
    """The page of a run."""

    SCOPE = "run"
    BINDINGS: ClassVar[list[BindingType]] = [*actions.bindings("run")]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._run_id = ""

    @cached_property
    def _facts(self) -> Facts:
        return Facts(self.shell, self.update_place)

    def compose(self) -> ComposeResult:
        yield ListCanvas(self._paint, self.get_ink, id="run-page")

    def open_item(self, item: str) -> None:
        self._run_id = item

    def escape(self) -> bool:
        self.shell.close_page()
        return True

    @property
    def run_view(self) -> RunView | None:
        """The run that is shown, as it is now; None where nothing is left of it."""
        every = self.snapshot.every if self.snapshot is not None else ()
        return next((run for run in every if run.run_id == self._run_id), None)

    def _paint(self, width: int, height: int) -> list[Row]:
        run = self.run_view
        if run is None:
            row = Row()
            row.put(3, "Nothing is left of this run.", "dim")
            return [Row(), row]
        return page_rows(self._facts.of(run), self.ink.glyphs, width, self.size_class, time.time())

    # --- actions ----------------------------------------------------------------------------------------

    def possible(self, name: str) -> bool:
        run = self.run_view
        if run is None:
            return False
        if name in ("stop", "chat"):
            return run.live
        if name == "copy":
            return bool(run.base_url)
        if name == "again":
            return run.status.final
        if name == "dismiss":
            return run.state is State.FAILED and not run.dismissed
        return True

    def action_stop(self) -> None:
        if (run := self.run_view) is not None:
            self.shell.spawn(self.commands.stop(run))

    def action_chat(self) -> None:
        self.shell.spawn(self.commands.chat_with(self._run_id))

    def action_log(self) -> None:
        self.shell.spawn(self.commands.open_log(self._run_id))

    def action_edit(self) -> None:
        if (run := self.run_view) is not None:
            self.shell.spawn(self.commands.edit_recipe(run.recipe_id))

    def action_copy(self) -> None:
        if (run := self.run_view) is not None and run.base_url:
            self.shell.copy(run.base_url)

    def action_again(self) -> None:
        if (run := self.run_view) is not None:
            self.shell.spawn(self.commands.launch(run.recipe_id))

    def action_dismiss(self) -> None:
        if (run := self.run_view) is not None:
            self.shell.spawn(self.commands.dismiss(run))
