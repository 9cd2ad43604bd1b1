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
    from vllm_studio_tui.domain.model import Model
    from vllm_studio_tui.services.protocols import StudioApi
    from vllm_studio_tui.tui.shell import Shell


async def look_around(shell: Shell, show: Callable[[Here], None]) -> None:
    """Look at this machine in threads, and show what is known so far after each look."""
    studio = shell.studio
    here = await shell.in_thread(partial(_quick_look, studio, _gpus(shell)))
    show(here)
    here = replace(here, models=await shell.in_thread(partial(_models, studio)))
    show(here)
    foreign = await shell.in_thread(studio.runs.foreign)
    if foreign:
        show(replace(here, foreign=foreign))


def _gpus(shell: Shell) -> tuple[int, int]:
    gpus = shell.snapshot.tick.gpus.gpus if shell.snapshot is not None else ()
    return len(gpus), sum((gpu.memory_total or 0) - (gpu.memory_used or 0) for gpu in gpus)


def _models(studio: StudioApi) -> list[Model]:
    """Return the models that an engine could load. Blocking."""
    return [one for one in studio.models.list(fresh=True) if one.runnable]


def _quick_look(studio: StudioApi, gpus: tuple[int, int]) -> Here:
    from vllm_studio_tui.models.demo.model import SMOLLM2, demo_model_path
    from vllm_studio_tui.models.local import hub_cache, hub_token
    from vllm_studio_tui.services.demo import RECIPE
    from vllm_studio_tui.services.recipes.starting import starters_here

    engines = studio.engines_here()
    starters = starters_here([one for one in studio.recipes.starters() if one.id != RECIPE], engines, gpus[0])
    cache = hub_cache(os.environ)
    existing = next((folder for folder in (cache, *cache.parents) if folder.is_dir()), Path("/"))
    try:
        room: int | None = shutil.disk_usage(existing).free
    except OSError:
        room = None
    demo = (SMOLLM2.size, demo_model_path(studio.places) is not None)
    return Here(engines, None, starters, (), room, hub_token(os.environ), gpus, demo)
