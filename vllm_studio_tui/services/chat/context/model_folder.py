"""Where the files of the model lie that a run or a recipe has, for counting tokens without its engine."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.runs.find import find_run

if TYPE_CHECKING:
    from vllm_studio_tui.domain.chat import Target
    from vllm_studio_tui.kit.paths import Places
    from vllm_studio_tui.services.recipes.recipes import Recipes


def model_folder(
    places: Places, recipes: Callable[[], Recipes], target: Target | None, recipe: str | None
) -> Path | None:
    """Return the folder of the model of a target's run, else of a run or recipe by its name. Blocking."""
    names = [target.run_id, target.recipe_id, recipe] if target is not None else [recipe]
    for name in names:
        if name:
            for fields in (_of_run(places, name), _of_recipe(recipes, name)):
                found = _folder(fields.get("tokenizer")) or _folder(fields.get("model_path"))
                if found is not None:
                    return found
    return None


def _of_run(places: Places, name: str) -> Mapping[str, Any]:
    with contextlib.suppress(StudioError):
        spec = find_run(places, name).spec
        return spec.recipe if spec is not None else {}
    return {}


def _of_recipe(recipes: Callable[[], Recipes], name: str) -> Mapping[str, Any]:
    with contextlib.suppress(StudioError):
        one = recipes().get(name)
        return {"model_path": one.model_path, "tokenizer": one.tokenizer}
    return {}


def _folder(model: Any) -> Path | None:
    """Return the folder of a path, or of a model's name in the hub's cache: the snapshot that was fetched last."""
    from vllm_studio_tui.models.local import hub_cache

    if not isinstance(model, str) or not model or "\0" in model:
        return None
    try:
        path = Path(model).expanduser()
        if path.is_dir():
            return path
        if path.is_file():
            return path.parent
        if model.count("/") != 1:
            return None
        snapshots = hub_cache(os.environ) / f"models--{model.replace('/', '--')}" / "snapshots"
        return max(snapshots.iterdir(), key=lambda one: one.stat().st_mtime, default=None)
    except (OSError, RuntimeError):
        return None
