"""Open, read, write and back up the database, one SQLite file.

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
from vllm_studio_tui.store.errors import MAYBE_FULL, is_full, primary_code, store_error, translated_errors, write_error
from vllm_studio_tui.store.schema import EMPTY, MIGRATION_SET, MIGRATIONS

if TYPE_CHECKING:
    from sqlite_utils.db import Database as Tables

BUSY_SECONDS = 5.0
#: Where the shared memory of a write-ahead log does not work (https://www.sqlite.org/wal.html, section 2.2).
NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs", "9p", "afs", "ceph", "fuse.ceph", "fuse.glusterfs"}
)


def filesystem_of(path: Path, mounts: Path = Path("/proc/mounts")) -> str | None:
    """Return the type of the filesystem that holds a path, None if unknown. See proc_pid_mounts(5)."""
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
    """A connection for reading."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        self._lock = threading.RLock()

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """Return all rows of a query.

        Raises:
            StoreError: The file is damaged, in use, or gone.
        """
        with self._lock, translated_errors(self.path):
            return self._connection.execute(sql, parameters).fetchall()

    def tuples(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a query as plain tuples, which take half as long where there are many."""
        with self._lock, translated_errors(self.path):
            cursor = self._connection.cursor()
            cursor.row_factory = None
            found: list[tuple[Any, ...]] = cursor.execute(sql, parameters).fetchall()
            return found

    def row(self, sql: str, parameters: Sequence[Any] = ()) -> sqlite3.Row | None:
        """Return the first row of a query."""
        with self._lock, translated_errors(self.path):
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
        self,
        path: Path,
        connection: sqlite3.Connection,
        *,
        read_only: bool = False,
        warning: str | None = None,
        mode: str = "ro",
    ) -> None:
        super().__init__(path, connection)
        self.read_only = read_only
        self.warning = warning
        self._mode = mode

    @classmethod
    def open(cls, path: Path, *, create: bool = True, busy_timeout: float = BUSY_SECONDS) -> Database:
        """Open the file; create it or migrate it where that is needed. It is never deleted.

        Args:
            busy_timeout: Seconds to wait for another process that is writing.

        Where it cannot be written, it is opened for reading; where it cannot even be made, an empty one stands for it.

        Raises:
            StoreError: It is damaged, in use, cannot be opened, or does not exist and `create` is false.
        """
        try:
            if not path.exists():
                if not create:
                    raise StoreError(f"there is no database {path}", advice="Use the studio once to make it.")
                reason = _unwritable(path)
                if reason is not None:
                    return _nothing(path, f"{path} cannot be made: {reason}. Nothing is kept.")
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
        reason = _unwritable(path)
        if reason is not None:
            warning = f"{path} is not writable ({reason}): it is opened for reading only"
            return _for_reading(path, warning, busy_timeout)
        try:
            connection = _connect(path, "rw", busy_timeout)
        except StoreError as error:
            # A reader needs room too, for the memory that it shares: without room it reads the file as it stands.
            if not is_full(write_error(path.parent)):
                raise
            return _for_reading(path, f"{error.title}: {path} is opened for reading only", busy_timeout)
        try:
            with translated_errors(path):
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
    def write(self, *, patience: float | None = None) -> Iterator[Tables]:
        """Run a transaction, committed as a whole or not at all. A nested one is part of the outer.

        Args:
            patience: Seconds to wait for others that are writing; None: as the database was opened.

        Raises:
            StoreError: It could not be kept: the disk is full, another process is writing, the file is read-only.
        """
        if self.read_only:
            advice = f"Look at the directory: ls -ld '{self.path.parent}'; df -h '{self.path.parent}'"
            raise StoreError("the database is open for reading only", cause=self.warning or "", advice=advice)
        with self._locked(patience), translated_errors(self.path):
            if self._connection.in_transaction:
                yield self._tables
                return
            tables = self._tables
            # IMMEDIATE: a transaction that starts by reading cannot wait for a writer later, it fails at once.
            self._begin(patience)
            try:
                yield tables
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _locked(self, patience: float | None) -> Iterator[None]:
        if not self._lock.acquire(timeout=-1 if patience is None else patience):
            raise StoreError("the database is in use", cause="This program is still writing something else.")
        try:
            yield
        finally:
            self._lock.release()

    def _begin(self, patience: float | None) -> None:
        if patience is None:
            self._connection.execute("BEGIN IMMEDIATE")
            return
        (usual,) = self._connection.execute("PRAGMA busy_timeout").fetchone()
        self._connection.execute(f"PRAGMA busy_timeout = {round(patience * 1000)}")
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        finally:
            self._connection.execute(f"PRAGMA busy_timeout = {usual}")

    @contextlib.contextmanager
    def reader(self) -> Iterator[Reader]:
        """Return a separate read-only connection, for long queries off the UI's thread."""
        if self._mode == IN_MEMORY:
            yield self
            return
        reader = Reader(self.path, _connect(self.path, self._mode, BUSY_SECONDS))
        try:
            yield reader
        finally:
            reader.close()

    def check(self) -> list[str]:
        """Return what SQLite finds wrong with the file; empty if nothing. Reads all of it."""
        try:
            found = [str(row[0]) for row in self.rows("PRAGMA quick_check(20)")]
        except StoreError as error:
            return [str(error)]
        return [] if found == ["ok"] else found


#: In place of a database that cannot be made.
IN_MEMORY = "memory"
#: For a file that no process writes: without the write-ahead log and its shared memory, which would have to be made.
STILL = "ro&immutable=1"


def _unwritable(path: Path) -> str | None:
    """Return why a database cannot be written or created; None if it can.

    The directory counts too: the write-ahead log is made in it.
    """
    if path.exists() and not os.access(path, os.W_OK):
        return _reason(path)
    place = path.parent
    while not place.exists() and place.parent != place:
        place = place.parent
    return None if os.access(place, os.W_OK) else _reason(place)


def _reason(path: Path) -> str:
    try:
        still = os.statvfs(path).f_flag & os.ST_RDONLY
    except OSError as error:
        return error.strerror or str(error)
    return "its file system is read-only" if still else f"no right to write {path}"


def _for_reading(path: Path, warning: str, busy_timeout: float) -> Database:
    """Open a database for reading alone; an older version is migrated in memory."""
    mode = "ro"
    try:
        connection = _connect(path, mode, busy_timeout)
    except StoreError as error:
        code = primary_code(error.__cause__) if isinstance(error.__cause__, sqlite3.Error) else None
        if code not in MAYBE_FULL:
            raise
        log = path.with_name(f"{path.name}-wal")
        if log.exists() and log.stat().st_size:
            raise StoreError(
                f"{path} cannot be read",
                cause=f"{error.cause}. Its last changes are in {log.name}: to read them, files must be made beside it.",
                advice=f"Make '{path.parent}' writable, or copy it and read the copy: cp -a '{path.parent}' DIR",
            ) from None
        mode = STILL
        connection = _connect(path, mode, busy_timeout)
    with translated_errors(path):
        if not set(MIGRATIONS) - set(applied(connection)):
            return Database(path, connection, read_only=True, warning=warning, mode=mode)
        from vllm_studio_tui.store.migrations import apply

        copy = _memory()
        with contextlib.closing(connection):
            connection.backup(copy)
        apply(copy)
        return Database(path, copy, read_only=True, warning=warning, mode=IN_MEMORY)


def _nothing(path: Path, warning: str) -> Database:
    """Return an empty read-only database, for a home in which none can be created."""
    connection = _memory()
    for statement in EMPTY:
        connection.execute(statement)
    return Database(path, connection, read_only=True, warning=warning, mode=IN_MEMORY)


def _memory() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    return connection


def applied(connection: sqlite3.Connection) -> list[str]:
    """Return the names of the migrations that a database has gone through."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = '_sqlite_migrations'").fetchone():
        return []
    query = "SELECT name FROM _sqlite_migrations WHERE migration_set = ? ORDER BY id"
    return [str(row[0]) for row in connection.execute(query, (MIGRATION_SET,))]


def _connect(path: Path, mode: str, busy_timeout: float) -> sqlite3.Connection:
    """Return a connection whose transactions only we begin and end."""
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
    except OSError as error:
        advice = f"Look at the directory: df -h '{path.parent}'; ls -ld '{path.parent}'"
        raise StoreError("the database cannot be brought up to date", cause=str(error), advice=advice) from None


def back_up(connection: sqlite3.Connection, target: Path) -> None:
    """Copy a database as it is now, also while others write. The copy appears whole or not at all."""
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
