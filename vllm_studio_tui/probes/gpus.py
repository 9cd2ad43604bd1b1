"""The GPUs without waiting for a driver that hangs: once under a deadline, or again and again by a worker process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from vllm_studio_tui.domain.metrics import GpuReport
from vllm_studio_tui.probes.nvml import NvmlReader, simulated

if TYPE_CHECKING:
    from vllm_studio_tui.probes.link import GpuWorker

T = TypeVar("T")

HUNG = "The NVIDIA driver does not answer"
HUNG_ADVICE = "A GPU may have fallen off the bus: look at `dmesg`, and reset it or reboot."

__all__ = ["HUNG", "HUNG_ADVICE", "GpuWorker", "read_once", "within"]


def __getattr__(name: str) -> object:
    """`GpuWorker` lives beside this: it needs subprocesses, which one quick reading does not."""
    if name == "GpuWorker":
        from vllm_studio_tui.probes.link import GpuWorker

        return GpuWorker
    raise AttributeError(name)


def within(deadline: float, work: Callable[[], T]) -> T | None:
    """What `work` returns, or None when it takes more than `deadline` seconds.

    The thread of a late one is left behind. It is a daemon, so the interpreter ends without it; but a process
    whose call hangs inside the kernel is gone only when that returns. Callers that must go leave by `os._exit`.
    """
    done: list[T] = []
    thread = threading.Thread(target=lambda: done.append(work()), daemon=True)
    thread.start()
    thread.join(deadline)
    return done[0] if done else None


def read_once(deadline: float = 3.0, *, processes: bool = True) -> GpuReport:
    """Read the GPUs once, in this process; a report that says so when the driver does not answer in time."""
    at = time.time()
    report = within(deadline, lambda: NvmlReader().read(processes))
    if report is not None:
        return report
    return GpuReport(at, error=f"{HUNG} within {deadline:g} s", advice=HUNG_ADVICE, simulated=simulated())
