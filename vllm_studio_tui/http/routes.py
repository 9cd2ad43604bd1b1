"""The table of routes: what is not in it is not answered. The OpenAPI document is made from it."""

from __future__ import annotations

from vllm_studio_tui.http import events, inference, live_requests, prometheus, studio_calls, studio_state
from vllm_studio_tui.http.controller import (
    chats,
    config,
    gpus,
    keys,
    logs,
    mcp,
    metrics,
    models,
    overview,
    ray,
    recipes,
    runs,
    status,
    turns,
    upstream,
    usage,
)
from vllm_studio_tui.http.openapi import documented
from vllm_studio_tui.http.route import Route


def all_routes() -> list[Route]:
    """Return every route there is."""
    files = (
        inference, studio_state, live_requests, prometheus, events,
        status, overview, config, gpus, ray, metrics, usage, recipes, models, runs, upstream, logs, chats, turns, keys,
        mcp, studio_calls,
    )  # fmt: skip
    routes = [route for file in files for route in file.ROUTES]
    return [*routes, *documented(routes)]
