"""The demo: a small real model on the CPU, or a simulation, in a home of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.errors import NotFound, UsageError
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.models.demo.fetch import fetch_demo_model
from vllm_studio_tui.models.progress import Progress
from vllm_studio_tui.services.protocols import RecipesApi

if TYPE_CHECKING:
    from vllm_studio_tui.config.settings import Settings
    from vllm_studio_tui.runs.read import RunView
    from vllm_studio_tui.store.database import Database

RECIPE = "smollm2-demo"
SIMULATED_GPUS = "4"


def demo_places(environ: Mapping[str, str]) -> Places:
    """The demo's own home: `VLLM_STUDIO_HOME` if set, else one under the cache directory."""
    if environ.get("VLLM_STUDIO_HOME"):
        return Places.of(environ)
    return Places.under(Places.of(environ).cache / "demo")


def demo_home(places: Places) -> Path:
    """The directory to name in `VLLM_STUDIO_HOME`."""
    return places.data.parent


def demo_recipe(recipes: RecipesApi) -> Recipe:
    """The recipe of the demo; saved when it is not there yet, left alone when the person has changed it."""
    try:
        return recipes.get(RECIPE)
    except NotFound:
        starter = next(one for one in recipes.starters() if one.id == RECIPE)
        return recipes.create(starter)


def fetch(places: Places, path: Path | None, progress: Callable[[Progress], None]) -> Path:
    """The demo model's file; downloaded when it is not there yet."""
    return fetch_demo_model(places, path=path, environ=os.environ, progress=progress)


def prepare_simulation(places: Places) -> None:
    """Put simulated engines into the home, and say where their models are; comes before its settings are read."""
    from vllm_studio_tui.services.simulated_home.home import hub, prepare

    prepare(places)
    os.environ["HF_HUB_CACHE"] = str(hub(places))


def machine_gpus(machine: str) -> str:
    """Return what `VLLM_STUDIO_SIMULATE_GPUS` is for a machine.

    Raises:
        UsageError: No such machine can be simulated.
    """
    from vllm_studio_tui.simulation import kinds

    found = kinds.machine(machine)
    if found is None:
        advice = f"Name a kind of GPU, or how many of it as in 8xh100: {', '.join(kinds.KINDS)}; or none."
        raise UsageError(f"no machine {machine[:40]!r} can be simulated", advice=advice)
    return found


def machine_home(places: Places) -> Path:
    """Return the home of a simulated machine, which is empty at each start unless the person names one."""
    import shutil

    if os.environ.get("VLLM_STUDIO_HOME"):
        return demo_home(places)
    home = places.cache / "machine"
    shutil.rmtree(home, ignore_errors=True)
    return home


def prepare_machine(places: Places) -> None:
    """Put simulated engines into the home, where there are GPUs for them, and an empty cache of the hub."""
    from vllm_studio_tui.services.simulated_home.home import hub, install_engines
    from vllm_studio_tui.simulation.marks import GPUS

    if "nodriver" not in os.environ.get(GPUS, ""):
        install_engines(places)
    os.environ["HF_HUB_CACHE"] = str(hub(places))


def open_simulation(places: Places, settings: Settings, db: Database, recipes: RecipesApi) -> RunView:
    """Fill the simulated home where that is due, start what runs in it, and return the run that serves."""
    from vllm_studio_tui.services.simulated_home.home import SimulatedHome

    return SimulatedHome(places, settings, db, recipes).open()
