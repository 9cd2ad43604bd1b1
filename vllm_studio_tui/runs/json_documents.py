"""Runs as JSON documents, for every face. Light: `status` answers with it before anything large is imported."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.domain.run import State
from vllm_studio_tui.kit.iso_time import iso_time
from vllm_studio_tui.runs.elsewhere import elsewhere_words
from vllm_studio_tui.runs.not_ready import log_silence, waiting_for
from vllm_studio_tui.runs.read import RunView, shown_runs

if TYPE_CHECKING:
    from vllm_studio_tui.domain.engine_metrics import EngineMetrics
    from vllm_studio_tui.runs.foreign import Foreign

#: What the answer to a launch has of the whole document.
_OF_A_LAUNCH = (
    "run_id", "state", "stage", "pid", "port", "base_url", "log", "reason", "advice", "title", "evidence",
    "heard", "stranger", "waiting_for", "where", "handle", "job_state", "trouble", "parts",
)  # fmt: skip


def run_document(run: RunView, time_left: float | None = None) -> dict[str, Any]:
    """Return a run as `status --json` prints it.

    Args:
        time_left: Seconds until it is ready, see `time_left`.
    """
    now = run.status
    silence = log_silence(run)
    ended = None
    if now.final or now.exit_code is not None or now.exit_signal is not None:
        ended = {"code": now.exit_code, "signal": now.exit_signal, "at": iso_time(now.ended_at)}
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
        "started_at": iso_time(now.started_at),
        "ready_at": iso_time(now.ready_at),
        "next_start_at": iso_time(now.next_start_at),
        "restarts": now.restarts,
        "exit": ended,
        "reason": now.reason,
        "title": now.title,
        "advice": now.advice,
        "evidence": now.evidence,
        "heard": now.heard,
        "heard_at": iso_time(now.heard_at),
        "log_silent": None if silence is None else round(silence, 1),
        "stranger": now.stranger or None,
        "waiting_for": waiting_for(run) or None,
        "where": elsewhere_words(run) or None,
        "handle": now.handle,
        "job_state": now.job_state,
        "trouble": now.trouble,
        "parts": now.parts,
        "gpus": list(run.spec.gpus) if run.spec else [],
        "adopted": now.adopted,
        "faults": now.faults,
        "simulated": run.spec.simulated if run.spec else None,
        "log": str(run.log),
    }


def launch_document(run: RunView) -> dict[str, Any]:
    """Return what `launch --json` prints of a run."""
    whole = run_document(run)
    return {key: whole[key] for key in _OF_A_LAUNCH}


def log_document(run: RunView) -> dict[str, Any]:
    """Return what `logs --list --json` prints of a run; `size` in bytes, null where there is no log."""
    return {
        "run_id": run.run_id,
        "recipe_id": run.recipe_id,
        "state": str(run.state),
        "started_at": iso_time(run.status.started_at),
        "size": run.log.stat().st_size if run.log.exists() else None,
        "log": str(run.log),
    }


def metrics_document(run: RunView, metrics: EngineMetrics) -> dict[str, Any]:
    """Return what `metrics --json` prints of a run: its ids and everything that was measured."""
    return {"run_id": run.run_id, "recipe_id": run.recipe_id, **metrics.to_json()}


def foreign_metrics_document(one: Foreign, metrics: EngineMetrics) -> dict[str, Any]:
    """Return what `metrics --json` prints of an engine that no run started: what it is, and what was measured."""
    return {"run_id": None, "recipe_id": None, "foreign": one.to_json(), **metrics.to_json()}


def status_document(runs: Sequence[RunView], *, every: bool = False) -> dict[str, Any]:
    """Return `{"runs": [..]}`: the live runs and the failed ones that wait for a person, or every run.

    Args:
        runs: All that are kept, oldest first: earlier starts tell how long a loading run will take.
    """
    shown = runs if every else shown_runs(runs)
    return {"runs": [run_document(run, _time_left(run, runs)) for run in shown]}


def _time_left(run: RunView, runs: Sequence[RunView]) -> float | None:
    """Return the seconds until a loading run is ready, from earlier starts of its recipe."""
    if run.status.state not in (State.STARTING, State.LOADING):
        return None
    from vllm_studio_tui.runs.estimate import earlier_starts, time_left

    rest = time_left(run.status, earlier_starts(run, runs), time.time())
    return None if rest is None else round(rest, 1)
