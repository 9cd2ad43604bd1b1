"""What is told of the requests and models that are served: lists, documents, events."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from vllm_studio_tui.domain.serving import Phase, ServedModel
from vllm_studio_tui.services.serving.admission import Admission
from vllm_studio_tui.services.serving.scheduler import Scheduler
from vllm_studio_tui.services.serving.survey import Kind, Seen
from vllm_studio_tui.services.serving.world import LIVE, Run, RunPhase

#: The stages of a launch by the words of the original's events.
STAGES = {
    RunPhase.LOADING: "waiting",
    RunPhase.READY: "ready",
    RunPhase.BLOCKED: "error",
    RunPhase.STOPPING: "stopping",
    RunPhase.FAILED: "error",
    RunPhase.ENDED: "stopped",
}


def served_models(seen: Seen, on_demand: str, primary: bool, patterns: Sequence[str]) -> list[ServedModel]:
    """Return what can be asked for by a key of these patterns."""
    found = []
    for offer in seen.routes.offers:
        if not offer.seen_by(patterns):
            continue
        if offer.peer is not None:
            found.append(ServedModel(offer.name, state="ready", peer=offer.peer))
            continue
        kind = seen.kinds.get(offer.key)
        view = next(
            (
                seen.views[one.id]
                for one in sorted(seen.world.runs, key=lambda one: one.phase is not RunPhase.READY)
                if one.key == offer.key and one.phase in LIVE
            ),
            None,
        )
        elsewhere = kind is not None and kind.elsewhere
        name, *aliases = seen.routes.names_of(offer)
        found.append(
            ServedModel(
                name,
                tuple(aliases),
                "ready" if elsewhere else str(view.state) if view else "stopped",
                offer.key,
                view.run_id if view else None,
                None,
                kind.recipe.backend if kind else view.backend if view else None,
                kind is not None and primary and may_start(kind, on_demand),
                kind.recipe.max_model_len if kind else None,
                view.spec.created_at if view and view.spec else None,
            )
        )
    return found


def may_start(kind: Kind, on_demand: str) -> bool:
    """Return whether a request may start a recipe, as the settings say."""
    if kind.elsewhere or on_demand == "off":
        return False
    return kind.recipe.on_demand is not False if on_demand == "all" else bool(kind.recipe.on_demand)


def document(seen: Seen, scheduler: Scheduler, admissions: Iterable[Admission], primary: bool) -> dict[str, Any]:
    """Return who waits, what is launched and what is under way, as `/status` and `requests --live` show it."""
    queue = []
    for one in admissions:
        now = one.status()
        if now.phase in (Phase.QUEUED, Phase.LOADING):
            queue.append(
                {
                    "id": one.arrival.id,
                    "model": one.arrival.model,
                    "recipe_id": one.key,
                    "phase": str(now.phase),
                    "position": now.position,
                    "stage": now.stage,
                    "progress": now.progress,
                    "eta": None if now.eta is None else round(now.eta, 1),
                    "waited": round(one.waited_seconds, 2),
                }
            )
    begun: dict[str, dict[str, Any]] = {
        one.key: {
            "recipe_id": one.key,
            "run_id": one.id,
            "stage": one.stage,
            "progress": one.progress,
            "eta": None if one.eta is None else round(one.eta, 1),
            "started_by": one.started_by or "person",
            "stopping": [],
        }
        for one in seen.world.runs
        if one.phase is RunPhase.LOADING
    }
    for key, launch in scheduler.launching().items():
        begun.setdefault(
            key,
            {
                "recipe_id": key,
                "run_id": None,
                "stage": None,
                "progress": None,
                "eta": None,
                "started_by": launch.started_by,
                "stopping": list(launch.evict),
            },
        )
    return {
        "primary": primary,
        "waiting": scheduler.waiting,
        "queue": queue,
        "launching": list(begun.values()),
        "in_flight": scheduler.in_flight(),
    }


def progress(key: str, stage: str, detail: str = "") -> dict[str, Any]:
    """Return an event of a launch that has no run yet."""
    return {"recipe_id": key, "run_id": None, "stage": stage, "detail": detail or None, "progress": None, "eta": None}


def run_progress(run: Run) -> dict[str, Any]:
    """Return an event of a launch."""
    detail = run.stage if run.phase is RunPhase.LOADING else run.why.title if run.why else None
    return {
        "recipe_id": run.key,
        "run_id": run.id,
        "stage": STAGES[run.phase],
        "detail": detail,
        "progress": run.progress if run.phase is RunPhase.LOADING else None,
        "eta": run.eta,
    }


def run_event(run: Run, seen: Seen) -> dict[str, Any]:
    """Return an event of a run whose state has changed."""
    return {"recipe_id": run.key, "run_id": run.id, "state": str(seen.views[run.id].state)}
