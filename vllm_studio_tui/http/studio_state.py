"""Whether the server and its engines are well."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from vllm_studio_tui import __version__
from vllm_studio_tui.domain.api_key import Scope
from vllm_studio_tui.http.route import Call, Route
from vllm_studio_tui.kit.json_body import json_bytes


def health_document(call: Call) -> dict[str, Any]:
    """Return whether the server is well; which models run is told to keys that may read it."""
    context = call.context
    log = context.log_health()
    well = not log.get("degraded") and not context.draining
    ready = [model for model in context.dispatcher.models() if model.active]
    document: dict[str, Any] = {
        "status": "ok" if well else "degraded",
        "version": __version__,
        "inference_ready": bool(ready),
        "backend_reachable": bool(ready),
        "running_model": None,
    }
    if call.key.allows(Scope.READ) or call.key.allows(Scope.INFERENCE):
        may = [model for model in context.dispatcher.models(call.key.models) if model.active]
        document["running_model"] = may[0].id if may else None
        document["request_log"] = log
        document["primary"] = context.primary
    if call.key.allows(Scope.READ):
        document["callbacks"] = context.callbacks.health() if context.callbacks is not None else []
    return document


async def _health(call: Call) -> web.StreamResponse:
    return web.Response(body=json_bytes(health_document(call)), content_type="application/json")


ROUTES = (Route("GET", "/health", _health, None, "Whether the server and its engines are well", "Studio"),)
