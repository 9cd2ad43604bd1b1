"""What a person does with runs and recipes, with the questions that go with it. Every screen calls these."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.domain.errors import HopelessLaunch, LaunchRefused, StudioError
from vllm_studio_tui.domain.run import FINAL, State
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.runs.find import pick_run
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.tui.sheets.chooser import Choice, Chooser
from vllm_studio_tui.tui.sheets.dialogs import Option, Question

if TYPE_CHECKING:
    from vllm_studio_tui.domain.recipe import Recipe
    from vllm_studio_tui.services.launching.endpoint import Endpoint
    from vllm_studio_tui.services.watching.snapshot import Snapshot
    from vllm_studio_tui.tui.shell import Shell

#: States in which a run has yet to be of use, and in which it has yet to end.
BEGINNING = frozenset({State.STARTING, State.LOADING})
LIVING = frozenset(State) - FINAL


def is_past(run_id: str, states: Collection[State], snapshot: Snapshot) -> bool:
    """Return whether a run is seen, and in none of these states any more."""
    return any(run.run_id == run_id and run.state not in states for run in snapshot.every)


class Commands:
    """Flows that begin with a key and may ask something on their way."""

    def __init__(self, shell: Shell) -> None:
        self.shell = shell
        self.studio = shell.studio

    # --- runs -------------------------------------------------------------------------------------------

    @property
    def runs(self) -> Sequence[RunView]:
        return self.shell.snapshot.runs if self.shell.snapshot is not None else ()

    def run_of(self, name: str) -> RunView | None:
        """The run that a name means, of those that are shown."""
        return pick_run(self.runs, name)

    async def launch(self, recipe_id: str, *, instead: bool = False) -> RunView | None:
        """Launch a recipe; where another run is in the way, ask.

        Args:
            instead: That its own run is stopped for it was agreed to.
        """
        shell, launcher = self.shell, self.studio.launcher
        if shell.read_only:
            shell.tell("Read-only: nothing is launched.", "warning")
            return None
        recipe = await shell.in_thread(partial(self.studio.recipes.get, recipe_id))
        if recipe.backend == "external":
            await self.chat_with(recipe.id)
            return None
        force = share = insist = False
        while True:
            if force:  # it takes seconds, in which nothing of it is seen
                shell.tell(f"Stopping what is in the way of {recipe.name}; then it starts.")
            try:
                run = await shell.in_thread(
                    partial(launcher.launch, recipe, force=force, share_gpus=share, unchecked=insist)
                )
            except HopelessLaunch as error:
                answers = [] if error.certain else [Option("a", "launch it anyway")]
                answers.append(Option("e", "edit the recipe", gentle=True))
                said = await shell.ask(
                    Question(error.title, f"{error.cause}\n{error.advice}", answers, "do not launch")
                )
                if said == "e":
                    await self.edit_recipe(recipe.id)
                if said != "a" or insist:
                    return None
                insist = True
                continue
            except LaunchRefused as error:
                if instead and error.in_the_way:
                    instead, force = False, True
                    continue
                answers = [Option("s", "stop what is in the way, then launch")] if error.in_the_way else []
                if error.can_share_gpus:
                    answers.append(Option("g", "share the GPUs"))
                if not answers:  # nothing that could be stopped would let it start
                    answers.append(Option("e", "edit the recipe", gentle=True))
                advice = "" if error.in_the_way else error.advice  # it names flags; the answers are the way here
                said = await shell.ask(Question(error.title, f"{error.cause}\n{advice}", answers, "do not launch"))
                if said == "e":
                    await self.edit_recipe(recipe.id)
                if said in (None, "e") or (force and share):
                    return None
                force, share = force or said == "s", share or said == "g"
                continue
            self.studio.sampler.wake()
            if run.state is State.FAILED:
                shell.tell(f"{run.name} failed: {run.status.title}", "error")
            else:
                self._told_starting(recipe, run)
            return run

    def _told_starting(self, recipe: Recipe, run: RunView) -> None:
        self.shell.tell(f"{run.name} is starting on port {run.port}.", until=partial(is_past, run.run_id, BEGINNING))
        for one in self.studio.launcher.warnings(recipe):
            self.shell.tell(one, "warning")

    def quick_launch(self) -> None:
        """Choose a recipe by typing, and launch it. The sheet is there before the next key is."""

        def chosen(recipe_id: str | None) -> None:
            if recipe_id is not None:
                self.shell.spawn(self.launch(recipe_id))

        sheet = Chooser((), title="launch", empty="No recipes yet: n makes one.", load=self.recipe_choices)
        self.shell.push_screen(sheet, chosen)

    async def recipe_choices(self) -> list[Choice]:
        """All recipes, what ran last first, with the last result."""
        recipes = await self.shell.in_thread(self.studio.recipes.all)
        every = self.shell.snapshot.every if self.shell.snapshot is not None else ()
        last = {run.recipe_id: run for run in every}
        now = time.time()
        glyphs = self.shell.ink.glyphs

        def key(recipe: Recipe) -> tuple[float, str]:
            run = last.get(recipe.id)
            return (-(run.status.started_at or 0.0) if run is not None else 0.0, recipe.id)

        choices = []
        for recipe in sorted(recipes, key=key):
            run = last.get(recipe.id)
            note, mark = "never run", None
            if run is not None:
                mark = glyphs.state(run.state)
                note = f"{run.state}, {numbers.ago(run.status.ended_at or run.status.started_at, now)}"
                if run.state is State.FAILED and run.status.title:
                    note = f"failed: {run.status.title}"
            choices.append(Choice(recipe.id, recipe.id, note, words=f"{recipe.name} {recipe.model_path}", mark=mark))
        return choices

    async def stop(self, run: RunView) -> None:
        """Stop a run, after saying what that costs."""
        shell = self.shell
        if run.status.final:
            await shell.in_thread(lambda: self.studio.runs.dismiss(run))
            self.studio.sampler.wake()
            return
        busy = await shell.in_thread(partial(self._under_way, run))
        requests = "1 running request is" if busy == 1 else f"{busy} running requests are"
        loss = f"{requests} cut off. " if busy else ""
        cost = ""
        if run.status.ready_at and run.status.started_at:
            took = run.status.ready_at - run.status.started_at
            words = numbers.about(took) if took >= 10 else numbers.duration(max(1, round(took)))
            cost = f"Loading again takes about {words}."
        answers = [Option("s", "stop it")]
        if run.state is State.STOPPING:
            loss, answers = "It is stopping already. ", [Option("K", "kill it now")]
        said = await shell.ask(Question(f"Stop {run.name}?", f"{loss}{cost}", answers, "keep it running"))
        if said is None:
            return
        shell.tell(f"Stopping {run.name}.", until=partial(is_past, run.run_id, LIVING))
        ended = await shell.in_thread(lambda: self.studio.launcher.stop(run, force=said == "K"))
        self.studio.sampler.wake()
        shell.tell(f"{ended.name} {ended.status.title or ended.state}.")

    def _under_way(self, run: RunView) -> int:
        """Return how many requests a run answers, as far as the engine or the server of the studio knows. Blocking."""
        snapshot = self.shell.snapshot
        metrics = snapshot.engine(run.run_id) if snapshot is not None else None
        known = int(metrics.running or 0) if metrics is not None else 0
        with contextlib.suppress(StudioError):
            mine = [one for one in self.studio.requests.live().requests if one.run_id == run.run_id and not one.waits]
            known = max(known, len(mine))  # some engines count nothing, and a sample is a moment old
        return known

    async def dismiss(self, run: RunView) -> None:
        if run.status.final:
            await self.shell.in_thread(lambda: self.studio.runs.dismiss(run))
            self.studio.sampler.wake()

    async def probe(self, run: RunView) -> None:
        """Ask a ready run whether its parsers work."""
        self.shell.tell(f"Asking {run.name} for a tool call and a thought.")
        found = await self.shell.in_thread(lambda: self.studio.probe_parsers(run.run_id))
        for name, one in (("Tools", found.tools), ("Thinking", found.thinking)):
            self.shell.tell(f"{name}: {one.words}.", "information" if one.verdict in ("works", "none") else "warning")

    async def open_log(self, run_id: str) -> None:
        """A run's log, at what went wrong."""
        shell = self.shell
        back = (shell.tab_name, run_id if shell.place_name == "run" else "")
        place: Any = await shell.show_place("logs")
        await place.open_run(run_id, back=back if back[0] != "logs" else None)

    async def copy_as(self, endpoint: Endpoint) -> None:
        """Choose for what the endpoint is needed, and copy what is pasted there."""
        found = endpoint.snippets()
        choices = [Choice(one.name, one.title, f"for {one.where}") for one in found]
        said = await self.shell.ask(Chooser(choices, title="copy as"))
        if said is not None:
            self.shell.copy(next(one.text for one in found if one.name == said))

    # --- going on elsewhere -----------------------------------------------------------------------------

    async def chat_with(self, name: str) -> None:
        """A new chat with a recipe or run, the prompt focused."""
        place: Any = await self.shell.show_place("chat")
        run = self.run_of(name)
        await place.new_with(run.recipe_id if run is not None else name)

    async def open_chat(self, session_id: str) -> None:
        """A chat that is kept."""
        place: Any = await self.shell.show_place("chat")
        await place.open(session_id)

    async def edit_recipe(self, recipe_id: str) -> None:
        place: Any = await self.shell.show_place("recipes")
        await place.edit(recipe_id)

    async def demo(self) -> None:
        """Fetch the small model, launch it, and chat with it unless the person has gone elsewhere."""
        from vllm_studio_tui.services import demo

        shell = self.shell
        began_at = shell.place_name
        await shell.downloads.follow("demo model", lambda progress: demo.fetch(self.studio.places, None, progress))
        recipe = await shell.in_thread(lambda: demo.demo_recipe(self.studio.recipes))
        run = self.run_of(recipe.id)
        if run is None or not run.live:
            run = await self.launch(recipe.id)
        if run is not None and run.live and shell.place_name == began_at:
            await self.chat_with(recipe.id)
