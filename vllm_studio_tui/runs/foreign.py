"""Engines on this machine that the studio did not start, and what killed engines left behind.

Nothing is held or remembered: each look goes through all processes.
"""

from __future__ import annotations

import contextlib
import pwd
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vllm_studio_tui.backends.registry import backends
from vllm_studio_tui.domain.errors import NotFound, StudioError
from vllm_studio_tui.domain.sample import FOREIGN
from vllm_studio_tui.keeper.tree import VARIABLE
from vllm_studio_tui.kit import process
from vllm_studio_tui.runs.ending import KEEPER

#: A program that has one of these prints it and ends: it serves nobody.
ASKS_FOR_WORDS = frozenset({"--help", "-h", "--version"})
#: Seconds between asking an engine to end and killing it.
GRACE = 15.0


@dataclass(frozen=True, slots=True)
class Foreign:
    """An inference server of somebody else, as its command line tells."""

    pid: int
    start: int
    backend: str
    model: str | None
    port: int | None
    host: str | None
    user: str

    @property
    def key(self) -> str:
        """Return how commands and samples call it."""
        return f"{FOREIGN}{self.pid}"

    @property
    def base_url(self) -> str | None:
        if self.port is None:
            return None
        host = self.host if self.host not in (None, "", "0.0.0.0", "::") else "127.0.0.1"  # noqa: S104
        return f"http://{f'[{host}]' if ':' in str(host) else host}:{self.port}/v1"

    def to_json(self) -> dict[str, Any]:
        data = asdict(self)
        data.pop("start")
        return {**data, "base_url": self.base_url}


@dataclass(frozen=True, slots=True)
class Orphan:
    """A part of an engine whose leader is gone: it serves no requests and still holds memory."""

    pid: int
    start: int
    title: str
    user: str

    def to_json(self) -> dict[str, Any]:
        return {"pid": self.pid, "title": self.title, "user": self.user}


def find_foreign() -> list[Foreign]:
    """Return inference servers that no run of the studio started."""
    kinds = backends().values()
    found = []
    for one in process.all_processes():
        argv = _argv(one.pid)
        if not argv or ASKS_FOR_WORDS.intersection(argv):
            continue
        engine = next((match for kind in kinds if (match := kind.foreign(argv)) is not None), None)
        if engine is None or one.state in "ZX" or process.environment_value(one.pid, VARIABLE) is not None:
            continue
        user = _user(one.pid)
        if user is not None:
            found.append(Foreign(one.pid, one.start, engine.backend, engine.model, engine.port, engine.host, user))
    return found


def find_orphans() -> list[Orphan]:
    """Return left-over parts of engines: none of their ancestors is an engine, a part of one or a keeper.

    Of a run of ours: what lives of it where both its keeper and its leader are gone.
    """
    table = {one.pid: one for one in process.all_processes() if one.state not in "ZX"}
    titles = tuple(title for kind in backends().values() for title in kind.process_titles)
    found, ours = [], {}
    for one in table.values():
        run = process.environment_value(one.pid, VARIABLE)
        if run is not None:
            ours[one.pid] = run
            continue
        parent = table.get(one.parent)
        if not _title(one.pid).startswith(titles) or (parent is not None and parent.pid != 1 and not _reaper(parent)):
            continue
        found.append(one)
    looked_after = _kept() | {run for pid, run in ours.items() if table[pid].session == pid} if ours else set()
    found += [table[pid] for pid, run in ours.items() if run not in looked_after]
    return [
        Orphan(one.pid, one.start, _title(one.pid)[:80] or one.name, user)
        for one in found
        if (user := _user(one.pid)) is not None
    ]


def _kept() -> set[str]:
    """Return the runs that have a keeper, from the keepers' command lines."""
    found = set()
    for one in process.all_processes():
        argv = _argv(one.pid)
        if KEEPER in argv[:-1] and one.state not in "ZX":
            found.add(Path(argv[argv.index(KEEPER) + 1]).name)
    return found


def get_foreign(pid: int) -> Foreign:
    """Return the foreign engine of a process.

    Raises:
        NotFound: This process is none.
    """
    for one in find_foreign():
        if one.pid == pid:
            return one
    listed = "See `vllm-studio foreign list`."
    if (run := process.environment_value(pid, VARIABLE)) is not None:
        raise NotFound(f"process {pid} is of a run of the studio", cause=run, advice=f"Name the run: {run}")
    if process.stat(pid) is None:
        raise NotFound(f"process {pid} is gone", advice=listed)
    raise NotFound(f"process {pid} is no engine that the studio could see", advice=listed)


def end(pid: int, start: int, *, grace: float = GRACE) -> None:
    """End a process and what descends from it: asked first, killed after `grace` seconds.

    Raises:
        StudioError: It belongs to somebody else, or would not die.
    """
    family = [(pid, start), *((one.pid, one.start) for one in process.descendants(pid))]
    if not process.send(pid, start, signal.SIGTERM) and process.alive(pid, start):
        raise StudioError(
            f"process {pid} cannot be ended",
            cause=f"It belongs to {_user(pid) or 'another user'}.",
            advice="Ask them, or use sudo.",
        )
    process.wait_gone(pid, start, grace)
    deadline = time.monotonic() + 5.0
    while any(process.alive(*member) for member in family) and time.monotonic() < deadline:
        for member in family:
            process.send(*member, signal.SIGKILL)
        time.sleep(0.05)
    if process.alive(pid, start):
        raise StudioError(f"process {pid} would not die", advice="It hangs inside the kernel: only a reboot ends it.")


def _argv(pid: int) -> list[str]:
    with contextlib.suppress(OSError):
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
        return [part.decode(errors="replace") for part in raw.split(b"\0")[:-1]]
    return []


def _title(pid: int) -> str:
    """Return the title that setproctitle wrote over a command line: one word, then nothing."""
    argv = _argv(pid)
    return argv[0] if argv else ""


def _reaper(parent: process.Stat) -> bool:
    """Return whether a process only adopts orphans: an init of a container or a user's systemd."""
    return parent.name in ("systemd", "init", "tini", "docker-init", "dumb-init", "catatonit")


def _user(pid: int) -> str | None:
    try:
        owner = Path(f"/proc/{pid}").stat().st_uid
    except OSError:
        return None
    try:
        return pwd.getpwuid(owner).pw_name
    except KeyError:
        return str(owner)
