"""The process tree of a run: who belongs to it, and ending all of it.

Engines start workers that re-parent, start sessions of their own and erase their command line. A process belongs to
the run when it is, or once was seen to be, a descendant of the engine, is in the engine's session, is an orphan that
the kernel handed to the keeper, or carries `VLLM_STUDIO_RUN` with this run's id in its environment.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from vllm_studio_tui.domain.run import RunState
from vllm_studio_tui.kit import process

VARIABLE = "VLLM_STUDIO_RUN"


def left_of(state: RunState) -> list[process.Stat]:
    """Return what lives of a run of this boot whose engine has ended and which no keeper looks after, its oldest first.

    By its mark; by number and start where its keeper saw it; and by the engine's session or group, whose number cannot
    be another's as long as somebody is in it. Engines erase the first, and workers may leave the last.
    """
    table = [one for one in process.all_processes() if one.state not in "ZX" and one.pid != os.getpid()]
    known = {(int(pid), start) for pid, start in state.members.items() if pid.isdecimal()}
    known |= {(state.server_pid, state.server_start)} if state.server_pid and state.server_start else set()
    marked = {one.pid for one in process.with_variable(VARIABLE, state.run_id, table)}
    leader, began = state.pid or 0, state.pid_start or 0
    reused = any(one.pid == leader and one.start != began for one in table)
    return sorted(
        (
            one
            for one in table
            if one.pid in marked
            or (one.pid, one.start) in known
            or (leader > 1 and not reused and leader in (one.session, one.group) and one.start >= began)
        ),
        key=lambda one: (one.start, one.pid),
    )


def words(found: list[process.Stat], most: int = 4) -> str:
    """Return processes by number and name."""
    named = [f"{one.pid} {_printable(one.name)}" for one in found[:most]]
    return ", ".join(named) + (f" and {len(found) - most} more" if len(found) > most else "")


def _printable(name: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in name)


def _of_other_runs(found: dict[int, process.Stat], run_id: str) -> set[int]:
    """Return those of these processes that are another run's keeper, its engine, or descend from them."""
    apart = set()
    for one in found.values():
        with contextlib.suppress(OSError):
            mark = process.environment_value(one.pid, VARIABLE)
            line = Path(f"/proc/{one.pid}/cmdline").read_bytes()
            if mark not in (None, "", run_id) or b"\0vllm_studio_tui.keeper\0" in line:
                apart.add(one.pid)
    grown = bool(apart)
    while grown:
        more = {one.pid for one in found.values() if one.parent in apart} - apart
        apart |= more
        grown = bool(more)
    return apart


class Tree:
    """All processes of one run, but the keeper's own.

    Args:
        children: Whoever looks is the run's keeper: all that descends from it belongs to the run.
        keepers: Keepers of other runs may descend from it, whose runs are no part of this one: of a unit the ranks that
            are on this machine too.
    """

    def __init__(self, run_id: str, *, children: bool = True, keepers: bool = False) -> None:
        self._run_id = run_id
        self._keepers = keepers
        self._children = children
        self._seen: dict[int, int] = {}
        self._ours: set[int] = {os.getpid()}
        self._leader: tuple[int, int] | None = None

    def begin(self, leader: int, start: int) -> None:
        """Begin a new engine, whose leader also leads its session."""
        self._leader = (leader, start)
        self._seen[leader] = start

    def know(self, pid: int | None, start: int | None) -> None:
        """Add a member that another keeper saw, and that may not be found in another way."""
        if pid is not None and start is not None:
            self._seen[pid] = start

    def ended(self) -> None:
        """Forget the leader, which was reaped: its number may become somebody else's session."""
        self._leader = None

    @property
    def seen(self) -> dict[int, int]:
        """The members at the last look, by number, with their start."""
        return dict(self._seen)

    def exempt(self, pid: int) -> None:
        """Leave out a short-lived child of the keeper itself."""
        self._ours.add(pid)

    def look(self, *, environments: bool = False) -> list[process.Stat]:
        """Return the members alive now. Reading every environment is dearer and finds strays as well."""
        table = [one for one in process.all_processes() if one.state not in "ZX"]
        found: dict[int, process.Stat] = {}
        for one in process.descendants(os.getpid(), table) if self._children else ():
            found[one.pid] = one
        # A zombie leader still holds its number, so its session cannot be somebody else's yet.
        if self._leader is not None and process.start_ticks(self._leader[0]) == self._leader[1]:
            for one in process.descendants(self._leader[0], table):
                found[one.pid] = one
            for one in table:
                if self._leader[0] in (one.session, one.pid):
                    found[one.pid] = one
        for one in table:
            if self._seen.get(one.pid) == one.start:
                found[one.pid] = one
        if environments:
            for one in process.with_variable(VARIABLE, self._run_id, table):
                found[one.pid] = one
        if self._keepers:
            for pid in _of_other_runs(found, self._run_id):
                del found[pid]
        members = [one for one in found.values() if one.pid not in self._ours]
        self._seen = {one.pid: one.start for one in members}
        return members

    def signal(self, number: int, *, environments: bool = True) -> int:
        """Signal every member; how many there were."""
        members = self.look(environments=environments)
        for one in members:
            process.send(one.pid, one.start, number)
        return len(members)

    def strays(self) -> list[process.Stat]:
        """Members found by their environment alone; used before there is a leader to go by."""
        return [
            one
            for one in process.with_variable(VARIABLE, self._run_id)
            if one.pid not in self._ours and one.state not in "ZX"
        ]

    def reap_orphans(self, engine: int | None) -> None:
        """Collect the exit of adopted orphans, but not of the engine or of our own children."""
        for one in process.all_processes():
            if one.parent == os.getpid() and one.state == "Z" and one.pid != engine and one.pid not in self._ours:
                with contextlib.suppress(OSError):
                    os.waitpid(one.pid, os.WNOHANG)

    def kill(self) -> int:
        """SIGKILL to every member; how many there were."""
        import signal  # deferred: who only looks does without

        return self.signal(signal.SIGKILL)
