"""Who is served next, what is loaded for whom, and what is stopped. Pure: events come in, decisions go out.

Nothing here reads a clock, a file or a process: each event brings its time in seconds of a clock that does not go
back, and `see` brings what was seen. That is advice: what was decided and is under way is known from the decision,
until its end is told, and never from what was seen.
"""

from __future__ import annotations

from collections.abc import Iterable

from vllm_studio_tui.domain.serving import Phase, Refusal, Waiting
from vllm_studio_tui.services.serving import refusals
from vllm_studio_tui.services.serving.eviction import Holder, fits, plan
from vllm_studio_tui.services.serving.occupancy import Occupancy, holder_of
from vllm_studio_tui.services.serving.open_requests import Job, OpenRequests
from vllm_studio_tui.services.serving.quarantine import Quarantine
from vllm_studio_tui.services.serving.world import (
    LIVE,
    Decision,
    Launch,
    Model,
    Refuse,
    Rules,
    Run,
    RunPhase,
    Send,
    Stop,
    World,
)


class Scheduler:
    """The state of all requests that have not ended, and of what is done for them."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._world = World()
        self._requests = OpenRequests()
        self._waiting = self._requests.waiting
        self._runs: dict[str, Run] = {}
        self._of_key: dict[str, list[Run]] = {}
        #: Launches under way with the runs that they stop, and stops under way: known until their end is told.
        self._launching: dict[str, Launch] = {}
        self._stopping: set[str] = set()
        #: The run that the waiting requests of a model were joined to.
        self._joined: dict[str, str] = {}
        #: Runs that take no more requests, because another model has waited long enough for their place.
        self._closing: set[str] = set()
        self._not_before: dict[str, float] = {}
        self._preload: set[str] = set()
        self._occupancy = Occupancy(rules, self._requests)
        self._quarantine = Quarantine()
        self._out: list[Decision] = []

    # --- events -----------------------------------------------------------------------------------------

    def see(self, now: float, world: World) -> list[Decision]:
        """Take what was seen."""
        before = self._runs
        self._world = world
        self._runs = {one.id: one for one in world.runs}
        self._of_key = {}
        for run in world.runs:
            if run.phase in LIVE:
                self._of_key.setdefault(run.key, []).append(run)
            self._note(now, run, before.get(run.id))
        for gone in before.keys() - self._runs.keys():
            self._occupancy.forget(gone)
        self._quarantine.changed({key: one.revision for key, one in world.models.items()})
        for key, run_id in list(self._joined.items()):
            if key not in self._launching:
                self._end_of_load(now, key, run_id)
        self._settle(now)
        return self._told()

    def arrive(self, now: float, job: str, key: str, *, priority: int = 0, may_launch: bool = False) -> list[Decision]:
        """Take a request. Its end is `leave`, or the `Refuse` that comes out."""
        queue, waiting = self._waiting.get(key), self._requests.count
        one = self._requests.add(now, job, key, priority, may_launch)
        if not queue and self._send(one):
            return self._told()
        if waiting >= self._rules.max_queue:
            self._refuse(one, refusals.queue_full(waiting, self.estimate(key)))
        else:
            self._settle(now)
        return self._told()

    def send_at_once(self, now: float, job: str, key: str, run: str | None = None) -> list[Decision]:
        """Take a request for one run itself, or (None) for a server on another host; its end is `leave`."""
        self._requests.send(self._requests.add(now, job, key, 0, False), run)
        return [Send(job, key, run)]

    def leave(self, now: float, job: str) -> list[Decision]:
        """End a request: it was answered, or its client has gone. Of no effect for one that has ended."""
        one = self._requests.end(job)
        if one is not None and one.run in self._runs:
            self._occupancy.used(now, one.run)
        if one is not None and self._waiting:
            self._settle(now)
        return self._told()

    def tick(self, now: float) -> list[Decision]:
        """Let time pass."""
        self._settle(now)
        return self._told()

    def preload(self, now: float) -> list[Decision]:
        """Want the models that are to be there from the start."""
        if self._rules.primary:
            self._preload = {key for key, one in self._world.models.items() if one.preload and one.launchable}
        self._settle(now)
        return self._told()

    def launched(self, now: float, key: str, run_id: str) -> None:
        """Take the end of a `Launch`: it made this run, of which the next `see` tells."""
        self._ended(key)
        self._joined[key] = run_id

    def not_launched(self, now: float, key: str, refusal: Refusal | None, *, again: float = 1.0) -> list[Decision]:
        """Take the end of a `Launch` that made no run.

        Args:
            refusal: Why it would fail each time; None: somebody else was quicker, it is tried again.
            again: After so many seconds.
        """
        self._ended(key)
        if refusal is None:
            self._not_before[key] = now + again
        else:
            model = self._world.models.get(key)
            self._quarantine.failed(now, key, model.revision if model else "", refusal)
            self._refuse_all(key, refusal)
        self._settle(now)
        return self._told()

    def stopped(self, now: float, run_id: str) -> None:
        """Take the end of a `Stop`, whatever came of it: the next `see` tells."""
        self._stopping.discard(run_id)
        if run_id in self._runs:
            self._occupancy.used(now, run_id)  # where it was not stopped, that is not tried again at once

    # --- questions --------------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """Return how many requests wait."""
        return self._requests.count

    def queue(self) -> dict[str, int]:
        """Return how many requests wait, by model."""
        return {key: len(jobs) for key, jobs in self._waiting.items()}

    def in_flight(self) -> dict[str, int]:
        """Return how many requests were sent and have not ended, by model."""
        return dict(self._requests.by_key)

    def launching(self) -> dict[str, Launch]:
        """Return the launches under way whose run is not there yet, by model."""
        return dict(self._launching)

    def status(self, job: str) -> Waiting:
        """Return what a request waits for."""
        one = self._requests.get(job)
        if one is None or one.sent:
            return Waiting(Phase.SENT, one.key if one else None)
        eta = self.estimate(one.key)
        run = next((run for run in self._of_key.get(one.key, ()) if run.phase is RunPhase.LOADING), None)
        if run is not None:
            return Waiting(Phase.LOADING, one.key, 0, run.stage, run.progress, eta)
        if one.key in self._launching:
            return Waiting(Phase.LOADING, one.key, eta=eta)
        return Waiting(Phase.QUEUED, one.key, self._requests.ahead(one), eta=eta)

    def estimate(self, key: str) -> float | None:
        """Return the seconds until a model is ready, from earlier launches; None where there were none."""
        runs = self._of_key.get(key, ())
        if any(one.phase is RunPhase.READY for one in runs):
            return 0.0
        for one in runs:
            if one.phase is RunPhase.LOADING and one.eta is not None:
                return one.eta
        total = 0.0
        for other in [*(one for one in self._order() if one != key), key]:
            model = self._world.models.get(other)
            if model is not None and model.load_seconds is not None:
                total += model.load_seconds
            elif other == key:
                return None
        return total

    # --- what was seen ----------------------------------------------------------------------------------

    def _note(self, now: float, run: Run, before: Run | None) -> None:
        """Keep what is told by the difference to what was seen before."""
        if before is None and not run.started_by and run.phase in LIVE:
            self._quarantine.forgive(run.key)
        if run.phase is RunPhase.READY:
            if before is None or before.phase is not RunPhase.READY:
                self._quarantine.forgive(run.key)
                self._occupancy.used(now, run.id)
            elif run.busy or before.busy or (run.activity and before.activity and run.activity != before.activity):
                self._occupancy.used(now, run.id)

    def _end_of_load(self, now: float, key: str, run_id: str) -> None:
        """Answer those that wait for a load that has ended."""
        run = self._runs.get(run_id)
        if run is not None and run.phase in (RunPhase.LOADING, RunPhase.STOPPING):
            return
        del self._joined[key]
        if run is not None and (run.phase in LIVE or any(one.phase in LIVE for one in self._of_key.get(key, ()))):
            return
        if run is None or run.phase is RunPhase.FAILED:
            why = run.why if run is not None else None
            why = why or refusals.failed(key, "run_lost", "its run is no longer there")
            if run is None or run.started_by:
                model = self._world.models.get(key)
                self._quarantine.failed(now, key, model.revision if model else "", why)
            self._refuse_all(key, why)
        elif run_id not in self._stopping:
            self._refuse_all(key, refusals.was_stopped(key))

    # --- what is decided --------------------------------------------------------------------------------

    def _settle(self, now: float) -> None:
        """Decide all that can be decided now."""
        self._overdue(now)
        self._send_waiting()  # before anything is closed: what was loaded for them answers them
        closing, self._closing = self._closing, set()
        if self._waiting or self._preload:
            self._load(now, closing)
            if closing - self._closing:
                self._send_waiting()
        for run_id in self._occupancy.idle(now, self._world, self._stopping) if self._rules.primary else ():
            self._stopping.add(run_id)
            self._out.append(Stop(run_id))

    def _send_waiting(self) -> None:
        for key in self._order():
            for job in list(self._waiting[key]):
                if not self._send(job):
                    break

    def _overdue(self, now: float) -> None:
        for key, jobs in list(self._waiting.items()):
            for job in list(jobs):
                if now - job.arrived < self._rules.max_wait:
                    continue
                model = self._world.models.get(key)
                limit = model.max_concurrent if model else None
                if limit is not None and self._requests.by_key.get(key, 0) >= limit:
                    self._refuse(job, refusals.too_many(key, limit, self._rules.max_wait))
                else:
                    self._refuse(job, refusals.waited(key, self._rules.max_wait, self.estimate(key)))

    def _send(self, job: Job) -> bool:
        """Send a request, if its model takes it now."""
        model = self._world.models.get(job.key)
        limit = model.max_concurrent if model is not None else None
        if model is None or (limit is not None and self._requests.by_key.get(job.key, 0) >= limit):
            return False
        run: str | None = None
        if not model.elsewhere:
            ready = [one.id for one in self._of_key.get(job.key, ()) if self._takes(one)]
            if not ready:
                return False
            run = min(ready, key=lambda one: self._requests.by_run.get(one, 0))
        self._requests.send(job, run)
        self._out.append(Send(job.id, job.key, run))
        return True

    def _takes(self, run: Run) -> bool:
        return run.phase is RunPhase.READY and run.id not in self._stopping and run.id not in self._closing

    def _order(self) -> list[str]:
        """Return the models that are waited for, in the order in which they are served."""
        models = self._world.models
        return self._requests.order(lambda key: models[key].priority if key in models else 0)

    def _load(self, now: float, closing: set[str]) -> None:
        """Launch what is waited for and fits, and close what is in the way for too long.

        Args:
            closing: What was closed until now.
        """
        holders = self._occupancy.holders(now, self._world, self._launching, self._stopping, closing)
        #: Models that wait for a place, each with the runs that it will take.
        ahead: list[tuple[Model, tuple[Holder, ...]]] = []
        for key in [*self._order(), *sorted(self._preload - self._waiting.keys())]:
            model = self._world.models.get(key)
            if model is None and not self._of_key.get(key) and key not in self._launching:
                self._refuse_all(key, refusals.gone(key))
            if model is None or model.elsewhere or not self._is_cold(key):
                self._preload.discard(key)  # it is there
                continue
            if not self._may_be_launched(now, key, model):
                continue
            chosen = plan(model.need, holders, self._world.room)
            if chosen is not None and self._waiting.get(key) is None and chosen:
                chosen = None  # nothing is stopped for what nobody asked for
            if chosen is not None and self._leaves_room(model, chosen, holders, ahead):
                holders = self._launch(now, model, chosen, holders)
                continue
            if not self._waiting.get(key):
                self._preload.discard(key)
                continue
            later = plan(model.need, holders, self._world.room, later=True)
            if later is None:
                self._give_up(key, holders)
                continue
            ahead.append((model, later))
            self._close(now, key, later)

    def _is_cold(self, key: str) -> bool:
        """Return whether nothing of the model runs or is about to."""
        if key in self._launching:
            return False
        for run in self._of_key.get(key, ()):
            if run.phase is RunPhase.BLOCKED and run.why is not None:
                self._refuse_all(key, run.why)
            if run.loads and run.id not in self._stopping and self._waiting.get(key):
                self._joined.setdefault(key, run.id)
            return False
        return True

    def _may_be_launched(self, now: float, key: str, model: Model) -> bool:
        """Return whether it is launched; refuse the requests that may not have it launched."""
        if key in self._preload and not self._waiting.get(key):
            return self._not_before.get(key, 0.0) <= now
        cause = self._rules.why_not(model)
        last = self._quarantine.last(key)
        if cause:
            self._refuse_all(key, refusals.not_loaded(key, cause))
        elif last is not None:
            self._refuse_all(key, refusals.quarantined(key, last, Quarantine.FAILURES))
        elif not any(job.may_launch for job in self._waiting[key]):
            self._refuse_all(key, refusals.may_not_launch(key))
        return bool(self._waiting.get(key)) and self._not_before.get(key, 0.0) <= now

    def _leaves_room(
        self,
        model: Model,
        chosen: Iterable[Holder],
        holders: Iterable[Holder],
        ahead: Iterable[tuple[Model, tuple[Holder, ...]]],
    ) -> bool:
        """Return whether those that wait longer for a place still get theirs."""
        gone = {one.id for one in chosen}
        for first, later in ahead:
            left = [one for one in holders if one.id not in gone | {taken.id for taken in later}]
            room = self._world.room
            if fits(first.need, left, room) and not fits(first.need, [*left, holder_of(model)], room):
                return False
        return True

    def _launch(self, now: float, model: Model, chosen: tuple[Holder, ...], holders: list[Holder]) -> list[Holder]:
        key = model.key
        started_by = "request" if self._waiting.get(key) else "preload"
        decided = Launch(key, tuple(one.id for one in chosen), started_by)
        self._launching[key] = decided
        self._stopping.update(decided.evict)
        gone = set(decided.evict)
        self._joined = {other: run for other, run in self._joined.items() if other != key and run not in gone}
        self._preload.discard(key)
        self._out.append(decided)
        return [*(one for one in holders if one.id not in gone), holder_of(model)]

    def _give_up(self, key: str, holders: Iterable[Holder]) -> None:
        self._refuse_all(key, refusals.no_room(key, [one.key for one in holders if not one.later]))

    def _close(self, now: float, key: str, later: Iterable[Holder]) -> None:
        """Let runs take no more requests that stood in the way of a model for long enough."""
        since = now - min(job.arrived for job in self._waiting[key])
        for one in later:
            run = self._runs.get(one.id)
            if run is None or run.phase is not RunPhase.READY:
                continue
            ready_for = run.ready_for or 0.0
            if ready_for >= self._rules.min_warm and min(since, ready_for) >= self._rules.max_consecutive:
                self._closing.add(one.id)

    # --- bookkeeping ------------------------------------------------------------------------------------

    def _ended(self, key: str) -> None:
        decided = self._launching.pop(key, None)
        if decided is not None:
            self._stopping.difference_update(decided.evict)

    def _refuse_all(self, key: str, refusal: Refusal) -> None:
        for job in list(self._waiting.get(key, ())):
            self._refuse(job, refusal)

    def _refuse(self, job: Job, refusal: Refusal) -> None:
        self._requests.end(job.id)
        self._out.append(Refuse(job.id, refusal))

    def _told(self) -> list[Decision]:
        told, self._out = self._out, []
        return told
