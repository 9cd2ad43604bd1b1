"""What was used, and a short measurement of an engine."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiohttp import web

from vllm_studio_tui.domain.api_key import Scope
from vllm_studio_tui.domain.errors import EngineRefused, EngineUnreachable, NotFound, StudioError, UsageError
from vllm_studio_tui.domain.serving import Refusal
from vllm_studio_tui.domain.usage import BY, UsageQuery
from vllm_studio_tui.http.answers import document, whole_number
from vllm_studio_tui.http.controller.metrics import peak_document
from vllm_studio_tui.http.route import Call, Route
from vllm_studio_tui.services.usage_overview import overview

if TYPE_CHECKING:
    from vllm_studio_tui.services.benchmark import Benchmark


async def _usage(call: Call) -> web.StreamResponse:
    days = whole_number(call, "days", 0, 1, 36_500) if "days" in call.request.query else None
    by = call.request.query.get("by", "model")
    if by not in BY:
        words = f"usage cannot be divided by {by[:40]}"
        raise Refusal(400, "invalid_query", words, advice=f"Choose one of {', '.join(BY)}.", param="by")
    return document(await call.context.read(overview, call.context.studio.usage, UsageQuery(days, by)))


async def _benchmark(call: Call) -> web.StreamResponse:
    """Measure the engine that answers: one question, its answer streamed."""
    prompt = whole_number(call, "prompt_tokens", 1000, 1, 100_000)
    most = whole_number(call, "max_tokens", 100, 1, 10_000)
    studio, name = call.context.studio, call.request.query.get("model")

    def measured() -> tuple[Benchmark, dict[str, Any]]:
        try:
            found = studio.measure(name, prompt, most)
        except (NotFound, UsageError, EngineRefused, EngineUnreachable):
            raise
        except StudioError as error:
            raise Refusal(503, "not_ready", error.title, cause=error.cause, advice=error.advice) from None
        return found, peak_document(found.model, studio.usage.report(UsageQuery()).peaks.get(found.model, {}))

    found, peaks = await asyncio.to_thread(measured)
    told = {"success": True, "model_id": found.model, "run_id": found.run_id, "benchmark": found.to_json()}
    return document({**told, "peak_metrics": peaks})


ROUTES = (
    Route(
        "GET", "/usage", _usage, Scope.READ, "What was used: tokens, requests, latency, energy", "Measured",
        query={"days": "The last N days, today too.", "by": f"Divided by one of {', '.join(BY)}."},
    ),
    Route(
        "POST", "/benchmark", _benchmark, Scope.MANAGE, "Measure an engine with one question", "Measured",
        query={
            "prompt_tokens": "About so many (1000).",
            "max_tokens": "At most so many (100).",
            "model": "A run, recipe or model; without it the run that was launched last.",
        },
    ),
)  # fmt: skip
