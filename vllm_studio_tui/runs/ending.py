"""Ending a run from outside, whatever state its files and its keeper are in."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

from vllm_studio_tui.domain.run import State
from vllm_studio_tui.domain.spec import Stop
from vllm_studio_tui.followers.report import read_report
from vllm_studio_tui.keeper import engine as engines
from vllm_studio_tui.keeper.stopping import KILL_GRACE, Stopping
from vllm_studio_tui.keeper.tree import Tree, left_of
from vllm_studio_tui.kit import process
from vllm_studio_tui.runs.read import RunView, full_disk, view

KEEPER = "vllm_studio_tui.keeper"
#: Seconds beyond its policy after which a keeper that was asked to stop counts as stuck.
SLACK = 20.0
#: Seconds that the program has which ends what a run left elsewhere; it gives up before.
ELSEWHERE = 90.0
#: New keepers that are given to a run, one after the other, to write down its end.
ADOPTERS = 2


def find_keeper(folder: Path) -> tuple[int, int] | None:
    """Find a run's keeper by its command line: its pid and start. For runs whose state cannot be read."""
    for one in process.all_processes():
        if one.state in "ZX":
            continue
        with contextlib.suppress(OSError):
            argv = Path(f"/proc/{one.pid}/cmdline").read_bytes().split(b"\0")
            if KEEPER.encode() in argv and str(folder).encode() in argv:
                return one.pid, one.start
    return None


def left_elsewhere(run: RunView) -> bool:
    """Return whether something of a run that has ended here may go on elsewhere."""
    if run.spec is None or not run.spec.follow:
        return False
    report = read_report(run.folder)
    return report is not None and report.going_on


def end_elsewhere(run: RunView, *, force: bool) -> RunView:
    """End what a run that has ended here left elsewhere; the title of the run that is returned says how that went."""
    assert run.spec is not None
    handle = run.status.handle or "its job"
    argv = [*run.spec.stop_argv, *(["--force"] if force else [])]
    try:
        done = subprocess.run(argv, capture_output=True, stdin=subprocess.DEVNULL, timeout=ELSEWHERE, check=False)
        words = done.stdout.decode("utf-8", "replace").strip().removeprefix("[vllm-studio] ").splitlines()
        gone, why = done.returncode == 0, words[-1] if words else ""
    except (OSError, subprocess.TimeoutExpired) as error:
        gone, why = False, str(error)
    if gone:
        return replace(run, status=replace(run.status, title=f"stopped; {handle} has ended", advice=None))
    title = f"{handle} may go on: {why or 'it could not be ended'}"
    return replace(run, status=replace(run.status, title=title))


class StopCall:
    """One wish that a run ends."""

    def __init__(self, run: RunView, *, force: bool) -> None:
        self._folder, self._force = run.folder, force
        self.policy = run.spec.stop if run.spec else Stop()
        self._stop_argv = run.spec.stop_argv if run.spec else ()
        self._told: dict[tuple[int, int], int] = {}
        self._adopters = 0

    @property
    def patience(self) -> float:
        """Return the seconds that the run's policy allows for its end, plus a margin."""
        return self.policy.leader_grace + self.policy.tree_grace + KILL_GRACE + SLACK

    def tell(self, now: RunView) -> None:
        """Ask the run's keeper to stop, if that was not done yet."""
        found = self._keeper(now)
        if found is not None and self._told.get(found, 0) < (2 if self._force else 1):
            self._told[found] = self._told.get(found, 0) + process.send(*found, signal.SIGTERM)

    def unwritten(self, now: RunView) -> bool:
        """Return whether the run has ended and its keeper only waits for disk space to write its state."""
        if not self._told or now.engine_alive or full_disk(self._folder) is None:
            return False
        return not left_of(view(self._folder).status)

    def may_adopt(self) -> bool:
        """Return whether another keeper may be started for the run."""
        self._adopters += 1
        return self._adopters <= ADOPTERS

    def end_without_keeper(self, now: RunView) -> RunView:
        """End the run's processes from this program: its keeper is stuck, or none can be started."""
        found = self._keeper(now) if now.keeper_alive else None
        if found is not None:
            process.send(*found, signal.SIGKILL)
            process.wait_gone(*found, 5.0)
        state = view(self._folder).status
        tree = Tree(self._folder.name, children=False)
        for member, start in state.members.items():
            tree.know(int(member) if member.isdecimal() else None, start)
        engine = engines.find(state.pid, state.pid_start, tree)
        if engine is not None:
            tree.begin(engine.pid, engine.start)
        follows = now.spec is not None and bool(now.spec.follow)
        elsewhere = (lambda: left_elsewhere(now)) if follows else None
        stopping = Stopping(self.policy, engine, tree, time.monotonic(), self._stop_argv, elsewhere=elsewhere)
        if self._force:
            stopping.force(time.monotonic())
        while not stopping.step(time.monotonic()):
            time.sleep(0.05)
        return self.outcome(view(self._folder), stopping.left)

    def outcome(self, now: RunView, left: list[str] | None = None) -> RunView:
        """Return how the run ended, also where no keeper could write its state."""
        if left:
            title = f"processes would not die: {', '.join(left)[:200]}"
            return replace(now, status=replace(now.status, title=title))
        if now.lost or (not now.status.final and self.unwritten(now)):
            words = (
                "stopped; its end is not written down yet" if now.keeper_alive else "stopped; its end is not on record"
            )
            status = replace(now.status, state=State.EXITED, reason="stopped", title=words, advice=None, pid=None)
            return replace(now, status=status)
        return now

    def _keeper(self, now: RunView) -> tuple[int, int] | None:
        pid, start = now.status.keeper_pid, now.status.keeper_start
        if pid is not None and start is not None and process.alive(pid, start):
            return pid, start
        return find_keeper(self._folder)
