"""What a recipe would launch: its command, the problems that a check finds, and its earlier runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.errors import StudioError

if TYPE_CHECKING:
    from vllm_studio_tui.backends.base import Problem
    from vllm_studio_tui.domain.recipe import Recipe
    from vllm_studio_tui.runs.read import RunView
    from vllm_studio_tui.services.launching.preview import Preview
    from vllm_studio_tui.services.protocols import StudioApi
    from vllm_studio_tui.services.watching.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Plan:
    """What a recipe would launch.

    Attributes:
        recipe: None where it cannot be read; `error` has the reason.
        preview: The command; None where there is none.
        problems: What a check found.
        error: Why there is no command, in words.
        past: Its runs, the latest first.
    """

    recipe_id: str
    recipe: Recipe | None
    preview: Preview | None = None
    problems: tuple[Problem, ...] = ()
    error: str = ""
    past: tuple[RunView, ...] = ()


def plan_of_stored(studio: StudioApi, snapshot: Snapshot | None, recipe_id: str) -> Plan:
    """Return the plan of a stored recipe, with its latest runs. Blocking."""
    every = snapshot.every if snapshot is not None else ()
    past = tuple(run for run in reversed(every) if run.recipe_id == recipe_id)[:6]
    try:
        recipe = studio.recipes.get(recipe_id)
    except StudioError as error:
        return Plan(recipe_id, None, error=f"{error.title}. {error.cause} {error.advice}", past=past)
    return plan_of(studio, snapshot, recipe, past)


def plan_of(studio: StudioApi, snapshot: Snapshot | None, recipe: Recipe, past: tuple[RunView, ...] = ()) -> Plan:
    """Return the plan of a recipe that need not be stored. Blocking."""
    if recipe.backend == "external":
        return Plan(recipe.id, recipe, past=past)
    launcher = studio.launcher
    try:
        # The sampler's worker has just read the GPUs: this process does not load the driver.
        problems = tuple(
            launcher.check(recipe, snapshot.tick.gpus, snapshot.runs) if snapshot else launcher.check(recipe)
        )
        return Plan(recipe.id, recipe, launcher.preview(recipe, missing_ok=True), problems, past=past)
    except StudioError as error:
        return Plan(recipe.id, recipe, error=f"{error.title}. {error.cause}", past=past)
