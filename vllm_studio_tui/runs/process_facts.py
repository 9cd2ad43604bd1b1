"""What is to be seen of a process of somebody else: command line, variables, folder, ports, container. Linux only.

Everything in it is what some program chose to be called: it is bounded, and decoded so that nothing of it raises.
"""

from __future__ import annotations

import contextlib
import pwd
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vllm_studio_tui.kit import process
from vllm_studio_tui.kit.listeners import ports_of

MAX_BYTES = 2 * 1024 * 1024
MAX_ARGUMENTS = 4096
MAX_VARIABLES = 4096
#: A container's id in the path of a control group: Docker, Podman, containerd, Kubernetes.
_CONTAINER = re.compile(rb"(?:docker|libpod|cri-containerd|crio|containerd|kubepods)[^\n]{0,200}?([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class ProcessFacts:
    """A process, as far as we may see it.

    Attributes:
        argv: Its command line; empty where it wrote over that.
        environ: The variables that it was started with; None: it belongs to somebody else.
        cwd: Its working directory; None where we may not see it.
        program: The file that it runs.
        ports: Where it or its children listen; True: on every address.
        family: It and all that descends from it.
        container: The beginning of its container's id; None: it is in the same as we.
    """

    pid: int
    argv: tuple[str, ...]
    environ: Mapping[str, str] | None = None
    cwd: str | None = None
    program: str | None = None
    user: str = ""
    ports: Mapping[int, bool] = field(default_factory=dict)
    family: tuple[int, ...] = ()
    container: str | None = None


def read_process(pid: int) -> ProcessFacts:
    """Return what is to be seen of a process; nothing of one that has gone. Blocking."""
    here = Path(f"/proc/{pid}")
    environ = _bytes(here / "environ")
    family = (pid, *(one.pid for one in process.descendants(pid)))
    return ProcessFacts(
        pid,
        words_of(_bytes(here / "cmdline") or b""),
        None if environ is None else variables_of(environ),
        _link(here / "cwd"),
        _link(here / "exe"),
        _user(here),
        ports_of(family),
        family,
        container_of(_bytes(here / "cgroup") or b"", _bytes(Path("/proc/self/cgroup")) or b""),
    )


def words_of(raw: bytes) -> tuple[str, ...]:
    """Return the words of a command line as the kernel gives it."""
    words = raw[:MAX_BYTES].split(b"\0", MAX_ARGUMENTS)[:MAX_ARGUMENTS]
    if words and not words[-1]:
        words.pop()
    return tuple(one.decode(errors="replace") for one in words)


def variables_of(raw: bytes) -> dict[str, str]:
    """Return variables as the kernel gives them; what has no name or is no text is left out."""
    found: dict[str, str] = {}
    for one in raw[:MAX_BYTES].split(b"\0", MAX_VARIABLES)[:MAX_VARIABLES]:
        name, equals, value = one.partition(b"=")
        if equals and name:
            with contextlib.suppress(UnicodeDecodeError):
                found.setdefault(name.decode("ascii"), value.decode())
    return found


def container_of(raw: bytes, ours: bytes) -> str | None:
    """Return the beginning of the container's id by a process's control groups; None where it is ours, or none."""
    found, own = _CONTAINER.search(raw[:65536]), _CONTAINER.search(ours[:65536])
    if found is None or (own is not None and own[1] == found[1]):
        return None
    return found[1][:12].decode()


def _bytes(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES)
    except OSError:
        return None


def _link(path: Path) -> str | None:
    try:
        found = str(path.readlink())
    except OSError:
        return None
    return None if found.endswith(" (deleted)") else found


def _user(path: Path) -> str:
    try:
        owner = path.stat().st_uid
    except OSError:
        return ""
    try:
        return pwd.getpwuid(owner).pw_name
    except KeyError:
        return str(owner)
