"""The Ray cluster that runs of this machine use, as it says itself."""

from __future__ import annotations

from aiohttp import web

from vllm_studio_tui.domain.api_key import Scope
from vllm_studio_tui.domain.errors import NotFound
from vllm_studio_tui.domain.ray_trouble import ray_document
from vllm_studio_tui.http.answers import document
from vllm_studio_tui.http.route import Call, Route


async def _ray(call: Call) -> web.StreamResponse:
    # Not among the reads of files: a cluster that hangs takes seconds.
    view = await call.context.loop.run_in_executor(None, call.context.studio.ray.look)
    if view is None:
        raise NotFound("no Ray is known here", advice="Set ray_address to its dashboard, as http://HOST:8265.")
    return document(ray_document(view))


ROUTES = (
    Route(
        "GET", "/ray", _ray, Scope.READ, "The Ray cluster: nodes, actors, demands, applications of Serve", "Measured"
    ),
)
