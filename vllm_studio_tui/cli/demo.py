"""`demo`: from nothing to an answer of a real model, with one command."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from vllm_studio_tui.cli import hooks
from vllm_studio_tui.cli.output import note, say
from vllm_studio_tui.domain.errors import RunFailed, StudioError, UsageError
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.kit.numbers import fixed
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.runs import control, read
from vllm_studio_tui.studio import Studio

if TYPE_CHECKING:
    from vllm_studio_tui.domain.chat import Ended
    from vllm_studio_tui.models.progress import Progress

QUESTION = "What is the capital of France? Answer in one sentence."


class Bar:
    """A download's progress on stderr: a line that is rewritten on a terminal, a few lines elsewhere."""

    def __init__(self) -> None:
        self._last = -1.0
        self._terminal = sys.stderr.isatty()

    def __call__(self, progress: Progress) -> None:
        share = progress.done / progress.total if progress.total else None
        step = 0.01 if self._terminal else 0.25
        if share is not None and share < 1 and share - self._last < step:
            return
        self._last = share if share is not None else self._last
        size = fixed(progress.done / 1e6, 1, " MB")
        text = size if share is None else f"{size} of {fixed((progress.total or 0) / 1e6, 1, ' MB')} {share:4.0%}"
        if self._terminal:
            width = 30
            filled = int((share or 0) * width)
            sys.stderr.write(f"\r{progress.what}: {'━' * filled}{'─' * (width - filled)} {text} ")
            if share is not None and share >= 1:
                sys.stderr.write("\n")
            sys.stderr.flush()
        else:
            note(f"{progress.what}: {text}")


def register(app: typer.Typer) -> None:
    @app.command("demo")
    def demo(
        check: bool = typer.Option(False, "--check", help="Without a screen: launch, one answer, usage, stop."),
        simulate: bool = typer.Option(False, "--simulate", help="Simulated GPUs and engines instead of a model."),
        model: Path | None = typer.Option(None, "--model", help="A GGUF file to use instead of downloading one."),
        prompt: str = typer.Option(QUESTION, "--prompt", help="What --check asks."),
        keep: bool = typer.Option(False, "--keep", help="Leave the model running at the end."),
        machine: str = typer.Option(
            "", "--machine", help="With --simulate, an empty home on such a machine: 8xh100, rtx4090, .. or none."
        ),
    ) -> None:
        """Try it: a small real model on the CPU, launched, kept, talked to and counted."""
        from vllm_studio_tui.services import demo as service

        if machine:
            _on_machine(machine, simulate=simulate, check=check)
            return
        if not check and not (sys.stdin.isatty() and sys.stdout.isatty()):
            note("no terminal: as with --check")
            check = True

        places = service.demo_places(os.environ)
        home = service.demo_home(places)
        note(f"home: {home}")
        os.environ["VLLM_STUDIO_HOME"] = str(home)
        places = Places.of()
        if simulate:
            os.environ.setdefault("VLLM_STUDIO_SIMULATE_GPUS", service.SIMULATED_GPUS)
        with Studio.open_sync(places) as studio:
            run = _simulated(studio) if simulate else _real(studio, model)
            code = 0
            try:
                if check:
                    asyncio.run(_ask(studio, _ready(studio, run), prompt))
                    _usage(studio)
                else:
                    code = _screens(studio, run, simulate=simulate)
            finally:
                if not keep:
                    _stop_all(studio)
        if code:
            raise typer.Exit(code)


def _on_machine(machine: str, *, simulate: bool, check: bool) -> None:
    """Open the screens on an empty home, as on a machine with other GPUs, or none."""
    from vllm_studio_tui.services import demo as service

    if not simulate or check:
        raise UsageError(
            "--machine is for screens that are simulated", advice="Use it with --simulate, without --check."
        )
    gpus = service.machine_gpus(machine)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("--machine opens screens", cause="this is no terminal", advice="Run it in a terminal.")
    assert hooks.screens is not None, "started without screens"
    home = service.machine_home(service.demo_places(os.environ))
    note(f"home: {home}")
    note("SIMULATED: no GPU and no engine of these is real")
    os.environ.update(VLLM_STUDIO_HOME=str(home), VLLM_STUDIO_SIMULATE_GPUS=gpus)
    places = Places.of()
    service.prepare_machine(places)
    with Studio.open_sync(places) as studio:
        try:
            code = hooks.screens(studio, screen="dashboard", recipe=None, label="SIMULATED", farewell=False)
        finally:
            _stop_all(studio)
    if code:
        raise typer.Exit(code)


def _real(studio: Studio, model: Path | None) -> read.RunView:
    from vllm_studio_tui.services import demo as service

    service.fetch(studio.places, model, Bar())
    recipe = service.demo_recipe(studio.recipes)
    control.settle(studio.places)
    for one in read.live_runs(studio.places):
        if one.recipe_id == recipe.id:
            return one
    return studio.launcher.launch(recipe)


def _simulated(studio: Studio) -> read.RunView:
    from vllm_studio_tui.services import demo as service

    note("SIMULATED: no model, no GPU; everything shown is made up")
    service.prepare_simulation(studio.places)  # before the settings are read: it writes there where the engines are
    control.settle(studio.places)
    return service.open_simulation(studio.places, studio.settings, studio.db, studio.recipes)


def _screens(studio: Studio, run: read.RunView, *, simulate: bool) -> int:
    """Open the screens: the chat with the small model, or the dashboard of the simulation."""
    assert hooks.screens is not None, "started without screens"
    if simulate:
        return hooks.screens(studio, screen="dashboard", recipe=None, label="SIMULATED", farewell=False)
    return hooks.screens(studio, screen="chat", recipe=run.recipe_id, farewell=False)


def _ready(studio: Studio, run: read.RunView) -> read.RunView:
    from vllm_studio_tui.cli.runs import follow

    note(f"launching {run.run_id} on {run.base_url}")
    began = time.monotonic()
    now = follow(studio.runs, run, 300.0)
    if now.state is not State.READY:
        raise RunFailed(
            f"{now.name}: {now.status.title or now.state}",
            cause="\n".join(now.status.evidence),
            advice=now.status.advice or f"See `vllm-studio logs {now.run_id}`.",
        )
    note(f"ready after {fixed(time.monotonic() - began, 1, ' s')}")
    return now


async def _ask(studio: Studio, run: read.RunView, prompt: str, session: str | None = None) -> str:
    """Print one streamed turn as it arrives; return its session."""
    from vllm_studio_tui.cli.chat_printing import print_turn
    from vllm_studio_tui.domain.chat import Sampling

    target = studio.launcher.target(recipe=run.recipe_id)
    session = session or studio.chat.new_session(prompt, model=target.model)
    events = studio.chat.send(session, prompt, target, sampling=Sampling(temperature=0.0, max_tokens=256))
    ended: Ended | None = await print_turn(events)
    if ended is None or ended.finish in ("failed", "interrupted"):
        raise StudioError("no answer", cause=(ended.error or "") if ended else "", advice="See `vllm-studio logs`.")
    return session


def _usage(studio: Studio) -> None:
    from vllm_studio_tui.cli.usage import summary_line
    from vllm_studio_tui.domain.usage import UsageQuery

    say(summary_line(studio.usage.report(UsageQuery())))


def _stop_all(studio: Studio) -> None:
    for one in read.live_runs(studio.places):
        ended = studio.launcher.stop(one)
        note(f"{ended.run_id} {ended.status.title or ended.state}")
