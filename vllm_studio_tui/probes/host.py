"""Read the host's CPU use, load and memory, through psutil."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path

from vllm_studio_tui.domain.sample import Host

#: Seconds from one look at the swap to the next.
SWAP_EVERY = 10.0


class DiskRoom:
    """What is free on the disk of a directory, read now and then in a thread of its own: one over a network may hang.

    Args:
        every: Seconds from one look to the next.
    """

    def __init__(self, directory: Path, every: float = 15.0) -> None:
        self._directory = directory
        self._every = every
        self._known: tuple[int | None, int | None] = None, None
        self._at = 0.0
        self._looking: threading.Thread | None = None

    def read(self) -> tuple[int | None, int | None]:
        """Return bytes of the disk and how many of them are free for us, as they were last known; never waits."""
        now = time.monotonic()
        if self._looking is not None and not self._looking.is_alive():
            self._looking = None
        if self._looking is None and (not self._at or now - self._at >= self._every):
            self._at = now
            self._looking = threading.Thread(target=self._look, name="disk", daemon=True)
            self._looking.start()
        elif now - self._at > 4 * self._every:
            return None, None  # it hangs
        return self._known

    def _look(self) -> None:
        at = self._directory
        while not at.exists() and at != at.parent:
            at = at.parent
        try:
            found = os.statvfs(at)
        except OSError:
            self._known = None, None
        else:
            self._known = found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize


class HostReader:
    """Reads the host. `cpu` is the busy share since the previous reading, so the first has none.

    Args:
        disk: A directory of the disk whose room is read; None: of none.
    """

    def __init__(self, disk: Path | None = None) -> None:
        self._last: tuple[float, float] | None = None
        self._swap: tuple[int | None, int | None] = None, None
        self._swap_at = -SWAP_EVERY
        self._disk = DiskRoom(disk) if disk is not None else None

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
        room = self._disk.read() if self._disk is not None else (None, None)
        return Host(self._cpu(), load, total, used, os.cpu_count(), *self._read_swap(), *room)

    def _read_swap(self) -> tuple[int | None, int | None]:
        """Return bytes of swap and how many are used; looked up now and then: it costs as much as all the rest."""
        import psutil

        now = time.monotonic()
        if now - self._swap_at >= SWAP_EVERY:
            self._swap_at, self._swap = now, (None, None)
            with contextlib.suppress(OSError, RuntimeError):
                found = psutil.swap_memory()
                self._swap = int(found.total), int(found.used)
        return self._swap

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
