"""Where a recipe runs, chosen for one launch: the recipe as it is kept does not change."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import ValidationError

from vllm_studio_tui.domain.errors import UsageError
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.domain.recipe_parts import HANDOVER_FIELDS

#: What people call each system.
TITLES = {"slurm": "SLURM", "ray-serve": "Ray Serve", "kubernetes": "Kubernetes", "skypilot": "SkyPilot"}
#: This machine, in place of what the recipe names.
HERE = "here"
#: What one launch may be given to.
PLACES = (HERE, *HANDOVER_FIELDS)
STRATEGIES: tuple[str, ...] = get_args(Recipe.model_fields["strategy"].annotation)


def place_recipe(recipe: Recipe, *, on: str | None = None, nodes: str | None = None, strategy: str = "") -> Recipe:
    """Return the recipe as it is launched this once.

    Args:
        on: `here`, or the system that it is handed over to; None: as the recipe says.
        nodes: Hosts over ssh with commas between; None: as the recipe says.
        strategy: How several machines share it; empty: as the recipe says, where there are several.

    Raises:
        UsageError: It cannot run so, in words.
    """
    if on is None and nodes is None and not strategy:
        return recipe
    if on is not None and nodes is not None:
        raise UsageError(
            "--on and --nodes exclude each other",
            cause="--nodes names hosts over ssh; what a recipe is handed over to chooses the machines itself.",
            advice="Give one of them.",
        )
    if on is not None and on not in PLACES:
        raise UsageError(f"--on {on[:40]} is nothing that runs recipes", advice=f"One of {', '.join(PLACES)}.")
    if strategy and strategy not in STRATEGIES:
        raise UsageError(f"--strategy {strategy[:40]} is not known", advice=f"One of {', '.join(STRATEGIES)}.")
    data: dict[str, Any] = recipe.model_dump()
    if on is not None:
        data |= {"nodes": (), "handover": data["handover"] | {"to": "none" if on == HERE else on}}
    if nodes is not None:
        data |= {"nodes": nodes, "handover": data["handover"] | {"to": "none"}}
    if strategy:
        data["strategy"] = strategy
    elif _machines(data) == 1:
        data["strategy"] = "single"
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        words = "; ".join(dict.fromkeys(str(one["msg"]).removeprefix("Value error, ") for one in error.errors()))
        advice = f"Say --strategy: one of {', '.join(STRATEGIES[1:])}." if "strategy" in words else ""
        raise UsageError(f"{recipe.id} cannot run there", cause=f"{words}.", advice=advice) from None


def place_words(recipe: Recipe) -> str:
    """Return where a recipe runs, in words; empty for one of this machine."""
    told = recipe.handover
    if told.to != "none":
        words = [f"handed over to {TITLES[told.to]}"]
        if told.nodes > 1:
            words.append(f"{told.nodes} machines a copy ({recipe.strategy})")
        if told.max_replicas is not None:
            words.append(f"{told.replicas} to {told.max_replicas} copies")
        elif told.replicas != 1:
            words.append(f"{told.replicas} copies")
        return ", ".join(words)
    if not recipe.nodes:
        return ""
    shared = f" ({recipe.strategy})" if recipe.strategy != "single" else ""
    return f"over ssh on {', '.join(recipe.nodes)}{shared}"


def _machines(data: dict[str, Any]) -> int:
    """Return how many machines one copy takes."""
    if data["handover"]["to"] != "none":
        return int(data["handover"]["nodes"])
    nodes = data["nodes"]
    return len(nodes.replace(",", " ").split() if isinstance(nodes, str) else nodes) or 1
