"""The run's directory under a living keeper: whoever deletes it, it is put back from what the keeper knows."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from pathlib import Path

from vllm_studio_tui.domain.spec import RunSpec
from vllm_studio_tui.keeper.files import LEDGER, LOCK, LOG, SPEC
from vllm_studio_tui.kit.paths import private_dir, write_atomic

#: Bytes that are copied at once.
PIECE = 1024 * 1024
#: Bytes of a log that are copied between two looks: of a flood the rest waits.
MOST = 32 * PIECE


class RunDirectory:
    """Holds the lock of the run, and keeps its ledger and log open: where they are deleted, they can still be read."""

    def __init__(self, folder: Path, lock: int, spec: RunSpec) -> None:
        self._folder, self._lock = folder, lock
        self._spec = spec if spec.argv else None
        self._ledger = self._open(LEDGER)
        self._log = self._open(LOG)
        #: The deleted log to which the engine still writes, and how far it is copied.
        self._deleted: tuple[int, int] | None = None

    def _open(self, name: str) -> int | None:
        try:
            return os.open(self._folder / name, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None

    def look(self, *, engine: bool) -> bool:
        """See that all is there; True when something had to be put back.

        Args:
            engine: An engine lives: while it does, it writes to the log that it was started with.
        """
        back = not self._held()
        if back:
            self._put_back(engine=engine)
        else:
            self._write_spec()
        if self._ledger is None:
            self._ledger = self._open(LEDGER)
        if self._log is None or not engine:
            self._forget(self._log)
            self._log = self._open(LOG)
        self.copy_log()
        if not engine and self._deleted is not None:
            self._forget(self._deleted[0])
            self._deleted = None
        return back

    def _write_spec(self) -> None:
        """Put the spec back where it is missing."""
        if self._spec is not None and not (self._folder / SPEC).exists():
            text = json.dumps(self._spec.to_json(), separators=(",", ":"))
            write_atomic(self._folder / SPEC, text.encode())

    def _held(self) -> bool:
        """Return whether the lock that we hold is the one that others look at."""
        try:
            seen, ours = (self._folder / LOCK).stat(), os.fstat(self._lock)
        except OSError:
            return False
        return (seen.st_dev, seen.st_ino) == (ours.st_dev, ours.st_ino)

    def _put_back(self, *, engine: bool) -> None:
        private_dir(self._folder)
        lock = os.open(self._folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)  # a reader's look, or somebody else's run by now: the next time, perhaps
            raise
        os.close(self._lock)
        self._lock = lock
        self._write_spec()
        if self._ledger is not None and not (self._folder / LEDGER).exists():
            old, self._ledger = self._ledger, None
            self._copy(old, 0, LEDGER, 1 << 40)
            self._forget(old)
        if self._log is not None and not (self._folder / LOG).exists():
            if engine and self._deleted is None:
                self._deleted, self._log = (self._log, 0), None
            else:
                self._copy(self._log, 0, LOG, MOST)
                self._forget(self._log)
                self._log = None

    def copy_log(self) -> None:
        """Copy what the engine has written since to a log that nobody else sees."""
        if self._deleted is not None:
            fd, position = self._deleted
            self._deleted = fd, self._copy(fd, position, LOG, MOST)

    def _copy(self, source: int, position: int, name: str, most: int) -> int:
        target = os.open(self._folder / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            end = position + most
            while position < end and (piece := os.pread(source, PIECE, position)):
                position += os.write(target, piece)
            return position
        finally:
            os.close(target)

    def _forget(self, fd: int | None) -> None:
        if fd is not None:
            with contextlib.suppress(OSError):
                os.close(fd)
