"""The log of a job of SLURM, where the file system that its node writes to is here too."""

from __future__ import annotations

import os
import re
from collections.abc import MutableMapping, Sequence
from pathlib import Path
from typing import Any

from vllm_studio_tui.followers.slurm_marks import SERVES

#: Bytes that are passed on at once, and that are looked at for who ended first.
PIECE = 256 * 1024
_SERVES = re.compile(re.escape(SERVES) + r"([A-Za-z0-9][A-Za-z0-9_.-]{0,252}):([0-9]{1,5})\b")
#: As `srun --label` says which rank wrote a line.
_LABEL = re.compile(rb"^([0-9]{1,5}): ", re.MULTILINE)
#: As `srun` tells that a rank ended: `srun: error: n2: task 1: Exited with exit code 3`.
_RANK = re.compile(r"^srun: error: ([A-Za-z0-9_.-]{1,253}): tasks? ([0-9,\-]{1,40}): ([ -~]{1,200})$", re.MULTILINE)


def where_it_serves(text: str) -> tuple[str, int] | None:
    """Return node and port of a line or comment of ours."""
    found = _SERVES.search(text)
    return (found[1], int(found[2])) if found and 0 < int(found[2]) < 65536 else None


class JobLog:
    """The file that a job writes. How far it was read is kept in the job's memory, for the next follower."""

    def __init__(self, memory: MutableMapping[str, Any]) -> None:
        self._memory = memory
        self._tail = b""

    @property
    def path(self) -> str:
        return str(self._memory.get("output") or "")

    def note(self, path: str) -> None:
        """Take where SLURM says that it is."""
        if path and path != self.path:
            self._memory["output"] = path
            self._memory.pop("read", None)

    @property
    def here(self) -> bool:
        """Return whether it can be seen from here."""
        return self.path == "/dev/null" or (bool(self.path) and Path(self.path).is_file())

    def read(self, nodes: Sequence[str] = ()) -> bytes:
        """Return what is new in it; of several ranks each line has its rank and node before it, as those over ssh have.

        Args:
            nodes: Of the ranks, in their order.
        """
        if not self.path:
            return b""
        start = self._memory.get("read")
        start = start if isinstance(start, int) and not isinstance(start, bool) else 0
        try:
            with Path(self.path).open("rb") as file:
                if file.seek(0, os.SEEK_END) < start:  # somebody made it shorter
                    start = 0
                file.seek(start)
                piece = file.read(PIECE)
        except OSError:
            return b""
        if len(nodes) > 1 and b"\n" in piece:
            piece = piece[: piece.rindex(b"\n") + 1]  # the beginning of a line may be half a label
        if piece:
            self._memory["read"] = start + len(piece)
            found = _SERVES.search((self._tail + piece).decode(errors="replace"))
            self._tail = piece[-300:]
            if found:
                self._memory.setdefault("serves", found[0])
        if len(nodes) > 1:
            return _LABEL.sub(lambda label: _named(label[1], nodes) or label[0], piece)
        return piece

    @property
    def serves(self) -> tuple[str, int] | None:
        """Return node and port that it told."""
        return where_it_serves(str(self._memory.get("serves") or ""))

    def first_to_end(self) -> tuple[str, str, str] | None:
        """Return node, rank and end of the rank that ended before the others; None: it does not tell."""
        try:
            with Path(self.path).open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - PIECE))
                found = _RANK.search(file.read(PIECE).decode(errors="replace"))
        except OSError:
            return None
        return (found[1], found[2], found[3]) if found else None


def _named(rank: bytes, nodes: Sequence[str]) -> bytes:
    """Return what stands before a line of a rank; empty where there is no such rank."""
    number = int(rank)
    return f"[{number} {nodes[number]}] ".encode() if number < len(nodes) else b""
