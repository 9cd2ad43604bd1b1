"""What runs hold, which of them may be stopped for another model, and which nobody uses. Pure: time is given."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from vllm_studio_tui.services.serving.eviction import Holder
from vllm_studio_tui.services.serving.open_requests import OpenRequests
from vllm_studio_tui.services.serving.world import LIVE, Model, Rules, Run, RunPhase, World

#: Seconds that a load is thought to take that was never measured.
UNKNOWN_LOAD = 60.0


class Occupancy:
    """When runs were last used, and since when nobody waits for those that load."""

    def __init__(self, rules: Rules, requests: OpenRequests) -> None:
        self._rules = rules
        self._requests = requests
        self._used: dict[str, float] = {}
        self._lonely: dict[str, float] = {}

    def used(self, now: float, run_id: str) -> None:
        """Note that a run is or was just used."""
        self._used[run_id] = now

    def forget(self, run_id: str) -> None:
        """Drop what is known of a run that is no longer there."""
        self._used.pop(run_id, None)
        self._lonely.pop(run_id, None)

    def holders(
        self,
        now: float,
        world: World,
        launching: Collection[str],
        stopping: Collection[str],
        closing: Collection[str],
    ) -> list[Holder]:
        """Return what holds room now: runs, and launches whose run is not there yet.

        Args:
            launching: Models whose launch is under way.
            stopping: Runs whose stop is under way.
            closing: Runs that take no more requests.
        """
        found = []
        here = set()
        for run in world.runs:
            if run.phase not in LIVE:
                continue
            here.add(run.key)
            model = world.models.get(run.key)
            persistent = model is not None and model.persistent
            free = run.id not in stopping and self._is_free(now, run, launching, closing)
            found.append(
                Holder(
                    run.id,
                    run.key,
                    run.port,
                    run.gpus,
                    max(run.memory or 0, (model.need.memory or 0) if model is not None else 0) or None,
                    now=free and not persistent,
                    later=not persistent,
                    cost=_cost(run, model),
                    used=self._used.get(run.id, 0.0),
                )
            )
        return found + [holder_of(world.models[key]) for key in launching if key not in here and key in world.models]

    def _is_free(self, now: float, run: Run, launching: Collection[str], closing: Collection[str]) -> bool:
        """Return whether a run may be stopped now for another model."""
        if self._requests.by_run.get(run.id):
            return False
        waited_for = bool(self._requests.waiting.get(run.key))
        if run.phase is RunPhase.LOADING:
            if run.started_by != "request" or run.key in launching or waited_for:
                self._lonely.pop(run.id, None)
                return False
            return now - self._lonely.setdefault(run.id, now) >= self._rules.abandon_after
        if run.phase is not RunPhase.READY or run.busy:
            return False
        return (run.ready_for or 0.0) >= self._rules.min_warm and not (waited_for and run.id not in closing)

    def idle(self, now: float, world: World, stopping: Collection[str]) -> Iterator[str]:
        """Yield the runs that nobody has used for as long as their recipe or the settings say."""
        for run in world.runs:
            model = world.models.get(run.key)
            if run.phase is not RunPhase.READY or model is None or model.persistent or run.id in stopping:
                continue
            ttl = model.ttl
            if ttl is None and run.started_by == "request":
                ttl = self._rules.idle_ttl
            if not ttl or run.busy or self._requests.by_run.get(run.id) or self._requests.waiting.get(run.key):
                continue
            if now - self._used.setdefault(run.id, now) >= ttl:
                yield run.id


def holder_of(model: Model) -> Holder:
    """Return what a launch holds whose run is not there yet."""
    need = model.need
    return Holder(f"launch of {model.key}", model.key, need.port, need.gpus, need.memory)


def _cost(run: Run, model: Model | None) -> float:
    """Return the seconds that it takes to have the run again."""
    if run.phase is RunPhase.LOADING:
        return 0.0  # nobody waits for it
    return UNKNOWN_LOAD if model is None or model.load_seconds is None else model.load_seconds
