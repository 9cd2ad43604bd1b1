"""Find, signal and wait for processes by number and start time, through /proc and pidfd (Linux).

A process number is used again after its process has gone. Its start time in clock ticks since boot, together with
the boot's id, is not: that pair names one process for ever, and does not move when the clock is set.
Standard library only: the keeper imports this.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")


class Stat(NamedTuple):
    """The fields of /proc/PID/stat. `start` in clock ticks since boot; `state` is one letter (Z: a zombie)."""

    pid: int
    parent: int
    group: int
    session: int
    start: int
    state: str
    name: str


def stat(pid: int) -> Stat | None:
    """Return the process's status, None if there is no such process. See proc_pid_stat(5)."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:  # noqa: PTH123, RUF100
            raw = file.read()
    except OSError:
        return None
    # The name is in brackets and may itself hold brackets and blanks: split at the last closing one.
    opened, closed = raw.find(b"("), raw.rfind(b")")
    rest = raw[closed + 2 :].split()
    try:
        return Stat(
            pid,
            int(rest[1]),
            int(rest[2]),
            int(rest[3]),
            int(rest[19]),
            rest[0].decode(),
            raw[opened + 1 : closed].decode(errors="replace"),
        )
    except (IndexError, ValueError):
        return None


def start_ticks(pid: int) -> int | None:
    """Return when the process started, in clock ticks since boot; None if there is no such process."""
    found = stat(pid)
    return found.start if found else None


def alive(pid: int | None, start: int | None) -> bool:
    """Return whether that very process still runs (a zombie does not)."""
    if not pid:
        return False
    found = stat(pid)
    return found is not None and found.state not in "ZX" and (start is None or found.start == start)


def all_processes() -> Iterator[Stat]:
    """Yield every process."""
    for entry in os.scandir(PROC):
        if entry.name.isdigit():
            found = stat(int(entry.name))
            if found is not None:
                yield found


def descendants(root: int, table: Iterable[Stat] | None = None) -> list[Stat]:
    """Return the children of a process, their children, and so on, without the process itself."""
    children: dict[int, list[Stat]] = {}
    for one in table if table is not None else all_processes():
        children.setdefault(one.parent, []).append(one)
    found: list[Stat] = []
    queue = [root]
    while queue:
        for child in children.get(queue.pop(), ()):
            found.append(child)
            queue.append(child.pid)
    return found


def environment_value(pid: int, name: str) -> str | None:
    """Return a variable of a process's initial environment; None if it is unset or we may not read it."""
    try:
        raw = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return None
    wanted = name.encode() + b"="
    for item in raw.split(b"\0"):
        if item.startswith(wanted):
            return item[len(wanted) :].decode(errors="replace")
    return None


def with_variable(name: str, value: str, table: Iterable[Stat] | None = None) -> list[Stat]:
    """Return the processes that have this variable with this value, as far as we may read them."""
    wanted = f"{name}={value}".encode()
    found = []
    for one in table if table is not None else all_processes():
        try:
            raw = Path(f"/proc/{one.pid}/environ").read_bytes()
        except OSError:
            continue
        if wanted in raw and wanted in raw.split(b"\0"):
            found.append(one)
    return found


def send(pid: int, start: int | None, number: int) -> bool:
    """Send a signal to that very process, by pidfd; False if it has gone or is not ours."""
    try:
        send_or_raise(pid, start, number)
    except OSError:
        return False
    return True


def send_or_raise(pid: int, start: int | None, number: int) -> None:
    """Send a signal to that very process, by pidfd where the kernel has it; 0 only asks whether one could.

    Raises:
        ProcessLookupError: It has gone, though its number may be another's by now; or it is a zombie.
        PermissionError: It is not ours.
        OSError: The system would not.
    """
    import signal  # deferred: who only looks at processes does without

    try:
        fd = os.pidfd_open(pid)
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        # Before Linux 5.3, and in some sandboxes: between this look and the signal the number might change hands.
        if not alive(pid, start):
            raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH)) from None
        os.kill(pid, number)
        return
    try:
        # The descriptor now names one process for good: only now is it safe to ask which one it is.
        if not alive(pid, start):  # a zombie takes signals and does nothing
            raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
        signal.pidfd_send_signal(fd, number)
    finally:
        os.close(fd)


def wait_gone(pid: int, start: int | None, timeout: float) -> bool:
    """Wait until that very process has ended; False if it still runs after `timeout` seconds."""
    try:
        fd = os.pidfd_open(pid)
    except OSError:
        return not alive(pid, start)
    try:
        if start is not None and start_ticks(pid) != start:
            return True
        poller = select.poll()
        poller.register(fd, select.POLLIN)
        return bool(poller.poll(timeout * 1000))
    finally:
        os.close(fd)


def become_subreaper() -> bool:
    """Make this process adopt its orphaned descendants (PR_SET_CHILD_SUBREAPER); False if it cannot."""
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        return bool(ctypes.CDLL(None, use_errno=True).prctl(36, 1, 0, 0, 0) == 0)
    return False
