"""One rank of a unit, started on its own host: an ordinary run of this studio, with a lease.

What starts it is elsewhere (`followers/ranks.py`) and sends an order as JSON. Its engine is found by the settings of
this host, its GPUs are those of this host, and its secrets are references that are read here.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.backends import registry
from vllm_studio_tui.backends.base import LaunchContext
from vllm_studio_tui.domain.errors import LaunchRefused, StudioError, UsageError
from vllm_studio_tui.domain.ranks import RankPart, RankPlace
from vllm_studio_tui.domain.spec import Restart, RunSpec
from vllm_studio_tui.keeper.files import named_by
from vllm_studio_tui.kit.paths import locked
from vllm_studio_tui.models.demo.model import resolve_model
from vllm_studio_tui.runs import control, read
from vllm_studio_tui.runs.attend import RUN_ID
from vllm_studio_tui.runs.gpu_use import gpus_of_node
from vllm_studio_tui.runs.make_spec import resolve

if TYPE_CHECKING:
    from vllm_studio_tui.config.settings import Settings
    from vllm_studio_tui.domain.node_facts import NodeFacts
    from vllm_studio_tui.domain.recipe import Recipe
    from vllm_studio_tui.kit.paths import Places

#: Seconds that another launch on this host is waited for.
TURN = 60.0


def start_rank(places: Places, settings: Settings, order: Mapping[str, Any]) -> read.RunView:
    """Start a rank, or find it where it was started already. Blocking.

    Args:
        order: `recipe`, `place` (`RankPlace`), `part` (`serves`, `port`), `run_id`, which is unique for ever, and
            `lost_after`: the seconds of its lease.

    Raises:
        StudioError: It cannot be started here, in words.
    """
    recipe, place, part = _read(order)
    run_id, lost_after = order.get("run_id"), order.get("lost_after")
    if not isinstance(run_id, str) or not RUN_ID.fullmatch(run_id):
        raise _not_understood("run_id")
    if not isinstance(lost_after, int | float) or not 1 <= lost_after <= 86400:
        raise _not_understood("lost_after")
    try:
        with locked(places.state / "rank.lock", timeout=TURN):  # two of one unit may come at once after a cut
            found = read.run_called(places, run_id)
            if found is not None:
                return found
            return _launch(places, settings, recipe, place, part, run_id, float(lost_after))
    except TimeoutError as error:
        words = "another launch is under way there"
        raise LaunchRefused(words, cause=str(error), advice="Try again.", passing=True) from None


def facts_for(places: Places, settings: Settings, order: Mapping[str, Any]) -> NodeFacts:
    """Return what this machine tells before a rank is started on it. Blocking.

    Args:
        order: `recipe`, and `place` with what is known of it.

    Raises:
        StudioError: The order cannot be understood here.
    """
    from vllm_studio_tui.services.handover.node_facts import facts_here

    recipe, place, _ = _read(order)
    backend = registry.backend(recipe.backend)
    with contextlib.suppress(StudioError):  # what is missing is told with the rest
        recipe = recipe.model_copy(update={"model_path": resolve_model(places, recipe.model_path)})
    return facts_here(recipe, backend, settings, place, recipe.port or settings.inference_port)


def _launch(
    places: Places,
    settings: Settings,
    recipe: Recipe,
    place: RankPlace,
    part: RankPart,
    run_id: str,
    lost_after: float,
) -> read.RunView:
    backend = registry.backend(recipe.backend)
    usable = recipe.model_copy(update={"model_path": resolve_model(places, recipe.model_path)})
    runs = [one for one in read.all_runs(places) if one.live]
    if usable.gpus == ("auto",):
        usable = _free_gpus(usable, runs)
    # Its own port leads nowhere but here; where the others have to reach it, its place has the port.
    host = "127.0.0.1" if part.port is None else place.address.strip("[]")
    fixed = None if part.port is None else place.port(part.port)

    def build(_: str, port: int) -> RunSpec:
        spec = resolve(usable, backend, LaunchContext(settings, host, port, rank=place), run_id, environ=os.environ)
        name = f"{recipe.name}, {part.name} of {place.count}"
        ready = spec.ready if part.serves else replace(spec.ready, deadline=None)
        return replace(
            spec,
            # Not the recipe's id: the unit is what a person starts and stops by it, perhaps on this very machine.
            recipe_id=named_by(places.runs / run_id)[0],
            name=name,
            port=port if part.serves else 0,
            ready=ready,
            counters=None,  # its unit counts, on the machine that launched it
            restart=Restart("never", stall_after=0.0, hang_after=0.0),
            lease=lost_after,
        )

    # What cannot make a command is refused before anything is created.
    planned = build("", fixed or settings.inference_port)
    return control.launch(
        places,
        build,
        named_by(places.runs / run_id)[0],
        host=host,
        port=fixed,
        first_port=recipe.port or settings.inference_port,
        gpus=planned.gpus,
        again=True,
        scope=settings.systemd_scope,
        run_id=run_id,
        runs=runs,
    )


def _free_gpus(recipe: Recipe, runs: list[read.RunView]) -> Recipe:
    """Return the recipe with GPUs of this machine that are free, as many as a rank needs of them.

    Raises:
        LaunchRefused: There are not enough.
    """
    from vllm_studio_tui.probes.gpu.provider import read_once
    from vllm_studio_tui.services.launching.gpu_choice import free_gpus

    return recipe.model_copy(update={"gpus": free_gpus(read_once(), runs, gpus_of_node(recipe))})


def _read(order: Mapping[str, Any]) -> tuple[Recipe, RankPlace, RankPart]:
    from pydantic import ValidationError

    from vllm_studio_tui.domain.recipe import Recipe

    try:
        recipe = Recipe.model_validate(order.get("recipe"))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        raise _not_understood(f"recipe, {'.'.join(str(part) for part in first['loc'])}: {first['msg']}") from None
    try:
        place = RankPlace.from_json(order.get("place"))
        given = order.get("part")
        given = given if isinstance(given, Mapping) else {}
        port = given.get("port")
        part = RankPart(
            place.index,
            place.node,
            str(given.get("name") or f"rank {place.index}")[:40],
            place.role,
            given.get("serves") is True,
            port if isinstance(port, int) else None,
        )
    except ValueError as error:
        raise _not_understood(str(error)) from None
    return recipe, place, part


def _not_understood(what: str) -> UsageError:
    from vllm_studio_tui import __version__

    return UsageError(
        "the order for a rank cannot be read here",
        cause=f"{what[:500]}. This is vllm-studio {__version__}.",
        advice="Have the same version of vllm-studio on all hosts of the unit.",
    )
