"""What Prometheus asks: our own metrics, where its targets are, and the metrics of engines, handed on."""

from __future__ import annotations

import asyncio
from collections import Counter

from aiohttp import web

from vllm_studio_tui.domain.api_key import Scope
from vllm_studio_tui.domain.serving import Refusal
from vllm_studio_tui.http.route import Call, Route
from vllm_studio_tui.kit.json_body import json_bytes
from vllm_studio_tui.services.serving.discovery import RUN_METRICS, discovery_document, engine_text
from vllm_studio_tui.services.serving.exposition import CONTENT_TYPE


async def _metrics(call: Call) -> web.StreamResponse:
    context = call.context
    waiting = [str(one["recipe_id"]) for one in context.dispatcher.document()["queue"] if one.get("recipe_id")]
    answered = [one.target.recipe_id for one in context.live if one.target is not None and one.target.recipe_id]
    await context.notes.told()  # what has ended is counted
    degraded = bool(context.log_health().get("degraded"))
    latest = await context.watching.latest()

    def text() -> bytes:
        return context.metrics.text(
            latest, queue_length=Counter(waiting), in_flight=Counter(answered), degraded=degraded
        )

    return web.Response(body=await context.read(text), headers={"Content-Type": CONTENT_TYPE})


async def _targets(call: Call) -> web.StreamResponse:
    latest = await call.context.watching.latest()
    document = discovery_document(latest, call.request.host, scheme=call.request.scheme)
    return web.Response(body=json_bytes(document), content_type="application/json")


async def _run_metrics(call: Call) -> web.StreamResponse:
    name = call.request.match_info["run"]
    latest = await call.context.watching.latest()
    run = next((one for one in latest.runs if one.run_id == name), None)
    if run is None:
        raise Refusal(404, "run_not_found", "there is no such run")
    # Not a thread of those that answer everything else: an engine may hang.
    return web.Response(body=await asyncio.to_thread(engine_text, run), headers={"Content-Type": CONTENT_TYPE})


ROUTES = (
    Route("GET", "/metrics", _metrics, Scope.METRICS, "Our own metrics, as Prometheus reads them", "Prometheus"),
    Route("GET", "/prometheus/sd", _targets, Scope.METRICS, "Targets, for http_sd_configs", "Prometheus"),
    Route("GET", f"{RUN_METRICS}{{run}}", _run_metrics, Scope.METRICS, "The metrics of a run's engine", "Prometheus"),
)
