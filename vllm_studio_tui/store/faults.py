"""What SQLite says, in words that help a person."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from vllm_studio_tui.domain.errors import StoreError

BROKEN = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


def primary_code(error: sqlite3.Error) -> int | None:
    """The primary result code (https://www.sqlite.org/rescode.html); None where SQLite was not asked."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else int(code) & 0xFF


def store_error(error: sqlite3.Error, path: Path) -> StoreError:
    """The error to show for one of SQLite's."""
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
    if code == sqlite3.SQLITE_FULL:
        return StoreError(
            "the disk is full",
            cause=f"{path} cannot grow: {error}.",
            advice=f"Make room and try again: df -h '{path.parent}'",
        )
    if code == sqlite3.SQLITE_READONLY:
        return StoreError(
            "the database cannot be written", cause=f"{path}: {error}", advice="Look at its owner and mode: ls -l"
        )
    if code == sqlite3.SQLITE_CANTOPEN:
        return StoreError(
            "the database cannot be opened",
            cause=f"{path}: {error}",
            advice=f"Look at the directory: ls -ld '{path.parent}'",
        )
    if code == sqlite3.SQLITE_IOERR:
        return StoreError(
            "the database cannot be read or written", cause=f"{path}: {error}", advice="See `dmesg` for disk errors."
        )
    return StoreError("the database refused", cause=f"{path}: {error}")


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours."""
    try:
        yield
    except sqlite3.Error as error:
        raise store_error(error, path) from error
    except UnicodeEncodeError as error:
        raise StoreError("a text cannot be stored", cause=str(error)) from error
