"""Which names of an engine's /metrics make which of our metrics.

Names come and go with engine versions: of each tuple the first that exists counts, and of several rows for one
field the first that gives a value. A new metric is one row. Sources: the /metrics of vLLM 0.32, SGLang 0.5.23 and
llama.cpp build 11434 as recorded, and for older names the vLLM and SGLang documentation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

#: How a value comes about: `gauge` is summed over labels, `mean` averaged over them; `total` is a counter as it
#: is, `delta` its increase, `rate` its increase per second; `ratio` is one increase over another; `histogram`
#: gives percentiles of the increase.
KINDS = frozenset({"gauge", "mean", "total", "delta", "rate", "ratio", "histogram"})


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """One row of the table.

    Attributes:
        field: The attribute of `EngineMetrics`.
        kind: One of `KINDS`.
        names: Sample names, for a histogram without `_bucket`; the first that exists counts.
        over: For a ratio, the names whose increases are summed below the line.
        labels: Only samples with one of these values under this label, as (label, values).
        at_end: The counter moves when a request ends: no increase while one runs tells nothing.
        seconds: For a counter that moves when a request ends: the seconds that it took, which may be more than
            the interval.
        running: The gauge that tells how many requests share those seconds.
        positive: Zero means that the engine does not use this.
    """

    field: str
    kind: str
    names: tuple[str, ...]
    over: tuple[tuple[str, ...], ...] = ()
    labels: tuple[str, frozenset[str]] | None = None
    at_end: bool = False
    seconds: tuple[str, ...] = ()
    running: tuple[str, ...] = ()
    positive: bool = False


def _v(*names: str) -> tuple[str, ...]:
    return tuple(f"vllm:{name}" for name in names)


def _s(*names: str) -> tuple[str, ...]:
    return tuple(f"sglang:{name}" for name in names)


def _l(*names: str) -> tuple[str, ...]:
    return tuple(f"llamacpp:{name}" for name in names)


VLLM = (
    MetricSpec("running", "gauge", _v("num_requests_running")),
    MetricSpec("waiting", "gauge", _v("num_requests_waiting")),
    MetricSpec("kv_cache_usage", "mean", _v("kv_cache_usage_perc", "gpu_cache_usage_perc")),
    MetricSpec("prompt_tokens_per_second", "rate", _v("prompt_tokens_total")),
    MetricSpec("prompt_tokens_per_second", "gauge", _v("avg_prompt_throughput_toks_per_s")),
    MetricSpec("generation_tokens_per_second", "rate", _v("generation_tokens_total")),
    MetricSpec("generation_tokens_per_second", "gauge", _v("avg_generation_throughput_toks_per_s")),
    MetricSpec(
        "prefix_cache_hit_rate",
        "ratio",
        _v("prefix_cache_hits_total", "gpu_prefix_cache_hits_total"),
        over=(_v("prefix_cache_queries_total", "gpu_prefix_cache_queries_total"),),
    ),
    MetricSpec("prefix_cache_hit_rate", "mean", _v("gpu_prefix_cache_hit_rate")),
    MetricSpec("preemptions", "delta", _v("num_preemptions_total")),
    MetricSpec(
        "spec_acceptance",
        "ratio",
        _v("spec_decode_num_accepted_tokens_total"),
        over=(_v("spec_decode_num_draft_tokens_total"),),
    ),
    MetricSpec("ttft", "histogram", _v("time_to_first_token_seconds")),
    MetricSpec(
        "itl",
        "histogram",
        _v(
            "inter_token_latency_seconds",
            "time_per_output_token_seconds",
            "request_time_per_output_token_seconds",
        ),
    ),
    MetricSpec("e2e", "histogram", _v("e2e_request_latency_seconds")),
    MetricSpec("prompt_tokens_total", "total", _v("prompt_tokens_total")),
    MetricSpec("generation_tokens_total", "total", _v("generation_tokens_total")),
    MetricSpec(
        "cached_tokens_total",
        "total",
        _v("prompt_tokens_cached_total", "prefix_cache_hits_total", "gpu_prefix_cache_hits_total"),
    ),
    MetricSpec("requests_total", "total", _v("request_success_total")),
)

SGLANG = (
    MetricSpec("running", "gauge", _s("num_running_reqs", "num_requests_running")),
    MetricSpec("waiting", "gauge", _s("num_queue_reqs", "num_pending_reqs", "num_requests_waiting")),
    MetricSpec("kv_cache_usage", "mean", _s("token_usage", "full_token_usage", "kv_cache_usage_perc")),
    # Its token counters move only when a request ends; this one moves at each log interval.
    MetricSpec(
        "prompt_tokens_per_second",
        "rate",
        _s("realtime_tokens_total"),
        labels=("mode", frozenset({"prefill_compute", "prefill_cache"})),
        at_end=True,
    ),
    MetricSpec("prompt_tokens_per_second", "gauge", _s("prompt_throughput", "prefill_throughput")),
    MetricSpec(
        "prompt_tokens_per_second",
        "rate",
        _s("prompt_tokens_total", "prefill_tokens_total"),
        at_end=True,
    ),
    MetricSpec("generation_tokens_per_second", "gauge", _s("gen_throughput", "generation_throughput")),
    MetricSpec(
        "generation_tokens_per_second",
        "rate",
        _s("generation_tokens_total", "completion_tokens_total", "gen_tokens_total"),
        at_end=True,
    ),
    MetricSpec(
        "prefix_cache_hit_rate",
        "ratio",
        _s("cached_tokens_total"),
        over=(_s("prompt_tokens_total", "prefill_tokens_total"),),
    ),
    MetricSpec("prefix_cache_hit_rate", "mean", _s("cache_hit_rate")),
    MetricSpec("preemptions", "delta", _s("num_retracted_requests_total")),
    MetricSpec("spec_acceptance", "mean", _s("spec_accept_rate"), positive=True),
    MetricSpec("ttft", "histogram", _s("time_to_first_token_seconds")),
    MetricSpec(
        "itl",
        "histogram",
        _s(
            "inter_token_latency_seconds",
            "time_per_output_token_seconds",
            "request_time_per_output_token_seconds",
        ),
    ),
    MetricSpec("e2e", "histogram", _s("e2e_request_latency_seconds")),
    MetricSpec("prompt_tokens_total", "total", _s("prompt_tokens_total", "prefill_tokens_total")),
    MetricSpec(
        "generation_tokens_total",
        "total",
        _s("generation_tokens_total", "completion_tokens_total", "gen_tokens_total"),
    ),
    MetricSpec("cached_tokens_total", "total", _s("cached_tokens_total")),
    MetricSpec("requests_total", "total", _s("num_requests_total")),
)

# llama.cpp counts prompt tokens without the cached ones, has no histograms, and dropped its KV gauge.
LLAMACPP = (
    MetricSpec("running", "gauge", _l("requests_processing")),
    MetricSpec("waiting", "gauge", _l("requests_deferred")),
    MetricSpec("kv_cache_usage", "mean", _l("kv_cache_usage_ratio")),
    MetricSpec(
        "prompt_tokens_per_second",
        "rate",
        _l("prompt_tokens_total"),
        at_end=True,
        seconds=_l("prompt_seconds_total"),
        running=_l("requests_processing"),
    ),
    MetricSpec(
        "generation_tokens_per_second",
        "rate",
        _l("tokens_predicted_total"),
        at_end=True,
        seconds=_l("tokens_predicted_seconds_total"),
        running=_l("requests_processing"),
    ),
    MetricSpec(
        "prefix_cache_hit_rate",
        "ratio",
        _l("prompt_tokens_cached_total"),
        over=(_l("prompt_tokens_cached_total"), _l("prompt_tokens_total")),
    ),
    MetricSpec(
        "spec_acceptance",
        "ratio",
        _l("spec_decode_num_accepted_tokens_total"),
        over=(_l("spec_decode_num_draft_tokens_total"),),
    ),
    MetricSpec("prompt_tokens_total", "total", _l("prompt_tokens_total")),
    MetricSpec("generation_tokens_total", "total", _l("tokens_predicted_total")),
    MetricSpec("cached_tokens_total", "total", _l("prompt_tokens_cached_total")),
)

TABLES: Mapping[str, tuple[MetricSpec, ...]] = {"vllm": VLLM, "sglang": SGLANG, "llamacpp": LLAMACPP}
#: Engines that have no /metrics at all.
WITHOUT = frozenset({"transformers", "tabbyapi"})


def specs_of(backend: str) -> tuple[MetricSpec, ...]:
    """The rows of a backend; for one that we have no table of, every row: the names carry the engine's prefix."""
    if backend in WITHOUT:
        return ()
    return TABLES.get(backend) or VLLM + SGLANG + LLAMACPP


def sample_names(specs: Iterable[MetricSpec]) -> frozenset[str]:
    """Every sample that the rows need, with the creation times that tell a restart."""
    names: set[str] = set()
    for spec in specs:
        for name in spec.names:
            if spec.kind == "histogram":
                names.update(f"{name}_{part}" for part in ("bucket", "sum", "count", "created"))
            else:
                names.add(name)
        names.update(name for group in spec.over for name in group)
        names.update((*spec.seconds, *spec.running))
    names.update(f"{name.removesuffix('_total')}_created" for name in list(names) if name.endswith("_total"))
    return frozenset(names)
