"""One sample of everything that is watched: GPUs, host, engines."""

from __future__ import annotations

from dataclasses import dataclass, field

from vllm_studio_tui.domain.engine_metrics import EngineMetrics
from vllm_studio_tui.domain.gpus import GpuReport


@dataclass(frozen=True, slots=True)
class Host:
    """The host at one moment: CPU in percent 0-100, memory in bytes."""

    cpu: float | None = None
    load: tuple[float, float, float] | None = None
    memory_total: int | None = None
    memory_used: int | None = None
    cores: int | None = None


@dataclass(frozen=True, slots=True)
class Tick:
    """One sample of all values, at `at` seconds since the epoch. Engines are keyed by run id."""

    at: float
    gpus: GpuReport
    host: Host
    engines: dict[str, EngineMetrics] = field(default_factory=dict)
