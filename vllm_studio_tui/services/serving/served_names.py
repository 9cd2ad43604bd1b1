"""By which name requests ask for a recipe, and which recipes have one name."""

from __future__ import annotations

from collections.abc import Iterable

from vllm_studio_tui.backends import registry
from vllm_studio_tui.domain.recipe import Recipe


def served_name(recipe: Recipe) -> str:
    """Return what requests say in `model` for a recipe; its id where its engine does not tell."""
    name = recipe.served_model_name or recipe.id
    backend = registry.find(recipe.backend)
    if backend is None:
        return name
    try:
        return backend.model_name(recipe) or name
    except Exception:  # noqa: BLE001  # it may come from another package
        return recipe.id


def shared_names(recipes: Iterable[Recipe]) -> dict[str, list[str]]:
    """Return the names that several recipes have, each with their ids."""
    found: dict[str, list[str]] = {}
    for one in recipes:
        found.setdefault(served_name(one), []).append(one.id)
    return {name: ids for name, ids in found.items() if len(ids) > 1}


def sharing_words(name: str, ids: Iterable[str]) -> tuple[str, str]:
    """Return what it means that recipes share a name, by the rule of `routing`, and what to do."""
    return (
        f"{' and '.join(ids)} share the name {name}: a request for it gets the only one that is ready, "
        "else the only one with persistent: true, else it is refused (409)",
        "Ask for one by its id, or give it another served_model_name.",
    )
