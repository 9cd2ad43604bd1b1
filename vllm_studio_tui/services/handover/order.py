"""What is handed over, and what becomes of it: the plan of a follower."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from vllm_studio_tui.domain.errors import LaunchRefused
from vllm_studio_tui.domain.spec import ReadyProbe

if TYPE_CHECKING:
    from vllm_studio_tui.config.settings import Settings
    from vllm_studio_tui.domain.recipe import Recipe
    from vllm_studio_tui.kit.paths import Places
    from vllm_studio_tui.services.render.source import RenderSource

#: What runs a recipe elsewhere, and the file of this folder whose `plan(order)` plans it.
PLANS = {
    "ranks": "ranks",
    "slurm": "slurm",
    "ray-serve": "ray_serve",
    "kubernetes": "kubernetes",
    "skypilot": "skypilot",
}


@dataclass(frozen=True, slots=True)
class Order:
    """A recipe that is to run elsewhere.

    Attributes:
        recipe: As it is launched: a name that stands for a model of this machine is resolved.
        kept: As it is kept.
        source: The same recipe, alone, as `render` has it: `source.recipes[0]`.
        run_id: Of the run here: a name that is unique for ever.
        port: The port of this machine that will lead to it.
        unchecked: A person insists, although it would fail as far as is known.
    """

    recipe: Recipe
    kept: Recipe
    source: RenderSource
    run_id: str
    port: int
    settings: Settings
    places: Places
    unchecked: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What a follower needs.

    Attributes:
        follow: `RunSpec.follow` without `kind`; JSON, and no secret is in it.
        path: What stands before `/v1`, `/health` and `/metrics` at the address of the job.
        ready: How to learn that it serves, where that is not the engine's own way.
        env_refs: Variables that the follower is given, whose values are references to secrets.
        counted: The engine's own counters can be read at that address.
        notes: What a person should know, a sentence each: they begin the log of the run.
    """

    follow: Mapping[str, Any]
    path: str = ""
    ready: ReadyProbe | None = None
    env_refs: Mapping[str, str] = field(default_factory=dict)
    counted: bool = True
    notes: tuple[str, ...] = ()


def kind_of(recipe: Recipe) -> str:
    """Return what runs the recipe elsewhere; empty where it runs here."""
    if recipe.handover.to != "none":
        return recipe.handover.to
    return "ranks" if recipe.nodes else ""


def plan_of(order: Order) -> Plan:
    """Plan how a recipe is run elsewhere. Blocking: hosts may be asked.

    Raises:
        LaunchRefused: It cannot be run there, in words.
    """
    kind = kind_of(order.recipe)
    if kind not in PLANS:
        raise LaunchRefused(f"{order.recipe.id} is not handed over")
    module = importlib.import_module(f"vllm_studio_tui.services.handover.{PLANS[kind]}")
    return cast("Callable[[Order], Plan]", module.plan)(order)
