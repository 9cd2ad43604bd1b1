"""The database: one file, opened with care.

Reading needs the standard library alone; sqlite-utils is loaded on the same connection by the first write or a
pending migration. A `Database` may be used by any thread: one lock lets one at a time in. What takes long, such as a
report, opens a `reader()` of its own, which waits for nobody.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from vllm_studio_tui.domain.errors import StoreError
from vllm_studio_tui.kit.paths import locked, private_dir
from vllm_studio_tui.store.faults import explained, store_error
from vllm_studio_tui.store.schema import MIGRATION_SET, MIGRATIONS

if TYPE_CHECKING:
    from sqlite_utils.db import Database as Tables

BUSY_SECONDS = 5.0
#: Where the shared memory of a write-ahead log does not work (https://www.sqlite.org/wal.html, section 2.2).
NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs", "9p", "afs", "ceph", "fuse.ceph", "fuse.glusterfs"}
)


def filesystem_of(path: Path, mounts: Path = Path("/proc/mounts")) -> str | None:
    """The type of the filesystem that holds a path, None if it cannot be told. See proc_pid_mounts(5)."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    resolved = path.resolve()
    best: tuple[int, str] | None = None
    for line in lines:
        parts = line.split(" ")
        if len(parts) < 3:
            continue
        point = parts[1]
        for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
            point = point.replace(code, character)
        # Of two mounts on one point the later one covers the earlier.
        if resolved.is_relative_to(point) and (best is None or len(point) >= best[0]):
            best = (len(point), parts[2])
    return best[1] if best else None


class Reader:
    """A connection to read by."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        self._lock = threading.RLock()

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """All rows of a query.

        Raises:
            StoreError: The file is damaged, in use, or gone.
        """
        with self._lock, explained(self.path):
            return self._connection.execute(sql, parameters).fetchall()

    def row(self, sql: str, parameters: Sequence[Any] = ()) -> sqlite3.Row | None:
        """The first row of a query."""
        with self._lock, explained(self.path):
            found: sqlite3.Row | None = self._connection.execute(sql, parameters).fetchone()
            return found

    def close(self) -> None:
        with self._lock:
            self._connection.close()


class Database(Reader):
    """The studio's database.

    Attributes:
        read_only: It cannot be written; `warning` says why.
    """

    def __init__(
        self, path: Path, connection: sqlite3.Connection, *, read_only: bool = False, warning: str | None = None
    ) -> None:
        super().__init__(path, connection)
        self.read_only = read_only
        self.warning = warning

    @classmethod
    def open(cls, path: Path, *, create: bool = True, busy_timeout: float = BUSY_SECONDS) -> Database:
        """Open the file; make it and bring it up to date where that is needed. It is never deleted.

        Args:
            busy_timeout: Seconds to wait for another process that is writing.

        Raises:
            StoreError: It is damaged, in use, cannot be opened, or does not exist and `create` is false.
        """
        try:
            if not path.exists():
                if not create:
                    raise StoreError(f"there is no database {path}", advice="Use the studio once to make it.")
                private_dir(path.parent)
                # SQLite gives its -wal and -shm files the mode of the database.
                with contextlib.suppress(FileExistsError):
                    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            elif path.stat().st_mode & 0o077:
                with contextlib.suppress(OSError):
                    path.chmod(0o600)
        except OSError as error:
            advice = f"Look at the directory: ls -ld '{path.parent}'"
            raise StoreError("the database cannot be opened", cause=str(error), advice=advice) from None
        if not os.access(path, os.W_OK):
            return cls(path, _connect(path, "ro", busy_timeout), read_only=True, warning=f"{path} is not writable")
        connection = _connect(path, "rw", busy_timeout)
        try:
            with explained(path):
                unknown = sorted(set(applied(connection)) - set(MIGRATIONS))
                if unknown:
                    connection.close()
                    warning = f"{path} was written by a newer version ({unknown[-1]}): it is opened for reading only"
                    return cls(path, _connect(path, "ro", busy_timeout), read_only=True, warning=warning)
                _choose_journal(connection, path)
                if set(MIGRATIONS) - set(applied(connection)):
                    _migrate(connection, path)
        except BaseException:
            connection.close()
            raise
        return cls(path, connection)

    @cached_property
    def _tables(self) -> Tables:
        from sqlite_utils.db import Database as Tables

        return Tables(self._connection, execute_plugins=False)

    @contextlib.contextmanager
    def write(self) -> Iterator[Tables]:
        """One transaction, kept as a whole or not at all. A nested one is part of the outer.

        Raises:
            StoreError: It could not be kept: the disk is full, another process is writing, the file is read-only.
        """
        if self.read_only:
            raise StoreError("the database is open for reading only", cause=self.warning or "")
        with self._lock, explained(self.path):
            if self._connection.in_transaction:
                yield self._tables
                return
            tables = self._tables
            # IMMEDIATE: a transaction that starts by reading cannot wait for a writer later, it fails at once.
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield tables
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def reader(self) -> Iterator[Reader]:
        """A read-only connection of the caller's own, for long queries off the UI's thread."""
        reader = Reader(self.path, _connect(self.path, "ro", BUSY_SECONDS))
        try:
            yield reader
        finally:
            reader.close()

    def check(self) -> list[str]:
        """What SQLite finds wrong with the file; empty if nothing. Reads all of it."""
        try:
            found = [str(row[0]) for row in self.rows("PRAGMA quick_check(20)")]
        except StoreError as error:
            return [str(error)]
        return [] if found == ["ok"] else found


def applied(connection: sqlite3.Connection) -> list[str]:
    """The names of the migrations that a database has behind it."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = '_sqlite_migrations'").fetchone():
        return []
    query = "SELECT name FROM _sqlite_migrations WHERE migration_set = ? ORDER BY id"
    return [str(row[0]) for row in connection.execute(query, (MIGRATION_SET,))]


def _connect(path: Path, mode: str, busy_timeout: float) -> sqlite3.Connection:
    """A connection whose transactions are begun and ended by us alone."""
    try:
        connection = sqlite3.connect(
            f"file:{quote(str(path))}?mode={mode}",
            uri=True,
            timeout=busy_timeout,
            isolation_level=None,
            check_same_thread=False,
        )
    except sqlite3.Error as error:
        raise store_error(error, path) from error
    try:
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()  # the first look at the file itself
    except sqlite3.Error as error:
        connection.close()
        raise store_error(error, path) from error
    return connection


def _choose_journal(connection: sqlite3.Connection, path: Path) -> None:
    wanted = "delete" if filesystem_of(path) in NETWORK else "wal"
    if connection.execute("PRAGMA journal_mode").fetchone()[0] != wanted:
        # Needs the file for itself for a moment. Where it is in use, it stays as it is until the next time.
        with contextlib.suppress(sqlite3.OperationalError):
            connection.execute(f"PRAGMA journal_mode = {wanted}")


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    from vllm_studio_tui.store.migrations import apply

    try:
        with locked(path.with_name(f".{path.name}.migrate.lock"), timeout=30.0):
            done = applied(connection)  # another process may have been faster
            if not set(MIGRATIONS) - set(done):
                return
            if connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
                back_up(connection, path.with_name(f"{path.name}.backup-{len(done)}"))
            apply(connection)
    except TimeoutError as error:
        raise StoreError("the database is being brought up to date", cause=str(error), advice="Try again.") from None


def back_up(connection: sqlite3.Connection, target: Path) -> None:
    """Copy a database as it is at this moment, also while others write. The file appears whole or not at all."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        temporary.unlink(missing_ok=True)
        os.close(os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        with contextlib.closing(sqlite3.connect(temporary)) as copy:
            connection.backup(copy)
        temporary.replace(target)
    except OSError as error:
        raise StoreError(
            f"{target.name} cannot be written", cause=str(error), advice="Make room on the disk."
        ) from None
    finally:
        temporary.unlink(missing_ok=True)
