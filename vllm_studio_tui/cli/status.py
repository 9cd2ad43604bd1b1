"""`status`: what runs. Light: the standard library alone, because scripts and status bars ask it often."""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.domain.run import State
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.kit.sanitize import json_safe
from vllm_studio_tui.runs.not_ready import log_silence, waiting_for
from vllm_studio_tui.runs.read import RunView, all_runs, shown_runs

if TYPE_CHECKING:
    import typer


def moment(seconds: float | None) -> str | None:
    """ISO 8601 in UTC."""
    if seconds is None:
        return None
    if not -6e10 < seconds < 2e11:  # no time that a calendar has
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def run_document(run: RunView, time_left: float | None = None) -> dict[str, Any]:
    """One run as `status --json` tells it."""
    now = run.status
    silence = log_silence(run)
    ended = None
    if now.final or now.exit_code is not None or now.exit_signal is not None:
        ended = {"code": now.exit_code, "signal": now.exit_signal, "at": moment(now.ended_at)}
    return {
        "run_id": run.run_id,
        "recipe_id": run.recipe_id,
        "name": run.name,
        "backend": run.backend,
        "model": run.model,
        "state": str(now.state),
        "stage": now.stage,
        "progress": now.progress,
        "time_left": time_left,
        "pid": now.pid,
        "keeper_pid": now.keeper_pid if run.keeper_alive else None,
        "port": run.port,
        "base_url": run.base_url,
        "started_at": moment(now.started_at),
        "ready_at": moment(now.ready_at),
        "next_start_at": moment(now.next_start_at),
        "restarts": now.restarts,
        "exit": ended,
        "reason": now.reason,
        "title": now.title,
        "advice": now.advice,
        "evidence": now.evidence,
        "heard": now.heard,
        "heard_at": moment(now.heard_at),
        "log_silent": None if silence is None else round(silence, 1),
        "stranger": now.stranger or None,
        "waiting_for": waiting_for(run) or None,
        "gpus": list(run.spec.gpus) if run.spec else [],
        "adopted": now.adopted,
        "faults": now.faults,
        "simulated": run.spec.simulated if run.spec else None,
        "log": str(run.log),
    }


def status_document(places: Places, *, every: bool = False) -> dict[str, Any]:
    """`{"runs": [..]}`: live and undismissed failed runs, or every run that is still on the disk."""
    runs = all_runs(places) if every else shown_runs(places)
    return {"runs": [run_document(run, _left(run, places)) for run in runs]}


def _left(run: RunView, places: Places) -> float | None:
    """Seconds until a loading run is ready, from earlier starts of its recipe."""
    if run.status.state not in (State.STARTING, State.LOADING):
        return None
    from vllm_studio_tui.runs.estimate import earlier_starts, time_left

    rest = time_left(run.status, earlier_starts(run, all_runs(places)), time.time())
    return None if rest is None else round(rest, 1)


def foreign_engines() -> list[dict[str, Any]]:
    """Inference servers on this machine that the studio did not start. Looks at every process."""
    from vllm_studio_tui.runs.foreign import find_foreign

    return [one.to_json() for one in find_foreign()]


def quick(argv: list[str]) -> int | None:
    """`status --json [--all]` without typer; None when the command line is another."""
    if argv[:1] != ["status"] or "--json" not in argv or not set(argv[1:]) <= {"--json", "--all"}:
        return None
    document = status_document(Places.of(), every="--all" in argv)
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
    """The runs as a table, and what is wrong with those that failed."""
    from vllm_studio_tui.cli.output import say, table

    if not document["runs"]:
        say("No run. Launch one: vllm-studio launch ID --wait (see `vllm-studio recipes list`).")
        return
    rows = []
    for run in document["runs"]:
        progress = "" if run["progress"] is None else f" {round(run['progress'] * 100)}%"
        stage = f"{run['stage'] or ''}{progress}"
        label = " SIMULATED" if run["simulated"] else ""
        rows.append(
            [
                f"{GLYPHS[run['state']]} {run['state']}",
                run["recipe_id"] + label,
                stage or "–",
                run["backend"] or "–",
                str(run["port"] or "–"),
                str(run["pid"] or "–"),
                run["run_id"],
            ]
        )
    table(["STATE", "RECIPE", "STAGE", "BACKEND", "PORT", "PID", "RUN"], rows, right=[4, 5])
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
    """Engines of others, as a table."""
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
        import time

        from vllm_studio_tui.cli.output import emit, say

        places = Places.of()
        while True:
            document = status_document(places, every=every)
            if foreign:
                document["foreign"] = foreign_engines()
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
