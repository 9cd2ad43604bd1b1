"""Measured values of an engine over one interval. None is unknown, which is not zero."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from vllm_studio_tui.domain.custom_metric import CustomValue


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Seconds; `count` observations. A percentile past the last bucket edge is None, see `over`."""

    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    count: int | None = None
    mean: float | None = None
    over: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return all of it, in seconds; unknown is null."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class EngineMetrics:
    """An engine over one interval: requests, tokens per second, shares 0-1, seconds.

    Attributes:
        interval: Seconds between the two scrapes; None with one scrape only, when speeds are unknown.
        since_start: Names of the fields that are over the engine's whole life instead of the interval.
        ended_requests_total, ended_preemptions_total: Requests that ended, and how often these had been preempted.
        custom: Metrics that were added, those that this engine may have.
    """

    running: int | None = None
    waiting: int | None = None
    prompt_tokens_per_second: float | None = None
    generation_tokens_per_second: float | None = None
    kv_cache_usage: float | None = None
    prefix_cache_hit_rate: float | None = None
    preemptions: int | None = None
    spec_acceptance: float | None = None
    ttft: Percentiles = field(default_factory=Percentiles)
    itl: Percentiles = field(default_factory=Percentiles)
    e2e: Percentiles = field(default_factory=Percentiles)
    prompt_tokens_total: int | None = None
    generation_tokens_total: int | None = None
    cached_tokens_total: int | None = None
    requests_total: int | None = None
    preemptions_total: int | None = None
    ended_requests_total: int | None = None
    ended_preemptions_total: int | None = None
    interval: float | None = None
    error: str | None = None
    since_start: tuple[str, ...] = ()
    custom: tuple[CustomValue, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return what `metrics --json` prints: per second, shares 0-1, seconds; unknown is null."""
        return {
            "running": self.running,
            "waiting": self.waiting,
            "prompt_tokens_per_second": self.prompt_tokens_per_second,
            "generation_tokens_per_second": self.generation_tokens_per_second,
            "kv_cache_usage": self.kv_cache_usage,
            "prefix_cache_hit_rate": self.prefix_cache_hit_rate,
            "ttft": self.ttft.to_json(),
            "itl": self.itl.to_json(),
            "e2e": self.e2e.to_json(),
            "preemptions": self.preemptions,
            "spec_acceptance": self.spec_acceptance,
            "prompt_tokens_total": self.prompt_tokens_total,
            "generation_tokens_total": self.generation_tokens_total,
            "cached_tokens_total": self.cached_tokens_total,
            "requests_total": self.requests_total,
            "preemptions_total": self.preemptions_total,
            "ended_requests_total": self.ended_requests_total,
            "ended_preemptions_total": self.ended_preemptions_total,
            "interval": self.interval,
            "since_start": list(self.since_start),
            "custom": {one.metric.name: one.value for one in self.custom},
            "error": self.error,
        }
