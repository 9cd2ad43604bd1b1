"""Read processes of runs and of GPUs from /proc, again and again at little cost. Linux only.

What does not change is kept as long as a process lives; at a tick one file of each is read. All processes are gone
through only now and then, to find new ones: seldom where there are many.
"""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from vllm_studio_tui.domain.processes import Process
from vllm_studio_tui.kit import process
from vllm_studio_tui.kit.containers import Container, container_in
from vllm_studio_tui.kit.masking import mask_argv
from vllm_studio_tui.probes.containers import ContainerNames

MAX_COMMAND = 300
MAX_ARGV, MAX_WORDS = 4096, 200
#: Seconds between two looks at all processes: at least, and as a multiple of what the last one took.
SCAN_EVERY, SCAN_SHARE = 2.0, 400.0
#: Seconds after which a command line is read again: engines' workers write over theirs.
ARGV_EVERY = 30.0
#: Generations above a process on a GPU that are looked at.
MOST_PARENTS = 32
#: Programs that start others and have no part in them: shells, what keeps a machine or a container up, logins.
STARTERS = frozenset(
    {
        "sh", "bash", "dash", "zsh", "fish", "ksh", "mksh", "tcsh", "csh", "ash", "nu", "xonsh", "elvish", "pwsh",
        "busybox",
        "systemd", "(sd-pam)", "init", "tini", "docker-init", "dumb-init", "catatonit", "runit", "runsv", "runsvdir",
        "s6-svscan", "s6-supervise", "supervisord",
        "sshd", "sshd-session", "login", "su", "sudo", "doas", "tmux", "screen", "dtach", "mosh-server", "script",
        "dockerd", "containerd", "containerd-shim", "containerd-shim-runc-v2", "conmon", "crio", "kubelet",
        "lxc-start", "systemd-nspawn",
        "cron", "crond", "atd", "gdm", "lightdm", "sddm", "gnome-session", "gnome-shell", "gnome-terminal-",
        "konsole", "xterm", "kitty", "alacritty",
    }
)  # fmt: skip
#: The kernel keeps the first fifteen characters of a name.
_STARTERS = frozenset(name[:15] for name in STARTERS)
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class OnGpus:
    """What a driver says of a process: its GPUs, bytes on all of them, percent of the busiest, and who it is."""

    gpus: tuple[int, ...] = ()
    memory: int | None = None
    sm: int | None = None
    user: str | None = None
    command: str | None = None
    run_id: str | None = None


@dataclass(frozen=True, slots=True)
class RunRoots:
    """The processes by which those of a run are found, by number and start.

    Attributes:
        leaders: Whose descendants and sessions belong to it.
        members: What its keeper saw.
        keeper: The number of its keeper, which is not of the run.
    """

    run_id: str
    leaders: tuple[tuple[int, int], ...] = ()
    members: Mapping[int, int] = field(default_factory=dict)
    keeper: int | None = None


@dataclass(slots=True)
class _Now:
    """The fields of /proc/PID/stat that change, and those that name a process."""

    pid: int
    name: str
    state: str
    parent: int
    session: int
    start: int
    ticks: int
    resident: int


@dataclass(slots=True)
class _Known:
    """What is kept of a process as long as it lives."""

    start: int
    user: str | None
    container: Container | None
    argv: tuple[str, ...] = ()
    command: str | None = None
    argv_at: float = 0.0
    ticks: int = 0
    ticks_at: float = 0.0
    cpu: float | None = None


class ProcessTable:
    """Reads the processes of runs and of GPUs, with their parents.

    Args:
        names: Finds the names of containers.
    """

    def __init__(self, names: ContainerNames | None = None) -> None:
        self._names = names or ContainerNames()
        self._known: dict[int, _Known] = {}
        #: What is shown: each process with the run that it was found for.
        self._shown: dict[int, tuple[int, str | None]] = {}
        self._asked: object = None
        self._scan_at = 0.0
        self._scan_took = 0.0
        self._last_pid = ""
        self._own: Container | bool | None = False
        self._boot = 0.0

    def read(self, on_gpus: Mapping[int, OnGpus], runs: Sequence[RunRoots]) -> list[Process]:
        """Return the processes as they are now, those of each run and the users of GPUs with their parents. Blocking.

        CPU use is since the reading before, so a process has none at the first.
        """
        now = time.monotonic()
        asked = (frozenset(on_gpus), tuple((one.run_id, one.leaders) for one in runs))
        found: dict[int, _Now] | None = None
        if asked != self._asked or self._scan_due(now):
            found = self._scan(on_gpus, runs)
            self._asked = asked
        else:
            found = {pid: one for pid in self._shown if (one := _read(pid)) is not None}
            found = {pid: one for pid, one in found.items() if one.start == self._shown[pid][0]}
        self._boot = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
        made = [self._process(one, self._shown[pid][1], on_gpus.get(pid), now) for pid, one in found.items()]
        self._known = {pid: known for pid, known in self._known.items() if pid in found}
        return made + [_elsewhere(pid, one) for pid, one in on_gpus.items() if pid not in found]

    # --- which ------------------------------------------------------------------------------------------

    def _scan_due(self, now: float) -> bool:
        if now - self._scan_at < max(SCAN_EVERY, SCAN_SHARE * self._scan_took):
            return False
        last = _last_pid()
        return not last or last != self._last_pid  # nobody was born meanwhile: who has gone is seen without it

    def _scan(self, on_gpus: Mapping[int, OnGpus], runs: Sequence[RunRoots]) -> dict[int, _Now]:
        """Go through all processes and return those that are to be shown."""
        began = time.monotonic()
        self._last_pid = _last_pid()
        table = {one.pid: one for pid in _all_pids() if (one := _read(pid)) is not None}
        children: dict[int, list[_Now]] = {}
        for one in table.values():
            children.setdefault(one.parent, []).append(one)
        shown: dict[int, str | None] = {}
        keepers = {run.keeper for run in runs}
        for run in runs:
            for pid in _members(run, table, children):
                if pid not in keepers:
                    shown.setdefault(pid, run.run_id)
        for pid, use in on_gpus.items():
            if pid in table:
                shown.setdefault(pid, use.run_id)
                for parent in _parents(pid, table):
                    if parent in keepers or parent in shown:
                        break
                    shown[parent] = None
        self._shown = {pid: (table[pid].start, run_id) for pid, run_id in shown.items()}
        self._scan_at = time.monotonic()
        self._scan_took = self._scan_at - began
        return {pid: table[pid] for pid in shown}

    # --- one --------------------------------------------------------------------------------------------

    def _process(self, one: _Now, run_id: str | None, use: OnGpus | None, now: float) -> Process:
        known = self._known.get(one.pid)
        if known is None or known.start != one.start:
            known = self._known[one.pid] = _Known(one.start, _user(one.pid), self._container(one.pid))
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - one.start / _TICKS
        # What was just forked still has its parent's command line, and workers change theirs in their first minute.
        if now - known.argv_at >= (ARGV_EVERY if age > 2 * ARGV_EVERY else SCAN_EVERY):
            known.argv, known.argv_at = _argv(one.pid), now
            known.command = command_of(known.argv, one.name)
        if known.ticks_at and now > known.ticks_at:
            known.cpu = max(0.0, (one.ticks - known.ticks) / _TICKS / (now - known.ticks_at) * 100)
        known.ticks, known.ticks_at = one.ticks, now
        use = use or OnGpus()
        return Process(
            one.pid,
            one.parent,
            one.start,
            self._boot + one.start / _TICKS,
            known.command,
            known.argv,
            known.user or use.user,
            self._names.name(known.container) if known.container is not None else None,
            run_id or use.run_id,
            False,
            use.gpus,
            use.memory,
            use.sm,
            known.cpu,
            one.resident,
            max(0.0, age),
            one.state,
        )

    def _container(self, pid: int) -> Container | None:
        if self._own is False:
            self._own = container_in(_text("/proc/self/cgroup"))
        found = container_in(_text(f"/proc/{pid}/cgroup"))
        return None if found == self._own else found


def command_of(argv: Sequence[str], name: str) -> str:
    """Return a command in few words: without the folders of program and script, without the interpreter before it."""
    words = [word for word in argv if word.strip()]
    if not words:
        return name
    first = words[0].rsplit("/", 1)[-1] or words[0]
    if len(words) == 1:
        return words[0].strip()[:MAX_COMMAND]  # a title that a worker has given itself
    rest = words[1:]
    if first.startswith("python"):
        while rest and rest[0].startswith("-") and rest[0] not in ("-m", "-c"):
            rest = rest[1:]
        if rest[:1] == ["-m"] and len(rest) > 1:
            return " ".join(rest[1:])[:MAX_COMMAND]
        if rest and not rest[0].startswith("-"):
            script = rest[0].rsplit("/", 1)[-1]
            # What stands before an interpreter is a wrapper of it.
            return (
                command_of(rest, name) if script.startswith("python") else " ".join([script, *rest[1:]])[:MAX_COMMAND]
            )
    return " ".join([first, *rest])[:MAX_COMMAND]


def _members(run: RunRoots, table: Mapping[int, _Now], children: Mapping[int, Sequence[_Now]]) -> list[int]:
    leaders = [pid for pid, start in run.leaders if pid in table and table[pid].start == start]
    found = dict.fromkeys(leaders)
    queue = list(leaders)
    queue += [pid for pid, start in run.members.items() if pid in table and table[pid].start == start]
    if leaders:
        queue += [one.pid for one in table.values() if one.session in leaders]
    while queue:
        pid = queue.pop()
        found[pid] = None
        queue += [one.pid for one in children.get(pid, ()) if one.pid not in found]
    return list(found)


def _parents(pid: int, table: Mapping[int, _Now]) -> Iterable[int]:
    for _ in range(MOST_PARENTS):
        above = table.get(table[pid].parent)
        if above is None or above.pid <= 1 or above.name in _STARTERS or above.name.startswith("tmux"):
            return
        pid = above.pid
        yield pid


def _elsewhere(pid: int, use: OnGpus) -> Process:
    """Return a process that is not to be seen here: of another container's numbers, or of a simulation."""
    return Process(
        pid, command=use.command, user=use.user, run_id=use.run_id, gpus=use.gpus, gpu_memory=use.memory, sm=use.sm
    )


def _read(pid: int) -> _Now | None:
    raw = _bytes(f"/proc/{pid}/stat", 4096)
    opened, closed = raw.find(b"("), raw.rfind(b")")
    rest = raw[closed + 2 :].split()
    try:
        return _Now(
            pid,
            raw[opened + 1 : closed].decode(errors="replace"),
            rest[0].decode(),
            int(rest[1]),
            int(rest[3]),
            int(rest[19]),
            int(rest[11]) + int(rest[12]),
            int(rest[21]) * _PAGE,
        )
    except (IndexError, ValueError):
        return None


def _all_pids() -> list[int]:
    try:
        return [int(name) for name in os.listdir(process.PROC) if name.isdigit()]  # noqa: PTH208, RUF100
    except OSError:
        return []


def _last_pid() -> str:
    words = _text("/proc/loadavg").split()
    return words[4] if len(words) > 4 else ""


def _argv(pid: int) -> tuple[str, ...]:
    raw = _bytes(f"/proc/{pid}/cmdline", MAX_ARGV).rstrip(b"\0 ")
    words = raw.split(b"\0", MAX_WORDS)[:MAX_WORDS] if raw else []
    return tuple(mask_argv(word.decode(errors="replace") for word in words))


def _user(pid: int) -> str | None:
    try:
        return _name_of_user(os.stat(f"/proc/{pid}").st_uid)  # noqa: PTH116, RUF100
    except OSError:
        return None


@lru_cache(maxsize=256)
def _name_of_user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _text(path: str) -> str:
    return _bytes(path, 65536).decode(errors="replace")


def _bytes(path: str, most: int) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(fd, most)
    except OSError:
        return b""
    finally:
        os.close(fd)
