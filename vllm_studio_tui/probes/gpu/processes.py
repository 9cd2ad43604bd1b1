"""Describe the processes on a GPU: user, command, and the run they belong to."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from vllm_studio_tui.domain.gpus import GpuProcess
from vllm_studio_tui.kit.process import environment_value, start_ticks

#: The variable that every process of a run has in its environment.
RUN_VARIABLE = "VLLM_STUDIO_RUN"
MAX_COMMAND = 300
#: A flag whose value is a secret: every user can read argv, but our screens and exports need not show it.
_FLAG = r"(--?[\w.-]*(?:api[-_]?key|token|password|secret)(?:=|\s+))(?!-)\S+"


class ProcessNames:
    """Describes processes, and caches the descriptions as long as the processes live and are asked for."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[int, GpuProcess]] = {}
        #: When those that were asked for started: one that is on every GPU is looked at once in a reading.
        self._asked: dict[int, int] = {}
        #: User and command of processes that there are not, as a simulation tells them.
        self.invented: Mapping[int, tuple[str, str]] = {}

    def __call__(self, using: Sequence[GpuProcess]) -> tuple[GpuProcess, ...]:
        """Describe processes of which the driver told. In a container their numbers may be the host's: unknown."""
        return tuple(self._one(process) for process in using)

    def forget(self) -> None:
        """End a reading: drop the processes that it did not ask for, and look at the others anew in the next."""
        self._known = {pid: known for pid, known in self._known.items() if pid in self._asked}
        self._asked.clear()

    def _one(self, told: GpuProcess) -> GpuProcess:
        pid = told.pid
        start = self._asked.get(pid) or (start_ticks(pid) if pid > 0 else None)
        if start is None:
            user, command = self.invented.get(pid, (None, None))
            return replace(told, user=user, command=command)
        self._asked[pid] = start
        known = self._known.get(pid)
        # The command of a process that has just been forked is its parent's: look again while it is unknown.
        if known is None or known[0] != start or known[1].command is None:
            known = (start, describe(pid))
            self._known[pid] = known
        who = known[1]
        return replace(told, user=who.user, command=who.command, run_id=who.run_id)


def describe(pid: int) -> GpuProcess:
    """Return user, command and run of a process; each None if it has gone or we may not read it."""
    import psutil

    user = command = None
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            command = command_of(process.cmdline(), process.name())
            user = process.username()
    except (psutil.Error, OSError, KeyError):
        pass
    return GpuProcess(pid, user, command, run_id=run_of(pid))


def run_of(pid: int) -> str | None:
    """Return the run id in a process's environment, which only its owner can read; else None."""
    value = environment_value(pid, RUN_VARIABLE)
    return value[:200] if value else None


def command_of(argv: list[str], name: str) -> str | None:
    """Return a command on one line, without secrets. Engines' workers replace their argv by a title and blanks."""
    text = " ".join(part for part in argv if part.strip())[: 4 * MAX_COMMAND] or name
    text = re.sub(_FLAG, r"\1****", text, flags=re.IGNORECASE)
    return text[:MAX_COMMAND] or None
