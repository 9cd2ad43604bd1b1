"""The metric tables of engines: which samples of their /metrics make which of our metrics.

A new metric is one row in each engine that has it. Names of versions: vLLM 0.33, SGLang 0.5.23, llama.cpp build 11434,
and older ones after them.
"""

from __future__ import annotations

from functools import partial

from vllm_studio_tui.domain.metric_spec import MetricSpec, SlotsSource, prefixed

_vllm, _sglang, _llamacpp = (partial(prefixed, engine) for engine in ("vllm", "sglang", "llamacpp"))

#: Labels of vLLM's and SGLang's data-parallel ranks.
_RANK, _DP = "engine", "dp_rank"
_FROM_ELSEWHERE = ("source", frozenset({"local_cache_hit", "external_kv_transfer"}))

VLLM = (
    MetricSpec("running", "gauge", _vllm("num_requests_running"), rank=_RANK),
    MetricSpec("waiting", "gauge", _vllm("num_requests_waiting"), rank=_RANK),
    MetricSpec("waiting_by_reason", "parts", _vllm("num_requests_waiting_by_reason"), by="reason"),
    MetricSpec("kv_cache_usage", "mean", _vllm("kv_cache_usage_perc", "gpu_cache_usage_perc"), rank=_RANK),
    # Of a model with several kinds of caches its tokens are not blocks times their size.
    MetricSpec("kv_tokens_total", "product", _vllm("cache_config_info"), factors=("kv_cache_size_tokens",), rank=_RANK),
    MetricSpec(
        "kv_tokens_total", "product", _vllm("cache_config_info"), factors=("num_gpu_blocks", "block_size"), rank=_RANK
    ),
    MetricSpec("prompt_tokens_per_second", "rate", _vllm("prompt_tokens_total")),
    MetricSpec("prompt_tokens_per_second", "gauge", _vllm("avg_prompt_throughput_toks_per_s")),
    MetricSpec(
        "prompt_computed_per_second",
        "rate",
        _vllm("prompt_tokens_by_source_total"),
        labels=("source", frozenset({"local_compute"})),
    ),
    MetricSpec("prompt_cached_per_second", "rate", _vllm("prompt_tokens_by_source_total"), labels=_FROM_ELSEWHERE),
    MetricSpec(
        "prompt_cached_per_second",
        "rate",
        _vllm("prompt_tokens_cached_total", "prefix_cache_hits_total", "gpu_prefix_cache_hits_total"),
    ),
    MetricSpec("generation_tokens_per_second", "rate", _vllm("generation_tokens_total")),
    MetricSpec("generation_tokens_per_second", "gauge", _vllm("avg_generation_throughput_toks_per_s")),
    MetricSpec("requests_per_second", "rate", _vllm("request_success_total")),
    MetricSpec("outcomes", "part_deltas", _vllm("request_success_total"), by="finished_reason"),
    MetricSpec(
        "prefix_cache_hit_rate",
        "ratio",
        _vllm("prefix_cache_hits_total", "gpu_prefix_cache_hits_total"),
        over=(_vllm("prefix_cache_queries_total", "gpu_prefix_cache_queries_total"),),
    ),
    MetricSpec("prefix_cache_hit_rate", "mean", _vllm("gpu_prefix_cache_hit_rate")),
    MetricSpec("preemptions", "delta", _vllm("num_preemptions_total")),
    MetricSpec(
        "spec_acceptance",
        "ratio",
        _vllm("spec_decode_num_accepted_tokens_total"),
        over=(_vllm("spec_decode_num_draft_tokens_total"),),
    ),
    MetricSpec(
        "spec_length",
        "ratio",
        _vllm("spec_decode_num_accepted_tokens_total"),
        over=(_vllm("spec_decode_num_drafts_total"),),
        base=1.0,
    ),
    # A histogram, despite its name.
    MetricSpec(
        "tokens_per_step",
        "ratio",
        _vllm("iteration_tokens_total_sum"),
        over=(_vllm("iteration_tokens_total_count"),),
    ),
    MetricSpec("sleep", "state", _vllm("engine_sleep_state"), by="sleep_state"),
    MetricSpec("ttft", "histogram", _vllm("time_to_first_token_seconds")),
    MetricSpec(
        "itl",
        "histogram",
        _vllm(
            "inter_token_latency_seconds",
            "time_per_output_token_seconds",
            "request_time_per_output_token_seconds",
        ),
    ),
    MetricSpec("tpot", "histogram", _vllm("request_time_per_output_token_seconds")),
    MetricSpec("e2e", "histogram", _vllm("e2e_request_latency_seconds")),
    MetricSpec("queue", "histogram", _vllm("request_queue_time_seconds")),
    MetricSpec("prefill", "histogram", _vllm("request_prefill_time_seconds")),
    MetricSpec("decode", "histogram", _vllm("request_decode_time_seconds")),
    MetricSpec("prompt_tokens_total", "total", _vllm("prompt_tokens_total")),
    MetricSpec("generation_tokens_total", "total", _vllm("generation_tokens_total")),
    MetricSpec(
        "cached_tokens_total",
        "total",
        _vllm("prompt_tokens_cached_total", "prefix_cache_hits_total", "gpu_prefix_cache_hits_total"),
    ),
    MetricSpec("requests_total", "total", _vllm("request_success_total")),
    MetricSpec("preemptions_total", "total", _vllm("num_preemptions_total")),
    MetricSpec("ended_requests_total", "total", _vllm("request_num_preemptions_count")),
    MetricSpec("ended_preemptions_total", "total", _vllm("request_num_preemptions_sum")),
)

#: With `--enable-metrics-for-all-schedulers` each process of a rank tells what the rank does.
_row = partial(MetricSpec, twins=("pp_rank", "tp_rank", "moe_ep_rank", "pid"))


def _live(*modes: str) -> tuple[str, frozenset[str]]:
    return "mode", frozenset(modes)


SGLANG = (
    _row("running", "gauge", _sglang("num_running_reqs", "num_requests_running"), rank=_DP),
    _row("waiting", "gauge", _sglang("num_queue_reqs", "num_pending_reqs", "num_requests_waiting"), rank=_DP),
    _row(
        "waiting_by_reason",
        "parts",
        _sglang("num_grammar_queue_reqs"),
        by="reason",
        title="grammar",
    ),
    _row("kv_cache_usage", "mean", _sglang("token_usage", "full_token_usage", "kv_cache_usage_perc"), rank=_DP),
    _row("kv_tokens_used", "gauge", _sglang("kv_used_tokens", "num_used_tokens")),
    _row("kv_tokens_total", "gauge", _sglang("max_total_num_tokens")),
    # Its token counters move only when a request ends; this one moves at each log interval.
    _row(
        "prompt_tokens_per_second",
        "rate",
        _sglang("realtime_tokens_total"),
        labels=_live("prefill_compute", "prefill_cache"),
        at_end=True,
    ),
    _row("prompt_tokens_per_second", "gauge", _sglang("prompt_throughput", "prefill_throughput")),
    _row(
        "prompt_tokens_per_second",
        "rate",
        _sglang("prompt_tokens_total", "prefill_tokens_total"),
        at_end=True,
    ),
    _row(
        "prompt_computed_per_second",
        "rate",
        _sglang("realtime_tokens_total"),
        labels=_live("prefill_compute"),
        at_end=True,
    ),
    _row("prompt_cached_per_second", "rate", _sglang("realtime_tokens_total"), labels=_live("prefill_cache")),
    _row("prompt_cached_per_second", "rate", _sglang("cached_tokens_total"), at_end=True),
    _row("generation_tokens_per_second", "gauge", _sglang("gen_throughput", "generation_throughput")),
    _row("generation_tokens_per_second", "rate", _sglang("realtime_tokens_total"), labels=_live("decode"), at_end=True),
    _row(
        "generation_tokens_per_second",
        "rate",
        _sglang("generation_tokens_total", "completion_tokens_total", "gen_tokens_total"),
        at_end=True,
    ),
    _row("requests_per_second", "rate", _sglang("num_requests_total")),
    # Of how the others ended it tells nothing.
    _row("outcomes", "part_deltas", _sglang("num_aborted_requests_total"), by="reason", title="abort"),
    _row(
        "tokens_per_step",
        "ratio",
        _sglang("realtime_tokens_total"),
        over=(_sglang("cuda_graph_passes_total"),),
        labels=_live("prefill_compute", "decode"),
    ),
    _row(
        "prefix_cache_hit_rate",
        "ratio",
        _sglang("cached_tokens_total"),
        over=(_sglang("prompt_tokens_total", "prefill_tokens_total"),),
    ),
    _row("prefix_cache_hit_rate", "mean", _sglang("cache_hit_rate")),
    _row("preemptions", "delta", _sglang("num_retracted_requests_total")),
    _row("spec_acceptance", "mean", _sglang("spec_accept_rate"), positive=True),
    _row("spec_length", "mean", _sglang("spec_accept_length"), positive=True),
    _row("ttft", "histogram", _sglang("time_to_first_token_seconds")),
    _row(
        "itl",
        "histogram",
        _sglang(
            "inter_token_latency_seconds",
            "time_per_output_token_seconds",
            "request_time_per_output_token_seconds",
        ),
    ),
    _row("tpot", "histogram", _sglang("request_time_per_output_token_seconds")),
    _row("e2e", "histogram", _sglang("e2e_request_latency_seconds")),
    _row("queue", "histogram", _sglang("queue_time_seconds")),
    _row(
        "prefill",
        "histogram",
        _sglang("per_stage_req_latency_seconds"),
        labels=("stage", frozenset({"prefill_forward"})),
    ),
    _row("prompt_tokens_total", "total", _sglang("prompt_tokens_total", "prefill_tokens_total")),
    _row(
        "generation_tokens_total",
        "total",
        _sglang("generation_tokens_total", "completion_tokens_total", "gen_tokens_total"),
    ),
    _row("cached_tokens_total", "total", _sglang("cached_tokens_total")),
    _row("requests_total", "total", _sglang("num_requests_total")),
    _row("preemptions_total", "total", _sglang("num_retracted_requests_total")),
)

#: It counts prompt tokens without the cached ones, has no histograms, and dropped its KV gauge.
LLAMACPP = (
    MetricSpec("running", "gauge", _llamacpp("requests_processing")),
    MetricSpec("waiting", "gauge", _llamacpp("requests_deferred")),
    MetricSpec("kv_cache_usage", "mean", _llamacpp("kv_cache_usage_ratio")),
    MetricSpec("kv_tokens_used", "gauge", _llamacpp("kv_cache_tokens")),
    MetricSpec(
        "prompt_tokens_per_second",
        "rate",
        _llamacpp("prompt_tokens_total"),
        at_end=True,
        seconds=_llamacpp("prompt_seconds_total"),
        running=_llamacpp("requests_processing"),
    ),
    MetricSpec("prompt_cached_per_second", "rate", _llamacpp("prompt_tokens_cached_total")),
    MetricSpec(
        "generation_tokens_per_second",
        "rate",
        _llamacpp("tokens_predicted_total"),
        at_end=True,
        seconds=_llamacpp("tokens_predicted_seconds_total"),
        running=_llamacpp("requests_processing"),
    ),
    MetricSpec(
        "prefix_cache_hit_rate",
        "ratio",
        _llamacpp("prompt_tokens_cached_total"),
        over=(_llamacpp("prompt_tokens_cached_total"), _llamacpp("prompt_tokens_total")),
    ),
    MetricSpec(
        "spec_acceptance",
        "ratio",
        _llamacpp("spec_decode_num_accepted_tokens_total"),
        over=(_llamacpp("spec_decode_num_draft_tokens_total"),),
    ),
    MetricSpec(
        "spec_length",
        "ratio",
        _llamacpp("spec_decode_num_accepted_tokens_total"),
        over=(_llamacpp("spec_decode_num_drafts_total"),),
        base=1.0,
    ),
    MetricSpec(
        "tokens_per_step", "weighted", _llamacpp("n_busy_slots_per_decode"), over=(_llamacpp("n_decode_total"),)
    ),
    MetricSpec(
        "prompt_tokens_total",
        "total",
        _llamacpp("prompt_tokens_total"),
        plus=_llamacpp("prompt_tokens_cached_total"),
    ),
    MetricSpec("generation_tokens_total", "total", _llamacpp("tokens_predicted_total")),
    MetricSpec("cached_tokens_total", "total", _llamacpp("prompt_tokens_cached_total")),
)

#: Answers and prompts are counted when they end; what is being made stands here.
LLAMACPP_SLOTS = SlotsSource(
    "/slots",
    "llamacpp:tokens_predicted_total",
    "llamacpp:prompt_tokens_total",
    "llamacpp:prompt_tokens_cached_total",
    _llamacpp("requests_processing"),
)
