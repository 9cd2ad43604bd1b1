"""The table of routes: what is not in it is not answered. The OpenAPI document is made from it."""

from __future__ import annotations

from vllm_studio_tui.http import inference, live_requests, prometheus, studio_state
from vllm_studio_tui.http.route import Route


def all_routes() -> list[Route]:
    """Return every route there is."""
    return [*inference.ROUTES, *studio_state.ROUTES, *live_requests.ROUTES, *prometheus.ROUTES]
