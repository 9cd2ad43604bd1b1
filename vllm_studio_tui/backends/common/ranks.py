"""How recipes are spread over machines: what is the same for several engines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vllm_studio_tui.domain.errors import InvalidRecipe
from vllm_studio_tui.domain.ranks import RankPart

if TYPE_CHECKING:
    from vllm_studio_tui.domain.recipe import Recipe

COPIES_INSTEAD = (
    "For more users give each machine a recipe of its own with one node, and put `vllm-studio serve` before them; "
    "for a model that is too large for one machine use vllm or sglang."
)


def one_machine(title: str, recipe: Recipe) -> tuple[RankPart, ...]:
    """Return the one part of an engine that runs on one machine only.

    Raises:
        InvalidRecipe: The recipe wants several.
    """
    if recipe.node_count > 1:
        raise refused(title, "nodes", f"{title} runs on one machine, and {recipe.node_count} are named", COPIES_INSTEAD)
    return (RankPart(0, 0, "rank 0", serves=True),)


def refused(title: str, field: str, message: str, advice: str) -> InvalidRecipe:
    """Return the error for what an engine cannot do on several machines."""
    return InvalidRecipe(f"{title} cannot be spread over machines like this", [(field, message)], advice=advice)
