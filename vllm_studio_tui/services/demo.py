"""The demo: a small real model on the CPU, or a simulation, in a home of its own."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from vllm_studio_tui.domain.errors import NotFound, StoreError
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.domain.recipe_reading import parse_recipe
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.models.demo.fetch import fetch_demo_model
from vllm_studio_tui.models.progress import Progress
from vllm_studio_tui.services.protocols import RecipesApi

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


def simulated(recipes: RecipesApi, places: Places) -> list[Recipe]:
    """Make the recipes and engines of the simulation; return the three recipes that are launched."""
    from vllm_studio_tui.config.settings import save_setting
    from vllm_studio_tui.simulation import programs
    from vllm_studio_tui.simulation.recipes import FAILED, LOADING, READY, simulated_recipes

    made = programs.install(places.data / "engines")
    if not places.settings_file.exists():
        save_setting(places, "vllm_executable", str(made["vllm"]))
        save_setting(places, "sglang_python", str(made["sglang"]))
    for data in simulated_recipes():
        recipe, _ = parse_recipe(data)
        with contextlib.suppress(StoreError):  # it is there, as the person has it
            recipes.create(recipe)
    return [recipes.get(one) for one in (READY, LOADING, FAILED)]
