"""A run that runs elsewhere, as its keeper sees it: through the report of its follower."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from vllm_studio_tui.domain.job import REPORT, Cause, Phase, Report
from vllm_studio_tui.domain.run import RunState, State
from vllm_studio_tui.domain.spec import RunSpec
from vllm_studio_tui.followers.report import read_report
from vllm_studio_tui.keeper.record import Record
from vllm_studio_tui.keeper.timetable import Timetable
from vllm_studio_tui.keeper.verdict import NO_CAUSE, Verdict

FOLLOWER_LOST = Verdict(
    "follower_lost", "what followed it has ended; it goes on, and is followed again", "See keeper.log in its directory."
)
#: Reasons that say less than what a system says of how a job ended.
_LESS = (*NO_CAUSE, "engine_error")
#: Seconds before a follower is started again: longer each time, until one has lived that long.
AGAIN = (0.5, 2.0, 5.0, 15.0, 60.0)
LIVED = 120.0


class JobWatch:
    """Reads the reports of a run's follower. A run without one has none, and nothing here changes it."""

    def __init__(self, folder: Path, spec: RunSpec) -> None:
        self.here = not spec.follow
        self._folder = folder
        self._seen: tuple[int, int] | None = None
        self.report: Report | None = None
        self._lost = 0
        self._staged = ""

    def read(self) -> bool:
        """Read the report; True where it is another than before."""
        if self.here:
            return False
        try:
            found = (self._folder / REPORT).stat()
        except OSError:
            return False
        mark = (found.st_mtime_ns, found.st_ino)
        if mark == self._seen:
            return False
        report = read_report(self._folder)
        if report is None:
            return False
        self._seen, self.report = mark, report
        return True

    def tell(self, state: RunState, *, ready: bool) -> None:
        """Put into the state what the follower knows."""
        report = self.report
        if report is None:
            return
        state.handle, state.job_state = report.handle or None, report.state or None
        state.trouble = report.trouble or None
        state.parts = [asdict(one) for one in report.parts]
        if not ready and report.stage:
            state.stage, state.progress = report.stage, None
            self._staged = report.stage
        elif self._staged and state.stage == self._staged:  # it waits no more; what its log tells has not come yet
            state.stage, self._staged = None, ""

    def advance(self, record: Record, due: Timetable, now: float, deadline: float | None) -> None:
        """Take what the follower knows; a job that waits for its turn has all the time of the world to get ready."""
        state = record.state
        if self.read():
            self.tell(state, ready=state.ready_at is not None)
            record.save()
        if self.waiting:
            if deadline and state.ready_at is None:
                due.plan("deadline", now + deadline)
        elif state.state is State.STARTING:
            record.move(State.LOADING)

    @property
    def waiting(self) -> bool:
        """Return whether nothing of it runs yet, as far as is known."""
        return not self.here and (self.report is None or self.report.phase in (Phase.WAITING, Phase.UNKNOWN))

    @property
    def going_on(self) -> bool:
        """Return whether something of it may run elsewhere: it is followed again, not started again."""
        self.read()
        return self.report is not None and self.report.going_on

    @property
    def left(self) -> str:
        """Return what could not be ended elsewhere and ends by itself, in words; empty: nothing."""
        self.read()
        return self.report.trouble if self.report is not None and self.report.ended else ""

    def pause(self, lived: float) -> float:
        """Return the seconds until a follower that lived so long is followed by another."""
        self._lost = 1 if lived > LIVED else self._lost + 1
        return AGAIN[min(self._lost, len(AGAIN)) - 1]

    def verdict(self, of_log: Verdict | None = None) -> Verdict | None:
        """Return why the job ended, of what its system and its log say; None: neither does.

        Args:
            of_log: What its log says; None: it was not read.
        """
        self.read()
        cause = self.report.cause if self.report is not None else None
        if cause is None or (cause.weak and (of_log is None or of_log.reason not in _LESS)):
            return of_log
        return _verdict(cause, of_log)


def _verdict(cause: Cause, of_log: Verdict | None) -> Verdict:
    evidence = list(cause.evidence) or (of_log.evidence if of_log is not None else [])
    return Verdict(cause.reason, cause.title, cause.advice, evidence, cause.retry)
