"""Takes requests in, has their models launched, and says who answers: the scheduler with a clock, threads and runs.

What it decides is advice: the launcher's locks decide. Engines outlive it; closing it stops nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.domain.serving import Arrival, Endpoint, Phase, Refusal, ServedModel
from vllm_studio_tui.services.protocols import StudioApi
from vllm_studio_tui.services.serving import refusals, reports
from vllm_studio_tui.services.serving.admission import Admission
from vllm_studio_tui.services.serving.endpoints import Reach, as_refusal
from vllm_studio_tui.services.serving.operations import launch_in_place, stop_unused
from vllm_studio_tui.services.serving.scheduler import Scheduler
from vllm_studio_tui.services.serving.settings_watch import SettingsWatch
from vllm_studio_tui.services.serving.survey import Seen, Survey
from vllm_studio_tui.services.serving.world import Decision, Launch, Refuse, Rules, Run, RunPhase, Send, Stop

__all__ = ["Admission", "Dispatcher"]

log = logging.getLogger(__name__)

#: Seconds between two looks: while something loads or waits, and otherwise.
BUSY_EVERY, EVERY = 0.15, 1.0
#: Seconds in which changes of the queue are gathered before they are told.
TELL_AFTER = 0.05
#: Seconds between two looks for runs that lost their keeper.
SETTLE_EVERY = 2.0

Listener = Callable[[str, dict[str, Any]], None]


class Dispatcher:
    """Who answers a request, and when. Used from one event loop.

    Args:
        primary: It launches and stops; else it only leads to what runs.

    Attributes:
        listeners: Called on the loop with an event's name and data: `queue`, `launch_progress`, `run`.
    """

    def __init__(self, studio: StudioApi, *, primary: bool = True) -> None:
        self._studio = studio
        self._primary = primary
        self.listeners: list[Listener] = []
        self._scheduler = Scheduler(_rules(studio, primary))
        self._seen = Seen()
        self._survey: Survey | None = None
        self._admissions: dict[str, Admission] = {}
        self._looks = ThreadPoolExecutor(1, "looks")
        self._operations = ThreadPoolExecutor(4, "operations")
        self._looking = asyncio.Lock()
        self._wake = asyncio.Event()
        self._settings_watch = SettingsWatch(studio.places.settings_file)
        self._tasks: set[asyncio.Task[None]] = set()
        self._settled_at = 0.0
        self._began = time.time()
        self._closed = False
        self._told_queue: dict[str, Any] = {}
        self._telling: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Look at everything once, and from then on again and again; start what is to be there from the start."""
        self._survey = await self._in(self._looks, self._make_survey)
        await self.refresh()
        self._carry_out(self._scheduler.preload(time.monotonic()))
        self._spawn(self._poll())
        self._spawn(self._tick())

    async def close(self) -> None:
        """Refuse those that wait, and end. Runs go on, and launches under way come to their end."""
        self._closed = True
        if self._telling is not None:
            self._telling.cancel()
        for task in list(self._tasks):
            task.cancel()
        for one in list(self._admissions.values()):
            if one.status().phase in (Phase.QUEUED, Phase.LOADING):
                self._admissions.pop(one.arrival.id, None)
                one.refuse(Refusal(503, "server_stopping", "the server ends", retry_after=refusals.SOON))
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._looks.shutdown(wait=False, cancel_futures=True)
        self._operations.shutdown(wait=False, cancel_futures=True)
        if self._survey is not None:
            self._survey.close()

    # --- requests ---------------------------------------------------------------------------------------

    def enter(self, arrival: Arrival) -> Admission:
        """Take a request in.

        Raises:
            Refusal: It cannot be served, now or at all.
        """
        if self._closed:
            raise Refusal(503, "server_stopping", "the server ends", retry_after=refusals.SOON)
        offer = self._seen.routes.find(arrival.model, arrival.patterns)
        admission = Admission(arrival, offer.key, self._scheduler.status, self._left)
        self._admissions[arrival.id] = admission
        now = time.monotonic()
        self._carry_out(
            self._scheduler.send_at_once(now, arrival.id, offer.key)
            if offer.peer is not None and offer.key not in self._seen.world.models  # it takes any name
            else self._scheduler.arrive(
                now, arrival.id, offer.key, priority=arrival.priority, may_launch=arrival.may_launch
            )
        )
        if (refusal := admission.refusal) is not None:
            raise refusal
        if self._scheduler.waiting:  # who was sent on at once needs no look: those cost more than the request
            self._wake.set()
        return admission

    def enter_run(self, arrival: Arrival, endpoint: Endpoint) -> Admission:
        """Take a request in for a run that was chosen already: it waits for nobody, and is a use of that run.

        Raises:
            Refusal: The server ends.
        """
        if self._closed:
            raise Refusal(503, "server_stopping", "the server ends", retry_after=refusals.SOON)
        key = endpoint.recipe_id or ""
        admission = self._admissions[arrival.id] = Admission(arrival, key, self._scheduler.status, self._left)
        self._scheduler.send_at_once(time.monotonic(), arrival.id, key, endpoint.run_id)
        admission.admit(endpoint)
        self._tell_queue()
        return admission

    def _left(self, admission: Admission) -> None:
        if self._admissions.pop(admission.arrival.id, None) is not None:
            self._carry_out(self._scheduler.leave(time.monotonic(), admission.arrival.id))

    # --- questions --------------------------------------------------------------------------------------

    def models(self, patterns: Sequence[str] = ()) -> list[ServedModel]:
        """Return what can be asked for.

        Args:
            patterns: Names that a key may use; empty: all.
        """
        return reports.served_models(self._seen, self._studio.settings.on_demand, self._primary, patterns)

    def document(self) -> dict[str, Any]:
        """Return who waits, what is launched and what is under way."""
        return reports.document(self._seen, self._scheduler, self._admissions.values(), self._primary)

    # --- looking ----------------------------------------------------------------------------------------

    def _make_survey(self) -> Survey:
        past: dict[str, list[float]] = {}
        with contextlib.suppress(StudioError):
            for one in self._studio.run_history.launches(limit=500):
                if one.recipe_id and one.ready_after is not None:
                    past.setdefault(one.recipe_id, []).append(one.ready_after)
        took = {key: sorted(some[:3])[len(some[:3]) // 2] for key, some in past.items()}
        return Survey(self._studio.places, self._studio.settings, self._studio.recipe_list, took)

    async def refresh(self) -> None:
        """Look at everything now."""
        await self._look()

    async def was_stopped(self, run_id: str | None) -> bool:
        """Look, and return whether a run has ended, or is about to, because somebody stopped it."""
        await self.refresh()
        view = self._seen.views.get(run_id or "")
        if view is None:
            return False
        return view.state is State.STOPPING or (view.status.final and view.status.reason == "stopped")

    async def _look(self, ended: Callable[[float], list[Decision]] | None = None) -> None:
        """Look, and tell the scheduler.

        Args:
            ended: Tells it of the end of an operation first: what was seen before that end does not count any more.
        """
        assert self._survey is not None
        survey = self._survey
        async with self._looking:
            waiting = self._scheduler.waiting > 0
            models = self._seen.world.models
            use = waiting or bool(self._studio.settings.idle_ttl) or any(one.ttl for one in models.values())
            seen = await self._in(self._looks, lambda: survey.look(use=use and self._primary, hurry=waiting))
            before, self._seen = self._seen, seen
            now = time.monotonic()
            decisions = ended(now) if ended is not None else []
            decisions += self._scheduler.see(now, seen.world)
        self._note_loading()
        self._carry_out(decisions)
        self._tell_runs(before, seen)

    async def _poll(self) -> None:
        while not self._closed:
            loading = any(one.phase is RunPhase.LOADING for one in self._seen.world.runs)
            every = BUSY_EVERY if self._scheduler.waiting or loading else EVERY
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(every):  # `wait_for` of Python 3.11 can lose a cancellation
                    await self._wake.wait()
            self._wake.clear()
            try:
                await self._look()
                await self._in(self._looks, self._settings_watch.look)
                await self._settle_lost()
            except Exception:
                log.exception("a look at the runs")
                await asyncio.sleep(every)

    async def _tick(self) -> None:
        """Let time pass for those that wait, also while a look takes long: a disk may not answer."""
        while not self._closed:
            await asyncio.sleep(EVERY)
            if self._scheduler.waiting:
                self._carry_out(self._scheduler.tick(time.monotonic()))

    async def _settle_lost(self) -> None:
        """Give runs that lost their keeper a new one."""
        lost = any(one.live and not one.keeper_alive for one in self._seen.views.values())
        if lost and self._primary and time.monotonic() - self._settled_at >= SETTLE_EVERY:
            self._settled_at = time.monotonic()
            await self._in(self._operations, self._studio.runs.settle)

    def _note_loading(self) -> None:
        for one in self._admissions.values():
            one.note_loading(one.status().phase is Phase.LOADING)

    # --- carrying out -----------------------------------------------------------------------------------

    def _carry_out(self, decisions: Iterable[Decision]) -> None:
        pending = list(decisions)
        while pending:
            one = pending.pop(0)
            if isinstance(one, Send):
                pending += self._send(one)
            elif isinstance(one, Refuse):
                admission = self._admissions.pop(one.job, None)
                if admission is not None:
                    admission.refuse(one.refusal)
            elif isinstance(one, Launch):
                self._tell("launch_progress", reports.progress(one.key, "evicting" if one.evict else "launching"))
                self._spawn(self._launch(one))
            else:
                self._spawn(self._stop(one))
        self._tell_queue()

    def _send(self, decision: Send) -> list[Decision]:
        admission = self._admissions.get(decision.job)
        if admission is None:
            return self._scheduler.leave(time.monotonic(), decision.job)
        try:
            if admission.admit(self._endpoint(admission, decision.run)):
                return []
        except StudioError as error:
            self._admissions.pop(decision.job, None)
            admission.refuse(as_refusal(decision.key, error))
            return self._scheduler.leave(time.monotonic(), decision.job)
        return []

    def _endpoint(self, admission: Admission, run_id: str | None) -> Endpoint:
        """Return how a request is sent.

        Raises:
            StudioError: Its server cannot be asked.
        """
        key, asked, seen = admission.key, admission.arrival.model, self._seen
        name, _, model = key.partition("/")
        found = (
            seen.runs.get(run_id)
            if run_id is not None
            else seen.elsewhere[key]
            if key in seen.elsewhere
            else seen.peers.get(name)
        )
        if found is None:
            raise refusals.failed(key, "run_lost", "its run is no longer there")
        if not isinstance(found, Reach):
            raise found.with_traceback(None)  # raised before: it must not grow
        if run_id is None and found.endpoint.peer is not None:
            return replace(found.endpoint, model=model)
        return found.for_request(asked)

    async def _launch(self, decided: Launch) -> None:
        views = [self._seen.views[one] for one in decided.evict if one in self._seen.views]
        kind = self._seen.kinds.get(decided.key)
        found: Any = None
        if kind is not None:
            recipe = kind.recipe
            found = await self._in(
                self._operations, lambda: launch_in_place(self._studio.launcher, recipe, views, decided.started_by)
            )
        if isinstance(found, Refusal | None):
            stage = "error" if found is not None else "waiting"
            self._tell("launch_progress", reports.progress(decided.key, stage, found.title if found else ""))
            refusal: Refusal | None = found
            await self._look(lambda now: self._scheduler.not_launched(now, decided.key, refusal))
            return
        run_id: str = found.run_id

        def ended(now: float) -> list[Decision]:
            self._scheduler.launched(now, decided.key, run_id)
            return []

        await self._look(ended)

    async def _stop(self, decided: Stop) -> None:
        view = self._seen.views.get(decided.run)
        if view is not None:
            try:
                await self._in(self._operations, lambda: stop_unused(self._studio.launcher, view))
            except Exception:
                log.exception("stopping %s", decided.run)

        def ended(now: float) -> list[Decision]:
            self._scheduler.stopped(now, decided.run)
            return []

        await self._look(ended)

    # --- events -----------------------------------------------------------------------------------------

    def _tell(self, event: str, data: dict[str, Any]) -> None:
        for one in list(self.listeners):
            try:
                one(event, data)
            except Exception:
                log.exception("a listener of %s", event)

    def _tell_queue(self) -> None:
        """Tell of the queue in a moment: of requests that come and go meanwhile, nobody needs to know."""
        if self.listeners and self._telling is None and not self._closed:
            self._telling = asyncio.get_running_loop().call_later(TELL_AFTER, self._tell_queue_now)

    def _tell_queue_now(self) -> None:
        self._telling = None
        if not self._closed:
            now = {"waiting": self._scheduler.queue(), "in_flight": self._scheduler.in_flight()}
            if now != self._told_queue:
                self._told_queue = now
                self._tell("queue", now)

    def _tell_runs(self, before: Seen, seen: Seen) -> None:
        if not self.listeners:
            return
        old: dict[str, Run] = {one.id: one for one in before.world.runs}
        for one in seen.world.runs:
            was = old.get(one.id)
            if was is None and one.phase in (RunPhase.FAILED, RunPhase.ENDED):
                # One that began and failed between two looks is news; those from before are not.
                at = seen.views[one.id].status.started_at
                if at is None or at < self._began:
                    continue
            if was is None or was.phase is not one.phase:
                self._tell("run", reports.run_event(one, seen))
            if was is None or (was.phase, was.stage, was.progress) != (one.phase, one.stage, one.progress):
                self._tell("launch_progress", reports.run_progress(one))

    # --- tasks ------------------------------------------------------------------------------------------

    async def _in(self, pool: ThreadPoolExecutor, do: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(pool, do)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("an operation of the dispatcher", exc_info=error)


def _rules(studio: StudioApi, primary: bool) -> Rules:
    settings = studio.settings
    return Rules(
        primary,
        settings.on_demand,
        settings.max_queue,
        settings.max_wait,
        settings.max_consecutive,
        settings.min_warm,
        settings.abandon_after,
        settings.idle_ttl,
    )
