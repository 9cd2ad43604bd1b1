"""The end of an engine: it was stopped, it exited by itself, or its keeper gave it up; and what follows."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from vllm_studio_tui.domain.run import ANSWERING, RunState, State
from vllm_studio_tui.domain.spec import RunSpec
from vllm_studio_tui.keeper import engine as engines
from vllm_studio_tui.keeper import engine_http, probe
from vllm_studio_tui.keeper.faults import Faults
from vllm_studio_tui.keeper.files import LOG
from vllm_studio_tui.keeper.job import FOLLOWER_LOST, JobWatch
from vllm_studio_tui.keeper.log_reader import LogReader
from vllm_studio_tui.keeper.port import HeldPort
from vllm_studio_tui.keeper.readiness import Readiness
from vllm_studio_tui.keeper.record import Record
from vllm_studio_tui.keeper.restart import CrashBudget
from vllm_studio_tui.keeper.stopping import Stopping
from vllm_studio_tui.keeper.timetable import Timetable
from vllm_studio_tui.keeper.tree import Tree
from vllm_studio_tui.keeper.usage import UsageRecorder
from vllm_studio_tui.keeper.verdict import KEEPER_LOST, Verdict, describe_exit, oom_kills
from vllm_studio_tui.keeper.wakeups import Wake
from vllm_studio_tui.kit.ports import port_free

#: Seconds that the last reading of an engine's counters may take before the engine is told to end.
LAST_COUNT = 1.0
#: Seconds that reading a log for the cause of an end may take.
EXPLAIN = 20.0
#: So many steps of an end that went wrong in a row, and it is ended without any care.
STUCK = 40
FAULT = Verdict("keeper_fault", "its keeper met a fault", "See keeper.log in its directory, and launch it again.")


class ExitHandler:
    """Holds the parts of a keeper, and ends its engine: stops it, explains its exit, decides on a restart."""

    def __init__(self, folder: Path, spec: RunSpec, state: RunState, port: HeldPort | None = None) -> None:
        self.spec, self.state = spec, state
        self._port = port or HeldPort(spec.host, spec.port)
        self._log = folder / LOG
        self._record = Record(folder, state)
        self._faults = Faults(state, self._record.save)
        self._tree = Tree(spec.run_id, keepers=spec.follow.get("kind") == "ranks")
        self._log_reader = LogReader(spec, self._log)
        self._prober = probe.Prober(spec)
        self._job = JobWatch(folder, spec)
        self._spawned_at = 0.0
        self._readiness = Readiness(spec)
        self._usage = UsageRecorder(self._record.ledger, self._tree, spec.energy_argv)
        self._budget = CrashBudget(spec.restart)
        self._engine: engines.Engine | None = None
        self._stopping: Stopping | None = None
        self._sweeping: Stopping | None = None
        #: Until when its last counters are waited for before a stop begins.
        self._counted_by: float | None = None
        #: A reading was under way when the stop came: it may be older than the last answers.
        self._count_again = False
        #: How the engine ended, and until when its log is read for the reason.
        self._unexplained: tuple[int | None, int | None, float] | None = None
        self._stops = 0
        self._stuck = 0
        self._port_until = 0.0
        self._due = Timetable()
        self._ooms = oom_kills()
        self._verdict: Verdict | None = None
        self._lost, self._ended_before = KEEPER_LOST, False
        self._wake = Wake()

    def inherit(self, lost: Verdict, *, ended: bool) -> None:
        """Take over from another keeper: `lost` is why, if its engine is gone; `ended`: its end is recorded already."""
        self._lost, self._ended_before = lost, ended

    def _ending(self) -> bool:
        parts = (self._stopping, self._sweeping, self._counted_by, self._unexplained)
        return any(one is not None for one in parts)

    def _advance_ending(self, now: float) -> None:
        """Take the next step of an end that is under way."""
        try:
            if self._counted_by is not None:
                if self._count_again and not self._prober.pending("counters"):
                    self._count_again = False
                    self._ask_counters()
                if now >= self._counted_by or not self._prober.pending("counters"):
                    self._counted_by = None
                    self._stopping = self._end(self._engine, now)
            elif self._stopping is not None:
                self._step_stop(now)
            elif self._sweeping is not None:
                if self._sweeping.step(now):
                    self._sweeping = None
                    self._after_end(now)
            elif self._unexplained is not None and now >= self._unexplained[2]:
                self._explained(verdict_without_log(*self._unexplained[:2]), now)
            self._stuck = 0
        except Exception as error:  # noqa: BLE001, RUF100
            self._faults.note("ending the engine", error)
            self._stuck += 1
            if self._stuck >= STUCK:
                self._break_off()

    def _break_off(self) -> None:
        """Ending it with care does not work: kill what is known, and leave."""
        if self._engine is not None:
            self._engine.signal(9)
        with contextlib.suppress(Exception):
            self._tree.kill()
        self._stopping = self._sweeping = self._counted_by = self._unexplained = None
        told = self.state.state is State.STOPPING
        self.state.reason = "stopped" if told else "keeper_fault"
        self.state.title = "killed: its keeper met a fault while it ended it"
        self.state.advice = "See keeper.log in its directory."
        self._over(State.EXITED if told else State.FAILED)

    def _end(self, engine: engines.Engine | None, now: float) -> Stopping:
        elsewhere = None if self._job.here else self._to_be_ended
        return Stopping(self.spec.stop, engine, self._tree, now, self.spec.stop_argv, elsewhere=elsewhere)

    def _to_be_ended(self) -> bool:
        """Return whether something runs elsewhere that is to end: a follower that only died is followed by another."""
        return (self._verdict is not None or self.state.state is State.STOPPING) and self._job.going_on

    # --- stopped ----------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Stop the run as somebody asked; when asked again, by force."""
        now = time.monotonic()
        if self.state.final:
            return
        if self._counted_by is not None:
            self._counted_by = None
            self._stopping = self._end(self._engine, now)
            self._stopping.force(now)
        elif self._unexplained is not None:
            self._explained(verdict_without_log(*self._unexplained[:2]), now)
        elif self._stopping is not None:
            self._stopping.force(now)
        elif self._sweeping is not None:
            self._sweeping.force(now)
        else:
            self._begin_stop()

    def _begin_stop(self) -> None:
        now = time.monotonic()
        counting = False
        with self._faults.guard("asking what the engine has counted"):
            under_way = self._prober.pending("counters")
            counting = self.state.state in ANSWERING and self._ask_counters()
            self._count_again = under_way and counting
        self.state.title = self.state.advice = None
        self.state.next_start_at = None
        # What the engine has counted until now is asked before it is told to end.
        self._counted_by = now + LAST_COUNT if counting else now
        self._record.move(State.STOPPING)

    def _ask_counters(self) -> bool:
        """Ask for what the engine has counted; whether an answer can come."""
        if self.spec.counters is None or self._engine is None or self._engine.ended():
            return False
        key = engine_http.key(self.spec.api_key_ref)
        self._prober.ask_counters(self.state.attempt, self.spec.counters, key, self._tree.seen)
        return True

    def _step_stop(self, now: float) -> None:
        assert self._stopping is not None
        self._unwatch()
        if not self._stopping.step(now) or self._port_still_open(now):
            return
        had_engine = self._engine is not None
        code, number = self._reap()
        if had_engine or not self._ended_before:
            self._record.note("exit", code=code, signal=number)
            self.state.exit_code, self.state.exit_signal = code, number
        self.state.reason, self.state.title, self.state.advice = "stopped", "stopped", None
        if self._stopping.left:
            self.state.title = f"stopped, but would not die: {', '.join(self._stopping.left)[:200]}"
        elif self._job.going_on:
            self._tell_left()
        elif self._job.left:
            self.state.title = f"stopped; {self._job.left}"
        self._stopping = None
        self._over(State.EXITED)

    def _tell_left(self) -> None:
        """Say that what runs elsewhere could not be ended, or that it is not known."""
        report = self._job.report
        assert report is not None
        self._job.tell(self.state, ready=False)
        why = f": {report.trouble}" if report.trouble else ""
        self.state.title = f"no longer followed; {report.handle or 'its job'} may go on{why}"
        self.state.advice = f"Stop it again when it can be reached: vllm-studio stop {self.spec.run_id}"

    def _port_still_open(self, now: float) -> bool:
        """Return the kernel may need a moment to close a socket; somebody else's listener is not waited for."""
        self._port_until = self._port_until or now + 3.0
        return now < self._port_until and not port_free(self.spec.host, self.spec.port)

    def _unwatch(self) -> None:
        """An ended engine's descriptor stays readable: waiting on it any longer would be a busy loop."""
        if self._engine is not None and self._engine.ended():
            self._wake.forget(self._engine.fd)

    # --- by itself --------------------------------------------------------------------------------------

    def _engine_ended(self, now: float) -> None:
        self._unwatch()
        self._sweeping = self._end(None, now)
        if self.state.state is State.READY:  # its workers may take seconds to go: meanwhile nothing serves
            self.state.title = "the engine has ended; its workers are being ended"
            self._record.move(State.UNHEALTHY, "engine ended")

    def _reap(self) -> tuple[int | None, int | None]:
        """Return exit code and signal of the engine, and nothing left of it."""
        self._unwatch()
        found: tuple[int | None, int | None] = (None, None)
        if self._engine is not None:
            found = self._engine.reap()
            self._tree.ended()
            self._engine = None
        self._tree.reap_orphans(None)
        return found

    def _after_end(self, now: float) -> None:
        """Decide what follows: the engine has exited without being stopped, and no process of it is left."""
        had_engine = self._engine is not None
        code, number = self._reap()
        state = self.state
        if self._ended_before and not had_engine:  # the last keeper saw it, and wrote it down before it was killed
            code, number, had_engine = state.exit_code, state.exit_signal, True
            self._log_reader.begin(self._record.ledger.log_offset)
        else:
            self._record.note("exit", code=code, signal=number)
            state.exit_code, state.exit_signal = code, number
        if state.state is State.STOPPING:  # a stop that its keeper did not live to finish
            state.reason = state.title = "stopped"
            if self._job.going_on:
                self._tell_left()
            elif self._job.left:
                state.title = f"stopped; {self._job.left}"
            self._over(State.EXITED)
        elif self._verdict is None and self._job.going_on:
            self._follow_again(now)
        elif had_engine and self._verdict is None:
            self._unexplained = (code, number, now + EXPLAIN)
            was_ready, blame = state.ready_at is not None, self._readiness.blame
            self._log_reader.explain(code, number, was_ready=was_ready, ooms_before=self._ooms, blame=blame)
        else:
            self._decide(self._verdict or self._lost, now, code, had_engine=had_engine)

    def _follow_again(self, now: float) -> None:
        """What followed it has ended, and it goes on elsewhere: another follower finds it again."""
        if self._stops:
            self._begin_stop()
            return
        self._record.set_verdict(FOLLOWER_LOST)
        self._plan_start(now, self._job.pause(now - self._spawned_at))

    def _explained(self, verdict: Verdict, now: float) -> None:
        """Go on after its log was read, or took too long to read."""
        assert self._unexplained is not None
        code, self._unexplained = self._unexplained[0], None
        self._decide(self._job.verdict(verdict) or verdict, now, code)

    def _decide(self, verdict: Verdict, now: float, code: int | None, *, had_engine: bool = True) -> None:
        """Restart the engine, or end the run."""
        state = self.state
        gave_up, self._verdict = self._verdict is not None, None
        self._record.set_verdict(verdict)
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
        self._plan_start(now, follows.delay)

    def _plan_start(self, now: float, delay: float) -> None:
        """Have it started again after so many seconds."""
        state = self.state
        state.next_start_at = time.time() + delay
        state.pid = state.pid_start = None
        self._port.try_to_take()
        self._due.begin(now, start=delay)
        self._record.move(State.BACKOFF, state.reason)

    # --- over -------------------------------------------------------------------------------------------

    def _fail(self, verdict: Verdict) -> None:
        self._record.set_verdict(verdict)
        self._over(State.FAILED)

    def _over(self, to: State) -> None:
        with self._faults.guard("the last energy reading"):
            self._usage.last_energy(self.state)
        self.state.ended_at = time.time()
        self.state.stage = self.state.progress = self.state.heard = self.state.heard_at = None
        self.state.pid = self.state.pid_start = None
        self.state.members = {}
        self._record.move(to, self.state.reason)


def verdict_without_log(code: int | None, number: int | None) -> Verdict:
    """Return why it ended, without its log."""
    return Verdict(*describe_exit(code, number))
