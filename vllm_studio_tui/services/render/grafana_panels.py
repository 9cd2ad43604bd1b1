"""The one table of all panels: what they show, in which unit, from which of our own and our recorded metrics."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Needs(StrEnum):
    """What must be there for a panel to show anything."""

    STUDIO = "anything of ours that is scraped"
    LAUNCH = "a launch that became ready while it was scraped"
    GPU = "a GPU"
    ENGINE = "an engine with metrics"
    KV_CACHE = "an engine that tells of its KV cache"
    HISTOGRAMS = "an engine that keeps histograms"
    PREFIX_CACHE = "an engine that counts hits of its prefix cache"
    SERVE = "requests to `serve`"
    ON_DEMAND = "a request for which `serve` loaded a model"
    EVENTS = "somebody who reads the events of `serve`"


@dataclass(frozen=True, slots=True)
class Series:
    """An expression, and the name of its lines in Grafana's `{{label}}`."""

    expression: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel.

    Attributes:
        dashboard: Its key in `grafana.DASHBOARDS`.
        unit: As Grafana names it.
        kind: Grafana's name of the visualisation.
        width: Of the 24 columns.
        steps: Values from which on it is yellow and red.
        most: The end of the scale, where there is one.
    """

    dashboard: str
    row: str
    title: str
    unit: str
    kind: str
    series: tuple[Series, ...]
    needs: Needs
    width: int = 8
    steps: tuple[float, float] | None = None
    most: float | None = None


_STAT, _TIME = "stat", "timeseries"
_WHO = '{instance=~"$instance"}'
_RECIPE = '{instance=~"$instance", recipe=~"$recipe"}'
_RATE = "[$__rate_interval]"
_RUN, _GPU = "{{recipe}} {{run}}", "GPU {{gpu_id}}"


def _quantiles(
    metric: str, by: str, legend: str, quantiles: tuple[float, ...] = (0.5, 0.95), window: str = _RATE
) -> tuple[Series, ...]:
    """Return the quantiles of a histogram of ours."""
    labels, who = (f"{by}, le", _RECIPE) if by else ("le", _WHO)
    buckets = f"sum by ({labels}) (rate({metric}_bucket{who}{window}))"
    return tuple(
        Series(f"histogram_quantile({one:g}, {buckets})", f"p{one * 100:g} {legend}".strip()) for one in quantiles
    )


def _speed(metric: str, by: str, legend: str, who: str = _RECIPE) -> tuple[Series, ...]:
    """Return the increase of a counter of ours a second."""
    return (Series(f"sum by ({by}) (rate({metric}{who}{_RATE}))", legend),)


def _recorded(metric: str) -> tuple[Series, ...]:
    """Return the recorded quantiles of an engine's histogram."""
    shown = '{instance=~"$instance", recipe=~"$recipe", quantile=~"0.5|0.95"}'
    return (Series(f"{metric}:quantile{shown}", "{{recipe}} {{run}} {{quantile}}"),)


_SWITCH = "vllm_studio_model_switch_duration_seconds"

PANELS = (
    # --- the original's dashboard -----------------------------------------------------------------------
    Panel("main", "Overview", "Inference server up", "bool_on_off", _STAT,
          (Series(f"max(vllm_studio_inference_server_up{_WHO})"),), Needs.STUDIO, 4),
    Panel("main", "Overview", "Models that answer", "short", _STAT,
          (Series(f"count(vllm_studio_active_model_info{_WHO})"),), Needs.ENGINE, 4),
    Panel("main", "Overview", "Model switches", "short", _STAT,
          (Series(f"sum(increase(vllm_studio_model_switches_total{_WHO}[$__range]))"),), Needs.STUDIO, 4),
    Panel("main", "Overview", "Launch failures", "short", _STAT,
          (Series(f"sum(increase(vllm_studio_model_launch_failures_total{_WHO}[$__range]))"),), Needs.STUDIO, 4,
          steps=(1, 5)),
    Panel("main", "Overview", "Switch duration, p99", "s", _STAT,
          _quantiles(_SWITCH, "", "", (0.99,), "[$__range]"), Needs.LAUNCH, 4),
    Panel("main", "Overview", "Energy", "joule", _STAT,
          (Series(f"sum(increase(vllm_studio_gpu_energy_joules_total{_WHO}[$__range]))"),), Needs.GPU, 4),
    Panel("main", "GPU", "Memory used", "bytes", _TIME,
          (Series(f"vllm_studio_gpu_memory_used_bytes{_WHO}", _GPU),), Needs.GPU, 12),
    Panel("main", "GPU", "Memory utilization", "percentunit", _TIME,
          (Series(f"vllm_studio_gpu_memory_used_bytes{_WHO} / vllm_studio_gpu_memory_total_bytes{_WHO}", _GPU),),
          Needs.GPU, 12, steps=(0.8, 0.95), most=1),
    Panel("main", "GPU", "Utilization", "percent", _TIME,
          (Series(f"vllm_studio_gpu_utilization_percent{_WHO}", _GPU),), Needs.GPU, steps=(80, 95), most=100),
    Panel("main", "GPU", "Temperature", "celsius", _TIME,
          (Series(f"vllm_studio_gpu_temperature_celsius{_WHO}", _GPU),), Needs.GPU, steps=(75, 85)),
    Panel("main", "GPU", "Power", "watt", _TIME,
          (Series(f"vllm_studio_gpu_power_watts{_WHO}", _GPU),), Needs.GPU),
    Panel("main", "Inference", "Requests running and waiting", "short", _TIME,
          (Series(f"vllm_studio:requests_running{_RECIPE}", f"running {_RUN}"),
           Series(f"vllm_studio:requests_waiting{_RECIPE}", f"waiting {_RUN}")), Needs.ENGINE, 12),
    Panel("main", "Inference", "KV cache usage", "percentunit", _TIME,
          (Series(f"vllm_studio:kv_cache_usage:ratio{_RECIPE}", _RUN),), Needs.KV_CACHE, 12, steps=(0.8, 0.95), most=1),
    Panel("main", "Inference", "Token throughput", "short", _TIME,
          (Series(f"vllm_studio:generation_tokens:rate1m{_RECIPE}", f"generation {_RUN}"),
           Series(f"vllm_studio:prompt_tokens:rate1m{_RECIPE}", f"prompt {_RUN}")), Needs.ENGINE, 12),
    Panel("main", "Inference", "Tokens since the engine's start", "short", _TIME,
          (Series(f"vllm_studio:generation_tokens{_RECIPE}", f"generation {_RUN}"),
           Series(f"vllm_studio:prompt_tokens{_RECIPE}", f"prompt {_RUN}")), Needs.ENGINE, 12),
    Panel("main", "Inference", "Time to first token", "s", _TIME,
          _recorded("vllm_studio:time_to_first_token_seconds"), Needs.HISTOGRAMS),
    Panel("main", "Inference", "Time between tokens", "s", _TIME,
          _recorded("vllm_studio:inter_token_latency_seconds"), Needs.HISTOGRAMS),
    Panel("main", "Inference", "Prefix cache hits", "percentunit", _TIME,
          (Series(f"vllm_studio:prefix_cache_hits:ratio{_RECIPE}", _RUN),), Needs.PREFIX_CACHE, most=1),
    Panel("main", "Lifecycle", "Switches over time", "short", _TIME,
          (Series(f"sum by (recipe_id) (increase(vllm_studio_model_switches_total{_WHO}[5m]))", "{{recipe_id}}"),),
          Needs.STUDIO),
    Panel("main", "Lifecycle", "Switch duration", "s", _TIME,
          _quantiles(_SWITCH, "", "", (0.5, 0.95, 0.99), "[1h]"), Needs.LAUNCH),
    Panel("main", "Lifecycle", "State of runs", "short", "state-timeline",
          (Series(f"vllm_studio_run_state{_WHO} == 1", "{{run}} {{state}}"),), Needs.ENGINE),
    # --- what `serve` answers ---------------------------------------------------------------------------
    Panel("requests", "Requests", "Requests a second", "reqps", _TIME,
          _speed("vllm_studio_requests_total", "recipe, status", "{{recipe}} {{status}}"), Needs.SERVE),
    Panel("requests", "Requests", "By key", "reqps", _TIME,
          _speed("vllm_studio_requests_total", "key", "{{key}}"), Needs.SERVE),
    Panel("requests", "Requests", "Tokens a second", "short", _TIME,
          _speed("vllm_studio_request_tokens_total", "recipe, kind", "{{recipe}} {{kind}}"), Needs.SERVE),
    Panel("requests", "Waiting", "In the queue", "short", _TIME,
          (Series(f"vllm_studio_queue_length{_RECIPE}", "{{recipe}}"),), Needs.SERVE),
    Panel("requests", "Waiting", "In flight", "short", _TIME,
          (Series(f"vllm_studio_in_flight{_RECIPE}", "{{recipe}}"),), Needs.SERVE),
    Panel("requests", "Waiting", "Waited for others", "s", _TIME,
          _quantiles("vllm_studio_queue_seconds", "recipe", "{{recipe}}"), Needs.SERVE),
    Panel("requests", "Seconds", "To the first token", "s", _TIME,
          _quantiles("vllm_studio_time_to_first_token_seconds", "recipe", "{{recipe}}"), Needs.SERVE),
    Panel("requests", "Seconds", "To the end", "s", _TIME,
          _quantiles("vllm_studio_request_seconds", "recipe", "{{recipe}}"), Needs.SERVE),
    Panel("requests", "Seconds", "For the model to load", "s", _TIME,
          _quantiles("vllm_studio_load_seconds", "recipe", "{{recipe}}"), Needs.ON_DEMAND),
    Panel("requests", "Server", "What serve itself takes", "s", _TIME,
          _quantiles("vllm_studio_proxy_overhead_seconds", "", "", (0.5, 0.95, 0.99)), Needs.SERVE),
    Panel("requests", "Server", "SSE connections", "short", _STAT,
          (Series(f"sum(vllm_studio_sse_active_connections{_WHO})"),), Needs.EVENTS, 4),
    Panel("requests", "Server", "SSE events a second", "short", _TIME,
          _speed("vllm_studio_sse_events_published_total", "event_type", "{{event_type}}", _WHO), Needs.EVENTS),
    Panel("requests", "Server", "Degraded", "bool_yes_no", _STAT,
          (Series(f"max(vllm_studio_serve_degraded{_WHO})"),), Needs.SERVE, 4, steps=(1, 1)),
)  # fmt: skip
