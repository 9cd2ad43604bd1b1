"""`status`: what runs. Light: the standard library alone, because scripts and status bars ask it often."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.kit.sanitize import json_safe
from vllm_studio_tui.runs.json_documents import status_document
from vllm_studio_tui.runs.read import all_runs

if TYPE_CHECKING:
    import typer


def quick(argv: list[str]) -> int | None:
    """Answer `status --json [--all]` without typer and without a studio; None when the command line is another."""
    if argv[:1] != ["status"] or "--json" not in argv or not set(argv[1:]) <= {"--json", "--all"}:
        return None
    document = status_document(all_runs(Places.of()), every="--all" in argv)
    sys.stdout.write(json_safe(json.dumps(document, ensure_ascii=False), terminal=sys.stdout.isatty()) + "\n")
    return 0


GLYPHS = {
    "starting": "◔",
    "loading": "◐",
    "ready": "●",
    "unhealthy": "▲",
    "stopping": "◒",
    "exited": "◌",
    "backoff": "↻",
    "failed": "✕",
}


def show(document: dict[str, Any]) -> None:
    """Print the runs as a table, and what is wrong with those that failed."""
    from vllm_studio_tui.cli.output import say, table

    if not document["runs"]:
        say("No run. Launch one: vllm-studio launch ID --wait (see `vllm-studio recipes list`).")
        return
    rows = []
    for run in document["runs"]:
        progress = "" if run["progress"] is None else f" {round(run['progress'] * 100)}%"
        stage = f"{run['stage'] or ''}{progress}"
        rows.append(
            [
                f"{GLYPHS[run['state']]} {run['state']}",
                run["recipe_id"],
                stage or "–",
                run["backend"] or "–",
                str(run["port"] or "–"),
                str(run["pid"] or "–"),
                run["run_id"],
            ]
        )
    table(["STATE", "RECIPE", "STAGE", "BACKEND", "PORT", "PID", "RUN"], rows, right=[4, 5])
    if any(run["simulated"] for run in document["runs"]):
        say("SIMULATED: no model, no GPU; everything shown is made up")
    for run in document["runs"]:
        for fault in run["faults"]:
            say(f"{run['recipe_id']}: fault of its keeper, {fault}. See keeper.log beside its log.")
    for run in document["runs"]:
        if run["waiting_for"]:
            say()
            say(f"{run['recipe_id']}: {run['waiting_for']}")
        if run["title"] and run["state"] in ("failed", "unhealthy", "backoff"):
            say()
            say(f"{run['recipe_id']}: {run['title']}")
            if run["advice"]:
                say(f"  {run['advice']}")
            for line in run["evidence"]:
                say(f"  | {line}")


def show_foreign(engines: list[dict[str, Any]]) -> None:
    """Print engines that the studio did not start, as a table."""
    from vllm_studio_tui.cli.output import say, table

    say()
    if not engines:
        say("No engine runs here that the studio did not start.")
        return
    rows = [
        [one["backend"], one["model"] or "–", str(one["port"] or "–"), str(one["pid"]), one["user"]] for one in engines
    ]
    table(["NOT OURS", "MODEL", "PORT", "PID", "USER"], rows, right=[2, 3])


def register(app: typer.Typer) -> None:
    import typer

    @app.command("status")
    def status(
        as_json: bool = typer.Option(False, "--json", help="One JSON document."),
        every: bool = typer.Option(False, "--all", help="Earlier runs too."),
        foreign: bool = typer.Option(False, "--foreign", help="Engines that the studio did not start, too."),
        watch: bool = typer.Option(False, "--watch", help="Show it again every second until interrupted."),
    ) -> None:
        """What runs, in which state, and why a run failed."""
        from vllm_studio_tui.cli.opening import open_studio
        from vllm_studio_tui.cli.output import emit, say

        with open_studio() as studio:
            while True:
                document = status_document(studio.runs.all(), every=every)
                if foreign:
                    document["foreign"] = [one.to_json() for one in studio.runs.foreign()]
                if as_json:
                    emit(document)
                else:
                    if watch and sys.stdout.isatty():
                        sys.stdout.write("\x1b[H\x1b[2J")
                    show(document)
                    if foreign:
                        show_foreign(document["foreign"])
                if not watch:
                    return
                time.sleep(1.0)
                say() if not as_json and not sys.stdout.isatty() else None
