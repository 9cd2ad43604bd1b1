"""`launch`, `switch`, `stop`, `wait-ready`, `restore`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

from vllm_studio_tui.cli import connecting
from vllm_studio_tui.cli.opening import open_studio
from vllm_studio_tui.cli.output import emit, note, say
from vllm_studio_tui.domain.errors import NotFound, RunFailed, StudioError, UsageError
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.runs.json_documents import launch_document, run_document
from vllm_studio_tui.runs.not_ready import remarks, waiting_for

if TYPE_CHECKING:
    from vllm_studio_tui.domain.recipe import Recipe
    from vllm_studio_tui.runs.read import RunView
    from vllm_studio_tui.services.protocols import RunsApi, StudioApi


#: What `launch --on` takes.
WHERE = "here, slurm, ray-serve, kubernetes or skypilot"


def follow(runs: RunsApi, run: RunView, timeout: float | None) -> RunView:
    """Wait until a run is ready or has ended, and say each stage on stderr as it comes; return it as it is then."""
    deadline = None if timeout is None else time.monotonic() + timeout
    told = None
    began = time.monotonic()
    remarked: dict[str, float] = {}
    for seen in runs.watch(run):
        run, now = seen, seen.status
        tell = (now.state, now.stage, None if now.progress is None else round(now.progress, 1))
        if tell != told:
            told = tell
            progress = "" if now.progress is None else f" {round(now.progress * 100)}%"
            note(f"{now.state}{f': {now.stage}{progress}' if now.stage else ''}")
        for words in remarks(run):
            # The same again when twice as much time has passed.
            at = time.monotonic()
            if words not in remarked or at >= remarked[words]:
                remarked[words] = at + max(60.0, 2 * (at - began))
                note(waiting_for(run))
                break
        if now.state is State.READY or now.final or (deadline is not None and time.monotonic() >= deadline):
            break
    return run


def report(run: RunView, *, as_json: bool, waited: bool, since: str = "") -> None:
    """Say how a launch went; raises what a person must know when it did not go well."""
    if as_json:
        emit(launch_document(run))
    now = run.status
    if now.state is State.FAILED or (waited and now.state is State.EXITED):
        raise RunFailed(
            f"{run.name}: {now.title or now.state}",
            cause="\n".join(now.evidence),
            advice="\n".join(part for part in (now.advice, since, f"Log: vllm-studio logs {run.run_id}") if part),
        )
    if waited and now.state is not State.READY:
        raise StudioError(
            f"{run.name} is not ready yet",
            cause=f"It is {now.state}{f' ({now.stage})' if now.stage else ''} and goes on.",
            advice=f"Wait on: vllm-studio wait-ready {run.run_id}",
        )
    if not as_json:
        say(f"{run.run_id} {now.state} {run.base_url}")


def _launch(start: Callable[[StudioApi], RunView], *, wait: bool, timeout: float | None, as_json: bool) -> None:
    with open_studio() as studio:
        run = start(studio)
        if wait:
            try:
                run = follow(studio.runs, run, timeout)
            except KeyboardInterrupt:
                note(f"not waiting any longer; {run.run_id} goes on")
                raise
        _tell_upkeep(studio)
        since = studio.run_history.explain_since(run.run_id) if run.state is State.FAILED else ""
    report(run, as_json=as_json, waited=wait, since=since)
    if not as_json and not wait:
        note(f"follow it: vllm-studio wait-ready {run.run_id}")


def _warn(studio: StudioApi, recipe: Recipe) -> None:
    for one in studio.launcher.warnings(recipe):
        note(f"warning: {one}")


def _tell_upkeep(studio: StudioApi) -> None:
    """Say on stderr that usage could not be brought up to date; that fails no launch."""
    if studio.launcher.upkeep_error is not None:
        note(f"usage is not up to date: {studio.launcher.upkeep_error.title}")


def register(app: typer.Typer) -> None:
    @app.command("launch")
    def launch(
        recipe: str = typer.Argument(..., metavar="ID", help="The recipe."),
        wait: bool = typer.Option(False, "--wait", help="Until it is ready or has failed."),
        timeout: float | None = typer.Option(None, "--timeout", min=0, help="Seconds to wait at most; it goes on."),
        force: bool = typer.Option(False, "--force", help="Stop the runs that hold its port or GPUs first."),
        port: int | None = typer.Option(None, "--port", min=1, max=65535, help="Exactly this port."),
        share_gpus: bool = typer.Option(False, "--share-gpus", help="Agree to GPUs that another run claims."),
        unchecked: bool = typer.Option(False, "--unchecked", help="Launch although it would fail, as far as is known."),
        on: str | None = typer.Option(None, "--on", metavar="WHERE", help=f"What runs it this once: {WHERE}."),
        nodes: str | None = typer.Option(None, "--nodes", metavar="HOST,..", help="Over ssh, this once."),
        strategy: str = typer.Option("", "--strategy", metavar="HOW", help="How hosts share it: tp, tp_pp, dp or pd."),
        as_json: bool = typer.Option(False, "--json", help="One JSON document."),
    ) -> None:
        """Start a run of a recipe. It lives on when this command, the terminal or the connection ends."""

        def start(studio: StudioApi) -> RunView:
            from vllm_studio_tui.domain.recipe_places import place_recipe

            found = place_recipe(studio.recipes.get(recipe), on=on, nodes=nodes, strategy=strategy)
            _warn(studio, found)
            return studio.launcher.launch(found, port=port, force=force, share_gpus=share_gpus, unchecked=unchecked)

        _launch(start, wait=wait or timeout is not None, timeout=timeout, as_json=as_json)

    @app.command("switch")
    def switch(
        recipe: str = typer.Argument(..., metavar="ID"),
        wait: bool = typer.Option(False, "--wait", help="Until it is ready or has failed."),
        timeout: float | None = typer.Option(None, "--timeout", min=0, help="Seconds to wait at most; it goes on."),
        port: int | None = typer.Option(None, "--port", min=1, max=65535, help="Exactly this port."),
        as_json: bool = typer.Option(False, "--json", help="One JSON document."),
    ) -> None:
        """Stop what holds the recipe's port or GPUs, wait for their memory, then launch it there."""

        def start(studio: StudioApi) -> RunView:
            found = studio.recipes.get(recipe)
            _warn(studio, found)
            return studio.launcher.switch(found, port=port)

        _launch(start, wait=wait or timeout is not None, timeout=timeout, as_json=as_json)

    @app.command("stop")
    def stop(
        name: str | None = typer.Argument(None, metavar="[RUN or ID]"),
        every: bool = typer.Option(False, "--all", help="Every live run."),
        force: bool = typer.Option(False, "--force", help="Kill without grace."),
        as_json: bool = typer.Option(False, "--json", help="One JSON document."),
    ) -> None:
        """Stop a run. Returns when its processes are gone and its port is closed; dismisses a failed one."""
        if (name is None) == (not every):
            raise UsageError("name one run, or use --all", advice="See `vllm-studio status`.")
        ended = []
        with open_studio() as studio:
            runs = [one for one in studio.runs.live() if every or name in (one.run_id, one.recipe_id)]
            if not every:
                runs = runs or [studio.runs.find(str(name))]
            for run in runs:
                was = run.live
                run = studio.launcher.stop(run, force=force)
                ended.append(run)
                if not as_json:
                    say(f"{run.run_id} {run.status.title or run.state}" if was else f"{run.run_id} dismissed")
            _tell_upkeep(studio)
        if as_json:
            emit({"runs": [run_document(run) for run in ended]})
        left = [run.run_id for run in ended if not run.status.final]
        if left:
            advice = "Their processes hang in the kernel: `ps` shows them." if force else "Try again with --force."
            raise StudioError("some runs did not end", cause=", ".join(left), advice=advice)

    @app.command("wait-ready")
    def wait_ready(
        name: str = typer.Argument(..., metavar="RUN or ID"),
        timeout: float | None = typer.Option(None, "--timeout", min=0, help="Seconds to wait at most; it goes on."),
        as_json: bool = typer.Option(False, "--json", help="One JSON document."),
    ) -> None:
        """Wait until a run is ready or has failed; exit 0 only when it is ready."""
        with open_studio() as studio:
            studio.runs.settle()
            run = follow(studio.runs, studio.runs.find(name), timeout)
        report(run, as_json=as_json, waited=True)

    @app.command("probe")
    def probe(
        name: str = typer.Argument(..., metavar="RUN or ID"),
        as_json: bool = typer.Option(False, "--json", help="One JSON document."),
    ) -> None:
        """Ask a ready engine for one tool call and one thought: do its parsers work? Exit 1 if one does not."""
        with open_studio() as studio:
            found = studio.probe_parsers(name)
        pairs = {"tools": found.tools, "thinking": found.thinking}
        if as_json:
            emit(found.to_json())
        else:
            for key, one in pairs.items():
                say(f"{key:<9} {one.verdict:<9} {one.words}")
        if any(one.verdict in ("unparsed", "failed") for one in pairs.values()):
            raise SystemExit(1)

    @app.command("restore")
    def restore(
        as_json: bool = typer.Option(False, "--json", help="One JSON document."),
        unit: bool = typer.Option(False, "--unit", help="Print a systemd user unit that does this at boot."),
    ) -> None:
        """Launch again what a reboot of the host ended, and look after engines that lost their keeper."""
        if unit:
            if connecting.chosen is not None:
                cause = "It is a file for the systemd of the machine that it is printed on."
                raise UsageError("--unit is not for a studio elsewhere", cause=cause, advice="Run it there, over ssh.")
            from vllm_studio_tui.services.launching.boot_unit import systemd_unit

            say(systemd_unit(os.environ).rstrip())
            note("keep it as ~/.config/systemd/user/vllm-studio.service, then:")
            note("  systemctl --user enable vllm-studio && loginctl enable-linger")
            return
        with open_studio() as studio:
            adopted = [one for one in studio.runs.settle() if one.live]
            try:
                launched = studio.launcher.restore()
            except NotFound as error:
                raise StudioError("not everything could be restored", cause=str(error)) from error
            for one in launched:
                _warn(studio, studio.recipes.get(one.recipe_id))
        if as_json:
            emit(
                {"launched": [run_document(one) for one in launched], "adopted": [run_document(one) for one in adopted]}
            )
            return
        for one in launched:
            say(f"{one.run_id} launched")
        for one in adopted:
            say(f"{one.run_id} adopted")
        if not launched and not adopted:
            say("Nothing to restore.")
