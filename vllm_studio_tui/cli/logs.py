"""`logs`: what an engine printed, now or in an earlier run. Known secrets are masked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from vllm_studio_tui.cli.opening import open_studio
from vllm_studio_tui.cli.output import emit, note, say, table
from vllm_studio_tui.domain.errors import NotFound, UsageError
from vllm_studio_tui.runs.json_documents import log_document

if TYPE_CHECKING:
    from vllm_studio_tui.services.protocols import RunsApi


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
        if not listing and name is None:
            raise UsageError("which log?", advice="Name a run or a recipe, or use --list.")
        with open_studio() as studio:
            if listing:
                _list(studio.runs, name, as_json=as_json)
            else:
                _show(studio.runs, str(name), count, follow=follow, as_json=as_json)


def _show(runs: RunsApi, name: str, count: int, *, follow: bool, as_json: bool) -> None:
    run = runs.find(name)
    try:
        lines = runs.log_lines(run, count)
    except OSError:
        lines = []
        note(f"{run.run_id} has written no log")
    if as_json:
        emit({"run_id": run.run_id, "log": str(run.log), "lines": lines})
        return
    for line in lines:
        say(line)
    if follow:
        for line in runs.follow_log(run):
            say(line)


def _list(runs: RunsApi, name: str | None, *, as_json: bool) -> None:
    found = [one for one in runs.all() if name in (None, one.run_id, one.recipe_id)]
    if name is not None and not found:
        raise NotFound(f"no run called {name}", advice="See `vllm-studio logs --list`.")
    rows = [log_document(one) for one in reversed(found)]
    if as_json:
        emit({"logs": rows})
        return
    table(
        ["RUN", "STATE", "STARTED", "BYTES"],
        [[str(r["run_id"]), str(r["state"]), str(r["started_at"] or "–"), str(r["size"] or "–")] for r in rows],
        right=[3],
    )
