"""What is on this machine, for "What do you want to run?": engines, models, starters, servers of others."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from vllm_studio_tui.tui.paint.starting import Here

if TYPE_CHECKING:
    from vllm_studio_tui.domain.gpus import GpuReport
    from vllm_studio_tui.domain.model import Model
    from vllm_studio_tui.services.protocols import StudioApi
    from vllm_studio_tui.tui.shell import Shell


#: Models of which it is worked out how they would run: those that a large window shows.
MOST_GLANCES = 24


async def look_around(shell: Shell, show: Callable[[Here], None]) -> None:
    """Look at this machine in threads, and show what is known so far after each look."""
    studio = shell.studio
    seen = shell.snapshot.tick.gpus if shell.snapshot is not None else None
    here = await shell.in_thread(partial(_quick_look, studio, seen))
    show(here)
    here = replace(here, models=await shell.in_thread(partial(_models, studio)))
    show(here)
    here = replace(here, starters=await shell.in_thread(studio.creating.starters))
    show(here)
    if foreign := await shell.in_thread(studio.runs.foreign):
        here = replace(here, foreign=foreign)
        show(here)
    for model in (here.models or ())[:MOST_GLANCES]:
        glance = await shell.in_thread(partial(studio.creating.glance, model.path))
        here = replace(here, glances={**here.glances, model.path: glance})
        show(here)


def _gpus(report: GpuReport) -> tuple[int, int]:
    gpus = report.gpus
    return len(gpus), sum((gpu.memory_total or 0) - (gpu.memory_used or 0) for gpu in gpus)


def _models(studio: StudioApi) -> list[Model]:
    """Return the models that an engine could load. Blocking."""
    return [one for one in studio.models.list(fresh=True) if one.runnable]


def _quick_look(studio: StudioApi, seen: GpuReport | None) -> Here:
    from vllm_studio_tui.models.demo.model import SMOLLM2, demo_model_path
    from vllm_studio_tui.models.local import hub_cache, hub_token

    engines = studio.engines_here()
    cache = hub_cache(os.environ)
    existing = next((folder for folder in (cache, *cache.parents) if folder.is_dir()), Path("/"))
    try:
        room: int | None = shutil.disk_usage(existing).free
    except OSError:
        room = None
    gpus = _gpus(seen if seen is not None and seen.gpus else studio.gpu_report(processes=False))
    demo = (SMOLLM2.size, demo_model_path(studio.places) is not None)
    return Here(engines, None, None, (), room, hub_token(os.environ), gpus, demo)
