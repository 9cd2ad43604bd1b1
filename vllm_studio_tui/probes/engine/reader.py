"""Compute an engine's metrics over an interval, from two scrapes of its /metrics.

All that counts up is compared with an earlier scrape of the same process. With one scrape only, or after the
engine was restarted, `interval` is None: speeds are unknown then, and percentiles, shares and `preemptions` are
those since the engine's start, which `since_start` says.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from vllm_studio_tui.domain.custom_metric import CustomMetric
from vllm_studio_tui.domain.engine_metrics import EngineMetrics, Percentiles
from vllm_studio_tui.domain.errors import EngineRefused, StudioError
from vllm_studio_tui.kit import prometheus
from vllm_studio_tui.kit.prometheus import Samples
from vllm_studio_tui.probes.engine.custom_values import filled, rows_of, values_of
from vllm_studio_tui.probes.engine.metric_lookup import sample_names, slots_of, specs_of
from vllm_studio_tui.probes.engine.ranks import imbalance_of, kv_tokens_of, ranks_of
from vllm_studio_tui.probes.engine.scrape import fetch
from vllm_studio_tui.probes.engine.slots import InFlight, LiveTotals, read_slots
from vllm_studio_tui.probes.engine.values import Scrape, gain_of, raw_value, restarted, series_of, value_of
from vllm_studio_tui.probes.engine.windows import Windows, mark_of

#: Speeds, which an idle engine does not have whatever its gauges still say.
_SPEEDS = {
    "prompt_tokens_per_second": "prompt_tokens_total",
    "generation_tokens_per_second": "generation_tokens_total",
}

#: Kinds that are over an interval, or over the engine's life without one.
_OVER_TIME = frozenset({"delta", "ratio", "weighted", "histogram", "part_deltas"})
#: Scrapes that are kept of a window.
_BASES = 12


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
        self._previous: Scrape | None = None
        self._bases: deque[Scrape] = deque()
        self._windows = Windows()
        self._heads: prometheus.Heads = {}
        self._slots = slots_of(backend)
        self._totals = LiveTotals()
        self._flight: InFlight | None = None  # None too where it was never told

    def observe(self, text: str | bytes, at_monotonic: float, slots: bytes | None = None) -> EngineMetrics:
        """Take one scrape, received at `at_monotonic` seconds of a clock that does not go back.

        Args:
            slots: What the engine told right after of the requests that it works on.
        """
        return self._observe(prometheus.parse(text, self._names, self._heads), at_monotonic, slots)

    def _observe(self, samples: Samples, at: float, slots: bytes | None) -> EngineMetrics:
        if not samples:
            return EngineMetrics(error="The answer holds none of the metrics that are known of this engine")
        now = Scrape(at, samples, series_of(samples, self._counting))
        previous = self._previous
        if previous and (now.at <= previous.at or restarted(previous.series, now.series)):
            previous = None
            self._bases.clear()
            self._windows.clear()
            self._totals.clear()
        # Of the scrapes that are old enough the youngest is where the window begins.
        while len(self._bases) > 1 and self._bases[1].at <= now.at - self._window:
            self._bases.popleft()
        base = self._bases[0] if self._bases and self._window > 0 else previous
        if not self._bases or now.at - self._bases[-1].at >= self._window / _BASES:
            self._bases.append(now)
        self._previous = now
        return self._with_windows(self._metrics(now, previous, base), now, slots)

    def _with_windows(self, metrics: EngineMetrics, now: Scrape, slots: bytes | None) -> EngineMetrics:
        """Return the metrics with speeds over windows, and with what is counted of answers that are being made."""
        changes: dict[str, Any] = {}
        live: dict[str, float] = {}
        told = read_slots(slots) if slots is not None and self._slots is not None else None
        if told is not None and self._flight is None:
            self._windows.clear()  # what was counted until now is not counted alike
        if self._slots is not None and (told is not None or self._flight is not None):
            if told is None and metrics.running:
                # What is being made is not known: no total of this moment can be compared with others.
                return replace(metrics, prompt_tokens_per_second=None, generation_tokens_per_second=None)
            flight = self._flight = told or InFlight(0, 0, 0, self._flight.room if self._flight else None)
            live = self._totals.of(self._slots, now.samples, flight)
            if metrics.kv_tokens_used is None:
                changes["kv_tokens_used"], changes["kv_tokens_total"] = flight.held, flight.room
            if flight.held is not None and flight.room and metrics.kv_cache_usage is None:
                changes["kv_cache_usage"] = min(1.0, flight.held / flight.room)
        self._windows.add(mark_of(self._specs, now, live))
        changes |= {name: self._windows.speed(name) for name in live}
        changes["windows"], changes["reached"] = self._windows.speeds(), self._windows.reached()
        return replace(metrics, **changes)

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
        at, samples = time.monotonic(), prometheus.parse(body, self._names, self._heads)
        return self._observe(samples, at, self._read_slots(samples, base_url, api_key, timeout))

    def _read_slots(self, samples: Samples, base_url: str, api_key: str | None, timeout: float) -> bytes | None:
        """Return what the engine tells of the requests that it works on, where it does and has some."""
        source = self._slots
        if source is None or source.generated not in samples:
            return None
        if self._flight is not None and not prometheus.total(samples, source.running):
            return None  # it has none: there is nothing to ask
        try:
            return fetch(base_url, api_key, timeout=timeout, path=source.path)
        except EngineRefused:
            self._slots = None
        except StudioError:
            pass
        return None

    def _metrics(self, now: Scrape, previous: Scrape | None, base: Scrape | None) -> EngineMetrics:
        found: dict[str, Any] = {}
        since_start: dict[str, None] = {}
        settled: set[str] = set()
        for spec in self._specs:
            if spec.field in settled:
                continue
            value = value_of(spec, now, previous, base, busy=bool(found.get("running")))
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
            if found.get("running") == 0 and found.get(field) and gain_of(self._specs, counter, now, previous) == 0:
                found[field] = 0.0
        _complete(found)
        kv_tokens = kv_tokens_of(self._specs, now)
        if kv_tokens is not None:
            found["kv_tokens_used"] = kv_tokens
        found["ranks"] = ranks_of(self._specs, now)
        found["imbalance"] = imbalance_of(found["ranks"])
        interval = now.at - previous.at if previous else None
        custom = values_of(
            self._custom, lambda spec: raw_value(spec, now, previous, base, busy=False), since_start=base is None
        )
        return EngineMetrics(**found, interval=interval, since_start=tuple(since_start), custom=custom)


def _complete(found: dict[str, Any]) -> None:
    """Put in of the prompts' speed and its two parts the one that follows from the others."""
    whole, computed, cached = (
        found.get(name)
        for name in ("prompt_tokens_per_second", "prompt_computed_per_second", "prompt_cached_per_second")
    )
    if whole is not None and computed is None and cached is not None:
        found["prompt_computed_per_second"] = max(0.0, whole - cached)
    elif whole is not None and cached is None and computed is not None:
        found["prompt_cached_per_second"] = max(0.0, whole - computed)


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
        if value is None or value == {} or (isinstance(value, Percentiles) and not value.count):
            empty[field] = getattr(life, field)
    return replace(
        metrics, **empty, since_start=(*metrics.since_start, *empty), custom=filled(metrics.custom, life.custom)
    )


def _sentence(error: StudioError) -> str:
    return ": ".join(part for part in (error.title, error.cause) if part)
