"""`rank ..`: one part of an engine on several hosts. Made for the studio that launches them, over ssh.

Each answers with JSON alone, errors too: who reads it is a program.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any, NoReturn

import typer

from vllm_studio_tui.cli.output import emit
from vllm_studio_tui.domain.errors import StudioError, UsageError

#: Letters of an order; more was not written by us.
MOST = 8 * 1024 * 1024


def register(app: typer.Typer) -> None:
    rank = typer.Typer(
        name="rank",
        help="For studios elsewhere: one part of a model that runs on several hosts (see `nodes` of a recipe).",
        no_args_is_help=True,
    )
    app.add_typer(rank, hidden=True)

    @rank.command("facts")
    def facts() -> None:
        """Tell what a recipe on stdin would find here: engine, model, GPUs, network, limits."""
        from vllm_studio_tui.config.settings import load_settings
        from vllm_studio_tui.kit.paths import Places
        from vllm_studio_tui.services.handover.rank_start import facts_for

        places = Places.of()
        try:
            found = facts_for(places, load_settings(places, os.environ), _order())
        except StudioError as error:
            _fail(error)
        emit({"facts": found.to_json()})

    @rank.command("start")
    def start() -> None:
        """Start the part that an order on stdin describes, or find it where it runs already."""
        from vllm_studio_tui.config.settings import load_settings
        from vllm_studio_tui.kit.paths import Places
        from vllm_studio_tui.services.handover.rank_start import start_rank

        places = Places.of()
        try:
            run = start_rank(places, load_settings(places, os.environ), _order())
        except StudioError as error:
            _fail(error)
        emit({"run_id": run.run_id, "port": run.port, "state": run.state, "title": run.status.title})

    @rank.command("attend")
    def attend(
        run: str = typer.Argument(..., metavar="RUN", help="The run."),
        begin: int = typer.Option(0, "--from", min=0, help="Bytes of its log that are known already."),
        every: float = typer.Option(10.0, "--every", min=0.05, max=60, help="Seconds between two signs of life."),
    ) -> None:
        """Tell what becomes of a part, and renew its lease for as long as the other side asks for it."""
        from vllm_studio_tui.kit.paths import Places

        folder = Places.of().runs / _name(run)
        if not folder.is_dir():
            _fail(StudioError(f"there is no run {run[:120]}"))
        program = [sys.executable, "-m", "vllm_studio_tui.runs.attend", str(folder), str(begin), str(every)]
        os.execv(program[0], program)  # noqa: S606 - a light process in place of this one, which has loaded much

    @rank.command("stop")
    def stop(
        run: str = typer.Argument(..., metavar="RUN", help="The run."),
        force: bool = typer.Option(False, "--force", help="Do not wait for an end in order."),
    ) -> None:
        """Stop a part, and answer when it has ended."""
        from vllm_studio_tui.kit.paths import Places
        from vllm_studio_tui.runs import control, read

        found = read.run_called(Places.of(), _name(run))
        if found is None:
            _fail(StudioError(f"there is no run {run[:120]}"))
        ended = control.stop(found, force=force)
        emit({"run_id": ended.run_id, "state": ended.state, "title": ended.status.title})


def _name(run: str) -> str:
    from vllm_studio_tui.runs.attend import RUN_ID

    if not RUN_ID.fullmatch(run):
        _fail(UsageError("this is no id of a run"))
    return run


def _order() -> dict[str, Any]:
    from vllm_studio_tui.kit import safe_json

    text = sys.stdin.buffer.read(MOST + 1)
    try:
        data = safe_json.loads(text) if len(text) <= MOST else None
    except ValueError:
        data = None
    if not isinstance(data, dict):
        raise UsageError("an order is one JSON object on stdin")
    return data


def _fail(error: StudioError) -> NoReturn:
    """Answer with an error, and end."""
    sys.stdout.write(json.dumps({"error": {**error.to_json(), "passing": getattr(error, "passing", False)}}) + "\n")
    sys.stdout.flush()
    raise typer.Exit(error.exit_code)
