"""Measured values of an engine over one interval. None is unknown, which is not zero."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from vllm_studio_tui.domain.custom_metric import CustomValue


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Seconds; `count` observations.

    A percentile past the last bucket edge is None, see `over`. One within the first bucket stands for all below its
    edge: it is interpolated from zero, and `under` is that edge.
    """

    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    count: int | None = None
    mean: float | None = None
    over: float | None = None
    under: float | None = None

    def bounded(self, value: float | None) -> tuple[str, float | None]:
        """Return what is really known of one of the percentiles: `<` or `>` before an edge, or nothing before it."""
        if value is None:
            return (">", self.over) if self.over is not None else ("", None)
        return ("<", self.under) if self.under is not None and value <= self.under else ("", value)

    def to_json(self) -> dict[str, Any]:
        """Return all of it, in seconds; unknown is null."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class RankLoad:
    """What one of several data-parallel ranks has to do; `kv` is the share of its cache, 0-1."""

    rank: int
    running: int | None = None
    waiting: int | None = None
    kv: float | None = None


@dataclass(frozen=True, slots=True)
class WindowSpeeds:
    """What an engine did over a window: tokens and requests a second, preemptions, share of prompts from its cache.

    Attributes:
        prompt_computed_per_second: Of the prompts' tokens those that were in no cache.
        seconds: What is really covered, which is less than the window until the engine was watched so long.
    """

    seconds: float
    prompt_tokens_per_second: float | None = None
    generation_tokens_per_second: float | None = None
    requests_per_second: float | None = None
    preemptions: int | None = None
    prefix_cache_hit_rate: float | None = None
    prompt_computed_per_second: float | None = None


#: Seconds of the windows that are kept of every engine.
WINDOWS = (5, 15, 60)


@dataclass(frozen=True, slots=True)
class EngineMetrics:
    """An engine over one interval: requests, tokens per second, shares 0-1, seconds.

    Attributes:
        interval: Seconds between the two scrapes; None with one scrape only, when speeds are unknown.
        since_start: Names of the fields that are over the engine's whole life instead of the interval.
        ended_requests_total, ended_preemptions_total: Requests that ended, and how often these had been preempted.
        custom: Metrics that were added, those that this engine may have.
        prompt_computed_per_second, prompt_cached_per_second: The two parts of the prompts' speed.
        waiting_by_reason: Requests that wait, by what for.
        kv_tokens_used, kv_tokens_total: The KV cache in tokens, over all ranks.
        queue, prefill, decode, tpot: Seconds that requests waited, that their prompts and answers took, and that one
            token of an answer took.
        outcomes: Requests that ended in the window, by how.
        tokens_per_step: Tokens that one step of the engine computed, on average.
        spec_length: Tokens that one step of a guessed-ahead answer gave, on average.
        sleep: `awake`, `weights_offloaded` or `discard_all`.
        ranks: Data-parallel ranks, where there are several.
        imbalance: How much more the busiest rank has to do than the average one: 0 is none, 1 twice as much.
        windows: Speeds over the last 5, 15 and 60 seconds.
        reached: Speeds over the last whole 10 seconds, of which peaks are made; None before it was watched so long.
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
    prompt_computed_per_second: float | None = None
    prompt_cached_per_second: float | None = None
    waiting_by_reason: Mapping[str, int] = field(default_factory=dict)
    kv_tokens_used: int | None = None
    kv_tokens_total: int | None = None
    queue: Percentiles = field(default_factory=Percentiles)
    prefill: Percentiles = field(default_factory=Percentiles)
    decode: Percentiles = field(default_factory=Percentiles)
    tpot: Percentiles = field(default_factory=Percentiles)
    outcomes: Mapping[str, int] = field(default_factory=dict)
    requests_per_second: float | None = None
    tokens_per_step: float | None = None
    spec_length: float | None = None
    sleep: str | None = None
    ranks: tuple[RankLoad, ...] = ()
    imbalance: float | None = None
    windows: Mapping[int, WindowSpeeds] = field(default_factory=dict)
    reached: WindowSpeeds | None = None

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
            "prompt_computed_per_second": self.prompt_computed_per_second,
            "prompt_cached_per_second": self.prompt_cached_per_second,
            "waiting_by_reason": dict(self.waiting_by_reason),
            "kv_tokens_used": self.kv_tokens_used,
            "kv_tokens_total": self.kv_tokens_total,
            "queue": self.queue.to_json(),
            "prefill": self.prefill.to_json(),
            "decode": self.decode.to_json(),
            "tpot": self.tpot.to_json(),
            "outcomes": dict(self.outcomes),
            "requests_per_second": self.requests_per_second,
            "tokens_per_step": self.tokens_per_step,
            "spec_length": self.spec_length,
            "sleep": self.sleep,
            "ranks": [asdict(one) for one in self.ranks],
            "imbalance": self.imbalance,
            "windows": {str(seconds): asdict(one) for seconds, one in self.windows.items()},
        }
