"""Names of containers, where this user may read them: of Docker's socket, Podman's files, the logs of a node."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vllm_studio_tui.kit.containers import Container
from vllm_studio_tui.kit.file_reading import read_bounded

#: Seconds that Docker has to answer, and for which its list, and what was not found, hold.
PATIENCE = 0.5
FRESH = 60.0
MAX_BYTES = 4 * 1024 * 1024
MAX_NAME = 80
#: How a node of Kubernetes names the log of a container: POD_NAMESPACE_CONTAINER-ID.log.
_LOG = re.compile(r"(?P<pod>[a-z0-9.-]{1,253})_(?P<space>[a-z0-9-]{1,63})_[a-z0-9-]{1,63}-(?P<id>[0-9a-f]{64})\.log\Z")


class ContainerNames:
    """Finds the names of containers; each is asked for once, what has no name again after a minute.

    Args:
        docker: Docker's socket.
        podman: Files in which Podman has its containers.
        logs: The folder of links to the logs of a node of Kubernetes.
    """

    def __init__(
        self,
        docker: Path = Path("/var/run/docker.sock"),
        podman: tuple[Path, ...] | None = None,
        logs: Path = Path("/var/log/containers"),
    ) -> None:
        self._docker, self._logs = docker, logs
        self._podman = podman if podman is not None else _podman_files()
        self._names: dict[str, str] = {}
        self._unknown: dict[str, float] = {}

    def name(self, container: Container) -> str:
        """Return a container's name, else the beginning of its id. Blocking, for half a second at most."""
        known = self._names.get(container.id)
        if known is not None:
            return known
        now = time.monotonic()
        if now < self._unknown.get(container.id, 0.0):
            return container.short
        self._find(container)
        if container.id not in self._names:
            self._unknown[container.id] = now + FRESH
        return self._names.get(container.id, container.short)

    def _find(self, container: Container) -> None:
        finder: Callable[[], dict[str, str]] | None = {
            "docker": lambda: names_of_docker(self._docker),
            "podman": lambda: names_of_podman(self._podman),
            "kubernetes": lambda: names_of_node(self._logs),
        }.get(container.kind)
        if finder is not None:
            self._names.update(finder())


def names_of_docker(where: Path) -> dict[str, str]:
    """Return the names of Docker's running containers by their ids; nothing where we may not ask."""
    if not os.access(where, os.W_OK):
        return {}
    connection = _UnixConnection(where)
    try:
        connection.request("GET", "/containers/json")
        answer = connection.getresponse()
        listed: Any = json.loads(answer.read(MAX_BYTES)) if answer.status == 200 else []
    except (OSError, ValueError, http.client.HTTPException):
        return {}
    finally:
        connection.close()
    found = {}
    for one in listed if isinstance(listed, list) else ():
        if isinstance(one, dict) and isinstance(one.get("Names"), list) and one["Names"]:
            found[str(one.get("Id"))] = str(one["Names"][0]).lstrip("/")[:MAX_NAME]
    return found


def names_of_podman(files: tuple[Path, ...]) -> dict[str, str]:
    """Return the names of Podman's containers by their ids, of the files that we may read."""
    found = {}
    for path in files:
        with contextlib.suppress(OSError, ValueError):
            listed: Any = json.loads(read_bounded(str(path), MAX_BYTES))
            for one in listed if isinstance(listed, list) else ():
                if isinstance(one, dict) and isinstance(one.get("names"), list) and one["names"]:
                    found[str(one.get("id"))] = str(one["names"][0])[:MAX_NAME]
    return found


def names_of_node(logs: Path) -> dict[str, str]:
    """Return namespace and pod of the containers of a Kubernetes node by their ids."""
    found = {}
    with contextlib.suppress(OSError):
        for name in os.listdir(logs):  # noqa: PTH208, RUF100
            log = _LOG.match(name)
            if log:
                found[log["id"]] = f"{log['space']}/{log['pod']}"[:MAX_NAME]
    return found


def _podman_files() -> tuple[Path, ...]:
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share")
    roots = (data / "containers/storage", Path("/var/lib/containers/storage"))
    return tuple(root / kind / "containers.json" for root in roots for kind in ("overlay-containers", "vfs-containers"))


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a socket file."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(self._path)
