"""Which processes have files open or mapped, as /proc tells it of those that we may look into (Linux)."""

from __future__ import annotations

import os
from collections.abc import Collection

#: Lines of one process's map that are read: an engine has some thousands.
MOST_LINES = 50_000


def holders(paths: Collection[str]) -> dict[int, str]:
    """Return the processes that hold any of these files, with their names. Blocking; it never raises.

    Args:
        paths: Real paths, links resolved.
    """
    wanted = set(paths)
    found: dict[int, str] = {}
    try:
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208, RUF100
    except OSError:
        return found
    for pid in pids:
        if pid != os.getpid() and (_opened(pid, wanted) or _mapped(pid, wanted)):
            found[pid] = _name(pid)
    return found


def _opened(pid: int, wanted: set[str]) -> bool:
    try:
        with os.scandir(f"/proc/{pid}/fd") as entries:
            for entry in entries:
                try:
                    if os.readlink(entry.path) in wanted:  # noqa: PTH115, RUF100
                        return True
                except OSError:
                    continue
    except OSError:
        pass
    return False


def _mapped(pid: int, wanted: set[str]) -> bool:
    try:
        with open(f"/proc/{pid}/maps", encoding="utf-8", errors="surrogateescape") as lines:  # noqa: PTH123, RUF100
            for _, line in zip(range(MOST_LINES), lines, strict=False):
                place = line.find("/")
                if place >= 0 and line[place:].rstrip("\n") in wanted:
                    return True
    except OSError:
        pass
    return False


def _name(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:  # noqa: PTH123, RUF100
            return file.read(64).strip()
    except OSError:
        return "?"
