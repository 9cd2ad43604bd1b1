"""The spec of a run that runs elsewhere: what is planned for its system, and a follower in place of the engine."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

from vllm_studio_tui.backends.base import Backend, LaunchContext, Problem
from vllm_studio_tui.config.settings import Settings
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.domain.spec import RunSpec
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.runs.make_spec import follow
from vllm_studio_tui.services.launching.preflight import within


def elsewhere_problems(recipe: Recipe, settings: Settings, number: Callable[[Recipe], int | None]) -> list[Problem]:
    """Return what of a recipe is not told where it runs, and why it could not be handed over; nobody is asked."""
    from vllm_studio_tui.services.handover.fields import field_problems, refusals
    from vllm_studio_tui.services.render.gather import gather_source

    def refused() -> list[Problem]:
        found = gather_source([recipe], settings, resolve=lambda path: path, number=number, environ=os.environ)
        return refusals(found)

    return [*within(refused, "what it would be handed over as cannot be told"), *field_problems(recipe)]


def follow_spec(
    kept: Recipe,
    usable: Recipe,
    backend: Backend,
    context: LaunchContext,
    folder: Path,
    settings: Settings,
    places: Places,
    number: Callable[[Recipe], int | None],
    *,
    unchecked: bool = False,
) -> RunSpec:
    """Return the spec of a run that is followed. Blocking: hosts may be asked.

    Args:
        kept: The recipe as it is kept.
        usable: The same, with the path of a model of this machine in place of a name that stands for it.
        folder: The run's directory, which is named by its id.
        number: Returns which kept form of a recipe one is.
        unchecked: A person insists, although it would fail as far as is known.

    Raises:
        StudioError: It cannot be run there, in words.
    """
    from vllm_studio_tui.services.handover.order import Order, kind_of, plan_of
    from vllm_studio_tui.services.render.gather import gather_source

    source = gather_source([usable], settings, resolve=lambda path: path, number=number, environ=os.environ)
    plan = plan_of(Order(usable, kept, source, folder.name, context.port, settings, places, unchecked))
    spec = follow(
        usable,
        backend,
        context,
        folder,
        {**plan.follow, "kind": kind_of(usable), "notes": list(plan.notes)},
        path=plan.path,
        ready=plan.ready,
        env_refs=plan.env_refs,
    )
    return spec if plan.counted else dataclasses.replace(spec, counters=None)
