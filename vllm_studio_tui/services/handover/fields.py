"""What of a recipe the system that runs it elsewhere is not told, and why that system would not be asked at all."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, cast

from vllm_studio_tui.backends import registry
from vllm_studio_tui.backends.base import Problem
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.recipe_parts import HANDOVER_FIELDS, Handover
from vllm_studio_tui.domain.recipe_places import TITLES

if TYPE_CHECKING:
    from vllm_studio_tui.domain.recipe import Recipe
    from vllm_studio_tui.services.render.source import Files, RenderSource

#: The file of `services/render` that writes what each is handed.
_RENDERED = {"slurm": "slurm", "ray-serve": "ray_serve", "kubernetes": "kubernetes", "skypilot": "skypilot"}
#: Fields that say something of a program of the nodes, where the engine comes in an image.
_IN_AN_IMAGE = ("executable", "python_path", "cwd")
_IMAGE = "comes in an image, whose program and folder it takes"


def field_problems(recipe: Recipe) -> list[Problem]:
    """Return a warning for each field that is set and that nobody is told where the recipe runs."""
    return [*_of_handover(recipe), *_of_others(recipe)]


def refusals(source: RenderSource) -> list[Problem]:
    """Return why a recipe cannot be written as what it would be handed over as, if that is so; nobody is asked.

    Args:
        source: With the recipe alone in it.
    """
    one = source.recipes[0]
    to = one.recipe.handover.to
    if to not in _RENDERED:
        return []
    kind = "lws" if to == "kubernetes" and one.recipe.node_count > 1 else _RENDERED[to]
    render = importlib.import_module(f"vllm_studio_tui.services.render.{kind}").render
    try:
        cast("Callable[[RenderSource], Files]", render)(source)
    except StudioError as error:
        cause = (error.cause or error.title).removeprefix(f"{one.recipe.id}: ")
        return [Problem("handover.to", "error", f"{TITLES[to]}: {cause}")]
    return []


def _of_handover(recipe: Recipe) -> Iterator[Problem]:
    told, to = recipe.handover, recipe.handover.to
    taken = HANDOVER_FIELDS.get(to, ())
    for name, info in Handover.model_fields.items():
        if name == "to" or name in taken or getattr(told, name) == info.default:
            continue
        words = f"{TITLES[to]} is not told it" if to in TITLES else "is not used: handover.to names no system"
        yield Problem(f"handover.{name}", "warning", words, "Leave it empty.")


def _of_others(recipe: Recipe) -> Iterator[Problem]:
    to = recipe.handover.to
    if to not in TITLES:
        return
    if recipe.gpus:
        words = "only how many are named counts" if recipe.gpus != ("auto",) else "has no meaning there"
        yield Problem("gpus", "warning", f"{words}: {TITLES[to]} chooses which", "Leave it empty.")
    in_image = to in ("kubernetes", "skypilot")
    by_ray = to == "ray-serve" and bool(registry.backend(recipe.backend).ray_engine)
    for name in _IN_AN_IMAGE if in_image or by_ray else ():
        if getattr(recipe, name):
            words = f"is not used: the engine {_IMAGE}" if in_image else "is not used: Ray's own module starts it"
            yield Problem(name, "warning", words, "Leave it empty.")
