"""Compute an engine's metrics over an interval, from two scrapes of its /metrics.

All that counts up is compared with an earlier scrape of the same process. With one scrape only, or after the
engine was restarted, `interval` is None: speeds are unknown then, and percentiles, shares and `preemptions` are
those since the engine's start, which `since_start` says.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vllm_studio_tui.domain.custom_metric import CustomMetric
from vllm_studio_tui.domain.engine_metrics import EngineMetrics, Percentiles
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.metric_spec import MetricSpec
from vllm_studio_tui.kit import prometheus
from vllm_studio_tui.kit.prometheus import Samples
from vllm_studio_tui.probes.engine.custom_values import filled, rows_of, values_of
from vllm_studio_tui.probes.engine.metric_lookup import sample_names, specs_of
from vllm_studio_tui.probes.engine.quantiles import increase, percentiles
from vllm_studio_tui.probes.engine.scrape import fetch

#: Fields that count things.
_COUNTS = frozenset(
    {"running", "waiting", "preemptions", "prompt_tokens_total", "generation_tokens_total"}
    | {"cached_tokens_total", "requests_total", "preemptions_total"}
    | {"ended_requests_total", "ended_preemptions_total"}
)
#: Fields that are shares, 0-1.
_SHARES = frozenset({"kv_cache_usage", "prefix_cache_hit_rate", "spec_acceptance"})
#: Speeds, which an idle engine does not have whatever its gauges still say.
_SPEEDS = {
    "prompt_tokens_per_second": "prompt_tokens_total",
    "generation_tokens_per_second": "generation_tokens_total",
}

#: Kinds that are over an interval, or over the engine's life without one.
_OVER_TIME = frozenset({"delta", "ratio", "histogram"})
#: Scrapes that are kept of a window.
_BASES = 12

Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@dataclass(frozen=True, slots=True)
class _Scrape:
    at: float
    samples: Samples
    series: Series


class EngineProbe:
    """Turns the scrapes of one engine into metrics.

    Args:
        backend: The kind of engine; of one that has no table every known name is tried.
        window: Seconds over which percentiles, shares and `preemptions` are taken, where scrapes come more often:
            a second rarely holds enough requests. 0: since the previous scrape. Speeds are always since that.
        custom: Metrics that were added.
    """

    def __init__(self, backend: str, *, window: float = 0.0, custom: Sequence[CustomMetric] = ()) -> None:
        self._specs = specs_of(backend)
        self._custom = rows_of(custom, backend)
        own, added = sample_names(self._specs), sample_names(spec for _, spec in self._custom)
        self._names = own | added
        # A metric that was added wrongly, a gauge for a counter, must not look like a restart of the engine.
        self._counting = own or added
        self._backend = backend
        self._window = window
        self._previous: _Scrape | None = None
        self._bases: deque[_Scrape] = deque()

    def observe(self, text: str | bytes, at_monotonic: float) -> EngineMetrics:
        """Take one scrape, received at `at_monotonic` seconds of a clock that does not go back."""
        samples = prometheus.parse(text, self._names)
        if not samples:
            return EngineMetrics(error="The answer holds none of the metrics that are known of this engine")
        now = _Scrape(at_monotonic, samples, _series(samples, self._counting))
        previous = self._previous
        if previous and (now.at <= previous.at or _restarted(previous.series, now.series)):
            previous = None
            self._bases.clear()
        # Of the scrapes that are old enough the youngest is where the window begins.
        while len(self._bases) > 1 and self._bases[1].at <= now.at - self._window:
            self._bases.popleft()
        base = self._bases[0] if self._bases and self._window > 0 else previous
        if not self._bases or now.at - self._bases[-1].at >= self._window / _BASES:
            self._bases.append(now)
        self._previous = now
        return self._metrics(now, previous, base)

    def since_start(self) -> EngineMetrics:
        """Return the metrics of the engine's whole life, as of the last scrape."""
        if self._previous is None:
            return EngineMetrics(error="The engine was not scraped yet")
        return self._metrics(self._previous, None, None)

    def read(self, base_url: str, api_key: str | None = None, *, timeout: float = 3.0) -> EngineMetrics:
        """Scrape the engine and `observe`; what went wrong is in `error`. Blocks up to `timeout` seconds."""
        if not self._names:
            return EngineMetrics(error=f"{self._backend} has no metrics endpoint")
        try:
            body = fetch(base_url, api_key, timeout=timeout)
        except StudioError as error:
            # The next interval would reach over the gap; it is still right, for the counters went on.
            return EngineMetrics(error=_sentence(error))
        return self.observe(body, time.monotonic())

    def _metrics(self, now: _Scrape, previous: _Scrape | None, base: _Scrape | None) -> EngineMetrics:
        found: dict[str, Any] = {}
        since_start: dict[str, None] = {}
        settled: set[str] = set()
        for spec in self._specs:
            if spec.field in settled:
                continue
            value = _value(spec, now, previous, base, busy=bool(found.get("running")))
            exists = any(name in now.samples for name in spec.names)
            if value is None or (isinstance(value, Percentiles) and value.count is None):
                # A share of nothing is unknown; a gauge that still shows the last one is no better.
                if exists and spec.kind == "ratio":
                    settled.add(spec.field)
                continue
            settled.add(spec.field)
            found[spec.field] = value
            if base is None and spec.kind in _OVER_TIME:
                since_start[spec.field] = None
        for field, counter in _SPEEDS.items():
            # A gauge of speed keeps its last value in some versions when nothing runs any more.
            if found.get("running") == 0 and found.get(field) and _gain(self._specs, counter, now, previous) == 0:
                found[field] = 0.0
        interval = now.at - previous.at if previous else None
        custom = values_of(
            self._custom, lambda spec: _raw(spec, now, previous, base, busy=False), since_start=base is None
        )
        return EngineMetrics(**found, interval=interval, since_start=tuple(since_start), custom=custom)


def _value(
    spec: MetricSpec, now: _Scrape, previous: _Scrape | None, base: _Scrape | None, *, busy: bool
) -> float | int | Percentiles | None:
    """Return the value of one row of a table, in the type and range of its field."""
    value = _raw(spec, now, previous, base, busy=busy)
    return value if isinstance(value, Percentiles) else _fit(spec, value)


def _raw(
    spec: MetricSpec, now: _Scrape, previous: _Scrape | None, base: _Scrape | None, *, busy: bool
) -> float | Percentiles | None:
    """Return the value of one row of a table; speeds are since the `previous` scrape, other increases since `base`."""
    if spec.kind == "histogram":
        return _histogram(spec.names, now, base)
    if spec.kind == "mean":
        return prometheus.mean(now.samples, spec.names)
    if spec.kind == "ratio":
        return _ratio(spec, now, base)
    if spec.kind == "delta":
        return _difference(spec, now, base)
    if spec.kind == "rate":
        return _rate(spec, now, previous, busy=busy)
    return _sum(spec, now)


def read_once(
    base_url: str,
    backend: str,
    api_key: str | None = None,
    interval: float = 1.0,
    *,
    timeout: float = 3.0,
    sleep: Callable[[float], None] = time.sleep,
    custom: Sequence[CustomMetric] = (),
) -> EngineMetrics:
    """Scrape an engine twice, `interval` seconds apart, for its speeds now; what went wrong is in `error`.

    So short an interval often holds no request: latencies and shares of which it holds nothing are then those of
    the engine's whole life, and named in `since_start`.
    """
    probe = EngineProbe(backend, custom=custom)
    first = probe.read(base_url, api_key, timeout=timeout)
    if first.error is not None or interval <= 0:
        return first
    sleep(interval)
    second = probe.read(base_url, api_key, timeout=timeout)
    return second if second.error is not None else _filled(second, probe.since_start())


def _filled(metrics: EngineMetrics, life: EngineMetrics) -> EngineMetrics:
    """Return the metrics, with those of the engine's whole life where the interval has no observations."""
    empty: dict[str, Any] = {}
    for field in life.since_start:
        value = getattr(metrics, field)
        if value is None or (isinstance(value, Percentiles) and not value.count):
            empty[field] = getattr(life, field)
    return replace(
        metrics, **empty, since_start=(*metrics.since_start, *empty), custom=filled(metrics.custom, life.custom)
    )


def _fit(spec: MetricSpec, value: float | None) -> float | int | None:
    """Return the value in the type and range of its field; None for one that cannot be."""
    if value is None or not math.isfinite(value) or (spec.positive and value <= 0):
        return None
    if spec.field in _SHARES:
        return min(1.0, value) if -1e-9 <= value <= 1.01 else None
    if value < 0:
        return None
    return round(value) if spec.field in _COUNTS else value


def _chosen(spec: MetricSpec, samples: Samples) -> Samples:
    if spec.labels is None:
        return samples
    label, values = spec.labels
    return {
        name: [sample for sample in samples[name] if sample[0].get(label) in values]
        for name in spec.names
        if name in samples
    }


def _sum(spec: MetricSpec, scrape: _Scrape) -> float | None:
    found = prometheus.total(_chosen(spec, scrape.samples), spec.names)
    if found is None or not spec.plus:
        return found
    return found + (prometheus.total(scrape.samples, spec.plus) or 0.0)


def _difference(spec: MetricSpec, now: _Scrape, base: _Scrape | None) -> float | None:
    """Return the increase of a counter, since the engine's start without a base."""
    value = _sum(spec, now)
    if value is None or base is None:
        return value
    # A label set that was not there before began at zero.
    return value - (_sum(spec, base) or 0.0)


def _rate(spec: MetricSpec, now: _Scrape, previous: _Scrape | None, *, busy: bool) -> float | None:
    if previous is None:
        return None
    gain = _difference(spec, now, previous)
    # A counter that moves at the end of a request says nothing while one runs.
    if gain is None or (spec.at_end and gain == 0 and busy):
        return None
    took = now.at - previous.at
    if spec.seconds and gain > 0:
        # What came now was made since the request began; others that ran beside it were as fast.
        spent = _difference(MetricSpec(spec.field, "delta", spec.seconds), now, previous) or 0.0
        beside = prometheus.total(previous.samples, spec.running) or 0.0
        took = max(took, spent / max(1.0, beside))
    return gain / took


def _ratio(spec: MetricSpec, now: _Scrape, base: _Scrape | None) -> float | None:
    above = _difference(spec, now, base)
    below = 0.0
    for names in spec.over:
        part = _difference(MetricSpec(spec.field, "delta", names), now, base)
        if part is None:
            return None
        below += part
    return None if above is None or below <= 0 else above / below


def _histogram(names: tuple[str, ...], now: _Scrape, base: _Scrape | None) -> Percentiles:
    for name in names:
        buckets = prometheus.buckets(now.samples, name)
        if not buckets:
            continue
        total = prometheus.total(now.samples, (f"{name}_sum",))
        if base is not None:
            buckets = increase(prometheus.buckets(base.samples, name), buckets)
            before = prometheus.total(base.samples, (f"{name}_sum",))
            total = None if total is None else total - (before or 0.0)
        return percentiles(buckets, total)
    return Percentiles()


def _gain(specs: tuple[MetricSpec, ...], field: str, now: _Scrape, previous: _Scrape | None) -> float | None:
    """Return the increase of the counter behind a field; None when it is unknown."""
    if previous is None:
        return None
    for spec in specs:
        if spec.field == field and (gain := _difference(spec, now, previous)) is not None:
            return gain
    return None


def _series(samples: Samples, counting: Collection[str]) -> Series:
    """Return the counters, which cannot decrease within one process, and the creation times, by name and labels.

    Args:
        counting: Names among which counters are looked for.
    """
    return {
        (name, tuple(sorted(labels.items()))): value
        for name, rows in samples.items()
        if name in counting and name.endswith(("_total", "_count", "_bucket", "_created"))
        for labels, value in rows
    }


def _restarted(before: Series, after: Series) -> bool:
    """Return whether the counters began anew: one went down or away, or was created at another time."""
    for key, value in before.items():
        later = after.get(key)
        if key[0].endswith("_created"):
            if later is not None and later != value:
                return True
        elif value > 0 and (later is None or later < value):
            return True
    return False


def _sentence(error: StudioError) -> str:
    return ": ".join(part for part in (error.title, error.cause) if part)
