"""Choosing free GPUs, and saying who holds the others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vllm_studio_tui.domain.errors import LaunchRefused
from vllm_studio_tui.domain.gpus import GIB, Gpu, GpuReport
from vllm_studio_tui.runs.read import RunView


def free_gpus(report: GpuReport, runs: Iterable[RunView], count: int) -> tuple[str, ...]:
    """Return indices of `count` GPUs that nobody holds, those with the most free memory first, in order of index.

    Raises:
        LaunchRefused: There are not so many; its cause names who holds the others.
    """
    if report.error:
        raise LaunchRefused("free GPUs cannot be chosen", cause=report.error, advice="Name them in gpus.")
    claimed = {str(one): run.recipe_id for run in runs if run.spec for one in run.spec.gpus}
    held = {gpu.index: _holder(gpu, claimed) for gpu in report.gpus}
    free = [gpu for gpu in report.gpus if not held[gpu.index]]
    if len(free) < count:
        cause = "\n".join(f"GPU {index}: {why}" for index, why in held.items() if why) or "There are no more."
        raise LaunchRefused(
            f"{count} free GPUs are needed and {len(free)} are free",
            cause=cause,
            advice="Stop what holds them, or name GPUs in the recipe.",
        )
    best = sorted(free, key=lambda gpu: -((gpu.memory_total or 0) - (gpu.memory_used or 0)))[:count]
    return tuple(str(index) for index in sorted(gpu.index for gpu in best))


def obtainable(report: GpuReport, runs: Iterable[RunView]) -> frozenset[str] | None:
    """Return the GPUs that only our runs use, each as the run that claims it calls it; None: they cannot be read."""
    if report.error:
        return None
    claimed = {str(one) for run in runs if run.spec for one in run.spec.gpus}
    names = {_called(gpu, claimed) or str(gpu.index): gpu for gpu in report.gpus}
    return frozenset(name for name, gpu in names.items() if name in claimed or not _holder(gpu, {}))


def holders(report: GpuReport, wanted: Sequence[str], own: Iterable[str] = ()) -> list[tuple[str, str]]:
    """Return pairs of GPU and who holds memory of it, for those of `wanted` that somebody else uses.

    Args:
        own: Run ids whose processes do not count.
    """
    mine = set(own)
    found = []
    for gpu in report.gpus:
        if not gpu.is_one_of(wanted):
            continue
        others = [one for one in gpu.processes if one.run_id is None or one.run_id not in mine]
        names = ", ".join(_process(one.pid, one.user, one.command, one.gpu_memory) for one in others[:4])
        if names:
            found.append((str(gpu.index), names))
    return found


def absent(report: GpuReport, wanted: Sequence[str]) -> list[str]:
    """Those of the wanted indices and UUIDs that this machine does not have; none while its GPUs are not known."""
    if not report.gpus:
        return []
    indices = {str(gpu.index) for gpu in report.gpus}
    uuids = [gpu.uuid for gpu in report.gpus]
    return [
        one
        for one in wanted
        if (one.isdigit() and one not in indices)
        or (one.startswith("GPU-") and all(uuids) and not any(uuid.startswith(one) for uuid in uuids))
    ]


def _holder(gpu: Gpu, claimed: dict[str, str]) -> str:
    claim = _called(gpu, claimed)
    if claim is not None:
        return f"claimed by {claimed[claim]}"
    if gpu.processes:
        return ", ".join(_process(one.pid, one.user, one.command, one.gpu_memory) for one in gpu.processes[:4])
    if gpu.lost is not None:
        return f"not answering: {gpu.lost}"
    if gpu.trouble is not None:
        return gpu.trouble
    if gpu.memory_used is None:
        return "its memory cannot be read"
    return "" if gpu.free else f"{gpu.memory_used / GIB:.1f} GiB are used by what cannot be seen from here"


def _called(gpu: Gpu, claimed: Iterable[str]) -> str | None:
    """Return by what name a GPU is claimed; None: it is not."""
    return next((one for one in sorted(claimed, reverse=True) if gpu.is_one_of((one,))), None)


def _process(pid: int, user: str | None, command: str | None, memory: int | None) -> str:
    size = f"{memory / GIB:.1f} GiB by " if memory else ""
    return f"{size}{command or 'a process'} (pid {pid}{f', {user}' if user else ''})"
