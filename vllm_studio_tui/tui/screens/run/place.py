"""The widget of the page of a run."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType

from vllm_studio_tui.domain.run import State
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.services.launching.run_story import view_of
from vllm_studio_tui.tui.flows.run_facts import Facts
from vllm_studio_tui.tui.keys import actions
from vllm_studio_tui.tui.keys.action import Action
from vllm_studio_tui.tui.look.sizes import Size, margin
from vllm_studio_tui.tui.paint.ink import Row
from vllm_studio_tui.tui.place import Page
from vllm_studio_tui.tui.screens.run.facts import PageFacts
from vllm_studio_tui.tui.screens.run.knowledge import Knowledge
from vllm_studio_tui.tui.screens.run.rows import page_rows
from vllm_studio_tui.tui.screens.run.sections import FIX, LOG, REQUEST, RUN
from vllm_studio_tui.tui.widgets.canvas import Canvas, ListCanvas

#: What enter does on the row under the cursor, in the words of the footer.
OPENS = {FIX: "save and run", RUN: "open run", REQUEST: "open chat", LOG: "open log"}


class RunPage(Page):
    """The page of a run."""

    SCOPE = "run"
    BINDINGS: ClassVar[list[BindingType]] = [*actions.bindings("run")]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._trail: list[str] = []
        self._known: Knowledge | None = None
        self._chosen_fix = 0
        self._at_log = False  # one went from here to its log
        self._begun = ""  # a run that was launched here and is not seen yet

    @cached_property
    def _facts(self) -> Facts:
        return Facts(self.shell, self.update_place)

    @cached_property
    def _list(self) -> ListCanvas:
        return ListCanvas(self._paint, self.get_ink, id="run-page")

    def compose(self) -> ComposeResult:
        yield self._list

    # --- which run --------------------------------------------------------------------------------------

    def open_item(self, item: str) -> None:
        at_log, self._at_log = self._at_log, False
        if at_log and self._known is not None and self._known.run_id == item:
            return  # back from its log: as it was left
        self._trail.clear()
        self._open(item)

    def _open(self, run_id: str) -> None:
        if self._known is not None:
            self._known.close()
        self._known = Knowledge(self.shell, run_id, self._found_out)
        self._begun = ""
        self._chosen_fix = 0
        self._list.top = 0
        self._list.choose(None)

    def _found_out(self) -> None:
        if self.display:
            super().update_place()
            self.shell.update_frame()

    def hidden(self) -> None:
        if self._known is not None:
            self._known.close()

    def update_place(self) -> None:
        if self._known is not None and self.display and self._run_of(self._begun) is not None:
            self._trail.append(self._known.run_id)  # escape leads back to it
            self._open(self._begun)
        super().update_place()
        if self._known is not None:
            self._known.look(self._kept_run())

    def escape(self) -> bool:
        """Go back to the run before, or to the screen under the page."""
        if self._trail:
            self._open(self._trail.pop())
            self.update_place()
        else:
            self.shell.close_page()
        return True

    def _kept_run(self) -> RunView | None:
        """Return the run as it is now; None where its directory is gone."""
        return self._run_of(self._known.run_id if self._known is not None else "")

    def _run_of(self, run_id: str) -> RunView | None:
        every = self.snapshot.every if self.snapshot is not None else ()
        return next((run for run in every if run.run_id == run_id), None)

    @property
    def run_view(self) -> RunView | None:
        """The run that is shown; of one whose directory is gone what the database knows of it."""
        run = self._kept_run()
        if run is None and self._known is not None and self._known.story is not None:
            return view_of(self._known.story.launch)
        return run

    # --- painting ---------------------------------------------------------------------------------------

    def _paint(self, width: int, height: int) -> list[Row]:
        run, known = self.run_view, self._known
        if run is None or known is None or self.snapshot is None:
            row = Row()
            if known is not None and known.missing:
                row.put(margin(self.size_class), "Nothing is left of this run.", "dim")
            return [Row(), row] if self.size_class >= Size.BASE else [row]
        page = PageFacts(
            self._facts.of(run),
            self.ink.glyphs,
            self.size_class,
            width,
            height,
            time.time(),
            known.story,
            known.endpoint,
            known.served,
            known.diagnosis,
            known.fixes,
            self._chosen_fix,
            known.end,
            self.snapshot.tick.gpus,
            self.shell.read_only,
        )
        return page_rows(page)

    # --- actions ----------------------------------------------------------------------------------------

    def possible(self, name: str) -> bool:
        run, known = self.run_view, self._known
        if run is None or known is None:
            return False
        failed = run.state is State.FAILED
        if name == "open":
            return self._list.key is not None and not (self._list.key == FIX and self.shell.read_only)
        if name == "next-part":
            return len(self._parts()) > 1
        if name in ("previous", "next"):
            return len(known.fixes) > 1
        if name in ("stop", "chat"):
            return run.live
        if name == "log":
            return run.spec is not None
        if name in ("copy-url", "copy-as"):
            return known.endpoint is not None
        if name == "fix":
            return bool(known.fixes)
        if name == "why":
            return failed and known.diagnosis is not None and known.diagnosis.line_number is not None
        if name == "run":
            return run.status.final
        if name == "dismiss":
            return failed and not run.dismissed
        return True

    def labelled(self, action: Action) -> Action:
        if action.id == "run.open":
            word = next((word for start, word in OPENS.items() if (self._list.key or "").startswith(start)), "open")
            return replace(action, label=word)
        return super().labelled(action)

    def chosen_run(self) -> RunView | None:
        return self.run_view

    def on_canvas_chosen(self, event: Canvas.Chosen) -> None:
        event.stop()
        self.shell.update_frame()

    def _parts(self) -> list[str]:
        """Return the first key of each part that the cursor can be in."""
        parts: dict[str, str] = {}
        for key in self._list.keys:
            parts.setdefault(key.partition(":")[0], key)
        return list(parts.values())

    def _turn_part(self, step: int) -> None:
        parts = self._parts()
        names = [key.partition(":")[0] for key in parts]
        here = (self._list.key or "").partition(":")[0]
        at = names.index(here) + step if here in names else 0
        if parts:
            self._list.choose(parts[at % len(parts)])

    def why_not(self, name: str) -> bool:
        run = self.run_view
        if name == "fix" and run is not None and run.state is State.FAILED:
            self.action_fix()
            return True
        return False

    def action_revisions(self) -> None:
        if (run := self.run_view) is not None:
            from vllm_studio_tui.tui.flows.changes import bring_back

            self.shell.spawn(bring_back(self.shell, run.recipe_id))

    def action_next_part(self) -> None:
        self._turn_part(1)

    def action_previous_part(self) -> None:
        self._turn_part(-1)

    def action_open(self) -> None:
        """Do what the row under the cursor offers."""
        key = self._list.key or ""
        if key == FIX and self._known is not None and self._known.fixes:
            from vllm_studio_tui.tui.flows.changes import take

            chosen = self._known.fixes[self._chosen_fix % len(self._known.fixes)]
            self.shell.spawn(take(self.shell, chosen, run=True))
        elif key.startswith(RUN) and self._known is not None:
            self._trail.append(self._known.run_id)
            self._open(key.removeprefix(RUN))
            self.update_place()
        elif key.startswith(REQUEST) and self._known is not None and self._known.story is not None:
            asked = next((one for one in self._known.story.requests if f"{REQUEST}{one.id}" == key), None)
            if asked is not None and asked.session_id is not None:
                self.shell.spawn(self.commands.open_chat(asked.session_id))
            else:
                self.shell.tell("It was not asked in a chat, so there is nothing to open.")
        elif key == LOG:
            self.action_log()

    def action_previous(self) -> None:
        self._chosen_fix -= 1
        super().update_place()

    def action_next(self) -> None:
        self._chosen_fix += 1
        super().update_place()

    def action_stop(self) -> None:
        if (run := self.run_view) is not None:
            self.shell.spawn(self.commands.stop(run))

    def action_chat(self) -> None:
        if (run := self.run_view) is not None:
            self.shell.spawn(self.commands.chat_with(run.run_id))

    def action_log(self) -> None:
        if (run := self.run_view) is not None:
            self._at_log = True
            self.shell.spawn(self.commands.open_log(run.run_id))

    action_why = action_log

    def action_fix(self) -> None:
        if (run := self.run_view) is not None:
            from vllm_studio_tui.tui.flows.fixing import fix  # it needs dialogs, the first picture none

            self.shell.spawn(fix(self.shell, run, chosen=self._chosen_fix))

    def action_edit(self) -> None:
        if (run := self.run_view) is not None:
            self.shell.spawn(self.commands.edit_recipe(run.recipe_id))

    def action_copy_url(self) -> None:
        if self._known is not None and (found := self._known.served or self._known.endpoint) is not None:
            self.shell.copy(found.base_url)

    def action_copy_as(self) -> None:
        if self._known is not None and (found := self._known.served or self._known.endpoint) is not None:
            self.shell.spawn(self.commands.copy_as(found))

    def action_run(self) -> None:
        if (run := self.run_view) is not None:
            self.shell.spawn(self._run_again(run))

    async def _run_again(self, run: RunView) -> None:
        """Launch the recipe of a run; the page goes on to the new run as soon as that is seen."""
        known, new = self._known, await self.commands.launch(run.recipe_id)
        if new is not None and self._known is known:
            self._begun = new.run_id
            self.update_place()

    def action_dismiss(self) -> None:
        if (run := self.run_view) is not None:
            self.shell.spawn(self.commands.dismiss(run))
