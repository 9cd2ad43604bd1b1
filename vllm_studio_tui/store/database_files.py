"""Reads the file of somebody else's database whole, with the changes that its program has not put into it yet."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import tempfile
from pathlib import Path

from vllm_studio_tui.domain.errors import StoreError
from vllm_studio_tui.kit.file_reading import read_bounded, unwritten
from vllm_studio_tui.store.hostile_database import MAGIC

MAX_DATABASE = 256 * 1024 * 1024
#: Looks at files that a program writes meanwhile, until two that belong together were read.
LOOKS = 5


def is_database(path: str) -> bool:
    """Return whether a file is a database of SQLite, as it begins. Blocking."""
    try:
        return stat.S_ISREG(Path(path).stat().st_mode) and read_bounded(path, len(MAGIC))[: len(MAGIC)] == MAGIC
    except (OSError, ValueError):
        return False


def read_database(path: str, most: int = MAX_DATABASE) -> tuple[bytes, list[str]]:
    """Return the bytes of a database, and what is to be said of them. Nothing is written beside it. Blocking.

    Changes that wait in its write-ahead log are in the bytes: a copy of both files is put together.

    Raises:
        StoreError: It cannot be read, or is too large.
    """
    path = os.path.expanduser(path)  # noqa: PTH111  # a home that there is not stays as it is
    wal = f"{path}-wal"
    for _ in range(LOOKS):
        before = (_state(path), _state(wal))
        raw, log = _read(path, most), _read(wal, most) if before[1] and before[1][0] else b""
        if (_state(path), _state(wal)) == before:
            break
    else:
        return raw, unwritten(path)
    if not log:
        return raw, []
    with contextlib.suppress(sqlite3.Error, OSError, MemoryError):
        return _together(raw, log), []
    return raw, unwritten(path)


def _state(path: str) -> tuple[int, int] | None:
    try:
        found = Path(path).stat()
    except (OSError, ValueError):
        return None
    return (found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None


def _read(path: str, most: int) -> bytes:
    try:
        if not stat.S_ISREG(Path(path).stat().st_mode):
            raise StoreError(f"{path} is no file")
        raw = read_bounded(path, most)
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or str(error)
        raise StoreError(f"{path} cannot be read", cause=cause) from None
    if len(raw) > most:
        raise StoreError(f"{path} is too large", cause=f"over {most // 1024**2} MiB")
    return raw


def _together(raw: bytes, log: bytes) -> bytes:
    """Return a database with its write-ahead log, by a copy in a directory of its own; no SQL of it is run."""
    with tempfile.TemporaryDirectory(prefix="vllm-studio-") as folder:
        copy = Path(folder) / "copy.db"
        copy.write_bytes(raw)
        Path(f"{copy}-wal").write_bytes(log)
        with contextlib.closing(sqlite3.connect(copy)) as db:
            db.execute("PRAGMA trusted_schema = OFF")
            # `serialize` takes the pages as they are now; without a look at them first it would not open the log.
            db.execute("PRAGMA schema_version").fetchone()
            return bytes(db.serialize())
