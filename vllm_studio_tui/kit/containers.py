"""Which container a process is in, by its control groups: Docker, Podman, containerd, CRI-O, LXC, systemd-nspawn.

Standard library only. The text is outside text: it is bounded, and nothing of it raises.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_TEXT = 65536
#: Where in a path an engine of containers puts the id: below a folder of its own, or in the name of a scope.
_ID = re.compile(
    r"(?P<kind>docker|libpod|crio|cri-containerd|containerd|nerdctl|buildkit|kubepods)"
    r"[^\n]{0,200}?(?<![0-9a-f])(?P<id>[0-9a-f]{64})(?![0-9a-f])"
)
_POD = re.compile(r"pod([0-9a-f]{8}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{12}|[0-9a-f]{32})")
_LXC = re.compile(r"/lxc(?:\.payload[./]|/)(?P<id>[A-Za-z0-9][A-Za-z0-9_.-]{0,62})(?=/|$)", re.MULTILINE)
_NSPAWN = re.compile(
    r"/(?:machine-|systemd-nspawn@)(?P<id>[A-Za-z0-9\\_.-]{1,80}?)\.(?:scope|service)(?=/|$)", re.MULTILINE
)
_ESCAPE = re.compile(r"\\x([0-9a-f]{2})")
#: How the engines are called by those who use them.
_CALLED = {
    "libpod": "podman", "crio": "cri-o", "cri-containerd": "containerd", "kubepods": "kubernetes",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Container:
    """A container.

    Attributes:
        kind: Who runs it: docker, podman, containerd, cri-o, kubernetes, lxc, nspawn.
        id: Its id of 64 hexadecimal digits; of LXC and nspawn its name.
        pod: The UID of its Kubernetes pod.
    """

    kind: str
    id: str
    pod: str | None = None

    @property
    def short(self) -> str:
        """Return its name, else the beginning of its id, as `docker ps` shows it."""
        return self.id if self.kind in ("lxc", "nspawn") else self.id[:12]


def container_in(groups: str) -> Container | None:
    """Return the container that `/proc/PID/cgroup` tells of; None for none. Of nested ones the innermost."""
    text = groups[:MAX_TEXT]
    for line in text.splitlines():
        path = line.split(":", 2)[-1]
        # What watches a container of Podman is not in it.
        found = [one for one in _ID.finditer(path) if not path[: one.start("id")].endswith("conmon-")]
        if found:
            inner = found[-1]
            pods = _POD.findall(path)
            pod = pods[-1].replace("_", "-") if pods else None
            return Container("kubernetes" if pod else _CALLED.get(inner["kind"], inner["kind"]), inner["id"], pod)
        lxc = list(_LXC.finditer(path))
        if lxc:
            return Container("lxc", lxc[-1]["id"])
        nspawn = list(_NSPAWN.finditer(path))
        if nspawn and "qemu" not in nspawn[-1]["id"]:
            return Container("nspawn", _ESCAPE.sub(lambda one: chr(int(one[1], 16)), nspawn[-1]["id"]))
    return None
