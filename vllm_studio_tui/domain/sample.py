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
class Tick:
    """One sample of all values, at `at` seconds since the epoch. Engines are keyed by run id.

    Attributes:
        process_cpu: What the busiest process of a run has of a core, in percent, by run id.
    """

    at: float
    gpus: GpuReport
    host: Host
    engines: dict[str, EngineMetrics] = field(default_factory=dict)
    process_cpu: dict[str, float] = field(default_factory=dict)
