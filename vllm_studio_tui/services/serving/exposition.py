"""Our own metrics as Prometheus reads them: `GET /metrics` answers `ServeMetrics.text` as `CONTENT_TYPE`.

What else a scraper asks for is in `discovery`.
"""

from __future__ import annotations

import math
import platform
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeGuard

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest, values
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4 as CONTENT_TYPE
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from vllm_studio_tui import __version__
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.domain.usage import CompletedRequest
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.services.serving.label_values import OTHER, FewSets, FewValues, label_value
from vllm_studio_tui.services.serving.snapshot_families import families, recipe_counts
from vllm_studio_tui.services.watching.snapshot import Snapshot

__all__ = ["CONTENT_TYPE", "ServeMetrics"]

# With PROMETHEUS_MULTIPROC_DIR, which some engines use, our counts would be files among theirs, and be told by them.
values.ValueClass = values.MutexValue

#: Keys and recipes that have series of their own, and sets of values in all.
KEYS, RECIPES, SETS = 50, 200, 5000
#: Paths that are counted by name; an id behind one of them is left away.
ENDPOINTS = (
    "/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/messages/count_tokens",
    "/v1/messages", "/v1/rerank", "/v1/score", "/v1/audio", "/v1/images", "/v1/models", "/v1/tokenize",
    "/v1/detokenize", "/v1/count-tokens", "/tokenize", "/detokenize", "/upstream",
)  # fmt: skip
_FIRST_TOKEN = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640)
_REQUEST = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640, 1280)
_LOAD = (1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640)
_SWITCH = (10, 30, 60, 120, 300, 600)
_OVERHEAD = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1)
#: Ends of an answer that broke off after its status was sent.
_BROKEN = {"cancelled": "cancelled", "stopped": "cancelled", "interrupted": "failed", "failed": "failed"}


class _Made(Collector):
    """Hands out families that were put together for one answer."""

    def __init__(self, make: Callable[[], Iterator[Metric]]) -> None:
        self._make = make

    def collect(self) -> Iterator[Metric]:
        return self._make()


class ServeMetrics:
    """Counts what is served, and writes it with what a snapshot says. Any method may be called in any thread.

    Args:
        process: Also what this process uses. Not for a file that another exporter reads, which has that of its own.
    """

    def __init__(self, *, process: bool = True) -> None:
        self._registry = made = CollectorRegistry()
        self._lock = threading.Lock()
        self._children: dict[tuple[Any, tuple[str, ...]], Any] = {}
        if process:
            ProcessCollector(registry=made)
        self._keys, self._recipes = FewValues(KEYS), FewValues(RECIPES)
        self._events, self._channels, self._sets = FewValues(KEYS), FewValues(KEYS), FewSets(SETS)
        #: Runs by id: whether how their launch ended has been counted.
        self._launches: dict[str, bool] | None = None
        #: Recipe and engine of the series of launches that there are.
        self._begun: set[tuple[str, str]] = set()

        def counter(name: str, about: str, *labels: str) -> Counter:
            return Counter(f"vllm_studio_{name}", about, labels, registry=made)

        def histogram(name: str, about: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(f"vllm_studio_{name}", about, labels, registry=made, buckets=buckets)

        self._requests = counter(
            "requests_total",
            "Requests that have ended, by HTTP status; cancelled or failed where it ended after that was sent.",
            "recipe", "endpoint", "status", "key",
        )  # fmt: skip
        self._tokens = counter(
            "request_tokens_total",
            "Tokens by kind: prompt and completion; cached and reasoning are parts of these.",
            "recipe", "kind",
        )  # fmt: skip
        self._first = histogram(
            "time_to_first_token_seconds", "From a request to its first token, waits included.", _FIRST_TOKEN, "recipe"
        )
        self._whole = histogram("request_seconds", "From a request to the end of its answer.", _REQUEST, "recipe")
        self._queued = histogram("queue_seconds", "What a request waited for others.", _REQUEST, "recipe")
        self._loaded = histogram("load_seconds", "What a request waited for its model to load.", _LOAD, "recipe")
        self._overhead = histogram("proxy_overhead_seconds", "What serve itself took of a request.", _OVERHEAD)
        self._switches = counter(
            "model_switches_total", "Launches that became ready, since this process began.", "recipe_id", "backend"
        )
        self._switch_seconds = histogram(
            "model_switch_duration_seconds", "From a launch to ready, since this process began.", _SWITCH, "recipe_id"
        )
        self._failures = counter(
            "model_launch_failures_total", "Launches that failed, since this process began.", "recipe_id"
        )
        self._streams = Gauge(
            "vllm_studio_sse_active_connections", "Open streams of events.", ("channel",), registry=made
        )
        self._published = counter("sse_events_published_total", "Events that were published.", "event_type")

    # --- what is counted --------------------------------------------------------------------------------

    def observe(self, request: CompletedRequest) -> None:
        """Count a request that has ended; one that goes on is not counted yet."""
        if request.finish == "streaming":
            return
        with self._lock:
            recipe = self._recipes.of(request.recipe_id)
            key = self._keys.of(request.key_name)
            labels = self._sets.of((recipe, _endpoint(request.endpoint), _status(request), key))
        self._child(self._requests, *labels).inc()
        for kind, tokens in (
            ("prompt", request.prompt_tokens),
            ("completion", request.completion_tokens),
            ("cached", request.cached_tokens),
            ("reasoning", request.reasoning_tokens),
        ):
            if _usable(tokens):
                self._child(self._tokens, recipe, kind).inc(tokens)
        for histogram, seconds in (
            (self._first, request.ttft),
            (self._whole, request.total_seconds),
            (self._queued, request.queued_seconds),
            (self._loaded, request.load_seconds),
        ):
            if _usable(seconds):
                self._child(histogram, recipe).observe(seconds)
        if _usable(request.overhead_seconds):
            self._overhead.observe(request.overhead_seconds)

    def _child(self, metric: Any, *labels: str) -> Any:
        """Return the series of these labels, which are bounded. The library takes as long to find it as to count."""
        found = self._children.get((metric, labels))
        if found is None:
            found = self._children[metric, labels] = metric.labels(*labels)
        return found

    def stream_opened(self, channel: str) -> None:
        """Count an open stream of events; `logs:RUN` counts as `logs`."""
        self._streams.labels(self._channel(channel)).inc()

    def stream_closed(self, channel: str) -> None:
        self._streams.labels(self._channel(channel)).dec()

    def published(self, event_type: str) -> None:
        """Count an event that was published."""
        with self._lock:
            label = self._events.of(event_type)
        self._published.labels(label).inc()

    def _channel(self, name: str) -> str:
        with self._lock:
            return self._channels.of(name.partition(":")[0])

    def _count_launches(self, runs: tuple[RunView, ...]) -> None:
        """Count launches that have ended since the last look. Those before the first look are not of this process.

        A recipe's series begin at 0, and what is to be counted waits for the next look: a series that begins with its
        first event shows no increase.
        """
        with self._lock:
            known, first = self._launches or {}, self._launches is None
            now: dict[str, bool] = {}
            ended: list[tuple[RunView, str]] = []
            names = {run.run_id: self._recipes.of(run.recipe_id) for run in runs}
            for run in runs:
                over = run.status.ready_at is not None or run.status.final
                counted = known.get(run.run_id, first and over)
                labels = names[run.run_id], label_value(run.backend)
                if over and not counted and labels in self._begun:
                    ended.append((run, labels[0]))
                    counted = True
                now[run.run_id] = counted
            self._launches = now
            for run in runs:
                labels = names[run.run_id], label_value(run.backend)
                self._begun.add(labels)
                self._switches.labels(*labels)
                self._switch_seconds.labels(labels[0])
                self._failures.labels(labels[0])
        for run, name in ended:
            status = run.status
            if status.adopted:
                continue
            if status.ready_at is not None:
                self._switches.labels(name, label_value(run.backend)).inc()
                if status.started_at is not None and _usable(status.ready_at - status.started_at):
                    self._switch_seconds.labels(name).observe(status.ready_at - status.started_at)
            elif status.state is State.FAILED:
                self._failures.labels(name).inc()

    # --- what is written --------------------------------------------------------------------------------

    def text(
        self,
        snapshot: Snapshot | None,
        *,
        queue_length: Mapping[str, int] | None = None,
        in_flight: Mapping[str, int] | None = None,
        degraded: bool | None = None,
    ) -> bytes:
        """Return everything in the text format 0.0.4.

        Args:
            snapshot: The latest; None: nothing was looked at yet.
            queue_length, in_flight: Requests that wait and that are answered, by recipe; None: nobody serves.
            degraded: Whether `serve` cannot do all it should, such as write its request log; None: nobody serves.
        """
        if snapshot is not None:
            self._count_launches(snapshot.every)
        runs = snapshot.runs if snapshot is not None else ()

        def everything() -> Iterator[Metric]:
            build = GaugeMetricFamily("vllm_studio_build_info", "1, with our version.", labels=("version", "python"))
            build.add_metric((__version__, platform.python_version()), 1)
            yield build
            if snapshot is not None:
                yield from families(snapshot)
            if queue_length is not None:
                yield recipe_counts("queue_length", "Requests that wait in serve.", queue_length, runs)
            if in_flight is not None:
                yield recipe_counts("in_flight", "Requests that engines answer for serve.", in_flight, runs)
            if degraded is not None:
                about = "1 while serve cannot do all it should."
                yield GaugeMetricFamily("vllm_studio_serve_degraded", about, float(degraded))
            for family in self._registry.collect():
                # When a series began is told by nobody's counters here, and would be as many series again.
                family.samples = [one for one in family.samples if not one.name.endswith("_created")]
                if degraded is not None or _known(family):
                    yield family

        return generate_latest(_Made(everything))


def _known(family: Metric) -> bool:
    """Return whether a family tells anything where nobody serves: the one without labels begins at 0 unasked."""
    if family.name == "vllm_studio_proxy_overhead_seconds":
        return any(one.value for one in family.samples)
    return bool(family.samples)


def _usable(value: float | int | None) -> TypeGuard[float | int]:
    """Return whether a value can be counted: it is known, and no clock went back under it."""
    return value is not None and math.isfinite(value) and value >= 0


def _endpoint(path: str | None) -> str:
    """Return the path as a label: one of `ENDPOINTS`, whatever stands behind it."""
    if not path:
        return ""
    return next((one for one in ENDPOINTS if path == one or path.startswith(f"{one}/")), OTHER)


def _status(request: CompletedRequest) -> str:
    """Return how a request ended: its HTTP status, or in a word that it broke off after a good one was sent."""
    status = request.status
    if status is not None and not 200 <= status < 400:
        return str(status) if 100 <= status < 600 else OTHER
    return _BROKEN.get(request.finish) or ("" if status is None else str(status))
