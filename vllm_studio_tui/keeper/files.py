"""The files of a run directory that its keeper writes.

A full disk must not lose anything: what cannot be written is kept and tried again.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from vllm_studio_tui.domain.field_checks import number, whole
from vllm_studio_tui.domain.run import RunState, State
from vllm_studio_tui.kit import safe_json
from vllm_studio_tui.kit.paths import write_atomic
from vllm_studio_tui.kit.safe_json import is_shallow

if TYPE_CHECKING:
    from vllm_studio_tui.domain.spec import RunSpec

SPEC = "spec.json"
STATE = "state.json"
LEDGER = "ledger.jsonl"
LOG = "engine.log"
LOCK = "lock"
KEEPER_LOG = "keeper.log"
#: Bytes of a spec or a state; more was not written by us.
MOST = 16 * 1024 * 1024
#: Bytes of a line of a ledger, likewise.
LINE = 1024 * 1024
#: A ledger is read backwards in pieces of so many bytes.
PIECE = 256 * 1024
#: Seconds for which a run's lock is tried while a keeper has it, and while only readers look whether one does.
KEPT, LOOKED_AT = 0.2, 10.0


def take_lock(fd: int) -> bool:
    """Take a run's lock, an open file, for a keeper; False: it has one.

    Whoever looks whether it is held has a share of it meanwhile: longer, where the machine lets it wait just then.
    """
    began = time.monotonic()
    while True:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        patience = KEPT
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            fcntl.flock(fd, fcntl.LOCK_UN)
            patience = LOOKED_AT
        if time.monotonic() - began > patience:
            return False
        time.sleep(0.01)


def read_object(path: Path) -> dict[str, Any]:
    """Return what a small JSON file holds.

    Raises:
        OSError, ValueError: There is none, it is too large, or it holds no object.
    """
    with path.open("rb") as stream:
        raw = stream.read(PIECE)
        if len(raw) == PIECE:  # most are small, and to make room for the most that there may be takes time
            raw += stream.read(MOST + 1 - PIECE)
    data = safe_json.loads(raw) if len(raw) <= MOST else None
    if not isinstance(data, dict):
        raise ValueError(f"{path.name} holds no object")
    return data


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
    """Return the spec of a run.

    Raises:
        OSError, ValueError, TypeError, KeyError: There is none, or it cannot be understood.
    """
    from vllm_studio_tui.domain.spec import RunSpec  # deferred: `status --line` does without

    return RunSpec.from_json(read_object(folder / SPEC))


class Heading(NamedTuple):
    """What names a run: the part of its spec that takes no time to read."""

    recipe_id: str
    name: str
    created_at: float
    count_every: float


def read_heading(folder: Path) -> Heading:
    """Return what the spec of a run says first; the rest of it is not looked at.

    Raises:
        OSError, ValueError: There is none, or it cannot be understood.
    """
    data = read_object(folder / SPEC)
    recipe, name, created = data.get("recipe_id"), data.get("name"), data.get("created_at")
    if not isinstance(recipe, str) or not isinstance(name, str) or not number(created):
        raise ValueError("a spec that does not name its run")
    every = data.get("count_every")
    return Heading(recipe, name, float(created or 0.0), float(every) if every is not None and number(every) else 12.0)


def named_by(folder: Path) -> tuple[str, str]:
    """Return the recipe of a run and what orders the runs of one, as the name of its directory has them."""
    parts = folder.name.rsplit("-", 3)
    return (parts[0], "-".join(parts[1:])) if len(parts) == 4 else (folder.name, "")


def stand_in(folder: Path) -> RunSpec:
    """In place of a spec that cannot be read: enough to watch what there is of the run, and to end it."""
    from vllm_studio_tui.domain.spec import ReadyProbe, RunSpec  # deferred, as above

    recipe = named_by(folder)[0]
    ready = ReadyProbe(failures=2**31)
    return RunSpec(folder.name, recipe, recipe, "", "", (), "127.0.0.1", 0, "", 0.0, ready=ready)


def read_state(folder: Path) -> RunState | None:
    """Return the state as it was last written; None if there is none or it is torn."""
    try:
        return RunState.from_json(read_object(folder / STATE))
    except (OSError, ValueError, TypeError):
        return None


def ledger_line(raw: bytes) -> dict[str, Any] | None:
    """One line of a ledger; None where it is torn or somebody else's."""
    if len(raw) > LINE:
        return None
    try:
        data = safe_json.loads(raw)
    except ValueError:
        return None
    if not isinstance(data, dict) or not whole(data.get("seq")) or not number(data.get("t")):
        return None
    if raw.count(b"{") + raw.count(b"[") > 16 and not is_shallow(data):
        return None
    return data


def read_ledger(path: Path, begin: int = 0) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the whole lines from a place on, each with the place after it; torn and foreign ones are passed over."""
    with contextlib.suppress(OSError), path.open("rb") as stream:
        stream.seek(begin)
        while raw := stream.readline(LINE + 1):
            begin += len(raw)
            line = ledger_line(raw) if raw.endswith(b"\n") else None
            if line is not None:
                yield begin, line


def ledger_after(path: Path, seq: int) -> int:
    """Return the place after the line of this number, found by halving; 0 where it is not found so."""
    with contextlib.suppress(OSError), path.open("rb") as stream:
        low, high = 0, stream.seek(0, os.SEEK_END)
        while low < high:
            middle = (low + high) // 2
            stream.seek(max(0, middle - 1))
            if middle:
                stream.readline()
            end, line = stream.tell(), None
            while line is None and end < high and (raw := stream.readline()):
                end += len(raw)
                line = ledger_line(raw)
            if line is None or line["seq"] > seq:
                high = middle
            elif line["seq"] == seq:
                return end
            else:
                low = end
    return 0


def backwards(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file from its last to its first, reading in pieces; lines longer than ours are left out."""
    with contextlib.suppress(OSError), path.open("rb") as stream:
        position, rest = stream.seek(0, os.SEEK_END), b""
        while position > 0:
            step = min(PIECE, position)
            position -= step
            stream.seek(position)
            piece = stream.read(step) + rest
            first = piece.find(b"\n") + 1 if position > 0 else 0
            rest = piece[:first]
            if position > 0 and first == 0:
                rest = piece if len(piece) <= LINE else b""
                continue
            yield from reversed(piece[first:].split(b"\n"))


#: What is told of the engine itself; the rest of a ledger are readings.
TOLD = (b'"kind":"spawn"', b'"kind":"move"', b'"kind":"exit"')


def last_chapter(path: Path) -> list[dict[str, Any]]:
    """Return what a ledger tells of its last engine: its spawn, moves and end, oldest first."""
    found: list[dict[str, Any]] = []
    for raw in backwards(path):
        if any(kind in raw for kind in TOLD) and (line := ledger_line(raw)) is not None:
            found.append(line)
            if line.get("kind") == "spawn":
                break
    return found[::-1]


def place_of(folder: Path) -> dict[str, Any]:
    """Return what tells this directory from a copy of it; empty where it cannot be looked at."""
    try:
        seen = folder.stat()
    except OSError:
        return {}
    return {"path": str(folder.absolute()), "device": seen.st_dev, "inode": seen.st_ino}


def is_copy(place: dict[str, Any], folder: Path) -> bool:
    """Return whether a directory is a copy of the one in which `place` was written.

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
        last = next((line for raw in backwards(self._path) if (line := ledger_line(raw)) is not None), {"seq": 0})
        self.seq: int = last["seq"]
        spawn = next((line for line in last_chapter(self._path) if line.get("kind") == "spawn"), {})
        #: Where in the log the last attempt begins.
        self.log_offset: int = spawn["log"] if whole(spawn.get("log")) and spawn["log"] >= 0 else 0

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
