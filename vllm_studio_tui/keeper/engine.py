"""The engine process: starting it, holding it, and learning how it ended."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vllm_studio_tui.domain.spec import RunSpec
from vllm_studio_tui.keeper.tree import VARIABLE, Tree
from vllm_studio_tui.kit import file_access, process, secrets

#: Of our own environment these must not reach the engine: it runs from an interpreter of its own.
OURS = (
    "VIRTUAL_ENV",
    "PYTHONHOME",
    "__PYVENV_LAUNCHER__",
    "TEXTUAL_LOG",
    "TEXTUAL_SLOW_THRESHOLD",
    "PYDANTIC_DISABLE_PLUGINS",
)
#: Seconds that a program of ours may take to end by SIGKILL.
KILLED = 1.0
#: What a keeper calls what keeps a program from being run.
SLUGS = {"missing": "binary_missing", "broken_link": "binary_missing", "interpreter_missing": "interpreter_missing"}


@dataclass(slots=True)
class Engine:
    """A started or adopted engine. `fd` is its pidfd; `popen` is None for one that is not our child."""

    pid: int
    start: int
    fd: int
    popen: subprocess.Popen[bytes] | None

    def ended(self) -> bool:
        poller = select.poll()
        poller.register(self.fd, select.POLLIN)
        return bool(poller.poll(0))

    def signal(self, number: int) -> None:
        with contextlib.suppress(OSError):
            signal.pidfd_send_signal(self.fd, number)

    def reap(self) -> tuple[int | None, int | None]:
        """Return exit code and signal, one of them None; both None where nobody can know, or where it has not ended.

        What is stuck in the kernel survives SIGKILL: it is let go of, and not waited for.
        """
        code = self.popen.wait() if self.popen is not None and self.ended() else None
        os.close(self.fd)
        if code is None:
            return None, None
        return (None, -code) if code < 0 else (code, None)


def environment(spec: RunSpec, base: Mapping[str, str]) -> dict[str, str]:
    """Return the engine's environment: the user's without ours, the recipe's, resolved secrets, and the run's mark.

    Raises:
        ValueError: A reference cannot be read; it names the reference, never the value.
    """
    env = {key: value for key, value in base.items() if key not in OURS and key not in spec.env_unset}
    env.update(spec.env)
    for name, reference in spec.env_refs.items():
        env[name] = secrets.resolve(reference, base)
    env[VARIABLE] = spec.run_id
    return env


def spawn(spec: RunSpec, log: Path, base: Mapping[str, str]) -> Engine:
    """Start the engine in a session of its own, its output appended to the log.

    Raises:
        OSError: It cannot be executed, or the log cannot be written.
        ValueError: A secret cannot be read.
    """
    env = environment(spec, base)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        popen = subprocess.Popen(
            spec.argv,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env=env,
            cwd=spec.cwd,
            start_new_session=True,
        )
    finally:
        os.close(out)
    # Our child cannot be reaped by anybody else, so its number is its own until we do.
    fd = os.pidfd_open(popen.pid)
    return Engine(popen.pid, process.start_ticks(popen.pid) or 0, fd, popen)


def adopt(pid: int, start: int) -> Engine | None:
    """Hold a process that another keeper started; None if it has gone."""
    try:
        fd = os.pidfd_open(pid)
    except OSError:
        return None
    if not process.alive(pid, start):
        os.close(fd)
        return None
    return Engine(pid, start, fd, None)


def find(pid: int | None, start: int | None, tree: Tree) -> Engine | None:
    """Return the engine that a dead keeper left: the one it noted, else the leader among the run's strays.

    A keeper may die between starting the engine and noting it.
    """
    if pid and start:
        found = adopt(pid, start)
        if found is not None:
            return found
    leader = next((one for one in tree.strays() if one.session == one.pid), None)
    return adopt(leader.pid, leader.start) if leader is not None else None


def cannot_start(error: OSError | ValueError, spec: RunSpec) -> tuple[str, str, str]:
    """Return slug, words and advice for an engine that could not even be started."""
    program = spec.argv[0]
    if isinstance(error, ValueError):
        return "secret_missing", str(error), "Set the variable or the file that the recipe refers to."
    # What the system says of a missing interpreter, loader or working directory is "no such file" as well.
    wrong = file_access.read_trouble(spec.cwd, folder=True) if spec.cwd else None
    if wrong is not None and wrong.reason != "unreadable":
        return "cwd_missing", f"its working directory cannot be used: {wrong.words}", "Correct `cwd` in the recipe."
    wrong = file_access.explain_program(program, spec.env.get("PATH") or os.environ.get("PATH"))
    if wrong is not None:
        advice = wrong.advice or "Name the engine's executable or interpreter in the recipe."
        return SLUGS.get(wrong.reason, "binary_not_executable"), wrong.words, advice
    if isinstance(error, FileNotFoundError):
        words = f"{program} is there, but the loader that it names is not: it was built for another system"
        return "binary_unfit", words, "Install a build for this system."
    if error.errno == errno.ENOEXEC:
        return "binary_unfit", f"{program} is no program for this machine", "Install a build for this machine."
    if isinstance(error, PermissionError):
        return "binary_not_executable", f"{program} cannot be executed", "Check its permissions."
    return "spawn_failed", f"{program} could not be started: {error.strerror or error}", ""


def kill(child: subprocess.Popen[bytes]) -> None:
    """End a program of ours, and wait a moment for it: a driver that hangs may hold it in the kernel."""
    child.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(KILLED)


class EnergyReading:
    """Our NVML reader as a throw-away child: NVML can hang, and the keeper must not."""

    def __init__(self, argv: tuple[str, ...]) -> None:
        self._argv = argv
        self._child: subprocess.Popen[bytes] | None = None
        self._deadline = 0.0
        self._out = b""

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child else None

    def begin(self, now: float) -> None:
        if self._child is not None or not self._argv:
            return
        env = {key: value for key, value in os.environ.items() if key != VARIABLE}
        try:
            self._child = subprocess.Popen(
                self._argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=env,
            )
        except OSError:
            return  # our own installation is being replaced: the next minute will tell
        assert self._child.stdout is not None
        os.set_blocking(self._child.stdout.fileno(), False)
        self._out, self._deadline = b"", now + 10.0

    def poll(self, now: float) -> bytes | None:
        """Return what it printed, once it is done; None while it is not, or when it said nothing in time."""
        child = self._child
        if child is None:
            return None
        assert child.stdout is not None
        with contextlib.suppress(BlockingIOError):
            self._out += os.read(child.stdout.fileno(), 65536)
        if child.poll() is None:
            if now > self._deadline:
                child.kill()
            return None
        with contextlib.suppress(OSError):
            self._out += os.read(child.stdout.fileno(), 65536)
        child.stdout.close()
        self._child = None
        return self._out[:65536] or None

    def end(self) -> None:
        if self._child is not None:
            kill(self._child)
            self._child = None
