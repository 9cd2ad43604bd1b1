"""History for charts: each series has a fine ring of half an hour and a coarse ring of a day."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Collection, Mapping, Sequence

from vllm_studio_tui.domain.custom_metric import custom_series
from vllm_studio_tui.domain.engine_metrics import EngineMetrics
from vllm_studio_tui.domain.gpus import Gpu
from vllm_studio_tui.domain.sample import FOREIGN, Tick
from vllm_studio_tui.domain.series import GpuSeries, HostSeries, RunSeries, TotalSeries
from vllm_studio_tui.domain.timeline import Take
from vllm_studio_tui.kit.ring import Ring, average

FINE_SECONDS = 1800
COARSE_SECONDS = 30.0
COARSE_SAMPLES = 2880

#: What is recorded of an engine, and how it is taken from its metrics.
ENGINE: Mapping[RunSeries, Callable[[EngineMetrics], float | None]] = {
    RunSeries.OUTPUT: lambda engine: engine.generation_tokens_per_second,
    RunSeries.INPUT: lambda engine: engine.prompt_tokens_per_second,
    RunSeries.PREFILL: lambda engine: engine.prompt_computed_per_second,
    RunSeries.CACHED: lambda engine: engine.prompt_cached_per_second,
    RunSeries.HITS: lambda engine: engine.prefix_cache_hit_rate,
    RunSeries.RUNNING: lambda engine: engine.running,
    RunSeries.WAITING: lambda engine: engine.waiting,
    RunSeries.KV_CACHE: lambda engine: engine.kv_cache_usage,
    RunSeries.KV_TOKENS: lambda engine: engine.kv_tokens_used,
    RunSeries.QUEUE: lambda engine: engine.queue.p95,
    RunSeries.TTFT: lambda engine: engine.ttft.p95,
    RunSeries.TTFT50: lambda engine: engine.ttft.p50,
    RunSeries.ITL: lambda engine: engine.itl.p95,
    RunSeries.ITL50: lambda engine: engine.itl.p50,
    RunSeries.E2E: lambda engine: engine.e2e.p95,
    RunSeries.PREEMPTIONS: lambda engine: _preemptions(engine),
    RunSeries.STEP: lambda engine: engine.tokens_per_step,
}
#: Fields that are over a window, or over the engine's whole life where there is no window yet.
OF_WINDOW: Mapping[RunSeries, str] = {
    RunSeries.HITS: "prefix_cache_hit_rate", RunSeries.QUEUE: "queue", RunSeries.TTFT: "ttft",
    RunSeries.TTFT50: "ttft", RunSeries.ITL: "itl", RunSeries.ITL50: "itl", RunSeries.E2E: "e2e",
    RunSeries.STEP: "tokens_per_step",
}  # fmt: skip
#: What is recorded of a GPU that answers.
GPU: Mapping[GpuSeries, Callable[[Gpu], float | None]] = {
    GpuSeries.UTILIZATION: lambda gpu: gpu.utilization,
    GpuSeries.MEMORY: lambda gpu: (
        gpu.memory_used / gpu.memory_total if gpu.memory_used is not None and gpu.memory_total else None
    ),
    GpuSeries.POWER: lambda gpu: gpu.power_draw,
    GpuSeries.TEMPERATURE: lambda gpu: gpu.temperature,
    GpuSeries.CLOCK: lambda gpu: gpu.sm_clock,
    GpuSeries.PCIE: lambda gpu: (
        None if gpu.pcie_rx is None and gpu.pcie_tx is None else (gpu.pcie_rx or 0.0) + (gpu.pcie_tx or 0.0)
    ),
    GpuSeries.THROTTLE: lambda gpu: None if gpu.utilization is None else float(bool(gpu.throttle)),
}


def _preemptions(engine: EngineMetrics) -> float | None:
    """Return preemptions a second, over the shortest window that there is."""
    for _, window in sorted(engine.windows.items()):
        if window.preemptions is not None and window.seconds > 0:
            return window.preemptions / window.seconds
    return None


#: What is taken of the samples of one column.
TAKES: Mapping[Take, Callable[[Sequence[float]], float]] = {"mean": average, "min": min, "max": max}


class Series:
    """One value over time."""

    __slots__ = ("_pending", "_since", "coarse", "fine")

    def __init__(self, every: float = 1.0, reach: float = FINE_SECONDS) -> None:
        self.fine = Ring(math.ceil(reach / every))
        self.coarse = Ring(COARSE_SAMPLES)
        self._pending: list[float] = []
        self._since: float | None = None

    def append(self, at: float, value: float | None) -> None:
        self.fine.append(at, value)
        if self._since is None:
            self._since = at
        if value is not None:
            self._pending.append(value)
        if at - self._since >= COARSE_SECONDS:
            self.coarse.append(at, average(self._pending) if self._pending else None)
            self._pending.clear()
            self._since = at


class History:
    """Keeps series by name; the names are those of `domain.series`."""

    def __init__(self, every: float = 1.0, fine: float = FINE_SECONDS) -> None:
        """Args:
        every: Seconds from one sample to the next.
        fine: Seconds of which every sample is kept.
        """
        self._every = every
        self._fine = fine
        self._series: dict[str, Series] = {}
        self._seen: dict[str, float] = {}
        self._lock = threading.Lock()
        #: When the fine rings begin: the first sample, or half an hour before the last.
        self._begun: float | None = None
        self._last = self._swept = 0.0

    def set_pace(self, every: float) -> None:
        """Begin anew with another time from one sample to the next."""
        with self._lock:
            self._every = every
            self._series.clear()
            self._seen.clear()
            self._begun = None

    def record(self, tick: Tick, *, silent: Collection[str] = ()) -> None:
        """Take one sample of everything.

        Args:
            silent: Engines that have missed some readings: what was read before says nothing of this moment.
        """
        at = tick.at
        with self._lock:
            if self._begun is None:
                self._begun = at
            self._last = at
            out: list[float] = []
            running: list[float] = []
            for run_id, engine in tick.engines.items():
                if run_id in silent:
                    engine = EngineMetrics()
                for series, value in ENGINE.items():
                    # What is over the engine's whole life says nothing of this moment.
                    whole = OF_WINDOW.get(series) in engine.since_start
                    self._add(at, series.of(run_id), None if whole else value(engine))
                for one in engine.custom:
                    self._add(at, custom_series(run_id, one.metric.name), one.value)
                if run_id.startswith(FOREIGN):
                    continue  # the totals are those of the runs
                if engine.generation_tokens_per_second is not None:
                    out.append(engine.generation_tokens_per_second)
                if engine.running is not None:
                    running.append(engine.running)
            for run_id, percent in tick.process_cpu.items():
                self._add(at, RunSeries.CPU.of(run_id), percent)
            if tick.engines or TotalSeries.OUTPUT in self._series:
                self._add(at, TotalSeries.OUTPUT, sum(out) if out else None)
                self._add(at, TotalSeries.RUNNING, sum(running) if running else None)
            powers: list[float] = []
            fresh = tick.gpus.stale is None
            for gpu in tick.gpus.gpus:
                lost = gpu.lost is not None or not fresh
                for which, of in GPU.items():
                    self._add(at, which.of(gpu.uuid), None if lost else of(gpu))
                if gpu.power_draw is not None and not lost:
                    powers.append(gpu.power_draw)
            if tick.gpus.gpus:
                self._add(at, TotalSeries.POWER, sum(powers) if powers else None)
            self._add(at, HostSeries.CPU, tick.host.cpu)
            memory = tick.host.memory_used, tick.host.memory_total
            host = tick.host
            if host.swap_total:
                self._add(at, HostSeries.SWAP, host.swap_used / host.swap_total if host.swap_used is not None else None)
            if host.disk_total and host.disk_free is not None:
                self._add(at, HostSeries.DISK, 1 - host.disk_free / host.disk_total)
            self._add(at, HostSeries.MEMORY, memory[0] / memory[1] if memory[0] is not None and memory[1] else None)
            self._forget(at)

    def over(self, name: str, columns: int, span: float, now: float, *, hold: float = 3.0) -> list[float | None]:
        """The last `span` seconds of a series as `columns` values, newest at the right; unknown where there is none."""
        with self._lock:
            series = self._series.get(name)
            if series is None or columns < 1:
                return [None] * max(0, columns)
            # Columns begin at whole multiples of their width: a chart moves by a column, and does not change meanwhile.
            width = span / columns
            end = math.ceil(now / width) * width
            if span > self._fine:
                return series.coarse.over(columns, span, end, hold=max(COARSE_SECONDS * 1.5, end - now))
            return series.fine.over(columns, span, end, hold=max(hold, 3 * self._every, end - now))

    @property
    def reach(self) -> float | None:
        """Return since when every sample is in memory; None before the first one."""
        with self._lock:
            return None if self._begun is None else max(self._begun, self._last - self._fine)

    def columns(self, name: str, since: float, width: float, count: int, take: Take) -> list[float | None]:
        """Return columns of equal time from `since` on, of the samples that are in memory; see `reach`."""
        with self._lock:
            series = self._series.get(name)
            if series is None:
                return [None] * count
            return series.fine.columns(since, width, count, hold=max(3.0, 3 * self._every), take=TAKES[take])

    def coarse_columns(self, name: str, since: float, width: float, count: int, take: Take) -> list[float | None]:
        """Return columns of the averages of half a minute that are in memory, of up to a day."""
        with self._lock:
            series = self._series.get(name)
            if series is None:
                return [None] * count
            return series.coarse.columns(since, width, count, hold=COARSE_SECONDS * 1.5, take=TAKES[take])

    def names(self) -> list[str]:
        """Return the names of all series in memory."""
        with self._lock:
            return sorted(self._series)

    def samples(self, name: str, since: float, until: float) -> list[float]:
        """Return the known samples of a series after a moment, up to another, that are in memory."""
        with self._lock:
            series = self._series.get(name)
            found = series.fine.since(since) if series is not None else []
        return [value for at, value in found if since < at <= until and value is not None]

    @property
    def every(self) -> float:
        """Return the seconds from one sample to the next."""
        return self._every

    def newest(self, since: float) -> dict[str, list[tuple[float, float | None]]]:
        """Return by series the samples after a moment, oldest first, of those that had one."""
        with self._lock:
            found = {name: one.fine.since(since) for name, one in self._series.items() if self._seen[name] > since}
        return {name: [one for one in samples if one[0] > since] for name, samples in found.items()}

    def peak(self, name: str) -> float | None:
        """The largest value of the last half hour."""
        with self._lock:
            series = self._series.get(name)
            return series.fine.max() if series else None

    def __contains__(self, name: str) -> bool:
        return name in self._series

    def _add(self, at: float, name: str, value: float | None) -> None:
        series = self._series.get(name)
        if series is None:
            if value is None:
                return
            series = self._series[name] = Series(self._every, self._fine)
        self._seen[name] = at
        series.append(at, value)

    def _forget(self, now: float) -> None:
        """Drop what has had no sample for a day, and the samples that are out of reach: runs come and go for weeks."""
        if now - self._swept >= 60.0:
            self._swept = now
            for name, at in self._seen.items():
                if now - at > self._fine and len(self._series[name].fine):
                    self._series[name].fine = Ring(math.ceil(self._fine / self._every))
        if len(self._series) > 64:
            for name in [name for name, at in self._seen.items() if now - at > COARSE_SECONDS * COARSE_SAMPLES]:
                del self._series[name], self._seen[name]
