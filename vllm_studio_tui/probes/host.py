"""Read the host's CPU use, load and memory, through psutil."""

from __future__ import annotations

import contextlib
import os

from vllm_studio_tui.domain.sample import Host


class HostReader:
    """Reads the host. `cpu` is the busy share since the previous reading, so the first has none."""

    def __init__(self) -> None:
        self._last: tuple[float, float] | None = None

    def read(self) -> Host:
        """Return one sample; takes well under a millisecond and never waits."""
        import psutil

        total: int | None = None
        used: int | None = None
        load: tuple[float, float, float] | None = None
        with contextlib.suppress(OSError, RuntimeError):
            memory = psutil.virtual_memory()
            total, used = int(memory.total), int(memory.total - memory.available)
        with contextlib.suppress(OSError):
            load = os.getloadavg()
        return Host(self._cpu(), load, total, used, os.cpu_count())

    def _cpu(self) -> float | None:
        """Return percent of all cores' time that was not idle, 0-100 (as psutil.cpu_percent, see proc_stat(5))."""
        import psutil

        try:
            times = psutil.cpu_times()
        except (OSError, RuntimeError):
            return None
        # Time of guests is already in user and nice.
        whole = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
        idle = times.idle + getattr(times, "iowait", 0.0)
        before, self._last = self._last, (whole, idle)
        if before is None or whole <= before[0]:
            return None
        share = 1 - (idle - before[1]) / (whole - before[0])
        return max(0.0, min(100.0, share * 100))
