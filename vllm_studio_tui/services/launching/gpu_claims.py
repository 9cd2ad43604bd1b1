"""The GPUs that a launch will take: whether they are there, and who else uses them."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from vllm_studio_tui.backends.base import Backend, LaunchContext, Problem
from vllm_studio_tui.domain.errors import LaunchRefused, StudioError
from vllm_studio_tui.domain.gpus import UUID, GpuReport
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.runs.gpu_use import claims
from vllm_studio_tui.runs.make_spec import command_of
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.services.launching.gpu_choice import absent, free_gpus, holders
from vllm_studio_tui.services.launching.preflight import guarded, refuse

#: Seconds that a launch waits for the GPUs to say which of them are there.
GPU_WAIT = 1.5


def claimed_gpus(recipe: Recipe, backend: Backend, context: LaunchContext) -> tuple[str, ...]:
    """Return the GPUs that a run will claim; the installed engine's version tells whether it takes any by itself."""
    version = None
    if recipe.runtime == "native" and not recipe.gpus and backend.needs_launch:
        with contextlib.suppress(StudioError):  # said elsewhere
            command = guarded(backend, lambda: command_of(recipe, backend, context, "preview"))
            version = backend.version(command.argv[0])
    return claims(recipe, version)


def claim_problems(
    recipe: Recipe, wanted: Sequence[str], report: GpuReport | None, live: Sequence[RunView]
) -> list[Problem]:
    """Return what stands against the GPUs of a recipe, and what a person should know of them.

    Args:
        report: None: no GPU is known.
    """
    problems = []
    if report is not None:
        wanted = report.by_index(wanted)
        problems += gpu_problems(recipe, wanted, report, live) + room_problems(wanted, report, live)
    for one in live:
        shared = sorted(set(wanted) & set(one.spec.gpus)) if one.spec and one.recipe_id != recipe.id else []
        if shared:
            message = f"{one.name} has GPU {' '.join(shared)}"
            problems.append(Problem("gpus", "error", message, "Choose other GPUs or stop that run."))
    return problems


def gpu_problems(recipe: Recipe, wanted: Sequence[str], report: GpuReport, live: Sequence[RunView]) -> list[Problem]:
    """Return what of the GPUs that the recipe will use is not there, or does not answer."""
    if recipe.gpus == ("auto",):
        try:
            free_gpus(report, live, recipe.gpu_count)
        except LaunchRefused as error:
            return [Problem("gpus", "error", f"{error.title}: {error.cause}", error.advice)]
        return []
    problems = []
    missing = absent(report, wanted)
    if missing:
        there = ", ".join(str(gpu.index) for gpu in report.gpus)
        message = f"GPU {', '.join(missing)} is not there: this machine has {there}"
        problems.append(Problem("gpus", "error", message, "Name others, or lower tensor_parallel_size."))
    for gpu in report.gpus:
        if gpu.lost is not None and gpu.is_one_of(wanted):
            message = f"GPU {gpu.index} does not answer: {gpu.lost}"
            problems.append(Problem("gpus", "warning", message, "Choose another GPU; `dmesg` may say why."))
    return problems


def room_problems(wanted: Sequence[str], report: GpuReport, live: Sequence[RunView]) -> list[Problem]:
    """Return who holds memory of the GPUs that the recipe will use."""
    claimed = {claim for one in live if one.spec for claim in one.spec.gpus}  # said elsewhere, by the run's name
    unclaimed = [one for one in wanted if one not in claimed]
    return [
        Problem("gpus", "warning", f"GPU {gpu} is in use: {who}", "Stop it, choose another GPU, or use less memory.")
        for gpu, who in holders(report, unclaimed, [one.run_id for one in live])
    ]


def by_index(gpus: Sequence[str]) -> tuple[str, ...]:
    """Return GPUs by index, as runs claim them: 0 and its UUID are one GPU. Only for UUIDs is the driver asked."""
    if not any(one.startswith(UUID) for one in gpus):
        return tuple(gpus)
    from vllm_studio_tui.probes.gpu.provider import read_once

    return read_once(GPU_WAIT, processes=False).by_index(gpus)


def refuse_missing_gpus(recipe: Recipe, gpus: Sequence[str]) -> None:
    """Refuse GPUs that this machine does not have.

    Raises:
        HopelessLaunch: One of them is not there.
    """
    if gpus:
        from vllm_studio_tui.probes.gpu.provider import read_once

        refuse(recipe, gpu_problems(recipe, gpus, read_once(GPU_WAIT, processes=False), ()))
