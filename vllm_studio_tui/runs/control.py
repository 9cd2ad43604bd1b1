"""Start, adopt and stop runs. Faces never own a run: they start its keeper and send it requests."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import shutil
import socket
import string
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from vllm_studio_tui.domain.errors import LaunchRefused
from vllm_studio_tui.domain.run import WITH_ENGINE
from vllm_studio_tui.domain.spec import RunSpec
from vllm_studio_tui.keeper.files import LOCK, SPEC, take_lock
from vllm_studio_tui.keeper.tree import VARIABLE
from vllm_studio_tui.kit import process
from vllm_studio_tui.kit.paths import Places, locked, private_dir, write_atomic
from vllm_studio_tui.kit.ports import hold
from vllm_studio_tui.runs.ending import StopCall, end_elsewhere, left_elsewhere
from vllm_studio_tui.runs.port_choice import choose_port
from vllm_studio_tui.runs.read import DISMISSED, RunView, all_runs, live_runs, view

#: Seconds that the end of runs that lost their keeper is waited for.
SETTLE = 10.0


def new_run_id(recipe_id: str) -> str:
    """Return an id for a launch: recipe, time (UTC), and four characters that make it unique."""
    tail = "".join(random.choices(string.ascii_lowercase + string.digits, k=4))  # noqa: RUF100, S311
    return f"{recipe_id[:40]}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{tail}"


def launch(
    places: Places,
    build: Callable[[str, int], RunSpec],
    recipe_id: str,
    *,
    host: str,
    port: int | None,
    first_port: int,
    gpus: tuple[str, ...],
    share_gpus: bool = False,
    again: bool = False,
    scope: bool = False,
    run_id: str | None = None,
    runs: Sequence[RunView] | None = None,
) -> RunView:
    """Start a run: claim its port and GPUs, write its spec, start its keeper.

    Args:
        build: Makes the spec, given the run id and the port.
        port: Exactly this port; None: the first free one from `first_port` up.
        gpus: What the run claims.
        share_gpus: The person agrees to share GPUs with a live run.
        again: The person wants a second run of the recipe beside a live one.
        scope: Put the keeper into a systemd scope of its own.
        run_id: The id of the run; None: a new one.
        runs: All runs that were live when the caller, who lets nobody else launch, looked; None: they are looked for.

    Raises:
        LaunchRefused: The recipe already runs, its port or its GPUs are taken, or nothing can be written.
    """
    try:
        private_dir(places.runs)
        with locked(places.state / "launch.lock"):
            runs = live_runs(places) if runs is None else still_live(runs)
            _refuse_second(runs, recipe_id, again)
            _refuse_shared(runs, gpus, share_gpus)
            with choose_port(runs, host, port, first_port) as held:
                spec = build(run_id or new_run_id(recipe_id), held.getsockname()[1])
                folder = places.runs / spec.run_id
                folder.mkdir(mode=0o700)
                return _begin(folder, spec, scope, held)
    except TimeoutError as error:
        advice = "Try again in a moment."
        raise LaunchRefused("another launch is under way", cause=str(error), advice=advice, passing=True) from None
    except OSError as error:
        raise cannot_write(error, places) from error


def cannot_write(error: OSError, places: Places) -> LaunchRefused:
    where = error.filename or places.runs
    elsewhere = "set VLLM_STUDIO_HOME to another place."
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        advice = f"Free space on the disk, or {elsewhere}"
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        advice = f"See who may write there (`ls -ld {places.runs}`), or {elsewhere}"
    elif error.errno in (errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM):
        advice = "The system is short of it: see `ulimit -a`, and what else runs."
    else:
        advice = f"Look at that place, or {elsewhere}"
    return LaunchRefused("the run cannot be started", cause=f"{error.strerror}: {where}", advice=advice)


def _begin(folder: Path, spec: RunSpec, scope: bool, held: socket.socket) -> RunView:
    try:
        write_atomic(folder / SPEC, json.dumps(spec.to_json(), separators=(",", ":")).encode())
        start_keeper(folder, scope=scope, held=held)
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return view(folder)


def _refuse_second(runs: Sequence[RunView], recipe_id: str, again: bool) -> None:
    for one in runs:
        if one.recipe_id == recipe_id and not again:
            raise LaunchRefused(
                f"{recipe_id} already runs",
                cause=f"It is {one.state} as {one.run_id} on port {one.port}.",
                advice="Stop it first, use --force to replace it, or name a --port to run it twice.",
                in_the_way=True,
            )


def _refuse_shared(runs: Sequence[RunView], gpus: tuple[str, ...], share: bool) -> None:
    for one in runs:
        taken = sorted(set(gpus) & set(one.spec.gpus)) if one.spec else []
        if taken and not share:
            raise LaunchRefused(
                f"GPU {', '.join(taken)} is in use",
                cause=f"{one.run_id} claims it.",
                advice="Choose other GPUs, use --force to stop that run, or --share-gpus if both fit.",
                can_share_gpus=True,
            )


def start_keeper(folder: Path, *, adopt: bool = False, scope: bool = False, held: socket.socket | None = None) -> bool:
    """Start the keeper of a run; False if it has one.

    Args:
        held: The run's port, bound: the keeper has it from us without a moment between. It is closed here, because
            an engine may bind it within milliseconds and must find nobody's copy of it.

    With `scope` it is put into a systemd scope of its own; where systemd refuses, it is started without.

    The lock is taken here and handed over, so that there is no moment in which nobody holds the run.
    """
    fd = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not take_lock(fd):
            return False
        argv = [
            *(scope_prefix(folder.name) if scope else ()),
            sys.executable,
            "-m",
            "vllm_studio_tui.keeper",
            str(folder),
            "--lock-fd",
            str(fd),
            *(("--port-fd", str(held.fileno())) if held is not None else ()),
        ]
        environ = {key: value for key, value in os.environ.items() if key != VARIABLE}
        with (folder / "keeper.log").open("ab") as errors:
            child = subprocess.Popen(
                [*argv, "--adopt"] if adopt else argv,
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                pass_fds=(fd,) if held is None else (fd, held.fileno()),
                env=environ,
                start_new_session=True,
            )
        where = None
        if held is not None:
            where = held.getsockname()
            held.close()
        child.wait(timeout=30)  # it detaches once it has read its spec
        if child.returncode and scope:
            os.close(fd)
            fd = -1
            again = None
            if where is not None:
                with contextlib.suppress(OSError):  # its keeper tries again, and says why not
                    again = hold(where[0], where[1])
            return start_keeper(folder, adopt=adopt, held=again)
        return child.returncode == 0
    except subprocess.TimeoutExpired:
        return False
    finally:
        if fd >= 0:
            os.close(fd)


def scope_prefix(name: str) -> list[str]:
    """Return the command prefix that puts a keeper and its engine into their own systemd user scope.

    A scope outlives the session that it was asked from, also under KillUserProcesses; see systemd-run(1).
    """
    program = shutil.which("systemd-run")
    return (
        []
        if program is None
        else [program, "--user", "--scope", "--quiet", "--collect", f"--unit=vllm-studio-{name}", "--"]
    )


def still_live(runs: Iterable[RunView]) -> list[RunView]:
    """Look again at these runs, and return those that live."""
    return [now for one in runs if one.live and (now := view(one.folder)).live]


def settle(places: Places, runs: Iterable[RunView] | None = None) -> list[RunView]:
    """Give every run that lost its keeper a new one: to look after its engine, or to record its end.

    What has no engine to look after is over in a moment, and that is waited for.

    Args:
        runs: All runs, where they were just looked at.
    """
    found = [one for one in (all_runs(places) if runs is None else runs) if one.lost]
    for one in found:
        with contextlib.suppress(OSError):
            start_keeper(one.folder, adopt=True)
    ended = [one for one in found if not one.engine_alive]
    deadline = time.monotonic() + SETTLE
    while any(_sweeping(one) for one in ended) and time.monotonic() < deadline:
        time.sleep(0.03)
    return [view(one.folder) for one in found]


def _sweeping(run: RunView) -> bool:
    """Return whether the run's new keeper still ends left-over processes."""
    now = view(run.folder)
    return now.keeper_alive and not now.engine_alive and now.state in WITH_ENGINE


def stop(run: RunView, *, force: bool = False, timeout: float | None = None) -> RunView:
    """Tell the keeper to stop its run, and wait until the processes are gone and the port is closed.

    A run without a keeper is given one first. A keeper that does not do it within the policy's time (`timeout`, where
    it is given) is killed, and where none can be had the run is ended from here. With `force` the engine is killed
    without grace.
    """
    now = view(run.folder)
    if now.status.final and not now.keeper_alive and left_elsewhere(now):
        return end_elsewhere(now, force=force)
    call = StopCall(now, force=force)
    deadline = time.monotonic() + (call.patience if timeout is None else timeout)
    while True:
        now = view(run.folder)
        if now.keeper_alive:
            call.tell(now)
            if call.unwritten(now):
                return call.outcome(now)
        elif not now.lost:
            break
        elif call.may_adopt():
            with contextlib.suppress(OSError):
                start_keeper(run.folder, adopt=True)
            continue
        elif now.status.final:
            return call.outcome(now)
        else:
            return call.end_without_keeper(now)
        if time.monotonic() > deadline:
            return call.end_without_keeper(now)
        time.sleep(0.03)
    # The last words of a keeper: it lets go of its lock when everything is written.
    if now.status.keeper_pid is not None:
        process.wait_gone(now.status.keeper_pid, now.status.keeper_start, 5.0)
    return view(run.folder)


def dismiss(run: RunView) -> None:
    """Mark a failed run as seen by a person."""
    with contextlib.suppress(OSError):
        (run.folder / DISMISSED).touch(mode=0o600)


def dismissed_at(run: RunView) -> float | None:
    """Return the second at which a run was marked as seen; None where it is not."""
    try:
        return (run.folder / DISMISSED).stat().st_mtime
    except OSError:
        return None


def show_again(run: RunView) -> None:
    """Take the mark of `dismiss` from a run."""
    with contextlib.suppress(OSError):
        (run.folder / DISMISSED).unlink()


def prune(places: Places, *, keep: int, keep_bytes: int, folded: Callable[[RunView], bool]) -> list[str]:
    """Delete the oldest ended runs beyond a count and a size; never one whose ledger is not folded yet."""
    ended = [one for one in all_runs(places) if one.status.final and not one.keeper_alive]
    gone: list[str] = []
    total = 0
    for position, one in enumerate(reversed(ended)):
        total += sum(_size(path) for path in one.folder.iterdir())
        if position >= keep or total > keep_bytes:
            if position == 0 or not folded(one):
                continue
            shutil.rmtree(one.folder, ignore_errors=True)
            gone.append(one.run_id)
    return gone


def _size(path: Path) -> int:
    try:
        return path.stat().st_blocks * 512
    except OSError:
        return 0
