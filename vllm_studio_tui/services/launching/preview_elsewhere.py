"""The commands of a recipe that runs elsewhere, for people: one for each part on its host, programs by bare names."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from vllm_studio_tui.backends.base import Backend, LaunchContext
from vllm_studio_tui.domain.ranks import RankPlace
from vllm_studio_tui.services.launching.preview import BareNames, Preview, preview

if TYPE_CHECKING:
    from vllm_studio_tui.domain.recipe import Recipe

#: Where ranks meet in what is shown; a launch chooses ports that are free on all hosts.
SHOWN_PORT = 29501


def preview_elsewhere(recipe: Recipe, backend: Backend, context: LaunchContext) -> Preview:
    """Return the command of the first part, those of the others as notes.

    Raises:
        InvalidRecipe: The recipe makes no command, or cannot be spread like this.
    """
    there = replace(context, container=True, settings=BareNames(context.settings))
    kind = recipe.handover.to
    if kind != "none":
        shown = preview(recipe, backend, there)
        return replace(shown, notes=(*shown.notes, f"What {kind} is given: vllm-studio render {kind} {recipe.id}"))
    parts = backend.ranks(recipe)
    hosts = tuple(_host(one) for one in recipe.nodes)
    made = [
        preview(
            recipe,
            backend,
            replace(there, rank=RankPlace(one.index, len(parts), one.node, hosts, SHOWN_PORT, role=one.role)),
        )
        for one in parts
    ]
    first, *others = made
    notes = list(first.notes)
    if len(parts) > 1 or recipe.nodes != ("localhost",):
        notes.append(f"This is {parts[0].name}, on {recipe.nodes[parts[0].node]}.")
    notes += [
        f"{part.name} on {recipe.nodes[part.node]}: {one.shell}" for part, one in zip(parts[1:], others, strict=True)
    ]
    if others:
        notes.append("Each host finds its own programs and address; the ports are chosen at the launch.")
    return replace(first, notes=tuple(notes))


def _host(node: str) -> str:
    """Return the host of `user@host:port`."""
    return node.rpartition("@")[2].partition(":")[0]
