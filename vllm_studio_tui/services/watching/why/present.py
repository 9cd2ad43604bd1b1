"""One look at a run's engine and GPUs, where nothing in this program samples: for a command that answers and ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.engine_metrics import EngineMetrics
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.run import ANSWERING
from vllm_studio_tui.domain.sample import Host, Tick
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.services.watching.snapshot import Snapshot

if TYPE_CHECKING:
    from vllm_studio_tui.domain.gpus import GpuReport
    from vllm_studio_tui.runs.read import RunView


def look_once(places: Places, run: RunView, gpu_report: Callable[[], GpuReport]) -> Snapshot:
    """Return what the GPUs and the run's engine say now, or why that tells nothing. Blocking."""
    from vllm_studio_tui.services.engine_readings import measure

    engines = {}
    if run.state in ANSWERING:
        try:
            told = measure(places, run, 0.0)
        except StudioError as error:  # its key cannot be read, or it is somebody else's
            told = EngineMetrics(error=error.title)
        engines = {run.run_id: told}
    return Snapshot(Tick(time.time(), gpu_report(), Host(), engines), (run,), (run,))
