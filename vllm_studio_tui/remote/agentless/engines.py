"""Engines of a host that nobody here launched: found by their command lines, measured by their own metric tables."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from vllm_studio_tui.kit.sanitize import clean_line

if TYPE_CHECKING:
    from vllm_studio_tui.backends.base import Backend

#: Engines of a host that are told of.
MOST = 64
#: Ticks of the kernel's clock per second, on every Linux that a GPU is in.
_TICKS = 100
_STATUS = re.compile(rb"HTTP/\d(?:\.\d)? (\d{3})\b[^\n]*\n")


@dataclass(frozen=True, slots=True)
class Seen:
    """An engine that was seen.

    Attributes:
        start: When its process started, in ticks since the host did; with `pid` it tells it from a later one.
        address: Where it is asked there, `127.0.0.1:8000`; empty: nowhere.
    """

    pid: int
    start: int
    backend: str
    title: str
    model: str = ""
    port: int | None = None
    address: str = ""
    metrics: bool = True
    slots: str = ""

    @property
    def key(self) -> tuple[int, int]:
        return self.pid, self.start

    @property
    def name(self) -> str:
        """Return what it is called: the end of its model's path, else what it is."""
        name = PurePosixPath(self.model).name if self.model.startswith(("/", "~", ".")) else self.model
        return clean_line(name, limit=100) or self.title

    def age(self, uptime: float | None) -> float | None:
        """Return the seconds since it was started."""
        age = uptime - self.start / _TICKS if uptime is not None else None
        return age if age is not None and age >= 0 else None


def command_words(kinds: Iterable[Backend]) -> list[str]:
    """Return words of which one is in the command line of every engine that can be told."""
    return [
        word for kind in kinds for word in kind.command_words or ((kind.program,) if kind.program is not None else ())
    ]


def read_process(body: bytes, kinds: Sequence[Backend]) -> tuple[Seen, int] | None:
    """Return the engine that a process is, and the process that started it; None: it is none.

    Args:
        body: Its line of `/proc/PID/stat`, then its arguments.
    """
    line, _, arguments = body.partition(b"\n")
    head, _, rest = line.decode("utf-8", "replace").rpartition(")")
    pid, fields = _whole(head.partition(" ")[0]), rest.split()
    if pid is None or len(fields) < 20 or fields[0] in "ZX":
        return None
    parent, start = _whole(fields[1]), _whole(fields[19])
    argv = [one.decode("utf-8", "replace") for one in arguments.removesuffix(b"\0").split(b"\0")]
    for kind in kinds:
        found = None
        with contextlib.suppress(Exception):  # one of another package; what it is given is anybody's
            found = kind.foreign(argv)
        if found is None:
            continue
        address = address_of(found.host, found.port)
        return Seen(
            pid,
            start or 0,
            found.backend,
            kind.label or kind.title,
            clean_line(found.model or "", limit=300),
            found.port,
            address,
            kind.metrics is None or bool(kind.metrics),
            kind.slots.path.removeprefix("/") if kind.slots is not None else "",
        ), parent or 0
    return None


def without_parts(found: Sequence[tuple[Seen, int]]) -> list[Seen]:
    """Return engines alone: what starts one, and what one starts, may have the same command line."""
    pids = {seen.pid: seen for seen, _ in found}
    kept: dict[object, Seen] = {}
    for seen, parent in sorted(found, key=lambda one: one[0].pid):
        above = pids.get(parent)
        if above is not None and (above.backend, above.port) == (seen.backend, seen.port):
            continue
        kept.setdefault((seen.backend, seen.port) if seen.port is not None else seen.pid, seen)
    return list(kept.values())[:MOST]


def address_of(host: str | None, port: int | None) -> str:
    """Return where an engine is asked on its own host; empty where that cannot be told, or is no address of a host."""
    if port is None:
        return ""
    if host in (None, "", "0.0.0.0", "::", "localhost", "*"):  # noqa: S104
        return f"127.0.0.1:{port}"
    try:
        place = ip_address(str(host).strip("[]"))
    except ValueError:
        return ""
    if place.is_link_local or place.is_multicast or "%" in str(place):
        return ""
    return f"[{place}]:{port}" if place.version == 6 else f"{place}:{port}"


def read_answer(body: bytes) -> tuple[int | None, bytes]:
    """Return status and body of an answer over HTTP; status 200 where only a body is told, None where nothing came."""
    status = None
    while (found := _STATUS.match(body)) is not None:
        status = int(found[1])
        rest = body[found.end() :].replace(b"\r\n", b"\n") if b"\r\n" in body[:4096] else body[found.end() :]
        body = rest[1:] if rest.startswith(b"\n") else rest.partition(b"\n\n")[2]
    if status is None and body.strip():
        status = 200
    return status, body


def on_gpus(pid: int, apps: Mapping[int, set[int]], parents: Mapping[int, int]) -> tuple[str, ...]:
    """Return the indices of the GPUs that a process, or one that descends from it, is on."""
    found: set[int] = set()
    for one, gpus in apps.items():
        at, steps = one, 0
        while at != pid and at > 1 and steps < 64:
            at, steps = parents.get(at, 0), steps + 1
        if at == pid:
            found |= gpus
    return tuple(str(one) for one in sorted(found))


def read_parents(text: str) -> dict[int, int]:
    """Return the parents of processes."""
    found = {}
    for line in text.split("\n")[:200_000]:
        words = line.split()
        if len(words) == 2 and (pid := _whole(words[0])) is not None and (parent := _whole(words[1])) is not None:
            found[pid] = parent
    return found


def _whole(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None
