"""What engines measure, the best of it, and totals over all time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from vllm_studio_tui.domain.api_key import Scope
from vllm_studio_tui.domain.errors import NotFound
from vllm_studio_tui.domain.run import ANSWERING
from vllm_studio_tui.domain.usage import UsageQuery
from vllm_studio_tui.http.answers import document
from vllm_studio_tui.http.route import Call, Route
from vllm_studio_tui.runs.find import pick_run
from vllm_studio_tui.runs.json_documents import metrics_document

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vllm_studio_tui.domain.usage import UsageReport
    from vllm_studio_tui.http.context import ServeContext
    from vllm_studio_tui.services.watching.snapshot import Snapshot

#: What the original called what an engine measures, and what that is here.
_NAMES = {
    "running_requests": "running",
    "pending_requests": "waiting",
    "generation_throughput": "generation_tokens_per_second",
    "prompt_throughput": "prompt_tokens_per_second",
    "kv_cache_usage": "kv_cache_usage",
    "prefix_cache_hit_rate": "prefix_cache_hit_rate",
    "prompt_tokens_total": "prompt_tokens_total",
    "generation_tokens_total": "generation_tokens_total",
    "request_success": "requests_total",
}


def original_metrics(snapshot: Snapshot, name: str | None, totals: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return what one engine measures by the original's names; unknown is null.

    Args:
        name: A run, recipe or model; None: the engine that answers and was launched last.
        totals: Over all time; see `lifetime_fields`.
    """
    answering = [one for one in snapshot.runs if one.state in ANSWERING]
    run = pick_run(answering, name) if name is not None else (answering[-1] if answering else None)
    found = snapshot.engine(run.run_id) if run is not None else None
    told: dict[str, Any] = {ours: getattr(found, theirs, None) for ours, theirs in _NAMES.items()}
    mean = found.ttft.mean if found is not None else None
    watts = [gpu.power_draw for gpu in snapshot.tick.gpus.gpus if gpu.power_draw is not None]
    return {
        "run_id": run.run_id if run is not None else None,
        "recipe_id": run.recipe_id if run is not None else None,
        "model": run.model if run is not None else None,
        **told,
        "avg_ttft_ms": None if mean is None else mean * 1000,
        "current_power_watts": sum(watts) if watts else None,
        **(totals or {}),
    }


def lifetime_document(report: UsageReport, watts: float | None) -> dict[str, Any]:
    """Return totals over all time by the original's names; unknown is null."""
    kept = report.lifetime
    energy, lived = kept.get("energy_wh"), kept.get("uptime_seconds")
    return {
        **kept,
        "energy_kwh": None if energy is None else energy / 1000,
        "uptime_hours": None if lived is None else lived / 3600,
        "kwh_per_million_tokens": _kwh(energy, kept.get("tokens_total")),
        "current_power_watts": watts,
    }


def lifetime_fields(report: UsageReport) -> dict[str, Any]:
    """Return totals over all time as the original's event `metrics` has them."""
    told = lifetime_document(report, None)
    energy = told.get("energy_wh")
    return {
        "lifetime_tokens": told.get("tokens_total"),
        "lifetime_prompt_tokens": told.get("prompt_tokens_total"),
        "lifetime_completion_tokens": told.get("completion_tokens_total"),
        "lifetime_requests": told.get("requests_total"),
        "lifetime_energy_wh": energy,
        "lifetime_energy_kwh": told["energy_kwh"],
        "lifetime_uptime_hours": told["uptime_hours"],
        "kwh_per_million_tokens": told["kwh_per_million_tokens"],
        "kwh_per_million_input": _kwh(energy, told.get("prompt_tokens_total")),
        "kwh_per_million_output": _kwh(energy, told.get("completion_tokens_total")),
    }


def _kwh(watt_hours: float | None, tokens: float | None) -> float | None:
    return watt_hours / 1000 / (tokens / 1e6) if watt_hours is not None and tokens else None


def peak_document(model: str, peaks: Mapping[str, float | None]) -> dict[str, Any]:
    """Return the best of a model by the original's names."""
    ttft = peaks.get("ttft")
    return {
        "model_id": model,
        "prefill_tps": peaks.get("prefill_tps"),
        "generation_tps": peaks.get("generation_tps"),
        "ttft_ms": None if ttft is None else ttft * 1000,
    }


async def _report(context: ServeContext) -> UsageReport:
    return await context.read(lambda: context.studio.usage.report(UsageQuery()))


async def _engine(call: Call) -> web.StreamResponse:
    snapshot = await call.context.watching.latest()
    name = call.request.query.get("run")
    told = original_metrics(snapshot, name)
    if name is not None and told["run_id"] is None:
        raise NotFound(f"no run called {name[:80]} answers", advice="See /status.")
    run = pick_run(snapshot.runs, told["run_id"]) if told["run_id"] is not None else None
    engine = snapshot.engine(run.run_id) if run is not None else None
    detail = metrics_document(run, engine) if run is not None and engine is not None else None
    return document({**told, "detail": detail})


async def _peaks(call: Call) -> web.StreamResponse:
    report = await _report(call.context)
    model = call.request.query.get("model_id")
    if model is None:
        return document({"metrics": [peak_document(name, one) for name, one in sorted(report.peaks.items())]})
    found = report.peaks.get(model)
    if found is None:
        raise NotFound(f"nothing was measured of {model[:200]}", advice="See /peak-metrics.")
    return document(peak_document(model, found))


async def _lifetime(call: Call) -> web.StreamResponse:
    snapshot = await call.context.watching.latest()
    watts = [gpu.power_draw for gpu in snapshot.tick.gpus.gpus if gpu.power_draw is not None]
    return document(lifetime_document(await _report(call.context), sum(watts) if watts else None))


_RUN = {"run": "A run, recipe or model; without it the engine that was launched last."}
ROUTES = (
    *(
        Route("GET", path, _engine, Scope.READ, "What an engine measures", "Measured", query=_RUN)
        for path in ("/metrics/vllm", "/v1/metrics/vllm")
    ),
    *(
        Route(
            "GET", path, _peaks, Scope.READ, "The best speeds of each model", "Measured",
            query={"model_id": "Only this model."},
        )
        for path in ("/peak-metrics", "/metrics/peak")
    ),
    Route("GET", "/lifetime-metrics", _lifetime, Scope.READ, "Totals over all time", "Measured"),
)  # fmt: skip
