"""The table of routes: what is not in it is not answered. The OpenAPI document is made from it."""

from __future__ import annotations

from vllm_studio_tui.http import events, inference, live_requests, prometheus, studio_state
from vllm_studio_tui.http.controller import gpus, keys, logs, metrics, recipes, runs, status
from vllm_studio_tui.http.route import Route


def all_routes() -> list[Route]:
    """Return every route there is."""
    files = (
        inference,
        studio_state,
        live_requests,
        prometheus,
        events,
        status,
        gpus,
        metrics,
        recipes,
        runs,
        logs,
        keys,
    )
    return [route for file in files for route in file.ROUTES]
