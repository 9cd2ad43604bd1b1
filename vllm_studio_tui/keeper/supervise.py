"""The life of one run: the single writer of its state.

One thread owns everything. It waits for signals, for the end of the engine, for answers of the prober and of the
log's reader, and for its own deadlines, and moves the run through its states. Whatever goes wrong in one of its
duties is recorded and leaves the others alone.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from vllm_studio_tui.domain.run import RunState, State
from vllm_studio_tui.domain.spec import RunSpec
from vllm_studio_tui.keeper import engine as engines
from vllm_studio_tui.keeper import engine_http, probe
from vllm_studio_tui.keeper.engine_exit import FAULT, ExitHandler, verdict_without_log
from vllm_studio_tui.keeper.lease import Lease
from vllm_studio_tui.keeper.log_reader import LogResult
from vllm_studio_tui.keeper.log_watch import mark, trim
from vllm_studio_tui.keeper.port import HeldPort
from vllm_studio_tui.keeper.readiness import not_served
from vllm_studio_tui.keeper.run_directory import RunDirectory
from vllm_studio_tui.keeper.verdict import NO_SPEC, Verdict, port_unavailable, start_timeout, verdict_of_line
from vllm_studio_tui.keeper.watchdog import Watchdog
from vllm_studio_tui.kit import process
from vllm_studio_tui.kit.paths import boot_id

#: Probes follow each other quickly while a start is young, then at this pace.
LOADING_PROBE = 1.0
YOUNG = 20.0
#: Seconds after an engine is ready in which its log may still tell a stage that it reached before.
LAST_LINES = 2.0
#: Seconds that a keeper whose run is over waits for room on the disk: about a day.
UNWRITTEN = 100_000.0
#: Seconds between two looks at the run's directory.
DIRECTORY_EVERY = 2.0
#: So many processes of a run are written down.
MEMBERS = 512


class Supervisor(ExitHandler):
    """Owns one run from its first spawn, or from an adoption, to its end."""

    def __init__(self, folder: Path, spec: RunSpec, state: RunState, port: HeldPort | None = None) -> None:
        super().__init__(folder, spec, state, port)
        self._dog = Watchdog(spec.restart)
        self._missed = 0
        self._lease = Lease(folder, spec)
        self._had_engine = False
        #: The run's directory; None: nobody looks after it.
        self.directory: RunDirectory | None = None
        self._directory_at = 0.0

    # --- the loop ---------------------------------------------------------------------------------------

    def listen(self) -> None:
        """Handle signals from now on: TERM and INT stop the run, a second one kills it, HUP is ignored."""
        self._wake.listen()
        self._wake.watch(self._prober.wake_read)
        self._wake.watch(self._log_reader.wake_read)

    def run(self) -> None:
        """Look after the run until it is over."""
        me = os.getpid()
        self.state.keeper_pid, self.state.keeper_start = me, process.start_ticks(me)
        self.state.boot_id = boot_id()
        if self.state.adopted:
            self._begin("taking the run over", self._resume)
        else:
            self._record.save()
            self._begin("starting the engine", self._start)
        while not self.state.final:
            for _ in range(self._wake.wait(self._pause())):
                self._stops += 1
                with self._faults.guard("beginning to stop"):
                    self.stop()
            self._step(time.monotonic())
        self._finish()

    def _pause(self) -> float:
        if self._ending():
            return 0.05
        return self._due.wait(5.0)

    def _step(self, now: float) -> None:
        guard = self._faults.guard
        for answer in self._prober.answers():
            with guard("taking what the engine answered"):
                if answer.attempt == self.state.attempt and self._engine is not None:
                    self._answered(answer, now)
        for read in self._log_reader.answers():
            with guard("taking what the log says"):
                self._log_read(read, now)
        with guard("reading the energy counters"):
            self._usage.take_energy(self.state, now)
        if self._ending():
            self._advance_ending(now)
        elif self._engine is not None and self._engine.ended():
            with guard("noticing the end of the engine"):
                self._engine_ended(now)
        elif self.state.state is State.BACKOFF:
            if self._due.once("start", now):
                self._begin("starting the engine again", self._restart)
        elif self._engine is None:  # a fault left us without one
            self._verdict = FAULT
            with guard("ending what is left"):
                self._sweeping = self._end(None, now)
        else:
            self._look_after(now)
        with guard("looking after the run's directory"):
            self._look_after_directory(now)
        with guard("writing down"):
            self._record.flush()

    def _look_after_directory(self, now: float) -> None:
        """Put the directory back where somebody deleted it: without it no command would see this run again."""
        if self.directory is None or now - self._directory_at < DIRECTORY_EVERY:
            return
        self._directory_at = now
        if self.directory.look(engine=self._engine is not None):
            self._record.save()

    # --- starting ---------------------------------------------------------------------------------------

    def _begin(self, what: str, action: Callable[[], None]) -> None:
        """Start or take over; where that fails half-way, end whatever was started."""
        before = self._faults.count
        with self._faults.guard(what):
            action()
        if self._faults.count != before and not self._ending() and not self.state.final:
            self._verdict = FAULT
            with self._faults.guard("ending what is left"):
                self._sweeping = self._end(self._engine, time.monotonic())

    def _start(self) -> None:
        state, now = self.state, time.monotonic()
        state.started_at = time.time()
        state.ready_at = state.stage = state.progress = state.pid = state.pid_start = None
        state.marks, state.members = {}, {}
        self._dog.begin()
        self._readiness.begin(state)
        self._missed = 0
        self._usage.new_engine()
        self._faults.begin()
        if not self.spec.argv:
            self._fail(NO_SPEC)
            return
        try:
            self._port.take()
        except OSError as error:
            self._fail(port_unavailable(error, self.spec.host, self.spec.port))
            return
        mark(self._log, self.state.attempt)
        self._log_reader.begin()
        self._port.let_go()
        try:
            self._engine = engines.spawn(self.spec, self._log, os.environ)
        except (OSError, ValueError) as error:
            reason, title, advice = engines.cannot_start(error, self.spec)
            self._fail(Verdict(reason, title, advice, retry=False))
            return
        self._hold(self._engine)
        state.pid, state.pid_start = self._engine.pid, self._engine.start
        self._record.save()
        self._record.note(
            "spawn",
            pid=state.pid,
            pid_start=state.pid_start,
            boot_id=state.boot_id,
            log=self._log_reader.watch.begin,
            place=state.place,
        )
        self._spawned_at = now
        self._due.begin(now, probe=0.1, log=0.1, tree=1.0, energy=0.0, size=5.0, lease=0.0, job=0.1)
        self._lease.begin()
        if self.spec.ready.deadline:
            self._due.plan("deadline", now + self.spec.ready.deadline)

    def _hold(self, engine: engines.Engine) -> None:
        self._engine, self._had_engine = engine, True
        self._tree.begin(engine.pid, engine.start)
        self._wake.watch(engine.fd)

    def _restart(self) -> None:
        self.state.attempt += 1
        self.state.restarts += 1
        self.state.next_start_at = None
        self._record.move(State.STARTING)
        self._start()

    def _resume(self) -> None:
        """Take over a run whose keeper died: its engine if that lives, else what is left of it."""
        state = self.state
        if not self.spec.argv:
            state.title, state.advice = NO_SPEC.title, NO_SPEC.advice
        self._tree.know(state.server_pid, state.server_start)
        for member, start in state.members.items():
            self._tree.know(int(member) if member.isdecimal() else None, start)
        found = engines.find(state.pid, state.pid_start, self._tree)
        if found is not None:
            self._hold(found)
            state.pid, state.pid_start = found.pid, found.start
            if state.state in (State.STARTING, State.BACKOFF):
                state.state = State.STARTING
            now = time.monotonic()
            self._spawned_at = now
            self._due.begin(now, probe=0.0, log=0.0, tree=0.0, energy=0.0, count=0.0, size=5.0, lease=0.0, job=0.0)
            self._log_reader.begin(self._record.ledger.log_offset)
            if self.spec.ready.deadline and state.ready_at is None:
                self._due.plan("deadline", now + self.spec.ready.deadline)
            self._record.save()
            if state.state is State.STOPPING:
                self._begin_stop()
            return
        self._record.save()
        if state.state is not State.STOPPING and state.state is not State.BACKOFF and self._job.going_on:
            state.title = state.advice = None
            self._follow_again(time.monotonic())
            return
        if state.state is State.BACKOFF:
            self._port.try_to_take()
            self._due.plan("start", time.monotonic() + max(0.0, (state.next_start_at or 0.0) - time.time()))
            return
        self._sweeping = self._end(None, time.monotonic())

    def _look_after(self, now: float) -> None:
        guard, young = self._faults.guard, self.state.ready_at is None
        if self._due.each("log", now, 0.25 if self._young(LAST_LINES) else 5.0):
            self._log_reader.follow()
        if self._due.each("tree", now, 2.0 if young else 30.0):
            with guard("looking at the engine's processes"):
                self._tree.look()
                self._keep_members()
                self._tree.reap_orphans(self._engine.pid if self._engine else None)
        if self._due.each("size", now, 5.0):
            with guard("trimming the log"):
                trim(self._log, self.spec.log_limit)
        if self._due.each("energy", now, self.spec.energy_every * self._usage.energy_pace):
            with guard("reading the energy counters"):
                self._usage.begin_energy(now)
        if self._due.each("count", now, self.spec.count_every) and self.spec.counters:
            with guard("asking what the engine has counted"):
                self._ask_counters()
        if self._due.each("probe", now, self._probe_pace(now)) and self.spec.port:
            with guard("asking whether the engine serves"):
                key = engine_http.key(self.spec.api_key_ref)
                self._prober.ask_ready(self.state.attempt, self.spec.ready, key, self._tree.seen)
        if self._due.each("lease", now, self._lease.pace):
            with guard("looking at the lease"):
                self._verdict = self._lease.look(self.state, self._record.save)
                if self._verdict is not None:
                    self._sweeping = self._end(self._engine, now)
                    return
        if self._due.each("job", now, 3600.0 if self._job.here else 0.5 if young else 2.0):
            with guard("reading what its follower knows"):
                self._job.advance(self._record, self._due, now, self.spec.ready.deadline)
        with guard("watching whether the engine works"):
            verdict = self._dog.verdict(now) if not young else None
            if verdict is not None:
                self._give_up(verdict, now)
                return
        with guard("watching whether the engine gets ready"):
            if young:
                self._verdict = self._readiness.verdict(now)
                if self._verdict is None and self._due.once("deadline", now):
                    self._verdict = start_timeout(self.spec.ready.deadline, self.state.stage, self.state.heard)
                if self._verdict is not None:
                    self._sweeping = self._end(self._engine, now)

    def _young(self, seconds: float) -> bool:
        """Return whether it is not ready, or not for longer than that."""
        return self.state.ready_at is None or time.time() - self.state.ready_at < seconds

    def _keep_members(self) -> None:
        """Write down who belongs to the run, where that has changed: another keeper may have to know."""
        seen = {str(pid): start for pid, start in sorted(self._tree.seen.items())[:MEMBERS]}
        if seen != self.state.members:
            self.state.members = seen
            self._record.save()

    def _log_read(self, read: LogResult, now: float) -> None:
        """Act on what was read in the log."""
        if read.fault is not None:
            self._faults.note("reading the log", read.fault)
        if read.kind == "explain":
            if self._unexplained is not None:
                self._explained(read.ending or verdict_without_log(*self._unexplained[:2]), now)
            return
        watch, state = self._log_reader.watch, self.state
        if self._ending() or self._engine is None:
            return
        if read.moved and self._young(LAST_LINES):
            if state.ready_at is None:
                state.stage, state.progress = watch.stage, watch.progress
                self._job.tell(state, ready=False)
            for stage in watch.reached if state.started_at else ():
                state.marks.setdefault(stage, round((state.ready_at or time.time()) - (state.started_at or 0.0), 2))
            self._record.save()
        if watch.anything and state.state is State.STARTING and self._job.here:
            self._record.move(State.LOADING)
        if watch.fatal is not None and state.ready_at is None:
            self._verdict = verdict_of_line(watch.fatal)
            self._sweeping = self._end(self._engine, now)

    def _give_up(self, verdict: Verdict, now: float) -> None:
        """Handle an engine that lives and does not work: restart it by policy; without one, mark the run unhealthy."""
        if self.spec.restart.policy == "never":
            if self.state.title != verdict.title:
                self.state.title, self.state.advice = verdict.title, verdict.advice
                if self.state.state is State.READY:
                    self._record.move(State.UNHEALTHY, verdict.reason)
            return
        self._verdict = verdict
        if self.state.state is State.READY:
            self.state.title = verdict.title
            self._record.move(State.UNHEALTHY, verdict.reason)
        self._sweeping = self._end(self._engine, now)

    def _probe_pace(self, now: float) -> float:
        if self.state.ready_at is not None:
            return self.spec.probe_every
        return 0.15 if now - self._spawned_at < YOUNG else LOADING_PROBE

    def _answered(self, answer: probe.Answer, now: float) -> None:
        if answer.fault is not None:
            self._faults.note(f"reading what the engine answered ({answer.kind})", answer.fault)
        if answer.kind == "counters":
            self._usage.tokens(self.state, answer.values)
            self._dog.counted(answer.values, now)
            return
        if self._ending():
            return
        if self.state.ready_at is not None:
            self._dog.answered(answer.ok, now)
        news = self._readiness.take(self.state, answer, now)
        before = self.state.state
        if answer.ok:
            self._missed = 0
            if before in (State.STARTING, State.LOADING):
                self._became_ready(now, answer.holder)
            elif before is State.UNHEALTHY and self._dog.verdict(now) is None:
                self.state.ready_at = self.state.ready_at or time.time()
                self.state.title = None
                self._record.move(State.READY)
        elif before is State.READY:
            self._missed += 1
            if answer.stranger is not None or self._missed >= self.spec.ready.failures:
                self.state.title = not_served(answer)
                self._record.move(State.UNHEALTHY, answer.detail)
        elif before is State.UNHEALTHY and news and self._dog.verdict(now) is None:
            self.state.title = not_served(answer)
        if news and self.state.state is before:
            self._record.save()

    def _became_ready(self, now: float, holder: int | None) -> None:
        self.state.ready_at = time.time()
        self.state.server_pid, self.state.server_start = holder, process.start_ticks(holder) if holder else None
        self.state.stage = self.state.progress = None
        self.state.reason = self.state.title = self.state.advice = None  # of an earlier attempt; the ledger keeps it
        self.state.evidence, self.state.fix, self.state.fixes, self.state.groups = [], {}, [], []
        self._due.drop("deadline")
        self._due.plan("count", now)
        self._due.plan("energy", now)  # by now it is on its GPUs, which nobody may have named
        self._due.plan("log", now)
        self._record.move(State.READY)

    def _finish(self) -> None:
        """Leave after the run is over, but not before everything is written to the disk, unless somebody insists.

        A new keeper that found nothing to look after does not stay for it: the next one can write it as well.
        """
        with self._faults.guard("looking after the run's directory"):
            if self.directory is not None and self.directory.look(engine=False):
                self._record.save()
        begin = time.monotonic()
        patience = UNWRITTEN if self._had_engine else 2.0
        while not self._record.flush() and time.monotonic() - begin < patience:
            if self._wake.wait(0.5):
                patience = min(patience, time.monotonic() - begin + 1.0)
