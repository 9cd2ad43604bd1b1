"""The host at a glance: what a page over several hosts shows of it."""

from __future__ import annotations

from aiohttp import web

from vllm_studio_tui.domain.api_key import Scope
from vllm_studio_tui.http.answers import document
from vllm_studio_tui.http.route import Call, Route
from vllm_studio_tui.services.watching.overview import overview_of


async def _overview(call: Call) -> web.StreamResponse:
    snapshot = await call.context.watching.latest()
    waiting = len(call.context.dispatcher.document().get("queue", ()))
    return document(overview_of(snapshot, queue=waiting).to_json())


ROUTES = (Route("GET", "/overview", _overview, Scope.READ, "The host at a glance: version, GPUs, runs, what waits"),)
