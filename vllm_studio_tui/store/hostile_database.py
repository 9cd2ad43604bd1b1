"""Opens a database of somebody else so that nothing in it can act: none of its SQL is run, and its work is bounded.

It is read from bytes, so that the file cannot be changed. Views, triggers, virtual tables and generated columns have
SQL of whoever made them: only plain tables are read, by an authorizer that allows no function and no pragma but ours.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

from vllm_studio_tui.domain.errors import StoreError

MAGIC = b"SQLite format 3\x00"
MAX_ROWS = 100_000
#: Bytes of one value, and of all that is read.
MAX_VALUE = 4 * 1024 * 1024
MAX_READ = 64 * 1024 * 1024
MAX_TABLES = 2000
MAX_COLUMNS = 200
#: Steps of SQLite's machine: a row takes some ten, and has at least as many bytes.
BASE_STEPS = 100_000
_STEP = 1000
_ALLOWED = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ})
_PRAGMAS = frozenset({"table_info", "trusted_schema", "query_only"})


class HostileDatabase:
    """The tables of a database that may hold anything.

    Attributes:
        tables: The names of its plain tables.
        left: Rows that are too large to be read.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._room = MAX_READ
        self.left = 0
        found = db.execute(f"SELECT name, sql FROM sqlite_master WHERE type = 'table' LIMIT {MAX_TABLES}")  # noqa: S608
        self.tables = frozenset(
            str(name) for name, sql in found if not str(sql or "").lstrip().upper().startswith("CREATE VIRTUAL")
        )

    def columns(self, table: str) -> tuple[str, ...]:
        """Return the names of a table's columns, without those that are computed by its SQL."""
        return tuple(str(row[1]) for row in self._db.execute(f"PRAGMA table_info({_quoted(table)})"))[:MAX_COLUMNS]

    def rows(self, table: str, wanted: Sequence[str], limit: int = MAX_ROWS) -> Iterator[dict[str, Any]]:
        """Yield rows with those of the wanted columns that are there. One that is too large is counted and left out."""
        there = [name for name in wanted if name in self.columns(table)]
        if not there:
            return
        named = ", ".join(map(_quoted, there))
        # A value beyond the limit ends a statement: each row is asked for by itself, so that it hides no other.
        for key in self._keys(table, limit):
            try:
                row = self._db.execute(f"SELECT {named} FROM {_quoted(table)} WHERE rowid = ?", (key,)).fetchone()  # noqa: S608
            except sqlite3.DataError:
                self.left += 1
                continue
            if row is None:
                continue
            self._room -= sum(len(one) for one in row if isinstance(one, str | bytes))
            if self._room < 0:
                self.left += 1
                return
            yield dict(zip(there, row, strict=True))

    def _keys(self, table: str, limit: int) -> list[int]:
        found = self._db.execute(f"SELECT rowid FROM {_quoted(table)} ORDER BY rowid LIMIT {limit}")  # noqa: S608
        return [row[0] for row in found if isinstance(row[0], int)]


@contextlib.contextmanager
def open_hostile(raw: bytes, source: str) -> Iterator[HostileDatabase]:
    """Open a database from its bytes.

    Raises:
        StoreError: It is none, or is broken; also where that shows while it is read.
    """
    # A database in WAL mode cannot be opened from memory: these two bytes say that it is none.
    raw = raw[:18] + b"\x01\x01" + raw[20:]
    try:
        with contextlib.closing(sqlite3.connect(":memory:")) as db:
            db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE)
            db.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, 100_000)
            db.setlimit(sqlite3.SQLITE_LIMIT_EXPR_DEPTH, 50)
            db.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
            db.deserialize(raw)
            db.text_factory = lambda data: data.decode("utf-8", "replace")
            db.execute("PRAGMA trusted_schema = OFF")
            db.execute("PRAGMA query_only = ON")
            db.set_authorizer(_allow)
            work = iter(range((BASE_STEPS + len(raw)) // _STEP))
            db.set_progress_handler(lambda: next(work, None) is None, _STEP)
            yield HostileDatabase(db)
    except sqlite3.OperationalError as error:
        cause = "reading it takes too long: it is broken" if "interrupted" in str(error) else str(error)[:300]
        raise StoreError(f"{source} cannot be read as a database", cause=cause) from None
    except (sqlite3.Error, OverflowError, MemoryError, ValueError) as error:
        raise StoreError(f"{source} cannot be read as a database", cause=str(error)[:300]) from None


def _allow(action: int, first: str | None, second: str | None, database: str | None, inner: str | None) -> int:
    """Allow reading of tables by statements of ours; `inner` names the view or trigger whose SQL asks."""
    pragma = action == sqlite3.SQLITE_PRAGMA and (first or "").lower() in _PRAGMAS
    return sqlite3.SQLITE_OK if inner is None and (action in _ALLOWED or pragma) else sqlite3.SQLITE_DENY


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
