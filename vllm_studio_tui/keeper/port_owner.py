"""Whose server it is: the process that answers at the run's port, and whether it belongs to the run.

What answers is told by the listening socket, not by what it says: a stranger may give the same answers. Where that
cannot be told (a container, an engine of another user) the answers themselves have to do.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vllm_studio_tui.keeper.port import name_of, user_name
from vllm_studio_tui.keeper.tree import VARIABLE
from vllm_studio_tui.kit import listeners, ports, process

#: Seconds after which somebody who is not ours is looked at again.
LOOK_AGAIN = 5.0
#: Generations from a process to one of the run that are gone through.
GENERATIONS = 64
#: Programs that have others start the engine: what these start descends from none of ours.
STARTERS = frozenset({"docker", "podman", "nerdctl", "docker-compose", "systemd-run", "srun", "kubectl", "machinectl"})
#: What listens here for a container with a network of its own.
FORWARDERS = frozenset({"docker-proxy", "rootlessport", "rootlesskit", "slirp4netns", "pasta", "conmon"})


@dataclass(frozen=True, slots=True)
class Stranger:
    """Somebody else's server at our port. What is not known is None.

    Attributes:
        name: What the process is called.
        model: The first that it lists.
        shares: Our engine listens there too (SO_REUSEPORT): the kernel gives each connection to one of them.
    """

    pid: int | None
    name: str | None
    user: str
    model: str | None = None
    shares: bool = False

    def to_json(self) -> dict[str, Any]:
        return {"pid": self.pid, "name": self.name, "user": self.user, "model": self.model}

    def words(self, port: int) -> str:
        who = f"pid {self.pid}, {self.name}" if self.pid is not None else f"of {self.user}"
        model = f", model {self.model}" if self.model else ""
        verb = "shares" if self.shares else "answers on"
        return f"another server {verb} :{port} ({who}{model})"


@dataclass(frozen=True, slots=True)
class PortOwner:
    """Who would answer now.

    Attributes:
        kind: `nobody` listens; it is `ours`, a `stranger`'s, or `unknown`.
        sockets: The listening sockets that were seen: as long as they are the same, it is the same server.
        holder: A process of ours that listens.
    """

    kind: str
    stranger: Stranger | None = None
    sockets: tuple[int, ...] = ()
    holder: int | None = None


@dataclass(slots=True)
class PortOwnership:
    """Finds out who listens at one run's port. For one thread; what it found of a socket it remembers.

    Attributes:
        members: Processes of the run, by number, with their start: those that were seen at the last look.
        contained: The engine runs in a container: its processes are none of the keeper's descendants.
    """

    run_id: str
    host: str
    port: int
    contained: bool = False
    members: Mapping[int, int] = field(default_factory=dict)
    _address: str | None = None
    _ours: dict[int, int] = field(default_factory=dict)
    _others: dict[int, tuple[float, Stranger | None]] = field(default_factory=dict)

    def look(self) -> PortOwner:
        found = self._listeners()
        if found is None:
            return PortOwner("unknown")
        inodes = tuple(sorted(one.inode for one in found))
        self._ours = {inode: pid for inode, pid in self._ours.items() if inode in inodes}
        self._others = {inode: one for inode, one in self._others.items() if inode in inodes}
        if not found:
            return PortOwner("nobody")
        kinds = [self._owner(one) for one in found]
        stranger = next((one for kind, one in kinds if kind == "stranger"), None)
        if stranger is not None:
            shares = any(kind == "ours" for kind, _ in kinds)
            return PortOwner("stranger", Stranger(stranger.pid, stranger.name, stranger.user, shares=shares), inodes)
        if any(kind == "unknown" for kind, _ in kinds):
            return PortOwner("unknown", None, inodes)
        return PortOwner("ours", None, inodes, self._ours[inodes[0]])

    def _listeners(self) -> list[listeners.Listener] | None:
        if self._address is None:
            try:
                self._address = str(ports.resolve(self.host, self.port)[1][0])
            except OSError:
                return None
        return listeners.listeners(self.port, self._address)

    def _owner(self, one: listeners.Listener) -> tuple[str, Stranger | None]:
        if one.inode in self._ours:
            return "ours", None
        now = time.monotonic()
        kept = self._others.get(one.inode)
        if kept is not None and now - kept[0] < LOOK_AGAIN:
            return ("unknown", None) if kept[1] is None else ("stranger", kept[1])
        pids = listeners.holders(one.inode, self.members)
        ours = pids[:1]
        if not ours:
            pids = listeners.holders(one.inode, listeners.all_pids())
            ours = [pid for pid in pids if self.belongs(pid)][:1]
        if ours:
            self._ours[one.inode] = ours[0]
            return "ours", None
        stranger: Stranger | None = None
        if self.elsewhere() and not self.contained:
            pass  # a recipe's own command for a container: nothing of it can be known again
        elif pids and not (self.contained and name_of(min(pids)) in FORWARDERS):
            stranger = Stranger(min(pids), name_of(min(pids)), user_name(one.user))
        elif not pids and not self.contained and not self._hidden(one.user):
            stranger = Stranger(None, None, user_name(one.user))
        self._others[one.inode] = (now, stranger)
        return ("unknown", None) if stranger is None else ("stranger", stranger)

    def belongs(self, pid: int) -> bool:
        """Return whether a process is of the run: it, or one that it descends from, is known or carries the run's mark.

        Engines write titles over their own environment; the init of their container does not.
        """
        current: int | None = pid
        for _ in range(GENERATIONS):
            found = process.stat(current) if current else None
            if found is None:
                return False
            if found.pid == os.getpid() or self.members.get(found.pid) == found.start:
                return True
            if process.environment_value(found.pid, VARIABLE) == self.run_id:
                return True
            current = found.parent
        return False

    def elsewhere(self) -> bool:
        """Return whether the engine may run, and listen, where it cannot be seen from here."""
        return self.contained or any(name_of(pid) in STARTERS for pid in self.members)

    def _hidden(self, user: int) -> bool:
        """Return whether some process of the run, of this user, has open files that are not ours to see."""
        return any(not listeners.descriptors_readable(pid) and user in _users(pid) for pid in self.members)

    def holder_without_listening(self) -> int | None:
        """Return the process of the run that has bound the port and does not listen yet."""
        return listeners.bound_not_listening(self.port, self.members)


def _users(pid: int) -> set[int]:
    """Return the real, effective, saved and file system user of a process."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines():
            if line.startswith("Uid:"):
                return {int(one) for one in line.split()[1:]}
    except (OSError, ValueError):
        pass
    return set()
