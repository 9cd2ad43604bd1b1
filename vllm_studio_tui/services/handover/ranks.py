"""The plan of a model on several hosts over ssh: which part runs where, and how each host's studio is called."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.backends import registry
from vllm_studio_tui.domain.node_facts import NodeFacts, read_node_facts
from vllm_studio_tui.domain.ranks import PORTS, RankPart, RankPlace
from vllm_studio_tui.services.handover.nodes import Node, address_of, ask, node_of
from vllm_studio_tui.services.handover.order import Order, Plan
from vllm_studio_tui.services.handover.preflight import node_problems
from vllm_studio_tui.services.launching.preflight import refuse

if TYPE_CHECKING:
    from vllm_studio_tui.domain.recipe import Recipe

#: Where the ports lie by which ranks find each other: those of two units are not the same, as a rule.
FIRST_PORT, PORTS_FROM = 29_501, 500
#: How often other ports are chosen, where somebody has those.
TRIES = 3


def plan(order: Order) -> Plan:
    """Return the plan of a recipe with `nodes`. Blocking: every host is asked what it has.

    Raises:
        StudioError: It cannot run on these hosts; all that stands against it is named, with the host.
    """
    # As it is kept: a name that stands for a model is resolved on each host.
    recipe = order.kept
    parts = registry.backend(recipe.backend).ranks(recipe)
    nodes = [node_of(name, order.settings) for name in recipe.nodes]
    guess = tuple(address_of(one, nodes) for one in nodes)
    draw = random.Random(order.run_id)  # noqa: S311 - the same launch has the same ports
    for attempt in range(TRIES):
        port = FIRST_PORT + PORTS * draw.randrange(PORTS_FROM)
        facts = _facts(recipe, parts, nodes, guess, port)
        if not any(one.taken for one in facts) or attempt == TRIES - 1:
            break
    problems = node_problems(recipe, facts)
    if not order.unchecked:
        refuse(recipe, problems)
    addresses = tuple(
        one.address if one.address and not _loopback(one.address) else known
        for one, known in zip(facts, guess, strict=True)
    )
    places = [
        RankPlace(part.index, len(parts), part.node, addresses, port, facts[part.node].interface, part.role)
        for part in parts
    ]
    follow = {
        "hosts": [one.to_plan() for one in nodes],
        "parts": [to_plan(part, place) for part, place in zip(parts, places, strict=True)],
        "recipe": recipe_for_hosts(recipe),
        "lost_after": order.settings.nodes_lost_after,
    }
    return Plan(follow, notes=tuple(f"{one.severity}: {one.message}. {one.advice}".strip() for one in problems))


def _facts(
    recipe: Recipe, parts: Sequence[RankPart], nodes: Sequence[Node], addresses: tuple[str, ...], port: int
) -> list[NodeFacts]:
    """Return what each node tells."""
    questions = []
    for index in range(len(nodes)):
        part = next(one for one in parts if one.node == index) if index in {one.node for one in parts} else parts[0]
        place = RankPlace(part.index, len(parts), index, addresses, port, role=part.role)
        questions.append({"recipe": recipe_for_hosts(recipe), "place": place.to_json()})
    answers = ask(nodes, ("rank", "facts"), questions)
    now = time.time()
    found = []
    for node, answer in zip(nodes, answers, strict=True):
        told = read_node_facts(answer.get("facts"))
        found.append(replace(told, host=node.name, apart=None if told.at is None else told.at - now))
    return found


def _loopback(address: str) -> bool:
    return address == "::1" or address.startswith("127.")


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
