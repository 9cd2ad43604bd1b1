"""What a snapshot says, as families of Prometheus: GPUs, runs, engines. What is unknown has no sample."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from vllm_studio_tui.domain.engine_metrics import EngineMetrics, Percentiles
from vllm_studio_tui.domain.gpus import GpuReport, Throttle
from vllm_studio_tui.domain.run import ANSWERING, State
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.services.serving.label_values import label_value
from vllm_studio_tui.services.watching.snapshot import Snapshot

#: What is known of each GPU: name without prefix, kind, help, the attribute and what it is multiplied by.
_OF_A_GPU = (
    ("gpu_memory_used_bytes", "gauge", "Memory of the GPU that is used.", "memory_used", 1),
    ("gpu_memory_total_bytes", "gauge", "Memory of the GPU.", "memory_total", 1),
    ("gpu_utilization_percent", "gauge", "Share of time in which the GPU computed, 0-100.", "utilization", 1),
    ("gpu_temperature_celsius", "gauge", "Temperature of the GPU.", "temperature", 1),
    ("gpu_power_watts", "gauge", "What the GPU draws.", "power_draw", 1),
    ("gpu_power_limit_watts", "gauge", "What the GPU may draw.", "power_limit", 1),
    ("gpu_memory_temperature_celsius", "gauge", "Temperature of the GPU's memory.", "memory_temperature", 1),
    ("gpu_pcie_receive_bytes_per_second", "gauge", "What the GPU receives over PCIe.", "pcie_rx", 1),
    ("gpu_pcie_send_bytes_per_second", "gauge", "What the GPU sends over PCIe.", "pcie_tx", 1),
    ("gpu_nvlink_receive_bytes_per_second", "gauge", "What the GPU receives over all NVLinks.", "nvlink_rx", 1),
    ("gpu_nvlink_send_bytes_per_second", "gauge", "What the GPU sends over all NVLinks.", "nvlink_tx", 1),
    ("gpu_memory_errors_corrected", "gauge", "Errors of memory since the driver was loaded.", "ecc_corrected", 1),
    ("gpu_memory_errors_uncorrected", "gauge", "Those of them that cost data.", "ecc_uncorrected", 1),
)
#: What is known of each engine: name without prefix, kind, help, the attribute.
OF_AN_ENGINE = (
    ("engine_requests_running", "gauge", "Requests that the engine works on.", "running"),
    ("engine_requests_waiting", "gauge", "Requests that wait in the engine.", "waiting"),
    ("engine_kv_cache_usage_ratio", "gauge", "Share of the engine's KV cache that is used, 0-1.", "kv_cache_usage"),
    ("engine_prompt_tokens_total", "counter", "Tokens of prompts, the cached ones among them.", "prompt_tokens_total"),
    ("engine_generation_tokens_total", "counter", "Tokens that the engine generated.", "generation_tokens_total"),
    ("engine_cached_tokens_total", "counter", "Tokens of prompts from its prefix cache.", "cached_tokens_total"),
    ("engine_requests_total", "counter", "Requests that the engine finished.", "requests_total"),
    ("engine_preemptions_total", "counter", "Requests that were put back for want of cache.", "preemptions_total"),
    ("engine_kv_tokens", "gauge", "Tokens that the engine's KV cache holds.", "kv_tokens_used"),
    ("engine_kv_tokens_capacity", "gauge", "Tokens that the engine's KV cache has room for.", "kv_tokens_total"),
    (
        "engine_rank_imbalance_ratio",
        "gauge",
        "What its busiest rank has to do above the average, 0: as all.",
        "imbalance",
    ),
    ("engine_tokens_per_step", "gauge", "Tokens that a step of the engine computed, on average.", "tokens_per_step"),
)
#: The windows of latencies are those of the studio: a scraper that needs others reads the engine's own histograms.
_LATENCIES = ("ttft", "itl", "tpot", "e2e", "queue", "prefill", "decode")
_OF_RUN = ("run", "recipe", "model", "backend")


class _Family:
    """One family without a sample twice: a server refuses a scrape that has one."""

    def __init__(self, name: str, kind: str, about: str, labels: Sequence[str] = ()) -> None:
        made = CounterMetricFamily if kind == "counter" else GaugeMetricFamily
        self.metric: CounterMetricFamily | GaugeMetricFamily = made(f"vllm_studio_{name}", about, labels=tuple(labels))
        self._seen: set[tuple[str, ...]] = set()

    def add(self, labels: Sequence[object], value: float | int | bool | None) -> None:
        if value is None or not math.isfinite(value):
            return
        key = tuple(label_value(one) for one in labels)
        if key not in self._seen:
            self._seen.add(key)
            self.metric.add_metric(key, float(value))


def families(snapshot: Snapshot) -> Iterator[Metric]:
    """Yield all that a snapshot says; families without a sample are left out."""
    for family in (*_gpus(snapshot.tick.gpus), *_runs(snapshot.runs), *_engines(snapshot)):
        if family.metric.samples:
            yield family.metric


def recipe_counts(name: str, about: str, counts: Mapping[str, int], runs: Sequence[RunView]) -> Metric:
    """Return a gauge with a count for each recipe; a live run's recipe has one, be it 0."""
    family = _Family(name, "gauge", about, ("recipe",))
    for recipe, count in counts.items():
        family.add((recipe,), count)
    for run in runs:
        if run.live:
            family.add((run.recipe_id,), counts.get(run.recipe_id, 0))
    return family.metric


def _gpus(report: GpuReport) -> list[_Family]:
    labels = ("gpu_id", "gpu_name")
    made = []
    for name, kind, about, attribute, factor in _OF_A_GPU:
        family = _Family(name, kind, about, labels)
        for gpu in report.gpus:
            value = getattr(gpu, attribute)
            family.add((gpu.index, gpu.name), None if value is None or gpu.lost else value * factor)
        made.append(family)
    energy = _Family(
        "gpu_energy_joules_total", "counter", "What the GPU used since its driver was loaded.", ("gpu_uuid",)
    )
    lost = _Family("gpu_lost", "gauge", "1 for a GPU that does not answer.", labels)
    throttled = _Family("gpu_throttled", "gauge", "1 for a reason that slows the GPU down now.", (*labels, "reason"))
    for gpu in report.gpus:
        lost.add((gpu.index, gpu.name), gpu.lost is not None)
        if gpu.lost is None:
            energy.add((gpu.uuid,), None if gpu.energy_mj is None else gpu.energy_mj / 1000)
            for reason in Throttle:
                throttled.add((gpu.index, gpu.name, reason), reason in gpu.throttle)
    age = _Family("gpu_stale_seconds", "gauge", "Age of what is told of the GPUs, where nothing newer could be read.")
    age.add((), report.stale)
    simulated = _Family("gpus_simulated", "gauge", "1 where the GPUs are a simulation.")
    simulated.add((), report.simulated or None)
    return [*made, energy, lost, throttled, age, simulated]


def of_run(run: RunView) -> tuple[object, ...]:
    """Return the values of the labels that tell a run."""
    return run.run_id, run.recipe_id, run.model, run.backend


def _runs(runs: Sequence[RunView]) -> list[_Family]:
    info = _Family("run_info", "gauge", "1 for each run that is live, or that failed and waits for a person.", _OF_RUN)
    state = _Family("run_state", "gauge", "1 for the state that the run is in, 0 for the others.", ("run", "state"))
    restarts = _Family("run_restarts_total", "counter", "Restarts of the run's engine.", ("run", "recipe"))
    active = _Family(
        "active_model_info", "gauge", "1 for each model that answers.", ("model_path", "backend", "served_model_name")
    )
    up = _Family("inference_server_up", "gauge", "1 while any model answers.")
    for run in runs:
        info.add(of_run(run), 1)
        for one in State:
            state.add((run.run_id, one), run.state is one)
        restarts.add((run.run_id, run.recipe_id), run.status.restarts)
        if run.state in ANSWERING:
            path = run.spec.recipe.get("model_path") if run.spec else None
            active.add((path or run.model, run.backend, run.model), 1)
    up.add((), any(run.state in ANSWERING for run in runs))
    return [info, state, restarts, active, up]


def _engines(snapshot: Snapshot) -> list[_Family]:
    made = []
    for name, kind, about, attribute in OF_AN_ENGINE:
        family = _Family(name, kind, about, _OF_RUN)
        for run in snapshot.runs:
            metrics: EngineMetrics | None = snapshot.engine(run.run_id)
            if metrics is not None and metrics.error is None:
                family.add(of_run(run), getattr(metrics, attribute))
        made.append(family)
    return [*made, *_of_engines(snapshot), *_custom(snapshot).values()]


def _of_engines(snapshot: Snapshot) -> list[_Family]:
    """Return what has a label more: by what a request waits for, and latencies by quantile."""
    waiting = _Family(
        "engine_requests_waiting_by_reason", "gauge", "Requests that wait, by what for.", (*_OF_RUN, "reason")
    )
    asleep = _Family("engine_asleep", "gauge", "1 while the engine sleeps, by how.", (*_OF_RUN, "how"))
    latency = _Family(
        "engine_latency_seconds", "gauge", "Latencies of the last minute, where within the engine's buckets.",
        (*_OF_RUN, "of", "quantile"),
    )  # fmt: skip
    for run in snapshot.runs:
        metrics = snapshot.engine(run.run_id)
        if metrics is None or metrics.error is not None:
            continue
        for reason, count in metrics.waiting_by_reason.items():
            waiting.add((*of_run(run), reason), count)
        if metrics.sleep not in (None, "awake"):
            asleep.add((*of_run(run), metrics.sleep), 1)
        for name in _LATENCIES:
            told: Percentiles = getattr(metrics, name)
            for share, value in (("0.5", told.p50), ("0.95", told.p95), ("0.99", told.p99)):
                sign, known = told.bounded(value)
                latency.add((*of_run(run), name, share), None if sign else known)
    return [waiting, asleep, latency]


def _custom(snapshot: Snapshot) -> dict[str, _Family]:
    """Return a family for each metric that was added."""
    made: dict[str, _Family] = {}
    for run in snapshot.runs:
        metrics = snapshot.engine(run.run_id)
        for one in metrics.custom if metrics is not None and metrics.error is None else ():
            name = one.metric.name
            family = made.setdefault(name, _Family(f"custom_{name}", "gauge", one.metric.label, _OF_RUN))
            family.add(of_run(run), one.value)
    return made
