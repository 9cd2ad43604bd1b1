"""What runs, and how the studio is set up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from vllm_studio_tui.domain.api_key import Scope
from vllm_studio_tui.domain.run import ANSWERING, State
from vllm_studio_tui.http.answers import document
from vllm_studio_tui.http.route import Call, Route
from vllm_studio_tui.runs.json_documents import status_document

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vllm_studio_tui.runs.read import RunView

#: States of a run that is on its way to serve.
COMING = frozenset({State.STARTING, State.LOADING, State.BACKOFF})


def process_document(run: RunView) -> dict[str, Any]:
    """Return an engine's process as the original told of it."""
    return {
        "pid": run.status.pid,
        "backend": run.backend,
        "model_path": run.spec.recipe.get("model_path") if run.spec else None,
        "port": run.port,
        "served_model_name": run.model,
        "run_id": run.run_id,
        "recipe_id": run.recipe_id,
    }


def summary(runs: Sequence[RunView], inference_port: int) -> dict[str, Any]:
    """Return what runs in the original's words, which knew one engine: the one that was launched last is told of.

    Args:
        runs: Oldest first.
    """
    answering = [one for one in runs if one.state in ANSWERING]
    coming = [one for one in runs if one.state in COMING]
    first = answering[-1] if answering else None
    return {
        "running": first is not None,
        "process": process_document(first) if first is not None else None,
        "processes": [process_document(one) for one in answering],
        "inference_port": first.port if first is not None else inference_port,
        "launching": coming[-1].recipe_id if coming else None,
    }


async def _status(call: Call) -> web.StreamResponse:
    context = call.context
    runs = await context.read(context.studio.runs.all)
    told = await context.read(status_document, runs)
    serving = context.dispatcher.document()
    return document(
        {
            **summary(runs, context.settings.inference_port),
            "runs": told["runs"],
            "queue": serving.get("queue", []),
            "serving": serving,
            "requests": len(context.live),
        }
    )


ROUTES = (Route("GET", "/status", _status, Scope.READ, "What runs, what is launched, and who waits"),)
