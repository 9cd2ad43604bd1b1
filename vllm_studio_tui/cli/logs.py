"""`logs`: what an engine printed, now or in an earlier run. Known secrets are masked."""

from __future__ import annotations

import os

import typer

from vllm_studio_tui.cli.output import emit, note, say, table
from vllm_studio_tui.cli.status import moment
from vllm_studio_tui.domain.errors import NotFound, UsageError
from vllm_studio_tui.kit import secrets
from vllm_studio_tui.kit.masking import is_secret
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.kit.sanitize import redact
from vllm_studio_tui.runs import read
from vllm_studio_tui.runs.logs import follow as follow_log
from vllm_studio_tui.runs.logs import last_lines


def known_secrets(run: read.RunView) -> list[str]:
    """The values that must not be shown, as far as this environment can resolve them."""
    if run.spec is None:
        return []
    references = [*run.spec.env_refs.values(), *([run.spec.api_key_ref] if run.spec.api_key_ref else [])]
    values = [value for name, value in run.spec.env.items() if is_secret(name, value)]
    for reference in references:
        try:
            values.append(secrets.resolve(reference, os.environ))
        except ValueError:
            continue  # not ours to read here: patterns still mask what looks like a key
    return values


def register(app: typer.Typer) -> None:
    @app.command("logs")
    def logs(
        name: str | None = typer.Argument(None, metavar="RUN or ID"),
        count: int = typer.Option(200, "-n", "--lines", min=0, help="So many last lines."),
        follow: bool = typer.Option(False, "-f", "--follow", help="And what is added, until the run ends."),
        listing: bool = typer.Option(False, "--list", help="The logs there are."),
        as_json: bool = typer.Option(False, "--json", help="One JSON document."),
    ) -> None:
        """The engine's log of a run, or of the latest run of a recipe."""
        places = Places.of()
        if listing:
            _list(places, name, as_json=as_json)
            return
        if name is None:
            raise UsageError("which log?", advice="Name a run or a recipe, or use --list.")
        run = read.find_run(places, name)
        hidden = known_secrets(run)
        try:
            lines = last_lines(run.log, count)
        except OSError:
            lines = []
            note(f"{run.run_id} has written no log")
        lines = [redact(line, hidden) for line in lines]
        if as_json:
            emit({"run_id": run.run_id, "log": str(run.log), "lines": lines})
            return
        for line in lines:
            say(line)
        if follow:
            for line in follow_log(run.log, until=lambda: not read.view(run.folder).live):
                say(redact(line, hidden))


def _list(places: Places, name: str | None, *, as_json: bool) -> None:
    runs = [one for one in read.all_runs(places) if name in (None, one.run_id, one.recipe_id)]
    if name is not None and not runs:
        raise NotFound(f"no run called {name}", advice="See `vllm-studio logs --list`.")
    rows = []
    for one in reversed(runs):
        size = one.log.stat().st_size if one.log.exists() else None
        rows.append(
            {
                "run_id": one.run_id,
                "recipe_id": one.recipe_id,
                "state": str(one.state),
                "started_at": moment(one.status.started_at),
                "size": size,
                "log": str(one.log),
            }
        )
    if as_json:
        emit({"logs": rows})
        return
    table(
        ["RUN", "STATE", "STARTED", "BYTES"],
        [[str(r["run_id"]), str(r["state"]), str(r["started_at"] or "–"), str(r["size"] or "–")] for r in rows],
        right=[3],
    )
