"""The models on this machine with the recipes that use them, as the original listed them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.domain.model import Kind, Source
from vllm_studio_tui.kit.iso_time import iso_time

if TYPE_CHECKING:
    from vllm_studio_tui.domain.model import Model
    from vllm_studio_tui.domain.recipe import Recipe


def models_document(models: Iterable[Model], recipes: Iterable[Recipe], folders: Iterable[Path]) -> dict[str, Any]:
    """Return the models with the recipes of each, and the folders that were searched. Blocking.

    Args:
        folders: Those of the settings.
    """
    models, recipes, folders = list(models), list(recipes), list(folders)
    return {
        "models": [_model(one) for one in models],
        "roots": _roots(models, recipes, folders),
        "configured_models_dir": str(folders[0]) if folders else None,
    }


def _model(model: Model) -> dict[str, Any]:
    """Return a model under the names that the original had, and under ours."""
    return {
        **model.to_json(),
        "size_bytes": model.bytes,
        "modified_at": iso_time(model.modified),
        "context_length": model.context,
        "quantization": model.quantization or ("gguf" if model.kind == Kind.GGUF else None),
        "recipe_ids": list(model.recipes),
        "has_recipe": bool(model.recipes),
    }


def _roots(models: list[Model], recipes: list[Recipe], folders: list[Path]) -> list[dict[str, Any]]:
    """Return the folders that were searched: those of the settings, those beside recipes' models, and others."""
    beside: dict[str, list[str]] = {}
    for recipe in recipes:
        path = Path(recipe.model_path)
        if path.is_absolute() and path.parent != Path(path.anchor):
            beside.setdefault(str(path.parent), []).append(recipe.id)
    configured = [str(one) for one in folders]
    others = [one.origin for one in models if one.source != Source.HUB]
    return [
        {
            "path": root,
            "exists": Path(root).is_dir(),
            "sources": [
                name
                for name, has in (("config", root in configured), ("recipe_parent", root in beside))
                if has
            ] or ["usual"],
            "recipe_ids": beside.get(root, []),
        }
        for root in dict.fromkeys((*configured, *beside, *others))
    ]  # fmt: skip
