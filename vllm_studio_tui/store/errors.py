"""Turn SQLite's errors into errors that say what happened and what to do."""

from __future__ import annotations

import contextlib
import errno
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

from vllm_studio_tui.domain.errors import StoreError

BROKEN = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
#: What SQLite says of a disk without room, besides `SQLITE_FULL`: the memory that it shares is a file too.
MAYBE_FULL = frozenset({sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN})
#: A write that shows whether there is room: as large as the shared memory of a write-ahead log.
PROBE_BYTES = 32 * 1024


def write_error(directory: Path) -> OSError | None:
    """Return the error of a small test write into a directory; None if it succeeds."""
    try:
        with tempfile.TemporaryFile(dir=directory) as file:
            file.write(bytes(PROBE_BYTES))
            file.flush()
    except OSError as error:
        return error
    return None


def is_full(error: OSError | None) -> bool:
    """Return whether the error says that the disk, or a quota, is full."""
    return error is not None and error.errno in (errno.ENOSPC, errno.EDQUOT)


def primary_code(error: sqlite3.Error) -> int | None:
    """Return the primary result code (https://www.sqlite.org/rescode.html); None if SQLite gave none."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else int(code) & 0xFF


def store_error(error: sqlite3.Error, path: Path) -> StoreError:
    """Return the error to show for one of SQLite's."""
    code = primary_code(error)
    if code in BROKEN:
        return StoreError(
            f"{path} is damaged",
            cause=f"SQLite says: {error}. The file was left as it is.",
            advice=(
                f"Move it aside and start with an empty one: mv '{path}' '{path}.broken'\n"
                f"Or take a backup, if there is one: ls '{path}'.backup-*\n"
                f"Much can often be read out of it: sqlite3 '{path}.broken' .recover | sqlite3 '{path}'"
            ),
        )
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreError(
            "the database is in use",
            cause=f"Another process has been writing {path} for several seconds.",
            advice=f"Try again. To see who has it open: lsof '{path}'",
        )
    stands_in_the_way = write_error(path.parent) if code in MAYBE_FULL else None
    if code == sqlite3.SQLITE_FULL or is_full(stands_in_the_way):
        quota = stands_in_the_way is not None and stands_in_the_way.errno == errno.EDQUOT
        return StoreError(
            "the disk quota is used up" if quota else "the disk is full",
            cause=f"{path} cannot grow: {error}.",
            advice=f"Make room and try again: {'quota; ' if quota else ''}df -h '{path.parent}'",
        )
    if code == sqlite3.SQLITE_READONLY:
        return StoreError(
            "the database cannot be written",
            cause=f"{path}: {error}",
            advice=f"Look at its owner and mode: ls -ld '{path.parent}' '{path}'",
        )
    if code == sqlite3.SQLITE_CANTOPEN:
        return StoreError(
            "the database cannot be opened",
            cause=f"{path}: {error}",
            advice=f"Look at the directory: ls -ld '{path.parent}'",
        )
    if code == sqlite3.SQLITE_IOERR:
        reason = f" ({stands_in_the_way.strerror})" if stands_in_the_way is not None else ""
        return StoreError(
            "the database cannot be read or written",
            cause=f"{path}: {error}{reason}",
            advice=f"Look at the disk: df -h '{path.parent}'; `dmesg` tells its errors.",
        )
    return StoreError("the database refused", cause=f"{path}: {error}")


@contextlib.contextmanager
def translated_errors(path: Path) -> Iterator[None]:
    """Translate SQLite's errors that are raised inside into `StoreError`."""
    try:
        yield
    except sqlite3.Error as error:
        raise store_error(error, path) from error
    except UnicodeEncodeError as error:
        raise StoreError("a text cannot be stored", cause=str(error)) from error
