"""What is looked at beside the requests of a step: the energy of the GPUs, and what the engine says of itself."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from vllm_studio_tui.services.bench.figures import Measured

if TYPE_CHECKING:
    from vllm_studio_tui.domain.chat import Target
    from vllm_studio_tui.probes.engine.reader import EngineProbe
    from vllm_studio_tui.probes.gpu.provider import GpuReader

#: Seconds between two looks at the engine.
EVERY = 1.0


class Beside:
    """Looks at GPUs and engine, in a thread.

    Args:
        gpus: UUIDs of the GPUs whose energy counts; none: none is known.
        watched: The engine has metrics of its own: it is a run of ours.
    """

    def __init__(self, target: Target, gpus: Sequence[str], *, watched: bool) -> None:
        self._target, self._gpus, self._watched = target, list(gpus), watched
        self._reader: GpuReader | None = None
        self._probe: EngineProbe | None = None
        self._begin: tuple[float, dict[str, int]] | None = None
        self._preempted: int | None = None
        #: The most requests of others that the engine had at once.
        self.others = 0

    async def watch(self, measured: Measured, ours: Callable[[], int]) -> None:
        """Look until it is cancelled; the energy from the moment on from which is counted."""
        loop = asyncio.get_running_loop()
        self._begin, self._preempted = None, None
        await asyncio.sleep(max(0.0, measured.begin - loop.time()))
        if self._gpus:
            self._begin = await asyncio.to_thread(self._energies)
        while self._watched:
            metrics = await asyncio.to_thread(self._metrics)
            if metrics is not None:
                kv, waiting, preempted, running = metrics
                if kv is not None:
                    measured.kv = max(measured.kv or 0.0, kv)
                if waiting is not None:
                    measured.waiting = max(measured.waiting or 0, waiting)
                if preempted is not None:
                    first = self._preempted = preempted if self._preempted is None else self._preempted
                    measured.preemptions = max(0, preempted - first)
                if running is not None:
                    self.others = max(self.others, running + (waiting or 0) - ours())
            await asyncio.sleep(EVERY)

    async def finish(self, measured: Measured) -> None:
        """Take the energy of the step; the counters are scaled to its window, as they were read a little off it."""
        if self._begin is None or measured.end is None:
            return
        before, self._begin = self._begin, None
        after = await asyncio.to_thread(self._energies)
        seconds = after[0] - before[0]
        if seconds <= 0 or set(before[1]) != set(after[1]) or not after[1]:
            return
        joules = sum(after[1][one] - before[1][one] for one in after[1]) / 1000
        measured.energy = max(0.0, joules * (measured.end - measured.begin) / seconds)

    def close(self) -> None:
        """Shut the library of the GPUs down."""
        if self._reader is not None:
            with contextlib.suppress(Exception):
                self._reader.close()

    def _energies(self) -> tuple[float, dict[str, int]]:
        import time

        from vllm_studio_tui.probes.gpu.provider import GpuReader

        if self._reader is None:
            self._reader = GpuReader()
        counts, _ = self._reader.energies(self._gpus)
        return time.monotonic(), counts

    def _metrics(self) -> tuple[float | None, int | None, int | None, int | None] | None:
        from vllm_studio_tui.probes.engine.reader import EngineProbe

        if self._probe is None:
            self._probe = EngineProbe(self._target.backend)
        found = self._probe.read(self._target.base_url, self._target.api_key)
        if found.error is not None:
            return None
        return found.kv_cache_usage, found.waiting, found.preemptions_total, found.running
