"""The plan of a model on several hosts over ssh: which part runs where, and how each host's studio is called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vllm_studio_tui.backends import registry
from vllm_studio_tui.domain.ranks import RankPart, RankPlace
from vllm_studio_tui.services.handover.nodes import address_of, node_of
from vllm_studio_tui.services.handover.order import Order, Plan

if TYPE_CHECKING:
    from vllm_studio_tui.domain.recipe import Recipe

#: The first of the ports by which ranks find each other, where nothing else is known: vLLM's own choice.
MASTER_PORT = 29501


def plan(order: Order) -> Plan:
    """Return the plan of a recipe with `nodes`. Blocking: every host is asked.

    Raises:
        StudioError: It cannot run on these hosts; each that stands against it is named.
    """
    # As it is kept: a name that stands for a model is resolved on each host.
    recipe = order.kept
    parts = registry.backend(recipe.backend).ranks(recipe)
    nodes = [node_of(name, order.settings) for name in recipe.nodes]
    addresses = tuple(address_of(one, nodes) for one in nodes)
    places = [place_of(part, parts, addresses) for part in parts]
    return Plan(
        {
            "hosts": [one.to_plan() for one in nodes],
            "parts": [to_plan(part, place) for part, place in zip(parts, places, strict=True)],
            "recipe": recipe_for_hosts(recipe),
            "lost_after": order.settings.nodes_lost_after,
        }
    )


def place_of(part: RankPart, parts: tuple[RankPart, ...], addresses: tuple[str, ...]) -> RankPlace:
    return RankPlace(part.index, len(parts), part.node, addresses, MASTER_PORT, role=part.role)


def to_plan(part: RankPart, place: RankPlace) -> dict[str, Any]:
    """Return a part as the follower has it, and the studio of its host."""
    return {
        "index": part.index,
        "node": part.node,
        "name": part.name,
        "serves": part.serves,
        "port": part.port,
        "place": place.to_json(),
    }


def recipe_for_hosts(recipe: Recipe) -> dict[str, Any]:
    """Return the recipe as hosts are told of it. Its secrets are references, which each host reads itself."""
    return recipe.model_dump(mode="json", exclude_defaults=True)
