"""Waiting until the memory of GPUs is back after their runs were stopped."""

from __future__ import annotations

import time
from collections.abc import Iterable

from vllm_studio_tui.runs import read

#: Seconds that the memory of a stopped run's GPUs is waited for before the next launch.
MEMORY_WAIT = 30.0


def gpu_pids(runs: Iterable[read.RunView]) -> set[int]:
    """Return the processes of these runs that hold memory of a GPU."""
    ids = {one.run_id for one in runs if one.spec and one.spec.gpus}
    if not ids:
        return set()
    from vllm_studio_tui.probes.gpu.provider import read_once

    report = read_once()
    return {process.pid for gpu in report.gpus for process in gpu.processes if process.run_id in ids}


def memory_back(pids: set[int]) -> set[int]:
    """Wait until none of these processes holds GPU memory; return those that still do after a while."""
    deadline = time.monotonic() + MEMORY_WAIT
    while pids and time.monotonic() < deadline:
        pids &= _gpu_pids_now()
        if pids:
            time.sleep(0.2)
    return pids


def _gpu_pids_now() -> set[int]:
    from vllm_studio_tui.probes.gpu.provider import read_once

    return {process.pid for gpu in read_once().gpus for process in gpu.processes}
