"""The GPUs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from vllm_studio_tui.domain.api_key import Scope
from vllm_studio_tui.http.answers import document
from vllm_studio_tui.http.route import Call, Route

if TYPE_CHECKING:
    from vllm_studio_tui.domain.gpus import Gpu, GpuReport


def gpus_document(report: GpuReport) -> dict[str, Any]:
    """Return the GPUs as the original listed them, with what is known beyond that; unknown is null."""
    told = report.to_json()
    return {**told, "count": len(report.gpus), "gpus": [_gpu(gpu) for gpu in report.gpus]}


def _gpu(gpu: Gpu) -> dict[str, Any]:
    free = None
    if gpu.memory_total is not None and gpu.memory_used is not None:
        free = max(0, gpu.memory_total - gpu.memory_used - (gpu.memory_reserved or 0))
    return {**gpu.to_json(), "memory_free": free}


async def _gpus(call: Call) -> web.StreamResponse:
    return document(gpus_document((await call.context.watching.latest()).tick.gpus))


ROUTES = tuple(
    Route("GET", path, _gpus, Scope.READ, "The GPUs: use, memory, power, temperature, processes", "Measured")
    for path in ("/gpus", "/metrics/gpu")
)
