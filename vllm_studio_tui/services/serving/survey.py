"""Look at recipes, runs and engines, and say what the scheduler needs to know of them. Blocking."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vllm_studio_tui.backends import registry
from vllm_studio_tui.config.setting_types import Peer
from vllm_studio_tui.config.settings import Settings
from vllm_studio_tui.domain.errors import InvalidRecipe, StudioError
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.domain.recipe_reading import parse_recipe
from vllm_studio_tui.domain.run import ANSWERING, State
from vllm_studio_tui.domain.serving import Endpoint
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.runs.estimate import Start, earlier_starts, time_left
from vllm_studio_tui.runs.gpu_use import claims
from vllm_studio_tui.runs.make_spec import revision
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.runs.run_cache import RunWatch
from vllm_studio_tui.services.launching.gpu_claims import by_index
from vllm_studio_tui.services.serving import refusals
from vllm_studio_tui.services.serving.endpoints import (
    Reach,
    endpoint_of_external,
    endpoint_of_peer,
    endpoint_of_run,
    reach_of,
)
from vllm_studio_tui.services.serving.engine_use import EngineUse
from vllm_studio_tui.services.serving.eviction import GroupRule, Need, Room
from vllm_studio_tui.services.serving.host_memory import free_memory, held_memory, model_bytes
from vllm_studio_tui.services.serving.routing import Offer, Routes
from vllm_studio_tui.services.serving.served_names import served_name
from vllm_studio_tui.services.serving.world import Model, Run, RunPhase, World

#: Seconds between two looks at the recipes.
RECIPES_EVERY = 0.5
#: Seconds after which it is found out anew what a recipe takes: its model's files may have changed.
NEEDS_EVERY = 30.0
#: Seconds between two looks at the GPUs, which ask the driver: while somebody waits, and otherwise.
GPUS_EVERY, GPUS_IDLE = 5.0, 30.0


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """A recipe, and what of it does not change until it is changed.

    Attributes:
        name: What requests say in `model`.
    """

    recipe: Recipe
    name: str
    elsewhere: bool
    takes_aliases: bool
    revision: str


@dataclass(frozen=True, slots=True)
class Seen:
    """Everything at one moment.

    Attributes:
        kinds: Recipes by id.
        views: Runs by id.
        runs, elsewhere, peers: How each that answers is asked: runs and recipes of other servers by id, servers on
            other hosts by name. Or why it cannot be.
    """

    world: World = field(default_factory=World)
    routes: Routes = field(default_factory=lambda: Routes(()))
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    views: Mapping[str, RunView] = field(default_factory=dict)
    runs: Mapping[str, Reach | StudioError] = field(default_factory=dict)
    elsewhere: Mapping[str, Reach | StudioError] = field(default_factory=dict)
    peers: Mapping[str, Reach | StudioError] = field(default_factory=dict)


class Survey:
    """Looks again and again. Only one thread at a time looks.

    Args:
        rows: Returns the recipes as they are stored, by id.
        past: Seconds that recipes took to load, of launches whose directories are gone.
    """

    def __init__(
        self,
        places: Places,
        settings: Settings,
        rows: Callable[[], Sequence[tuple[str, Mapping[str, Any]]]],
        past: Mapping[str, float],
    ) -> None:
        self._places = places
        self._settings = settings
        self._rows = rows
        self._past = past
        self._watch = RunWatch(places)
        self._kinds: dict[str, tuple[Mapping[str, Any], Kind]] = {}
        self._models: dict[str, tuple[tuple[object, ...], float, Model]] = {}
        self._looked_at = 0.0
        self._gpus: frozenset[str] | None = None
        self._gpus_at = -GPUS_IDLE
        self._use = EngineUse()
        self._groups = tuple(
            GroupRule(frozenset(one.members), one.together, one.persistent) for one in settings.groups.values()
        )

    def close(self) -> None:
        """Ask no engine any more."""
        self._use.close()

    def look(self, *, use: bool = False, hurry: bool = False) -> Seen:
        """Return everything as it is now.

        Args:
            use: Ask engines what they work on.
            hurry: Somebody waits.
        """
        kinds = self._read_recipes()
        views = self._watch.look()
        live = [one for one in views if one.live]
        if use:
            self._use.ask([one for one in live if one.state in ANSWERING and not one.status.stranger])
        now = time.time()
        runs = tuple(self._run(one, views, now) for one in views)
        of_key: dict[str, list[RunView]] = {}
        for view in views:
            of_key.setdefault(view.recipe_id, []).append(view)
        models = {key: self._model(one, of_key.get(key, [])) for key, one in kinds.items()}
        if any(one.need.any_gpus for one in models.values()):
            every = GPUS_EVERY if hurry else GPUS_IDLE
            if time.monotonic() - self._gpus_at >= every:
                self._gpus, self._gpus_at = _obtainable(live), time.monotonic()
        for view in live:
            if view.recipe_id not in models:
                models[view.recipe_id] = Model(view.recipe_id)
        for peer, one in self._settings.peers.items():
            models.update({f"{peer}/{name}": Model(f"{peer}/{name}", elsewhere=True) for name in one.models})
        room = Room(self._settings.max_loaded, self._groups, self._gpus, free_memory(live))
        routes = Routes(
            [*self._offers(kinds, live), *_peer_offers(self._settings.peers)],
            self._settings.default_model,
            [name for name, one in self._settings.peers.items() if not one.models],
        )
        recipes = {key: kind.recipe for key, kind in kinds.items()}
        return Seen(
            World(models, runs, room),
            routes,
            kinds,
            {one.run_id: one for one in views},
            {
                one.run_id: _reached(one, endpoint_of_run, one, recipes.get(one.recipe_id))
                for one in live
                if _phase(one) is RunPhase.READY
            },
            {key: _reached(None, endpoint_of_external, kind.recipe) for key, kind in kinds.items() if kind.elsewhere},
            {name: _reached(None, endpoint_of_peer, name, peer) for name, peer in self._settings.peers.items()},
        )

    # --- recipes ----------------------------------------------------------------------------------------

    def _read_recipes(self) -> dict[str, Kind]:
        """Return the recipes that can be read. While they cannot be had, those of before."""
        if not self._kinds or time.monotonic() - self._looked_at >= RECIPES_EVERY:
            try:
                rows = self._rows()
            except StudioError:
                rows = [(key, data) for key, (data, _) in self._kinds.items()]
            kept: dict[str, tuple[Mapping[str, Any], Kind]] = {}
            for key, data in rows:
                known = self._kinds.get(key)
                kind = known[1] if known is not None and known[0] == data else _kind(key, data)
                if kind is not None:
                    kept[key] = (data, kind)
            self._kinds, self._looked_at = kept, time.monotonic()
        return {key: kind for key, (_, kind) in self._kinds.items()}

    def _model(self, kind: Kind, runs: Sequence[RunView]) -> Model:
        """Return what is known of a recipe.

        Args:
            runs: Those of the recipe, oldest first.
        """
        recipe, now = kind.recipe, time.monotonic()
        mark = (kind, *((one.run_id, one.status.ready_at) for one in runs[-3:]))
        known = self._models.get(recipe.id)
        if known is not None and known[0] == mark and now - known[1] < NEEDS_EVERY:
            return known[2]
        found = Model(
            recipe.id,
            kind.elsewhere,
            not kind.elsewhere,
            recipe.on_demand,
            recipe.ttl,
            recipe.persistent,
            recipe.preload,
            recipe.priority,
            recipe.max_concurrent,
            Need(recipe.id) if kind.elsewhere else self._need(recipe, runs),
            self._load_seconds(recipe.id, runs),
            kind.revision,
        )
        self._models[recipe.id] = (mark, now, found)
        return found

    def _need(self, recipe: Recipe, runs: Sequence[RunView]) -> Need:
        latest = next((one.spec for one in reversed(runs) if one.spec), None)
        auto = recipe.gpus == ("auto",)
        # Where the recipe names none, its latest launch knew which engine is installed.
        named = bool(recipe.gpus) or latest is None or bool(latest.recipe.get("gpus"))
        gpus = by_index(claims(recipe)) if named or latest is None else latest.gpus
        memory = None if gpus or auto else model_bytes(self._places, recipe.model_path)
        return Need(recipe.id, recipe.port, frozenset(gpus), recipe.gpu_count if auto else 0, memory)

    def _load_seconds(self, key: str, runs: Sequence[RunView]) -> float | None:
        took = sorted(
            one.status.ready_at - one.status.started_at
            for one in runs[-3:]
            if one.status.ready_at and one.status.started_at and one.status.ready_at > one.status.started_at
        )
        return took[len(took) // 2] if took else self._past.get(key)

    # --- runs -------------------------------------------------------------------------------------------

    def _run(self, view: RunView, views: Sequence[RunView], now: float) -> Run:
        phase, status, spec = _phase(view), view.status, view.spec
        if phase in (RunPhase.FAILED, RunPhase.ENDED):
            why = refusals.failed(view.recipe_id, status.reason or "failed", status.title or "it ended", status.advice)
            return Run(view.run_id, view.recipe_id, phase, spec.started_by if spec else "", why=why)
        busy, activity = self._use.of(view.run_id)
        loading = phase is RunPhase.LOADING
        earlier: list[Start] = earlier_starts(view, views) if loading else []
        return Run(
            view.run_id,
            view.recipe_id,
            phase,
            spec.started_by if spec else "",
            max(0.0, now - status.ready_at) if status.ready_at is not None else None,
            busy,
            activity,
            view.port,
            frozenset(spec.gpus if spec else ()),
            held_memory(view),
            time_left(status, earlier, now) if loading else None,
            status.stage,
            status.progress,
            refusals.stranger(view.recipe_id, status.heard) if phase is RunPhase.BLOCKED else None,
        )

    def _offers(self, kinds: Mapping[str, Kind], live: Sequence[RunView]) -> list[Offer]:
        of_key: dict[str, list[RunView]] = {}
        for view in live:
            of_key.setdefault(view.recipe_id, []).append(view)
        found = []
        for key in dict.fromkeys((*kinds, *of_key)):
            runs, kind = of_key.get(key, []), kinds.get(key)
            own = [one.model for one in runs if one.model]
            name = kind.name if kind is not None else own[0] if own else key
            aliases = (*(kind.recipe.aliases if kind is not None else ()), *own)
            ready = any(_phase(one) is RunPhase.READY for one in runs) or (kind is not None and kind.elsewhere)
            pinned = kind is not None and kind.recipe.persistent
            found.append(Offer(key, name, tuple(one for one in dict.fromkeys(aliases) if one != name), ready, pinned))
        return found


def _kind(key: str, data: Mapping[str, Any]) -> Kind | None:
    try:
        recipe = parse_recipe({**data, "id": key})[0]
    except InvalidRecipe:
        return None
    backend = registry.find(recipe.backend)
    elsewhere = backend is not None and not backend.needs_launch
    takes = backend is not None and backend.takes_aliases
    return Kind(recipe, served_name(recipe), elsewhere, takes, revision(recipe) or "")


def _reached(run: RunView | None, find: Callable[..., Endpoint], *what: object) -> Reach | StudioError:
    """Return how a server is asked, or why it cannot be: nobody has asked yet."""
    try:
        return reach_of(find(*what), run)
    except StudioError as error:
        return error
    except Exception as error:  # noqa: BLE001  # its backend may come from another package
        return StudioError("it cannot be asked", cause=f"Its backend raised {type(error).__name__}.")


def _phase(view: RunView) -> RunPhase:
    state = view.state
    if state is State.FAILED:
        return RunPhase.FAILED
    if state is State.EXITED:
        return RunPhase.ENDED if view.status.reason in (None, "stopped") else RunPhase.FAILED
    if state is State.STOPPING:
        return RunPhase.STOPPING
    if view.status.stranger:
        return RunPhase.BLOCKED
    if state is State.READY or (state is State.UNHEALTHY and view.engine_alive):
        return RunPhase.READY
    return RunPhase.LOADING


def _obtainable(live: Sequence[RunView]) -> frozenset[str] | None:
    from vllm_studio_tui.probes.gpu.provider import read_once
    from vllm_studio_tui.services.launching.gpu_choice import obtainable

    return obtainable(read_once(), live)


def _peer_offers(peers: Mapping[str, Peer]) -> list[Offer]:
    return [
        Offer(f"{peer}/{name}", f"{peer}/{name}", ready=True, peer=peer)
        for peer, one in peers.items()
        for name in one.models
    ]
