"""The files of a run directory that its keeper writes.

A full disk must not lose anything: what cannot be written is kept and tried again.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections import deque
from pathlib import Path
from typing import Any

from vllm_studio_tui.domain.run import RunState, State
from vllm_studio_tui.domain.spec import RunSpec
from vllm_studio_tui.kit.paths import write_atomic

SPEC = "spec.json"
STATE = "state.json"
LEDGER = "ledger.jsonl"
LOG = "engine.log"
LOCK = "lock"
KEEPER_LOG = "keeper.log"


#: The end of a run whose directory is a copy: what became of the run itself is written elsewhere.
COPIED: dict[str, Any] = {
    "state": State.FAILED,
    "reason": "copied",
    "title": "this is a copy of a run that belongs to another home",
    "advice": "See `vllm-studio status` in the home that it was copied from.",
    "pid": None,
    "pid_start": None,
    "keeper_pid": None,
    "keeper_start": None,
    "stage": None,
}


def read_spec(folder: Path) -> RunSpec:
    """The spec of a run.

    Raises:
        OSError, ValueError, TypeError, KeyError: There is none, or it cannot be understood.
    """
    data = json.loads((folder / SPEC).read_bytes())
    if not isinstance(data, dict):
        raise ValueError("spec.json holds no object")
    return RunSpec.from_json(data)


def read_state(folder: Path) -> RunState | None:
    """The state as it was last written; None if there is none or it is torn."""
    try:
        data = json.loads((folder / STATE).read_bytes())
        return RunState.from_json(data) if isinstance(data, dict) else None
    except (OSError, ValueError, TypeError):
        return None


def ledger_lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a ledger; torn and foreign ones are passed over."""
    lines = []
    with contextlib.suppress(OSError):
        for raw in path.read_bytes().splitlines():
            with contextlib.suppress(ValueError):
                data = json.loads(raw)
                if isinstance(data, dict) and isinstance(data.get("seq"), int):
                    lines.append(data)
    return lines


def place_of(folder: Path) -> dict[str, Any]:
    """What tells this directory from a copy of it; empty where it cannot be looked at."""
    try:
        seen = folder.stat()
    except OSError:
        return {}
    return {"path": str(folder.absolute()), "device": seen.st_dev, "inode": seen.st_ino}


def is_copy(place: dict[str, Any], folder: Path) -> bool:
    """Whether a directory is a copy of the one in which `place` was written.

    One that was moved keeps its inode and device; one on a file system that was mounted anew its inode and path.
    """
    here = place_of(folder)
    if not place or not here or (place.get("inode"), place.get("path")) == (here["inode"], here["path"]):
        return False
    return (place.get("inode"), place.get("device")) != (here["inode"], here["device"])


class StateFile:
    """Writes `state.json` as a whole, and again later where the disk was full."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / STATE
        self._pending: bytes | None = None

    def write(self, state: RunState) -> None:
        state.place = place_of(self._path.parent) or state.place
        self._pending = json.dumps(state.to_json(), separators=(",", ":")).encode()
        self.flush()

    def flush(self) -> bool:
        """Try again what is pending; True when nothing is left to write."""
        if self._pending is None:
            return True
        try:
            write_atomic(self._path, self._pending)
        except OSError:
            return False
        self._pending = None
        return True


class Ledger:
    """Appends numbered lines to `ledger.jsonl`; lines that do not fit on the disk wait in memory, in order."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / LEDGER
        self._pending: deque[bytes] = deque()
        lines = ledger_lines(self._path)
        self.seq = max((line["seq"] for line in lines), default=0)
        spawned = [line.get("log") for line in lines if line.get("kind") == "spawn"]
        #: Where in the log the last attempt begins.
        self.log_offset = spawned[-1] if spawned and isinstance(spawned[-1], int) else 0

    def append(self, kind: str, at: float, attempt: int, **values: Any) -> None:
        self.seq += 1
        line = {"seq": self.seq, "t": round(at, 6), "attempt": attempt, "kind": kind, **values}
        self._pending.append(json.dumps(line, separators=(",", ":")).encode() + b"\n")
        self.flush()

    def flush(self) -> bool:
        """Try again what is pending; True when nothing is left to write."""
        while self._pending:
            try:
                self._write(self._pending[0])
            except OSError:
                return False
            self._pending.popleft()
        return True

    def _write(self, line: bytes) -> None:
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            end = os.lseek(fd, 0, os.SEEK_END)
            if end and os.pread(fd, 1, end - 1) != b"\n":
                line = b"\n" + line  # the writer before us was cut off within a line
            try:
                written = 0
                while written < len(line):
                    written += os.write(fd, line[written:])
            except OSError:
                # We are the only writer: take the half line back, so that trying again does not tear the file.
                os.ftruncate(fd, end)
                raise
        finally:
            os.close(fd)
