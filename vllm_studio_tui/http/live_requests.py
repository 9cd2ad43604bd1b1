"""The requests that are being answered, and ending one of them."""

from __future__ import annotations

from aiohttp import web

from vllm_studio_tui.domain.api_key import Scope
from vllm_studio_tui.domain.errors import NotFound
from vllm_studio_tui.http.route import Call, Route
from vllm_studio_tui.kit.json_body import json_bytes


async def _live(call: Call) -> web.StreamResponse:
    now = call.context.loop.time()
    documents = [one.document(now) for one in sorted(call.context.live, key=lambda one: one.started)]
    queue = call.context.dispatcher.document()
    return web.Response(body=json_bytes({"requests": documents, **queue}), content_type="application/json")


async def _cancel(call: Call) -> web.StreamResponse:
    name = call.request.match_info["id"]
    if not call.context.live.cancel(name, f"cancelled by {call.key.name}"):
        raise NotFound("no such request is being answered", advice="See /requests/live.")
    return web.Response(body=json_bytes({"success": True, "id": name}), content_type="application/json")


ROUTES = (
    Route("GET", "/requests/live", _live, Scope.READ, "The requests that are being answered now", "Requests"),
    Route("POST", "/requests/{id}/cancel", _cancel, Scope.MANAGE, "End a request", "Requests"),
)
