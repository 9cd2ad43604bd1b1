"""`python -m vllm_studio_tui.keeper RUN_DIRECTORY [--lock-fd N] [--port-fd N] [--adopt]`

Everything it will ever need is imported at its start, here or in the first instant of its prober: it must live on while
its installation is replaced.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from dataclasses import replace
from pathlib import Path

from vllm_studio_tui.domain.run import RunState, State
from vllm_studio_tui.domain.spec import RunSpec
from vllm_studio_tui.keeper.files import (
    COPIED,
    KEEPER_LOG,
    LOCK,
    StateFile,
    is_copy,
    read_spec,
    stand_in,
    take_lock,
)
from vllm_studio_tui.keeper.port import HeldPort
from vllm_studio_tui.keeper.recovery import Recovered, recover
from vllm_studio_tui.keeper.run_directory import RunDirectory
from vllm_studio_tui.keeper.supervise import Supervisor
from vllm_studio_tui.keeper.tree import VARIABLE
from vllm_studio_tui.keeper.verdict import HOST_REBOOTED, KEEPER_LOST, Verdict
from vllm_studio_tui.kit.paths import boot_id
from vllm_studio_tui.kit.process import become_subreaper


def main(argv: list[str] | None = None) -> int:
    """Own the run until it ends. The starting process returns as soon as the run has a state."""
    arguments = sys.argv[1:] if argv is None else argv
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # A stop that comes before we listen must wait, not kill us.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    folder = Path(arguments[0])
    lock = int(arguments[arguments.index("--lock-fd") + 1]) if "--lock-fd" in arguments else open_lock(folder)
    if lock is None:
        return 0  # somebody else keeps this run
    os.set_inheritable(lock, False)
    adopting = "--adopt" in arguments
    spec = spec_of(folder, adopting=adopting)
    given = int(arguments[arguments.index("--port-fd") + 1]) if "--port-fd" in arguments else None
    port = HeldPort(spec.host, spec.port, given)
    new = Recovered(RunState(spec.run_id, boot_id=boot_id()), True, False)
    left, lost = taken_over(folder) if adopting else (new, None)
    state = left.state
    if state.final:
        return 0
    state.adopted = adopting or state.adopted
    # Detach, so that whoever started us has no child to wait for. Lock and port go along.
    gone, here = os.pipe()
    if os.fork():
        port.let_go()
        os.close(here)
        return 0
    os.close(here)
    os.read(gone, 1)  # until the copy of the port above is closed: an engine may bind it at once
    os.close(gone)
    os.setsid()
    os.environ.pop(VARIABLE, None)
    own_output(folder)
    become_subreaper()
    supervisor = Supervisor(folder, spec, state, port)
    if lost is not None:
        supervisor.inherit(lost, ended=left.ended)
    supervisor.directory = RunDirectory(folder, lock, spec)
    supervisor.listen()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT})
    try:
        supervisor.run()
    except BaseException:  # a fault of ours: say it where it is found, and leave the engine to an adopter
        traceback.print_exc()
        raise
    return 0


def open_lock(folder: Path) -> int | None:
    """Take the run's lock; None: somebody else keeps this run."""
    fd = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if take_lock(fd):
        return fd
    os.close(fd)
    return None


def taken_over(folder: Path) -> tuple[Recovered, Verdict]:
    """Return what the last keeper left, and the verdict on an engine of which nothing is left."""
    left = recover(folder)
    state, lost = left.state, KEEPER_LOST
    if not state.final and is_copy(state.place, folder):  # what lives belongs to the directory that was copied
        left = replace(left, state=replace(state, **COPIED))
        StateFile(folder).write(left.state)
    elif state.final:
        StateFile(folder).write(state)
    elif state.boot_id != boot_id():
        lost = HOST_REBOOTED if state.boot_id else KEEPER_LOST
        state.pid = state.pid_start = None
        state.members = {}
        if state.state is State.BACKOFF:
            state.state = State.STARTING
    return left, lost


def spec_of(folder: Path, *, adopting: bool) -> RunSpec:
    """Return the spec; of a run that must be looked after without one, what stands in for it."""
    try:
        return read_spec(folder)
    except (OSError, ValueError, TypeError, KeyError):
        if not adopting:
            raise
        return stand_in(folder)


def own_output(folder: Path) -> None:
    """Our own errors go to a file of the run; nothing of the terminal stays open."""
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    try:
        out = os.open(folder / KEEPER_LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError:
        out = null
    os.dup2(out, 1)
    os.dup2(out, 2)


if __name__ == "__main__":
    sys.exit(main())
