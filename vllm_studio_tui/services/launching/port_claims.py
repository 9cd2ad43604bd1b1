"""The address that a launch will listen on: whether it can be had, and who has it."""

from __future__ import annotations

from collections.abc import Sequence

from vllm_studio_tui.backends.base import Problem
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.keeper.port import passing, why_not
from vllm_studio_tui.kit.ports import hold
from vllm_studio_tui.runs.read import RunView


def port_problems(recipe: Recipe, live: Sequence[RunView]) -> list[Problem]:
    """Return what stands against listening on a recipe's host and port. Looks a host's name up: up to 5 s."""
    having = [one for one in live if recipe.port is not None and one.port == recipe.port]
    if having:  # its own run gives the port up before the next begins
        return [
            Problem("port", "error", f"{one.name} has port {recipe.port}", "Choose another port.")
            for one in having
            if one.recipe_id != recipe.id
        ]
    port = recipe.port or 0  # without one the first free is taken: any tells whether the host is of this machine
    try:
        hold(recipe.host, port).close()
    except OSError as error:
        if passing(error, port):
            return []
        slug, title, cause, advice = why_not(error, recipe.host, port)
        return [Problem("host" if slug.startswith("host") else "port", "error", f"{title}: {cause}", advice)]
    return []
