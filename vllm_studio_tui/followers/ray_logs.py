"""What the replicas of an application write: the ends of their files, as Ray's dashboard reads them out."""

from __future__ import annotations

import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from vllm_studio_tui.followers.ray_http import Dashboard, RayTrouble

#: Lines that are asked for at once, bytes of them, and seconds between two looks into one file.
LINES, MOST, EVERY = 500, 256 * 1024, 2.0
#: Replicas whose logs are followed at once.
REPLICAS = 32
STREAMS = ("out", "err")
#: In place of lines that came faster than they were read.
SKIPPED = b"[vllm-studio] lines of its log between these were not read; Ray has them"


@dataclass(slots=True)
class _File:
    """One file: the lines of it that were seen last."""

    actor: str
    stream: str
    name: str
    seen: list[bytes] | None = None
    last: int | None = None
    due: float = 0.0


@dataclass(frozen=True, slots=True)
class Replica:
    """A replica whose log is there: `actor` is Ray's id of its process, `name` how a person tells it from others."""

    actor: str
    name: str


@dataclass(slots=True)
class ReplicaLogs:
    """Reads on in the logs of the replicas that it was told of last.

    Attributes:
        memory: Keeps, below `logs`, which line of each file was passed on last: the next follower goes on after it.
    """

    ray: Dashboard
    memory: dict[str, Any]
    files: dict[str, _File] = field(default_factory=dict)
    several: bool = False

    def follow(self, replicas: Sequence[Replica]) -> None:
        """Follow these; one that is gone is read once more, for its last words."""
        kept = self.memory.get("logs")
        known = kept if isinstance(kept, dict) else {}
        now = {f"{one.actor}.{stream}" for one in replicas for stream in STREAMS}
        for key in [key for key in self.files if key not in now]:
            if self.files[key].due < 0:
                del self.files[key]
            else:
                self.files[key].due = -1.0
        for one in replicas[:REPLICAS]:
            for stream in STREAMS:
                key = f"{one.actor}.{stream}"
                if key not in self.files:
                    last = known.get(key)
                    self.files[key] = _File(one.actor, stream, one.name, last=last if isinstance(last, int) else None)
        self.several = self.several or len({file.actor for file in self.files.values()}) > 1

    def read(self) -> bytes:
        """Return what is new in one of the files; empty: in none."""
        for key, file in list(self.files.items()):
            if file.due > time.monotonic():
                continue
            gone = file.due < 0
            file.due = time.monotonic() + EVERY
            if gone:
                del self.files[key]
            try:
                lines = self._lines(file)
            except RayTrouble:
                continue
            new = _after(file, lines)
            file.seen = lines
            if not new:
                continue
            self._remember(key, lines[-1])
            mark = f"[{file.name}] ".encode() if self.several else b""
            return b"".join(mark + line + b"\n" for line in new)[-MOST:]
        return b""

    def _lines(self, file: _File) -> list[bytes]:
        path = f"/api/v0/logs/file?actor_id={quote(file.actor)}&suffix={file.stream}&lines={LINES}"
        text = self.ray.ask("GET", path)
        *lines, _unfinished = text.split(b"\n")
        return lines

    def _remember(self, key: str, line: bytes) -> None:
        kept = self.memory.get("logs")
        kept = kept if isinstance(kept, dict) else {}
        kept.pop(key, None)
        kept[key] = zlib.crc32(line)
        self.memory["logs"] = dict(list(kept.items())[-2 * REPLICAS * len(STREAMS) :])


def _after(file: _File, lines: list[bytes]) -> list[bytes]:
    """Return those of the last lines of a file that were not seen before."""
    if file.seen is None:
        if file.last is None:
            return lines
        at = next((at for at in range(len(lines) - 1, -1, -1) if zlib.crc32(lines[at]) == file.last), -1)
        return lines[at + 1 :]
    seen = file.seen
    if len(lines) < LINES:  # the whole file
        return lines[len(seen) :]
    for shift in range(len(seen) + 1):
        rest = seen[shift:]
        if rest == lines[: len(rest)]:
            return lines[len(rest) :] if rest or not seen else [SKIPPED, *lines]
    return lines
