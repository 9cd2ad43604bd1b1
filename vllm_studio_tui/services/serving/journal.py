"""The journal of who serves: a line for each request that begins and that ends, so that no death of it loses one.

A file belongs to one process, which holds a `flock` on it. A file that nobody holds is a dead one's: see `settle`.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import stat
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from operator import attrgetter
from pathlib import Path
from typing import Any

from vllm_studio_tui.domain.usage import CompletedRequest
from vllm_studio_tui.kit import safe_json
from vllm_studio_tui.kit.json_body import json_bytes
from vllm_studio_tui.kit.outside_values import as_number
from vllm_studio_tui.kit.paths import Places, machine_id, private_dir
from vllm_studio_tui.store.messages import PROGRAM_ENDED

SUFFIX = ".jsonl"
#: Of a file that its process has not locked yet.
NEW = ".new"
#: Where files are memory.
MEMORY = Path("/dev/shm")  # noqa: RUF100, S108
#: Letters that are kept of each text: clients write what they like.
LONGEST_TEXT = 1000
#: Bytes of a line; longer ones are none of ours.
LONGEST_LINE = 128 * 1024
#: Seconds after which a file that was never locked is taken for a dead process's.
NEW_SECONDS = 60.0
_FORGET = b'{"forget":'
_NAMES = tuple(one.name for one in fields(CompletedRequest))
_TEXTS = tuple(one.name for one in fields(CompletedRequest) if "str" in str(one.type))
# Two of these for each request that is served: in C they take a third of the time.
_values_of, _texts_of = attrgetter(*_NAMES), attrgetter(*_TEXTS)


def journal_folder(places: Places) -> Path:
    """Return the directory of this machine's journals: processes of another one cannot be looked at."""
    return places.state / "serve" / "journal" / machine_id()


def memory_folder(places: Places, *, make: bool = False) -> Path | None:
    """Return the directory for what a disk would keep waiting, in the memory of this machine; None: there is none.

    It outlives every process, and no restart of the machine.

    Args:
        make: Make it where it is not there.
    """
    base = MEMORY / f"vllm-studio-{os.getuid()}"
    folder = base / hashlib.sha256(os.fsencode(places.state.absolute())).hexdigest()[:24]
    try:
        if make:
            private_dir(folder)
        # Anybody can make directories there: it must be ours, and nobody else may look into it.
        for one in (base, folder):
            found = one.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) != 0o700:
                return None
    except OSError:
        return None
    return folder


def tidy_memory() -> None:
    """Remove the empty files of dead processes from memory, whatever their homes are: those may be gone."""
    try:
        folders = list((MEMORY / f"vllm-studio-{os.getuid()}").iterdir())
    except OSError:
        return
    for folder in folders:
        for path in _files(folder):
            with contextlib.suppress(OSError):
                if not path.stat().st_size:  # others are not held, not for a moment: their own home may want them now
                    _remove_empty(path)
        with contextlib.suppress(OSError):
            folder.rmdir()


def _remove_empty(path: Path) -> None:
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.fstat(fd).st_size:
            path.unlink()
    finally:
        os.close(fd)


def cut(request: CompletedRequest) -> CompletedRequest:
    """Return the request with texts of bounded length."""
    long: dict[str, Any] = {
        name: value[:LONGEST_TEXT]
        for name, value in zip(_TEXTS, _texts_of(request), strict=True)
        if value is not None and isinstance(value, str) and len(value) > LONGEST_TEXT
    }
    return replace(request, **long) if long else request


def line_of(request: CompletedRequest) -> bytes:
    """Return the line of a request: what is known of it."""
    known = {name: value for name, value in zip(_NAMES, _values_of(request), strict=True) if value is not None}
    return json_bytes(known) + b"\n"


def line_of_known(known: Mapping[str, Any]) -> bytes:
    """Return the line of a request of which this is known, by the names of `CompletedRequest`."""
    return json_bytes(known) + b"\n"


def line_of_forgotten(request_id: str) -> bytes:
    """Return the line that says of a request that was under way: there is to be no row of it."""
    return json_bytes({"forget": request_id}) + b"\n"


def forgotten_of(line: bytes) -> str | None:
    """Return the id in a line of `line_of_forgotten`; None for any other. Quick for those."""
    if not line.startswith(_FORGET) or not line.endswith(b"\n"):
        return None
    try:
        found = safe_json.loads(line)["forget"]
    except (ValueError, TypeError, KeyError):
        return None
    return found if isinstance(found, str) else None


def request_of(line: bytes) -> CompletedRequest | None:
    """Return the request of a line; None for a torn one, or one of something else."""
    try:
        data: Any = safe_json.loads(line)
    except ValueError:
        return None
    if not isinstance(data, dict):
        return None
    known = {name: value for name, value in data.items() if name in _NAMES}
    if not all(isinstance(known.get(name), str) for name in ("id", "source", "finish")) or not known["id"]:
        return None
    if as_number(known.get("at")) is None:
        return None
    return CompletedRequest(**known)


@dataclass(slots=True)
class JournalFile:
    """A file that this process writes.

    Attributes:
        waiting: How many of its requests have ended and are not in the database yet.
        needed: Some of those are nowhere else: they must be read from here.
    """

    path: Path
    fd: int
    size: int = 0
    waiting: int = 0
    needed: bool = False
    torn: bool = False

    @classmethod
    def make(cls, folder: Path) -> JournalFile:
        """Make a file and lock it.

        Raises:
            OSError: It cannot be made, or cannot be locked.
        """
        private_dir(folder)
        path = folder / f"{os.getpid()}-{uuid.uuid4().hex[:12]}{SUFFIX}"
        # Under another name until it is locked: else somebody could take it for a dead process's.
        new = path.with_name(path.name + NEW)
        fd = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            new.rename(path)
        except OSError:
            os.close(fd)
            with contextlib.suppress(OSError):
                new.unlink()
            raise
        return cls(path, fd)

    def append(self, lines: bytes) -> bool:
        """Write whole lines by one call, so that they are there even if this process is killed right after.

        Returns whether all of it was written.
        """
        # What a full disk took only a part of must not tear the next line as well.
        data = b"\n" + lines if self.torn else lines
        try:
            written = os.write(self.fd, data)
        except OSError:
            return False
        self.size += written
        self.torn = written < len(data)
        return not self.torn

    def clear(self) -> None:
        """Take everything out of it: it is somewhere else."""
        with contextlib.suppress(OSError):
            os.ftruncate(self.fd, 0)
            self.size, self.torn = 0, False

    def is_there(self) -> bool:
        """Return whether the file is still in its directory: what is in memory goes when a person logs out."""
        try:
            return os.fstat(self.fd).st_nlink > 0
        except OSError:
            return False

    def close(self, *, remove: bool) -> None:
        """Let go of the file."""
        if remove:
            with contextlib.suppress(OSError):
                self.path.unlink()
        with contextlib.suppress(OSError):
            os.close(self.fd)


@dataclass(slots=True)
class Story:
    """What a journal tells.

    Attributes:
        ended: The last form of each request that ended.
        open: What is known of each request that did not, by its id.
    """

    ended: list[CompletedRequest] = field(default_factory=list)
    open: dict[str, CompletedRequest] = field(default_factory=dict)

    def interrupted(self) -> list[CompletedRequest]:
        """Return those that did not end as what they are once their process is dead."""
        return [
            replace(one, finish="interrupted", error=PROGRAM_ENDED, estimated=one.completion_tokens is not None)
            for one in self.open.values()
        ]


def read_forgotten(path: Path) -> set[str]:
    """Return the ids of requests of which a journal says that there is to be no row.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        found = {forgotten_of(line) for line in iter(lambda: file.readline(LONGEST_LINE), b"")}
    return {one for one in found if one is not None}


def read_journal(path: Path) -> Story:
    """Return what a journal tells; torn lines are left out.

    Raises:
        OSError: It cannot be read.
    """
    story = Story()
    over: set[str] = set()
    with path.open("rb") as file:
        while line := file.readline(LONGEST_LINE):
            forgotten = forgotten_of(line)
            if forgotten is not None:
                # Not over: a row that stands for several has the id of the last of them.
                story.open.pop(forgotten, None)
                continue
            request = request_of(line) if line.endswith(b"\n") else None
            if request is None or request.id in over:
                continue
            if request.finish == "streaming":
                story.open[request.id] = request
            else:
                over.add(request.id)
                story.open.pop(request.id, None)
                story.ended.append(request)
    return story


@contextlib.contextmanager
def dead_journals(folder: Path) -> Iterator[list[Path]]:
    """Hold the journals that nobody else holds, so that no two processes read one at once."""
    held: list[tuple[Path, int]] = []
    try:
        for path in _files(folder):
            with contextlib.suppress(OSError):
                fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    # Whoever held it until now may have read and removed it.
                    if not os.fstat(fd).st_nlink:
                        raise OSError
                except OSError:
                    os.close(fd)
                    continue
                held.append((path, fd))
        yield [path for path, _ in held]
    finally:
        for _, fd in held:
            os.close(fd)


def _files(folder: Path) -> list[Path]:
    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208, RUF100
    except OSError:
        return []
    old = time.time() - NEW_SECONDS
    for name in names:
        if name.endswith(NEW):
            with contextlib.suppress(OSError):
                if (folder / name).stat().st_mtime < old:
                    (folder / name).unlink()
    return [folder / name for name in names if name.endswith(SUFFIX)]
