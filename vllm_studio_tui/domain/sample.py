"""One sample of everything that is watched: GPUs, host, engines."""

from __future__ import annotations

from dataclasses import dataclass, field

from vllm_studio_tui.domain.engine_metrics import EngineMetrics
from vllm_studio_tui.domain.gpus import GpuReport


@dataclass(frozen=True, slots=True)
class Host:
    """The host at one moment: CPU in percent 0-100, memory in bytes, and of the disk with our data what is free."""

    cpu: float | None = None
    load: tuple[float, float, float] | None = None
    memory_total: int | None = None
    memory_used: int | None = None
    cores: int | None = None
    swap_total: int | None = None
    swap_used: int | None = None
    disk_total: int | None = None
    disk_free: int | None = None


@dataclass(frozen=True, slots=True)
class EngineHere:
    """An inference server on this machine that no run of the studio started.

    Attributes:
        start: When its process began, in the system's ticks: with `pid` it names the very process.
    """

    pid: int
    start: int
    backend: str
    model: str | None = None
    port: int | None = None
    base_url: str | None = None
    user: str = ""

    @property
    def key(self) -> str:
        """Return the key of its metrics in `Tick.engines`."""
        return f"{FOREIGN}{self.pid}"

    @property
    def name(self) -> str:
        """Return the last part of its model, which is what people call it."""
        return (self.model or self.backend).rstrip("/").rpartition("/")[2] or self.backend


#: How the keys of engines begin that are no run's.
FOREIGN = "foreign:"


@dataclass(frozen=True, slots=True)
class Tick:
    """One sample of all values, at `at` seconds since the epoch.

    Engines are keyed by run id, those that no run started by `EngineHere.key`.

    Attributes:
        process_cpu: What the busiest process of a run has of a core, in percent, by run id.
    """

    at: float
    gpus: GpuReport
    host: Host
    engines: dict[str, EngineMetrics] = field(default_factory=dict)
    process_cpu: dict[str, float] = field(default_factory=dict)
