"""The life of one run: the single writer of its state.

One thread owns everything. It waits for signals, for the end of the engine, for answers of the prober and for its
own deadlines, and moves the run through its states.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from vllm_studio_tui.domain.run import MOVES, RunState, State
from vllm_studio_tui.domain.spec import RunSpec
from vllm_studio_tui.keeper import asking, probe
from vllm_studio_tui.keeper import engine as engines
from vllm_studio_tui.keeper.count import Counting
from vllm_studio_tui.keeper.explain import KEEPER_LOST, Ending, ending, no_port, oom_kills, told, too_slow
from vllm_studio_tui.keeper.files import LOG, Ledger, StateFile
from vllm_studio_tui.keeper.hearing import Hearing, not_served
from vllm_studio_tui.keeper.logwatch import LogWatch, mark, trim
from vllm_studio_tui.keeper.port import Held
from vllm_studio_tui.keeper.restart import CrashBudget
from vllm_studio_tui.keeper.stopping import Stopping
from vllm_studio_tui.keeper.timetable import Timetable
from vllm_studio_tui.keeper.tree import Tree
from vllm_studio_tui.keeper.wake import Wake
from vllm_studio_tui.keeper.watchdog import Watchdog
from vllm_studio_tui.kit import process
from vllm_studio_tui.kit.net import port_free
from vllm_studio_tui.kit.paths import boot_id

#: Probes follow each other quickly while a start is young, then at this pace.
LOADING_PROBE = 1.0
YOUNG = 20.0


class Supervisor:
    """Owns one run from its first spawn, or from an adoption, to its end."""

    def __init__(self, folder: Path, spec: RunSpec, state: RunState, port: Held | None = None) -> None:
        self.spec, self.state = spec, state
        self._port = port or Held(spec.host, spec.port)
        self._log = folder / LOG
        self._file = StateFile(folder)
        self._ledger = Ledger(folder)
        self._tree = Tree(spec.run_id)
        self._watch = LogWatch(self._log, spec.stages, spec.failures)
        self._prober = probe.Prober(spec)
        self._hearing = Hearing(spec)
        self._counting = Counting(self._ledger, self._tree, spec.energy_argv)
        self._budget = CrashBudget(spec.restart)
        self._dog = Watchdog(spec.restart)
        self._engine: engines.Engine | None = None
        self._stopping: Stopping | None = None
        self._sweeping: Stopping | None = None
        self._stops = 0
        self._missed = 0
        self._spawned_at = self._port_until = 0.0
        self._due = Timetable()
        self._ooms = oom_kills()
        self._verdict: Ending | None = None
        self._wake = Wake()

    # --- the loop ---------------------------------------------------------------------------------------

    def listen(self) -> None:
        """Take signals from now on: TERM and INT stop, a second one kills, HUP is nothing."""
        self._wake.listen()
        self._wake.watch(self._prober.wake_read)

    def run(self) -> None:
        """Until the run is over."""
        me = os.getpid()
        self.state.keeper_pid, self.state.keeper_start = me, process.start_ticks(me)
        self.state.boot_id = boot_id()
        if self.state.adopted:
            self._resume()
        else:
            self._save()
            self._start()
        while not self.state.final:
            for _ in range(self._wake.wait(self._pause())):
                self._stops += 1
                self.stop()
            self._step(time.monotonic())
        self._finish()

    def _pause(self) -> float:
        if self._ending():
            return 0.05
        return self._due.wait(5.0)

    def _ending(self) -> bool:
        return self._stopping is not None or self._sweeping is not None

    def _step(self, now: float) -> None:
        for answer in self._prober.answers():
            if answer.attempt == self.state.attempt and self._engine is not None and not self._ending():
                self._answered(answer, now)
        self._counting.take_energy(self.state, now)
        if self._stopping is not None:
            self._step_stop(now)
        elif self._sweeping is not None:
            if self._sweeping.step(now):
                self._sweeping = None
                self._after_end(now)
        elif self._engine is not None and self._engine.ended():
            self._engine_ended(now)
        elif self.state.state is State.BACKOFF:
            if self._due.once("start", now):
                self._restart()
        else:
            self._look_after(now)
        self._file.flush()
        self._ledger.flush()

    def _move(self, to: State, reason: str | None = None) -> None:
        before = self.state.state
        if to is before:
            return
        if to not in MOVES[before]:
            raise RuntimeError(f"no move from {before} to {to}")
        self.state.state = to
        self._ledger.append("move", time.time(), self.state.attempt, **{"from": before, "to": to, "reason": reason})
        self._save()

    def _save(self) -> None:
        self._file.write(self.state)

    # --- starting ---------------------------------------------------------------------------------------

    def _start(self) -> None:
        state, now = self.state, time.monotonic()
        state.started_at = time.time()
        state.ready_at = state.stage = state.progress = state.pid = state.pid_start = None
        state.marks = {}
        self._dog.begin()
        self._hearing.begin(state)
        self._missed = 0
        self._counting.new_engine()
        try:
            self._port.take()
        except OSError as error:
            self._fail(no_port(error, self.spec.host, self.spec.port))
            return
        mark(self._log, self.state.attempt)
        self._watch = LogWatch(self._log, self.spec.stages, self.spec.failures)
        self._port.let_go()
        try:
            self._engine = engines.spawn(self.spec, self._log, os.environ)
        except (OSError, ValueError) as error:
            reason, title, advice = engines.cannot_start(error, self.spec)
            self._fail(Ending(reason, title, advice, retry=False))
            return
        self._hold(self._engine)
        state.pid, state.pid_start = self._engine.pid, self._engine.start
        self._save()
        self._ledger.append(
            "spawn",
            time.time(),
            state.attempt,
            pid=state.pid,
            pid_start=state.pid_start,
            boot_id=state.boot_id,
            log=self._watch.begin,
        )
        self._spawned_at = now
        self._due.begin(now, probe=0.1, log=0.1, tree=1.0, energy=0.0, size=5.0)
        if self.spec.ready.deadline:
            self._due.plan("deadline", now + self.spec.ready.deadline)

    def _hold(self, engine: engines.Engine) -> None:
        self._engine = engine
        self._tree.begin(engine.pid, engine.start)
        self._wake.watch(engine.fd)

    def _restart(self) -> None:
        self.state.attempt += 1
        self.state.restarts += 1
        self.state.next_start_at = None
        self._move(State.STARTING)
        self._start()

    def _resume(self) -> None:
        """Take over a run whose keeper died: its engine if that lives, else what is left of it."""
        state = self.state
        self._tree.know(state.server_pid, state.server_start)
        found = engines.find(state.pid, state.pid_start, self._tree)
        if found is not None:
            self._hold(found)
            state.pid, state.pid_start = found.pid, found.start
            if state.state in (State.STARTING, State.BACKOFF):
                state.state = State.STARTING
            now = time.monotonic()
            self._spawned_at = now
            self._due.begin(now, probe=0.0, log=0.0, tree=0.0, energy=0.0, count=0.0, size=5.0)
            self._watch.begin_at(self._ledger.log_offset)
            if self.spec.ready.deadline and state.ready_at is None:
                self._due.plan("deadline", now + self.spec.ready.deadline)
            self._save()
            if state.state is State.STOPPING:
                self._begin_stop()
            return
        self._save()
        if state.state is State.BACKOFF:
            self._port.try_to_take()
            self._due.plan("start", time.monotonic() + max(0.0, (state.next_start_at or 0.0) - time.time()))
            return
        self._sweeping = self._end(None, time.monotonic())

    def _look_after(self, now: float) -> None:
        attempt = self.state.attempt
        if self._due.each("log", now, 0.25 if self.state.ready_at is None else 5.0):
            if self._watch.follow() and self.state.ready_at is None:
                self.state.stage, self.state.progress = self._watch.stage, self._watch.progress
                for stage in self._watch.reached if self.state.started_at else ():
                    self.state.marks.setdefault(stage, round(time.time() - (self.state.started_at or 0.0), 2))
                self._save()
            if self._watch.anything and self.state.state is State.STARTING:
                self._move(State.LOADING)
            if self._watch.fatal is not None and self.state.ready_at is None:
                self._verdict = told(self._watch.fatal)
                self._sweeping = self._end(self._engine, now)
                return
        if self._due.each("tree", now, 2.0 if self.state.ready_at is None else 30.0):
            self._tree.look()
            self._tree.reap_orphans(self._engine.pid if self._engine else None)
        if self._due.each("size", now, 5.0):
            trim(self._log, self.spec.log_limit)
        if self._due.each("energy", now, self.spec.energy_every):
            self._counting.begin_energy(now)
        if self._due.each("count", now, self.spec.count_every) and self.spec.counters:
            self._prober.ask_counters(attempt, self.spec.counters, asking.key(self.spec.api_key_ref), self._tree.seen)
        if self._due.each("probe", now, self._probe_pace(now)):
            self._prober.ask_ready(attempt, self.spec.ready, asking.key(self.spec.api_key_ref), self._tree.seen)
        verdict = self._dog.verdict(now) if self.state.ready_at is not None else None
        if verdict is not None:
            self._give_up(verdict, now)
            return
        self._verdict = self._hearing.verdict(now) if self.state.ready_at is None else None
        if self._verdict is not None:
            self._sweeping = self._end(self._engine, now)
            return
        if self.state.ready_at is None and self._due.once("deadline", now):
            self._verdict = too_slow(self.spec.ready.deadline, self.state.stage, self.state.heard)
            self._sweeping = self._end(self._engine, now)

    def _give_up(self, verdict: Ending, now: float) -> None:
        """It lives and does not work: with a policy it is started again, without one that is said."""
        if self.spec.restart.policy == "never":
            if self.state.title != verdict.title:
                self.state.title, self.state.advice = verdict.title, verdict.advice
                if self.state.state is State.READY:
                    self._move(State.UNHEALTHY, verdict.reason)
            return
        self._verdict = verdict
        if self.state.state is State.READY:
            self.state.title = verdict.title
            self._move(State.UNHEALTHY, verdict.reason)
        self._sweeping = self._end(self._engine, now)

    def _probe_pace(self, now: float) -> float:
        if self.state.ready_at is not None:
            return self.spec.probe_every
        return 0.15 if now - self._spawned_at < YOUNG else LOADING_PROBE

    def _answered(self, answer: probe.Answer, now: float) -> None:
        if answer.kind == "counters":
            self._counting.tokens(self.state, answer.values)
            self._dog.counted(answer.values, now)
            return
        if self.state.ready_at is not None:
            self._dog.answered(answer.ok, now)
        news = self._hearing.take(self.state, answer, now)
        before = self.state.state
        if answer.ok:
            self._missed = 0
            if before in (State.STARTING, State.LOADING):
                self._became_ready(now, answer.holder)
            elif before is State.UNHEALTHY and self._dog.verdict(now) is None:
                self.state.ready_at = self.state.ready_at or time.time()
                self.state.title = None
                self._move(State.READY)
        elif before is State.READY:
            self._missed += 1
            if answer.stranger is not None or self._missed >= self.spec.ready.failures:
                self.state.title = not_served(answer)
                self._move(State.UNHEALTHY, answer.detail)
        elif before is State.UNHEALTHY and news and self._dog.verdict(now) is None:
            self.state.title = not_served(answer)
        if news and self.state.state is before:
            self._save()

    def _became_ready(self, now: float, holder: int | None) -> None:
        self.state.ready_at = time.time()
        self.state.server_pid, self.state.server_start = holder, process.start_ticks(holder) if holder else None
        self.state.stage = self.state.progress = None
        self.state.reason = self.state.title = self.state.advice = None  # of an earlier attempt; the ledger keeps it
        self.state.evidence, self.state.fix = [], {}
        self._due.drop("deadline")
        self._due.plan("count", now)
        self._move(State.READY)

    def _end(self, engine: engines.Engine | None, now: float) -> Stopping:
        return Stopping(self.spec.stop, engine, self._tree, now, self.spec.stop_argv)

    # --- ending -----------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Somebody wants the run to end; a second time, by force."""
        now = time.monotonic()
        if self.state.final:
            return
        if self._stopping is not None:
            self._stopping.force(now)
        elif self._sweeping is not None:
            self._sweeping.force(now)
        else:
            self._begin_stop()

    def _begin_stop(self) -> None:
        now = time.monotonic()
        if self.state.state in (State.READY, State.UNHEALTHY):
            self._last_count()
        self.state.title = self.state.advice = None
        self.state.next_start_at = None
        self._move(State.STOPPING)
        self._stopping = self._end(self._engine, now)

    def _last_count(self) -> None:
        """What the engine has counted until now, before it is told to end."""
        if self.spec.counters is not None and self._engine is not None and not self._engine.ended():
            self._counting.tokens(self.state, probe.count_now(self.spec, self._tree.seen))

    def _step_stop(self, now: float) -> None:
        assert self._stopping is not None
        self._unwatch()
        if not self._stopping.step(now) or self._port_still_open(now):
            return
        code, number = self._reap()
        self._ledger.append("exit", time.time(), self.state.attempt, code=code, signal=number)
        self.state.exit_code, self.state.exit_signal = code, number
        self.state.reason, self.state.title, self.state.advice = "stopped", "stopped", None
        if self._stopping.left:
            self.state.title = f"stopped, but would not die: {', '.join(self._stopping.left)[:200]}"
        self._stopping = None
        self._over(State.EXITED)

    def _port_still_open(self, now: float) -> bool:
        """The kernel may need a moment to close a socket; somebody else's listener is not waited for."""
        self._port_until = self._port_until or now + 3.0
        return now < self._port_until and not port_free(self.spec.host, self.spec.port)

    def _unwatch(self) -> None:
        """An ended engine's descriptor stays readable: waiting on it any longer would be a busy loop."""
        if self._engine is not None and self._engine.ended():
            self._wake.forget(self._engine.fd)

    def _engine_ended(self, now: float) -> None:
        self._unwatch()
        self._tree.look(environments=True)
        if self.state.state is State.READY:  # its workers may take seconds to go: meanwhile nothing serves
            self.state.title = "the engine has ended; its workers are being ended"
            self._move(State.UNHEALTHY, "engine ended")
        self._sweeping = self._end(None, now)

    def _reap(self) -> tuple[int | None, int | None]:
        """Exit code and signal of the engine, and nothing left of it."""
        self._unwatch()
        found: tuple[int | None, int | None] = (None, None)
        if self._engine is not None:
            found = self._engine.reap()
            self._tree.ended()
            self._engine = None
        self._tree.reap_orphans(None)
        return found

    def _after_end(self, now: float) -> None:
        """The engine has ended without being told to, and nothing of it is left: what now?"""
        had_engine = self._engine is not None
        code, number = self._reap()
        state = self.state
        self._ledger.append("exit", time.time(), state.attempt, code=code, signal=number)
        state.exit_code, state.exit_signal = code, number
        if state.state is State.STOPPING:  # a stop that its keeper did not live to finish
            state.reason = state.title = "stopped"
            self._over(State.EXITED)
            return
        gave_up = self._verdict is not None
        verdict = self._verdict or KEEPER_LOST
        if had_engine and self._verdict is None:
            verdict = ending(self._watch, code, number, was_ready=state.ready_at is not None, ooms_before=self._ooms)
            verdict = self._hearing.blame(verdict) if state.ready_at is None else verdict
        self._verdict = None
        self._tell(verdict)
        if self._stops:
            self._over(State.EXITED)
            return
        # vLLM exits with 0 also when its core was killed.
        in_order = code == 0 and verdict.reason == "process_exited" and not gave_up
        follows = self._budget.after(verdict, now, by_itself=in_order and state.ready_at is not None)
        if not had_engine or follows.state is not State.BACKOFF:
            state.advice = " ".join(part for part in (follows.note, state.advice) if part) or None
            self._over(State.EXITED if follows.state is State.EXITED else State.FAILED)
            return
        state.next_start_at = time.time() + follows.delay
        state.pid = state.pid_start = None
        self._port.try_to_take()
        self._due.begin(now, start=follows.delay)
        self._move(State.BACKOFF, state.reason)

    def _tell(self, verdict: Ending) -> None:
        state = self.state
        state.reason, state.title, state.advice = verdict.reason, verdict.title, verdict.advice or None
        state.evidence, state.fix = verdict.evidence, verdict.fix

    def _fail(self, verdict: Ending) -> None:
        self._tell(verdict)
        self._over(State.FAILED)

    def _over(self, to: State) -> None:
        self._counting.last_energy(self.state)
        self.state.ended_at = time.time()
        self.state.stage = self.state.progress = self.state.heard = self.state.heard_at = None
        self.state.pid = self.state.pid_start = None
        self._move(to, self.state.reason)

    def _finish(self) -> None:
        """The run is over: do not leave before the disk has taken all."""
        deadline = time.monotonic() + 60.0
        while not (self._file.flush() and self._ledger.flush()) and time.monotonic() < deadline:
            time.sleep(0.5)
