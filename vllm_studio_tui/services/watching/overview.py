"""This host at a glance, for those who watch several."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from vllm_studio_tui import __version__
from vllm_studio_tui.domain.host_overview import HostGpu, HostOverview, HostRun
from vllm_studio_tui.domain.xids import trouble_of

if TYPE_CHECKING:
    from vllm_studio_tui.domain.gpus import Gpu, GpuReport
    from vllm_studio_tui.runs.read import RunView
    from vllm_studio_tui.services.watching.snapshot import Snapshot


def overview_of(snapshot: Snapshot, *, queue: int | None = None) -> HostOverview:
    """Return what a sample of this host says of it.

    Args:
        queue: Requests that wait in its server for a model.
    """
    report = snapshot.tick.gpus
    return HostOverview(
        __version__,
        _uptime(),
        report.driver or "",
        (report.error or "") if not report.gpus else "",
        report.simulated,
        tuple(_gpu(gpu, report.at) for gpu in report.gpus),
        tuple(_run(run, snapshot) for run in snapshot.runs),
        queue,
    )


def _gpu(gpu: Gpu, at: float) -> HostGpu:
    return HostGpu(
        gpu.index,
        gpu.name,
        gpu.utilization,
        gpu.memory_used,
        gpu.memory_total,
        gpu.power_draw,
        gpu.temperature,
        tuple(str(one) for one in gpu.throttle),
        gpu.lost or trouble_of(gpu, at) or "",
    )


def _run(run: RunView, snapshot: Snapshot) -> HostRun:
    status, engine = run.status, snapshot.engine(run.run_id)
    return HostRun(
        run.run_id,
        run.recipe_id,
        str(run.state),
        run.model or "",
        status.stage or "",
        status.progress,
        _gpus_of(run, snapshot.tick.gpus),
        status.title or "",
        status.started_at,
        engine.running if engine is not None else None,
        engine.waiting if engine is not None else None,
        engine.generation_tokens_per_second if engine is not None else None,
    )


def _gpus_of(run: RunView, report: GpuReport) -> tuple[str, ...]:
    """Return the indices of the GPUs that a live run claims or has processes on; a claim of none of these as it is."""
    claims = run.spec.gpus if run.spec is not None and run.live else ()
    own = [gpu for gpu in report.gpus if gpu.is_one_of(claims) or run.run_id in {one.run_id for one in gpu.processes}]
    return (
        *(str(gpu.index) for gpu in own),
        *(one for one in claims if not any(gpu.is_one_of((one,)) for gpu in report.gpus)),
    )


def _uptime() -> float | None:
    try:
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    except (AttributeError, OSError):  # a system without it
        return None
