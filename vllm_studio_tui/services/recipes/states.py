"""Recipes with the state of what they describe: a run, or a server of somebody else."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.domain.recipe_secrets import mask_recipe
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.services.recipes.external_servers import external_states


def recipe_states(recipes: Iterable[Recipe], live: Iterable[RunView]) -> dict[str, str]:
    """Return the state of each recipe that has a live run or is an external server, by the recipe's id. Blocking."""
    return {**external_states(recipes), **{run.recipe_id: str(run.state) for run in live}}


def recipe_document(recipe: Recipe, state: str | None) -> dict[str, Any]:
    """Return a recipe with every field, secrets masked, and the state of its run (None: stopped)."""
    return {**mask_recipe(recipe.model_dump(mode="json")), "state": state or "stopped"}
