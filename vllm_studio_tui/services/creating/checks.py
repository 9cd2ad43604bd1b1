"""Looks at a recipe that is being made: its files, its engine, its port, the disk and the memory; and its command."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.creation import CreateCheck, Creation
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.kit import numbers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vllm_studio_tui.backends.base import Problem
    from vllm_studio_tui.domain.gpus import GpuReport
    from vllm_studio_tui.services.protocols import StudioApi

#: Fields of a problem that one word of the line of checks stands for; what is not here is about the recipe.
_ABOUT = {
    "model_path": "files", "tokenizer": "files", "revision": "files", "port": "port", "host": "port", "gpus": "GPUs",
    "tensor_parallel_size": "heads", "gpu_memory_utilization": "memory", "max_model_len": "context",
    "backend": "engine", "executable": "engine", "python_path": "engine",
}  # fmt: skip


def checks_of(studio: StudioApi, made: Creation, report: GpuReport) -> Creation:
    """Return the same with its checks and its command. Blocking."""
    shell, environment, said, problems = "", "", "", [*_problems(studio, made, report)]
    try:
        preview = studio.launcher.preview(made.recipe, missing_ok=True)
        shell = shlex.join(preview.argv)
        environment = preview.shell.removesuffix(shell).strip()
    except StudioError:
        if made.fetch:
            error = StudioError("there is none before the model is here")
        said = f"{error.title}. {error.cause}".strip()
    return replace(
        made, checks=tuple(_checks(made, problems)), shell=shell, environment=environment, shell_unknown=said
    )


def _problems(studio: StudioApi, made: Creation, report: GpuReport) -> Sequence[Problem]:
    from vllm_studio_tui.backends.base import Problem

    try:
        return studio.launcher.check(made.recipe, report)
    except StudioError as error:
        return [Problem("backend", "error", error.title, error.advice)]


def _checks(made: Creation, problems: Sequence[Problem]) -> list[CreateCheck]:
    found: dict[str, CreateCheck] = {}
    if made.model.here:
        found["files"] = CreateCheck("ok", "files whole" if made.model.complete else "files")
    chosen = made.chosen
    if chosen is not None:
        knows = chosen.why.startswith("knows ")
        words = "engine knows it" if knows else "engine" if chosen.ready else chosen.why
        found["engine"] = CreateCheck("ok" if chosen.ready else "error", words)
    found["port"] = CreateCheck("ok", "port free")
    if made.fit is None:
        found["memory"] = CreateCheck("unknown", "memory not known")
    elif not made.fit.fits:
        found["memory"] = CreateCheck("error" if made.fit.certain else "warning", "memory: does not fit")
    else:
        found["memory"] = CreateCheck("ok" if made.fit.certain else "warning", "memory")
    if made.fetch:
        size = f": {numbers.size(made.model.bytes)}" if made.model.bytes else ""
        found["files"] = CreateCheck("warning", f"is downloaded before it runs{size}")
        problems = [one for one in problems if one.field != "model_path"]
    for one in problems:
        about = _ABOUT.get(one.field, one.field)
        if about not in found or found[about].state in ("ok", "unknown"):
            found[about] = CreateCheck(one.severity, one.message)
    return sorted(found.values(), key=lambda one: ("error", "warning", "unknown", "ok").index(one.state))
