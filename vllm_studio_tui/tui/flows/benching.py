"""Benchmarks: choosing what is measured, opening its set-up, and starting it."""

from __future__ import annotations

import asyncio
import json
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.domain.run import State
from vllm_studio_tui.tui.flows.commands import Commands
from vllm_studio_tui.tui.sheets.dialogs import Option, Question

if TYPE_CHECKING:
    from collections.abc import Callable

    from vllm_studio_tui.domain.bench import BenchPlan, BenchResult
    from vllm_studio_tui.runs.read import RunView
    from vllm_studio_tui.tui.shell import Shell

#: Seconds between two looks at a run that starts.
PACE = 0.5


def set_up(shell: Shell, recipe_id: str, plan: BenchPlan | None = None) -> None:
    """Open the set-up of a benchmark of a recipe's run.

    Args:
        plan: What it begins with; None: that of the recipe's last benchmark.
    """
    shell.open_page("measure", json.dumps({"recipe": recipe_id, "plan": None if plan is None else plan.to_json()}))


async def new_benchmark(shell: Shell) -> None:
    """Choose what is measured, where that is not certain, and open its set-up."""
    from vllm_studio_tui.tui.sheets.chooser import Chooser

    runs = shell.snapshot.runs if shell.snapshot is not None else ()
    ready = [run for run in runs if run.state is State.READY]
    if len(ready) == 1:
        set_up(shell, ready[0].recipe_id)
        return
    commands = Commands(shell)
    sheet = Chooser((), title="measure", empty="No recipes yet: n on the dashboard makes one.",
                    load=commands.recipe_choices)  # fmt: skip
    said = await shell.ask(sheet)
    if said is not None:
        set_up(shell, str(said))


async def start(shell: Shell, recipe_id: str, plan: BenchPlan) -> None:
    """Start a benchmark, and show it; a run that is not up is started first."""
    if shell.read_only:
        shell.tell("Read-only: nothing is measured.", "warning")
        return
    recipe = await shell.in_thread(partial(shell.studio.recipes.get, recipe_id))
    name = recipe_id
    if recipe.backend != "external":
        run = await _ready_run(shell, recipe_id)
        if run is None:
            return
        name = run.run_id
    await begin(shell, partial(shell.studio.bench.start, plan, name))


async def begin(shell: Shell, work: Callable[[], BenchResult]) -> None:
    """Start a benchmark, and show it."""
    made = await shell.in_thread(work)
    shell.benches.began.add(made.id)
    shell.benches.look()
    place: Any = await shell.show_place("bench")
    place.open_result(made.id)


async def ask_leaving(shell: Shell, leave: Callable[[], None]) -> None:
    """Ask whether to leave, which ends the benchmark that goes on."""
    now = shell.benches.ours
    step = f" It is at step {now.step}{f' of {now.of}' if now.of else ''}." if now is not None and now.step else ""
    text = f"It is stopped with this program; what was measured is kept.{step}"
    said = await shell.ask(Question("Leave, and end the benchmark?", text, [Option("q", "leave")], "stay"))
    if said == "q":
        leave()


async def stop(shell: Shell) -> None:
    """Stop the benchmark that goes on, after saying what is kept."""
    now = shell.benches.progress
    if now is None:
        return
    done = now.step - 1 if now.step else 0
    kept = f"{done} measured {'step is' if done == 1 else 'steps are'} kept." if done > 0 else "No step is whole yet."
    said = await shell.ask(
        Question("Stop the benchmark?", f"{kept} Its run goes on.", [Option("s", "stop it")], "let it measure")
    )
    if said == "s":
        await shell.in_thread(partial(shell.studio.bench.stop, now.id))
        shell.benches.look()


async def _ready_run(shell: Shell, recipe_id: str) -> RunView | None:
    """Return the run of a recipe once it answers; None where it does not come to that."""
    run = _run_of(shell, recipe_id)
    if run is None or not run.live:
        run = await Commands(shell).launch(recipe_id)
        if run is None or run.status.final:
            return None
    if run.state is not State.READY:
        shell.tell(f"{run.name} is measured once it is ready.")
    run_id, began = run.run_id, time.monotonic()
    while True:
        every = shell.snapshot.every if shell.snapshot is not None else ()
        seen = next((one for one in every if one.run_id == run_id), None)
        if seen is not None and seen.state is State.READY:
            return seen
        if (seen is not None and seen.status.final) or (seen is None and time.monotonic() - began > 60):
            shell.tell(f"{run.name} did not come up: nothing is measured.", "warning")
            return None
        await asyncio.sleep(PACE)


def _run_of(shell: Shell, recipe_id: str) -> RunView | None:
    runs = shell.snapshot.runs if shell.snapshot is not None else ()
    found = [run for run in runs if run.recipe_id == recipe_id]
    return next((run for run in found if run.live), found[0] if found else None)
