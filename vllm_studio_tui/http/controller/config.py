"""How the studio is set up, and which services of this machine answer. Secrets are never told."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import aiohttp
from aiohttp import web

from vllm_studio_tui import __version__
from vllm_studio_tui.domain.api_key import Scope
from vllm_studio_tui.domain.run import ANSWERING
from vllm_studio_tui.http.answers import document
from vllm_studio_tui.http.route import Call, Route

#: Seconds that a service may take to answer.
PATIENCE = 1.0
#: Services that may stand beside us: name, port (None: the setting of the gateway), the path that tells whether it is
#: well (None: it only listens), what.
BESIDE = (
    ("LiteLLM", None, "/health/liveliness", "Gateway in front of this server"),
    ("Prometheus", 9090, "/-/healthy", "Keeps metrics"),
    ("Grafana", 3001, "/api/health", "Draws metrics"),
    ("PostgreSQL", 5432, None, "Database of LiteLLM"),
    ("Redis", 6379, None, "Cache of LiteLLM"),
)


async def _config(call: Call) -> web.StreamResponse:
    context, settings, places = call.context, call.context.settings, call.context.studio.places
    runs = await context.read(context.studio.runs.live)
    answering = [one for one in runs if one.state in ANSWERING]
    probes = await asyncio.gather(
        *(_probe(call, name, port or settings.gateway_port, path, what) for name, port, path, what in BESIDE)
    )
    host, port = context.listens or (None, None)
    services = [
        _service("Controller", port, "http" if port is not None else "unix", "running", "This server"),
        *(_service(one.recipe_id, one.port, "http", _state(str(one.state)), f"{one.backend}") for one in runs),
        *probes,
    ]
    inference = answering[-1].base_url if answering else None
    return document(
        {
            "config": {
                "version": __version__,
                "host": host,
                "port": port,
                "inference_port": settings.inference_port,
                "api_key_configured": settings.api_key is not None or len(context.keys) > 0,
                "models_dir": str(settings.models_dirs[0]) if settings.models_dirs else None,
                "models_dirs": [str(one) for one in settings.models_dirs],
                "data_dir": str(places.data),
                "db_path": str(places.database),
                "config_file": str(places.settings_file),
                "sglang_python": settings.sglang_python,
                "tabby_api_dir": str(settings.tabby_dir) if settings.tabby_dir is not None else None,
                "read_only": await context.read(lambda: context.studio.storage_read_only),
            },
            "services": services,
            "environment": {
                "controller_url": f"{call.request.scheme}://{call.request.host}",
                "inference_url": inference or f"http://127.0.0.1:{settings.inference_port}/v1",
                "litellm_url": f"http://127.0.0.1:{settings.gateway_port}",
                "frontend_url": None,
            },
        }
    )


def _state(state: str) -> str:
    """Return the state of a run as the original told it of a service."""
    words = {"ready": "running", "unhealthy": "degraded", "failed": "error", "exited": "stopped", "stopping": "stopped"}
    return words.get(state, "unknown")


async def _probe(call: Call, name: str, port: int, path: str | None, what: str) -> dict[str, Any]:
    """Return whether a service of this machine answers."""
    status = "stopped"
    with contextlib.suppress(OSError, TimeoutError, aiohttp.ClientError):
        async with asyncio.timeout(PATIENCE):
            if path is None:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                status = "running"
            else:
                well = await call.context.upstream.well(f"http://127.0.0.1:{port}{path}")
                status = "running" if well else "degraded"
    return _service(name, port, "tcp" if path is None else "http", status, what)


def _service(name: str, port: int | None, protocol: str, status: str, what: str) -> dict[str, Any]:
    return {
        "name": name,
        "port": port,
        "internal_port": port,
        "protocol": protocol,
        "status": status,
        "description": what,
    }


ROUTES = (Route("GET", "/config", _config, Scope.READ, "How the studio is set up, and which services answer"),)
