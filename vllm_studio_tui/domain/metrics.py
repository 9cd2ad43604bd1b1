"""Measured values of GPUs, host and engines at one moment. None is unknown, which is not zero."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any

from vllm_studio_tui.kit.iso_time import iso_time

GIB = 1024**3
#: A GPU with no more memory used than this counts as free: the driver itself keeps a little, and older drivers do
#: not report that part separately. A share of the whole, and bytes.
FREE_SHARE = 0.05
FREE_BYTES = GIB


class Throttle(StrEnum):
    """Why a GPU runs slower than it could. The words are those of `gpus --json`."""

    POWER_CAP = "power cap"
    HARDWARE = "hardware slowdown"
    SOFTWARE_THERMAL = "software thermal"
    HARDWARE_THERMAL = "hardware thermal"
    POWER_BRAKE = "power brake"


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process on a GPU. `gpu_memory` in bytes."""

    pid: int
    user: str | None = None
    command: str | None = None
    gpu_memory: int | None = None
    run_id: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return what `gpus --json` prints of it."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU now: bytes, percent 0-100, degrees C, watts, millijoules since the driver was loaded, MHz.

    Attributes:
        lost: It does not answer: why, in the driver's words. Its values are unknown then.
        trouble: It answers, and something of it does not: what.
        stale: Seconds since it last answered, if that is long ago; None while its values are fresh.
    """

    index: int
    uuid: str
    name: str
    memory_total: int | None = None
    memory_used: int | None = None
    memory_reserved: int | None = None
    utilization: int | None = None
    memory_utilization: int | None = None
    temperature: int | None = None
    power_draw: float | None = None
    power_limit: float | None = None
    energy_mj: int | None = None
    sm_clock: int | None = None
    memory_clock: int | None = None
    fan: int | None = None
    throttle: tuple[Throttle, ...] = ()
    pci_bus: str | None = None
    compute_capability: str | None = None
    mig: bool | None = None
    lost: str | None = None
    trouble: str | None = None
    stale: float | None = None
    processes: tuple[GpuProcess, ...] = ()

    @property
    def free(self) -> bool | None:
        """Return whether no process holds memory of it, as far as the driver says; None if unknown."""
        if self.lost is not None or self.memory_used is None:
            return False if self.processes else None
        apart = self.memory_reserved is not None  # then what the driver keeps is not in `memory_used`
        share = FREE_SHARE * self.memory_total if self.memory_total else FREE_BYTES
        return not self.processes and self.memory_used <= (min(share, FREE_BYTES) if apart else share)

    def to_json(self) -> dict[str, Any]:
        """Return what `gpus --json` prints of it: every field, in their order; unknown is null."""
        return {
            **{one.name: getattr(self, one.name) for one in fields(self)},
            "throttle": list(self.throttle),
            "processes": [process.to_json() for process in self.processes],
        }


@dataclass(frozen=True, slots=True)
class GpuReport:
    """All GPUs at one moment, or why there are none.

    Attributes:
        at: Seconds since the epoch.
        error: Why nothing could be read; None when it could.
        simulated: The GPUs are a simulation and must be labelled so.
        stale: Seconds since these values were read, when nothing newer could be; None while they are fresh.
    """

    at: float
    gpus: tuple[Gpu, ...] = ()
    driver: str | None = None
    cuda: str | None = None
    error: str | None = None
    advice: str | None = None
    simulated: bool = False
    stale: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return what `gpus --json` prints: bytes, percent, degrees C, watts; unknown is null."""
        return {
            "at": iso_time(self.at),
            "driver": self.driver,
            "cuda": self.cuda,
            "error": self.error,
            "advice": self.advice,
            "simulated": self.simulated,
            "stale": self.stale,
            "gpus": [gpu.to_json() for gpu in self.gpus],
        }


@dataclass(frozen=True, slots=True)
class Host:
    """The host at one moment: CPU in percent 0-100, memory in bytes."""

    cpu: float | None = None
    load: tuple[float, float, float] | None = None
    memory_total: int | None = None
    memory_used: int | None = None
    cores: int | None = None


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
    interval: float | None = None
    error: str | None = None
    since_start: tuple[str, ...] = ()

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
            "interval": self.interval,
            "since_start": list(self.since_start),
            "error": self.error,
        }


@dataclass(frozen=True, slots=True)
class Tick:
    """One sample of all values, at `at` seconds since the epoch. Engines are keyed by run id."""

    at: float
    gpus: GpuReport
    host: Host
    engines: dict[str, EngineMetrics] = field(default_factory=dict)


class TotalSeries(StrEnum):
    """Names of the history series over all runs or all GPUs: tokens per second, requests, watts."""

    OUTPUT = "all/out"
    RUNNING = "all/running"
    POWER = "all/power"


class HostSeries(StrEnum):
    """Names of the history series of the host: percent 0-100, share 0-1."""

    CPU = "host/cpu"
    MEMORY = "host/memory"


class RunSeries(StrEnum):
    """Names of the history series of a run: tokens per second, requests, share 0-1, seconds (95th percentile)."""

    OUTPUT = "out"
    INPUT = "in"
    RUNNING = "running"
    WAITING = "waiting"
    KV_CACHE = "kv"
    TTFT = "ttft"
    ITL = "itl"

    def of(self, run_id: str) -> str:
        """Return the name of this series for one run."""
        return f"run/{run_id}/{self}"


class GpuSeries(StrEnum):
    """Names of the history series of a GPU: percent 0-100, share 0-1, watts."""

    UTILIZATION = "util"
    MEMORY = "memory"
    POWER = "power"

    def of(self, uuid: str) -> str:
        """Return the name of this series for one GPU."""
        return f"gpu/{uuid}/{self}"
