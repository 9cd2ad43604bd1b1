"""`status --hosts`: the runs of every host and of this machine, each with its host."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.cli.hosts import DASH, ask_all, hosts_document, show_errors
from vllm_studio_tui.cli.output import emit, note, say, table
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.iso_time import iso_time
from vllm_studio_tui.runs.json_documents import run_document, status_document
from vllm_studio_tui.runs.state_marks import state_mark

if TYPE_CHECKING:
    from vllm_studio_tui.domain.host_overview import HostRun
    from vllm_studio_tui.remote.host_state import HostState

#: Seconds that each host has.
TIMEOUT = 10.0


def show_status_of_hosts(studio: Any, timeout: float, *, as_json: bool) -> bool:
    """Print the runs of every host; return whether all of them answered. Blocking."""
    states = ask_all(studio, timeout)
    document = document_of(states, status_document(studio.runs.all())["runs"])
    if as_json:
        emit(document)
    else:
        _show(document, states)
    lost = [state for state in states if state.error is not None]
    show_errors(lost, note)
    return not lost


def document_of(states: list[HostState], own: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what `status --hosts --json` prints.

    Of a run elsewhere that is known which its host tells to those who watch several; the rest is null.

    Args:
        own: This machine's runs, as `status --json` prints them.
    """
    runs: list[dict[str, Any]] = []
    for state in states:
        overview = state.overview if state.answers else None
        known = {run.id: run for run in overview.runs} if overview is not None else {}
        if state.here:
            runs += [{"host": state.name, **one, **_figures(known.get(str(one["run_id"])))} for one in own]
        else:
            runs += [{"host": state.name, **_elsewhere(run), **_figures(run)} for run in known.values()]
    hosts = hosts_document(states)["hosts"]
    return {"runs": runs, "hosts": [{key: one[key] for key in one if key != "overview"} for one in hosts]}


def _figures(run: HostRun | None) -> dict[str, Any]:
    return {
        "running": run.running if run is not None else None,
        "waiting": run.waiting if run is not None else None,
        "tokens_per_second": run.tokens_per_second if run is not None else None,
    }


def _elsewhere(run: HostRun) -> dict[str, Any]:
    """Return a run of another host with the keys that one of this machine has."""
    known = {
        "run_id": run.id,
        "recipe_id": run.name,
        "name": run.name,
        "model": run.model or None,
        "state": run.state,
        "stage": run.stage or None,
        "progress": run.progress,
        "started_at": iso_time(run.since),
        "title": run.title or None,
        "gpus": list(run.gpus),
    }
    return {key: known.get(key) for key in _keys()}


def _keys() -> list[str]:
    """Return the keys of a run in `status --json`."""
    from pathlib import Path

    from vllm_studio_tui.domain.run import RunState
    from vllm_studio_tui.runs.read import RunView

    nothing = RunView(Path(os.devnull), "", None, RunState(""), keeper_alive=False, engine_alive=False, dismissed=False)
    return list(run_document(nothing))


def _show(document: dict[str, Any], states: list[HostState]) -> None:
    rows = [
        [
            run["host"],
            f"{state_mark(run['state'])[0]} {run['state']}",
            run["name"] or DASH,
            run["stage"] or run["title"] or DASH,
            numbers.rate(run["tokens_per_second"]),
            numbers.count(run["running"]),
            numbers.count(run["waiting"]),
            " ".join(run["gpus"]) or DASH,
        ]
        for run in document["runs"]
    ]
    if rows:
        table(["HOST", "STATE", "RECIPE", "STAGE", "TOK/S", "RUNS", "WAITS", "GPU"], rows, right=[4, 5, 6])
    quiet = [state.name for state in states if state.answers and not any(row[0] == state.name for row in rows)]
    if quiet:
        say(f"No run on {', '.join(quiet)}.")
