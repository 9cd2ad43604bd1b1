"""Runs as they are now, read from their directories. Nothing here changes anything.

Standard library only and light: `status` answers with it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.job import REPORT
from vllm_studio_tui.domain.run import ANSWERING, RunState, State
from vllm_studio_tui.keeper.files import (
    COPIED,
    LOCK,
    LOG,
    STATE,
    Heading,
    is_copy,
    named_by,
    read_heading,
    read_object,
    read_spec,
    read_state,
)
from vllm_studio_tui.keeper.tree import left_of, words
from vllm_studio_tui.kit import process
from vllm_studio_tui.kit.paths import Places, boot_id

if TYPE_CHECKING:
    from vllm_studio_tui.domain.spec import RunSpec
    from vllm_studio_tui.keeper.recovery import Recovered

#: Seconds that a keeper has for writing the state once the ledger has the end.
HALF_WRITTEN = 2.0
#: Faces leave this mark in the directory of a failed run that a person has seen.
DISMISSED = "dismissed"


@dataclass(frozen=True, slots=True)
class RunView:
    """One run now: what its keeper wrote, and whether keeper and engine are alive.

    Attributes:
        status: The state, computed: a run whose keeper and engine are both gone is not ready, whatever was written.
        spec: None when it cannot be read, or was not.
        log_at: When a run that has not ended last wrote to its log.
        heading: What was read in place of the spec.
    """

    folder: Path
    run_id: str
    spec: RunSpec | None
    status: RunState
    keeper_alive: bool
    engine_alive: bool
    dismissed: bool
    log_at: float | None = None
    heading: Heading | None = field(default=None, repr=False)  # so it does not travel to a face elsewhere either

    @property
    def recipe_id(self) -> str:
        head = self.spec or self.heading
        return head.recipe_id if head else named_by(self.folder)[0]

    @property
    def name(self) -> str:
        head = self.spec or self.heading
        return head.name if head else self.recipe_id

    @property
    def created_at(self) -> float:
        head = self.spec or self.heading
        return head.created_at if head else 0.0

    @property
    def count_every(self) -> float | None:
        head = self.spec or self.heading
        return head.count_every if head else None

    @property
    def backend(self) -> str | None:
        return self.spec.backend if self.spec else None

    @property
    def model(self) -> str | None:
        return self.spec.model if self.spec else None

    @property
    def port(self) -> int | None:
        return self.spec.port if self.spec else None

    @property
    def base_url(self) -> str | None:
        return self.spec.base_url if self.spec else None

    @property
    def state(self) -> State:
        return self.status.state

    @property
    def live(self) -> bool:
        return not self.status.final

    @property
    def log(self) -> Path:
        return self.folder / LOG

    @property
    def lost(self) -> bool:
        """Return whether the keeper is gone but the end was never written: the run needs a new keeper."""
        return not self.keeper_alive and not _recovered(self.folder).state.final


def lock_held(folder: Path) -> bool:
    """Return whether a keeper holds the run's lock."""
    try:
        fd = os.open(folder / LOCK, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # Shared, so that two readers do not see each other; a keeper that starts waits a moment for us.
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except OSError:
        return True
    finally:
        os.close(fd)


def view(folder: Path, *, whole: bool = True) -> RunView:
    """Return the present state of a run directory.

    Args:
        whole: Read all of the spec, with its hundreds of patterns; else what names the run.
    """
    spec: RunSpec | None = None
    heading: Heading | None = None
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        if whole:
            spec = read_spec(folder)
        else:
            heading = read_heading(folder)
    held = lock_held(folder)
    written = read_state(folder)
    if not held and (written is None or not written.final):
        written = read_state(folder)  # it may have ended between our two looks
    state, known, alive = written or RunState(folder.name), written is not None, _alive(written)
    if not known or not (state.final or (held and alive and full_disk(folder) is None)):
        # The state may be torn, or older than what happened: a line of the ledger may fit where a state does not.
        recovered = _recovered(folder)
        if not (held and known and _half_written(folder, recovered.state)):
            state, known, alive = recovered.state, recovered.known, _alive(recovered.state)
    if not held and not state.final and is_copy(state.place, folder):
        state, alive = replace(state, **COPIED), False
    if not state.final and not alive:
        if held:
            state = _without_engine(folder, state)
            alive = state.pid is not None
        else:
            state = _left_alone(folder, state, readable=bool(spec or heading), known=known)
            alive = state.pid is not None
    log_at: float | None = None
    if not state.final:
        with contextlib.suppress(OSError):
            log_at = (folder / LOG).stat().st_mtime
    dismissed = (folder / DISMISSED).exists()
    return RunView(folder, folder.name, spec, state, held, alive, dismissed, log_at, heading)


def _half_written(folder: Path, ended: RunState) -> bool:
    """Return whether the end of a run is in its ledger, and its keeper is about to write the state, which tells more.

    For a moment only: whatever keeps the keeper from it, the end is told as the ledger has it.
    """
    fresh = ended.ended_at is not None and abs(time.time() - ended.ended_at) < HALF_WRITTEN
    return ended.final and fresh and full_disk(folder) is None


def _recovered(folder: Path) -> Recovered:
    """State and ledger together; `status` of runs that are well does without."""
    from vllm_studio_tui.keeper.recovery import recover

    return recover(folder)


def _alive(state: RunState | None) -> bool:
    """Return whether the engine is alive, as far as the state names its process."""
    if state is None or state.pid is None or state.boot_id != boot_id():
        return False
    return process.alive(state.pid, state.pid_start)


def _without_engine(folder: Path, state: RunState) -> RunState:
    """Return the state of a run that a keeper holds and whose engine is dead by its records: mostly for a moment."""
    if state.pid is None:
        return state
    gone = replace(state, pid=None, pid_start=None, stage=None, progress=None)
    if state.state in ANSWERING:
        gone = replace(gone, state=State.UNHEALTHY, title="the engine has ended; its workers are being ended")
    full = full_disk(folder)
    if full is None:
        return gone
    # What it does meanwhile cannot be read: it may have started another engine.
    leader = next((one for one in left_of(state) if one.pid == one.session), None)
    if leader is not None:
        gone = replace(gone, pid=leader.pid, pid_start=leader.start)
        title = "its keeper cannot write what it does: the disk is full"
    else:
        title = "the engine has ended, and its keeper cannot write that down: the disk is full"
    return replace(gone, title=title, advice=f"Free space on {full}; its keeper waits for it.")


def full_disk(folder: Path) -> Path | None:
    """Return the folder, if its disk has no space for a state file."""
    try:
        disk = os.statvfs(folder)
    except OSError:
        return None
    return folder if disk.f_bavail * disk.f_frsize < 64 * 1024 or (disk.f_files and not disk.f_favail) else None


def _left_alone(folder: Path, state: RunState, *, readable: bool, known: bool) -> RunState:
    """Return the state of a run without keeper and engine; left-over processes are looked for."""
    here = not state.boot_id or state.boot_id == boot_id()
    left = left_of(state) if here else []
    job = _job_left(folder) if not left else None
    if job is not None and state.state is not State.STOPPING:
        title = f"its keeper is gone; {job} may go on"
        advice = f"Follow it again: vllm-studio wait-ready {state.run_id}"
        before = State.STARTING if state.state is State.STARTING else State.UNHEALTHY
        return replace(
            state, state=before, reason="keeper_lost", title=title, advice=advice, pid=None, pid_start=None, stage=None
        )
    if not left:
        return _lost(state, readable=readable, same_boot=here, known=known)
    if not known:
        leader = next((one for one in left if one.pid == one.session), None)
        if leader is not None:
            state = replace(state, pid=leader.pid, pid_start=leader.start)
    title = f"its keeper is gone, and of its engine this is left: {words(left)}"
    now = state.state if state.state in (State.STOPPING, State.STARTING) else State.UNHEALTHY
    pid, start = (state.pid, state.pid_start) if any(one.pid == state.pid for one in left) else (None, None)
    return replace(
        state,
        state=now,
        reason="keeper_lost",
        title=title,
        advice=f"End it: vllm-studio stop {state.run_id}",
        pid=pid,
        pid_start=start,
        stage=None,
        progress=None,
    )


def _job_left(folder: Path) -> str | None:
    """Return what the system calls it that runs this run elsewhere; None where nothing of it can go on there."""
    if not (folder / REPORT).exists():
        return None
    from vllm_studio_tui.followers.report import read_report  # deferred: few runs have one

    report = read_report(folder)
    return (report.handle or "its job") if report is not None and report.going_on else None


def _lost(state: RunState, *, readable: bool, same_boot: bool, known: bool) -> RunState:
    """Return the state of a run of which no process is left."""
    from vllm_studio_tui.keeper.verdict import HOST_REBOOTED, describe_exit

    if state.state is State.STOPPING:
        return replace(state, state=State.EXITED, reason="stopped", title="stopped", pid=None, pid_start=None)
    if not same_boot:
        reason, title, advice = HOST_REBOOTED.reason, HOST_REBOOTED.title, HOST_REBOOTED.advice
    elif not known and not readable:
        reason, title, advice = "run_unreadable", "its directory cannot be read", "Its files are damaged."
    elif not known:
        reason, title, advice = "keeper_lost", "its keeper did not start", "See keeper.log in its directory."
    elif state.exit_code is not None or state.exit_signal is not None:
        reason, title, advice = describe_exit(state.exit_code, state.exit_signal)
    else:
        reason, title = "keeper_lost", "its keeper was killed, and no engine is left"
        advice = "Its exit code is not known. Launch it again."
    return replace(
        state, state=State.FAILED, reason=reason, title=title, advice=advice, pid=None, pid_start=None, stage=None
    )


def all_runs(places: Places) -> list[RunView]:
    """Return every run directory, oldest first."""
    try:
        folders = [Path(entry.path) for entry in os.scandir(places.runs) if entry.is_dir() and entry.name[0] != "."]
    except OSError:
        return []
    views = [view(folder) for folder in folders]
    return sorted(views, key=lambda one: (one.created_at, one.run_id))


def run_called(places: Places, run_id: str) -> RunView | None:
    """Return the run of an id; None where there is none."""
    if not run_id or run_id[0] == "." or "/" in run_id or "\0" in run_id or len(run_id) > 255:
        return None
    folder = places.runs / run_id
    return view(folder) if folder.is_dir() else None


def live_runs(places: Places) -> list[RunView]:
    """Return the runs that have, or will again have, an engine."""
    return [one for one in all_runs(places) if one.live]


def shown_runs(runs: Sequence[RunView]) -> tuple[RunView, ...]:
    """Return live runs, and failed ones that nobody has dismissed and no later run of the recipe has replaced.

    Args:
        runs: All that are kept, oldest first.
    """
    latest = {one.recipe_id: one.run_id for one in runs}
    return tuple(
        one
        for one in runs
        if one.live or (one.state is State.FAILED and not one.dismissed and latest[one.recipe_id] == one.run_id)
    )


def shown_now(places: Places) -> tuple[RunView, ...]:
    """Return the same as `shown_runs` of all runs, without specs, and of those that ended no more than how.

    Which run of a recipe is the latest is told by the names of their directories.
    """
    try:
        folders = [Path(entry.path) for entry in os.scandir(places.runs) if entry.is_dir() and entry.name[0] != "."]
    except OSError:
        return ()
    latest: dict[str, tuple[str, Path]] = {}
    wanted = []
    for folder in folders:
        recipe, began = named_by(folder)
        if latest.get(recipe, ("",))[0] <= began:
            latest[recipe] = began, folder
        state = None
        with contextlib.suppress(OSError, ValueError):
            state = read_object(folder / STATE).get("state")
        if state == State.EXITED or (state == State.FAILED and (folder / DISMISSED).exists()):
            continue
        wanted.append((folder, recipe, state == State.FAILED))
    views = [
        view(folder, whole=False) for folder, recipe, failed in wanted if not failed or latest[recipe][1] == folder
    ]
    shown = [one for one in views if one.live or (one.state is State.FAILED and not one.dismissed)]
    shown = [one for one in shown if one.live or latest.get(one.recipe_id, ("", one.folder))[1] == one.folder]
    return tuple(sorted(shown, key=lambda one: (one.created_at, one.run_id)))


def wait_for(folder: Path, states: frozenset[State], timeout: float | None, *, every: float = 0.05) -> RunView:
    """Look at a run until it is in one of the states, has ended, or `timeout` seconds have passed."""
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        now = view(folder)
        if now.state in states or now.status.final or (deadline is not None and time.monotonic() >= deadline):
            return now
        time.sleep(every)
