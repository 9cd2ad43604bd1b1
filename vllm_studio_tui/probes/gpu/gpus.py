"""The GPUs without waiting for a driver that hangs: once under a deadline, or again and again by a worker process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vllm_studio_tui.domain.metrics import GpuReport
from vllm_studio_tui.probes.gpu.nvml import NvmlReader

if TYPE_CHECKING:
    from vllm_studio_tui.probes.gpu.link import GpuWorker

__all__ = ["GpuWorker", "read_once"]


def __getattr__(name: str) -> object:
    """`GpuWorker` lives beside this: it needs subprocesses, which one quick reading does not."""
    if name == "GpuWorker":
        from vllm_studio_tui.probes.gpu.link import GpuWorker

        return GpuWorker
    raise AttributeError(name)


def read_once(deadline: float = 3.0, *, processes: bool = True) -> GpuReport:
    """Read the GPUs once, in this process; what does not answer in time is unknown, and told so."""
    return NvmlReader().read(processes, deadline)
