"""Runs as they are now, read from their directories. Nothing here changes anything.

Standard library only and light: `status` answers with it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

from vllm_studio_tui.domain.errors import NotFound
from vllm_studio_tui.domain.run import WITH_ENGINE, RunState, State
from vllm_studio_tui.domain.spec import RunSpec
from vllm_studio_tui.keeper.files import COPIED, LOCK, LOG, is_copy, read_spec, read_state
from vllm_studio_tui.kit import process
from vllm_studio_tui.kit.paths import Places, boot_id

#: Faces leave this mark in the directory of a failed run that a person has seen.
DISMISSED = "dismissed"


@dataclass(frozen=True, slots=True)
class RunView:
    """One run now: what its keeper wrote, and whether keeper and engine are alive.

    Attributes:
        status: The state, computed: a run whose keeper and engine are both gone is not ready, whatever was written.
        spec: None when it cannot be read.
        log_at: When a run that has not ended last wrote to its log.
    """

    folder: Path
    run_id: str
    spec: RunSpec | None
    status: RunState
    keeper_alive: bool
    engine_alive: bool
    dismissed: bool
    log_at: float | None = None

    @property
    def recipe_id(self) -> str:
        return self.spec.recipe_id if self.spec else self.run_id

    @property
    def name(self) -> str:
        # That a run is simulated stands beside it; its name need not repeat it.
        return self.spec.name.removesuffix(" (SIMULATED)") if self.spec else self.run_id

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
        """Its keeper is gone but its end was never written: it needs a new keeper, be it for an hour or a moment."""
        if self.keeper_alive:
            return False
        written = read_state(self.folder)
        return written is None or not written.final


def lock_held(folder: Path) -> bool:
    """Whether a keeper holds the run."""
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


def view(folder: Path) -> RunView:
    """One run directory as it is now."""
    spec: RunSpec | None = None
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        spec = read_spec(folder)
    held = lock_held(folder)
    written = read_state(folder)
    if not held and (written is None or not written.final):
        written = read_state(folder)  # it may have ended between our two looks
    state = written or RunState(folder.name)
    copied = not held and is_copy(state.place, folder)
    here = state.boot_id == boot_id() and not copied
    alive = here and state.pid is not None and process.alive(state.pid, state.pid_start)
    if copied and not state.final:
        state = replace(state, **COPIED)
    elif not held and not state.final and not alive:
        state = _lost(state, spec, same_boot=here or not state.boot_id, written=written is not None)
    log_at: float | None = None
    if not state.final:
        with contextlib.suppress(OSError):
            log_at = (folder / LOG).stat().st_mtime
    return RunView(folder, folder.name, spec, state, held, alive, (folder / DISMISSED).exists(), log_at)


def _lost(state: RunState, spec: RunSpec | None, *, same_boot: bool, written: bool) -> RunState:
    """What to say of a run that neither keeper nor engine is left of."""
    if state.state is State.STOPPING:
        return replace(state, state=State.EXITED, reason="stopped", title="stopped", pid=None, pid_start=None)
    if not same_boot:
        reason, title, advice = "host_rebooted", "the host was restarted", "Launch it again, or use `restore` at boot."
    elif not written and spec is None:
        reason, title, advice = "run_unreadable", "its directory cannot be read", "Its files are damaged."
    elif not written:
        reason, title, advice = "keeper_lost", "its keeper did not start", "See keeper.log in its directory."
    else:
        reason, title = "keeper_lost", "its keeper was killed, and no engine is left"
        advice = "Its exit code is not known. Launch it again."
    return replace(
        state, state=State.FAILED, reason=reason, title=title, advice=advice, pid=None, pid_start=None, stage=None
    )


def all_runs(places: Places) -> list[RunView]:
    """Every run directory there is, oldest first."""
    try:
        folders = [Path(entry.path) for entry in os.scandir(places.runs) if entry.is_dir() and entry.name[0] != "."]
    except OSError:
        return []
    views = [view(folder) for folder in folders]
    return sorted(views, key=lambda one: (one.spec.created_at if one.spec else 0.0, one.run_id))


def live_runs(places: Places) -> list[RunView]:
    """Runs that have, or will again have, an engine."""
    return [one for one in all_runs(places) if one.live]


def shown_runs(places: Places) -> list[RunView]:
    """Live runs, and failed ones that nobody has dismissed and no later run of the recipe has replaced."""
    runs = all_runs(places)
    latest = {one.recipe_id: one.run_id for one in runs}
    return [
        one
        for one in runs
        if one.live or (one.state is State.FAILED and not one.dismissed and latest[one.recipe_id] == one.run_id)
    ]


def find_run(places: Places, name: str, *, live: bool = False) -> RunView:
    """The run of this id, or the latest run of the recipe of this id; live ones come first.

    Raises:
        NotFound: There is none.
    """
    runs = all_runs(places)
    found = [one for one in runs if one.run_id == name] or [one for one in runs if name in (one.recipe_id, one.model)]
    if live:
        found = [one for one in found if one.live]
    if not found:
        known = ", ".join(one.run_id for one in runs if one.live) or "none"
        kind = "live run" if live else "run"
        raise NotFound(
            f"no {kind} called {name}", cause=f"Live runs: {known}.", advice="See `vllm-studio status --all`."
        )
    return ([one for one in found if one.live] or found)[-1]


def wait_for(folder: Path, states: frozenset[State], timeout: float | None, *, every: float = 0.05) -> RunView:
    """Look at a run until it is in one of the states, has ended, or `timeout` seconds have passed."""
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        now = view(folder)
        if now.state in states or now.status.final or (deadline is not None and time.monotonic() >= deadline):
            return now
        time.sleep(every)


def engines_of(runs: list[RunView]) -> list[RunView]:
    """Those that may have an engine process now."""
    return [one for one in runs if one.state in WITH_ENGINE]
