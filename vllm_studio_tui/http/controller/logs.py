"""Logs of runs: the list, one of them, and deleting one. Known secrets are masked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from vllm_studio_tui.domain.api_key import Scope
from vllm_studio_tui.domain.serving import Refusal
from vllm_studio_tui.http.answers import document, whole_number
from vllm_studio_tui.http.controller.status import process_document
from vllm_studio_tui.http.route import Call, Route
from vllm_studio_tui.runs.json_documents import log_document

if TYPE_CHECKING:
    from vllm_studio_tui.runs.read import RunView


def _told(run: RunView) -> dict[str, Any]:
    """Return a log as the original listed it, and what is known beyond that."""
    about = log_document(run)
    return {
        "id": run.run_id,
        "recipe_name": run.name,
        "model_path": process_document(run)["model_path"],
        "model": run.model,
        "backend": run.backend,
        "created_at": about["started_at"],
        "status": "running" if run.live else "stopped",
        **about,
    }


async def _list(call: Call) -> web.StreamResponse:
    runs = call.context.studio.runs
    name = call.request.query.get("recipe")

    def found() -> list[dict[str, Any]]:
        return [_told(one) for one in reversed(runs.all()) if name in (None, one.run_id, one.recipe_id)]

    return document({"sessions": await call.context.read(found)})


async def _get(call: Call) -> web.StreamResponse:
    runs, name = call.context.studio.runs, call.request.match_info["id"]
    limit = whole_number(call, "limit", 2000, 1, 20_000)

    def found() -> dict[str, Any]:
        run = runs.find(name)
        try:
            lines = runs.log_lines(run, limit)
        except OSError:
            lines = []
        return {"id": run.run_id, "recipe_id": run.recipe_id, "logs": lines, "content": "\n".join(lines)}

    return document(await call.context.read(found))


async def _delete(call: Call) -> web.StreamResponse:
    """Delete the log of a run that has ended."""
    runs, name = call.context.studio.runs, call.request.match_info["id"]

    def delete() -> str:
        run = runs.find(name)
        if run.live:
            raise Refusal(409, "run_lives", f"{run.run_id} still writes its log", advice="Stop it first.")
        runs.delete_log(run)
        return run.run_id

    return document({"success": True, "id": await call.context.read(delete)})


ROUTES = (
    Route(
        "GET", "/logs", _list, Scope.READ, "The logs there are, the latest first", "Logs",
        query={"recipe": "Only those of this recipe or run."},
    ),
    Route(
        "GET", "/logs/{id}", _get, Scope.READ, "The end of a log, of a run or of a recipe's last run", "Logs",
        query={"limit": "So many last lines (2000)."},
    ),
    Route("DELETE", "/logs/{id}", _delete, Scope.MANAGE, "Delete the log of a run that has ended", "Logs"),
)  # fmt: skip
