"""The doctor on our directories, their file system, and the database."""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import stat
import tempfile
import time
from pathlib import Path
from urllib.parse import quote

from vllm_studio_tui.domain.check import Check, fail, ok, warn
from vllm_studio_tui.services.doctor.context import Ground

#: Bytes below which a log, an answer or a download may not fit, and below which it will not.
SPACE_LOW, SPACE_OUT = 2 << 30, 100 << 20
#: Seconds for the database's own check.
CHECK_SECONDS = 0.5
#: SQLite's "WAL-reset" corruption is fixed from here on (release notes of 3.51.3, which name back-ports).
WAL_FIXED = (3, 51, 3)
NETWORK = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "ncpfs", "afs", "9p", "ceph", "lustre", "gpfs"),
        *("beegfs", "glusterfs", "orangefs", "pvfs2", "wekafs"),
        *(f"fuse.{name}" for name in ("glusterfs", "sshfs", "ceph-fuse", "s3fs", "gcsfuse", "juicefs", "rclone")),
    }
)


def _existing(path: Path) -> Path:
    """Return the path, or its nearest parent that is there."""
    return next((one for one in (path, *path.parents) if one.exists()), Path("/"))


def directory(name: str, ground: Ground) -> Check:
    """Check one of our directories: that we can write it, and that nobody else can enter it."""
    path: Path = getattr(ground.places, name)
    if not path.exists():
        parent = _existing(path)
        if not os.access(parent, os.W_OK | os.X_OK):
            return fail(f"{path} cannot be made in {parent}", f"chown {parent}, or set VLLM_STUDIO_HOME.")
        return ok(f"{path}, made when it is needed")
    state = path.stat()
    if not stat.S_ISDIR(state.st_mode):
        return fail(f"{path} is not a directory", "Move it away, or set VLLM_STUDIO_HOME.")
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        return fail(f"{path} cannot be written", f"chown -R $USER {path}, or set VLLM_STUDIO_HOME.")
    mode = stat.S_IMODE(state.st_mode)
    if state.st_uid != os.getuid() and os.getuid() != 0:
        return fail(f"{path} belongs to another user", f"chown -R $USER {path}, or set VLLM_STUDIO_HOME.")
    if mode & 0o077:
        return warn(f"{path} has mode {mode:04o}: others can get in", f"chmod 700 {path}")
    return ok(str(path))


def space(ground: Ground) -> Check:
    """Check the free space for logs, chats and downloads, on the fullest of our file systems."""
    paths = [_existing(one) for one in (ground.places.data, ground.places.state, ground.places.cache)]
    free, path = min((shutil.disk_usage(one).free, str(one)) for one in paths)
    found = f"{free / 2**30:.1f} GiB free at {path}"
    advice = "Free some, or set VLLM_STUDIO_HOME. `vllm-studio usage` and old runs are small; models are not."
    if free < SPACE_OUT:
        return fail(found, advice)
    return warn(found, advice) if free < SPACE_LOW else ok(found)


def file_system(path: Path, root: Path = Path("/")) -> str | None:
    """Return the type of a path's file system, by /proc/self/mountinfo (proc(5)); None when it is unknown."""
    try:
        with (root / "proc/self/mountinfo").open("rb") as stream:
            lines = stream.read(1 << 20).decode("utf-8", errors="replace").splitlines()
    except OSError:
        return None
    path = Path(os.path.realpath(_existing(path)))
    best: tuple[int, str | None] = (-1, None)
    for line in lines:
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) < 5 or not kind:
            continue
        point = Path(fields[4].replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\"))
        # Of several mounts on one point the last one is seen.
        if path.is_relative_to(point) and len(point.parts) >= best[0]:
            best = len(point.parts), kind[0]
    return best[1]


def network(ground: Ground) -> Check:
    """Check whether data or state are on a network file system."""
    kinds = {name: file_system(getattr(ground.places, name), ground.root) for name in ("data", "state")}
    far = [f"{name} is on {kind}" for name, kind in kinds.items() if kind in NETWORK]
    if far:
        return warn(
            ", ".join(far),
            "It works, slower and without WAL; locks between hosts depend on the server. "
            "VLLM_STUDIO_HOME=DIR on a local disk is better.",
        )
    return ok(", ".join(f"{name} on {kind or 'unknown'}" for name, kind in kinds.items()))


def locks(ground: Ground) -> Check:
    """Check whether a lock that one process holds is refused to another: a held lock marks a keeper as alive."""
    folder = _existing(ground.places.state)
    fix = "Put the state on a local disk: VLLM_STUDIO_HOME=DIR."
    with tempfile.NamedTemporaryFile(prefix=".doctor.", dir=folder) as first:
        try:
            fcntl.flock(first.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return fail(f"flock is refused in {folder}: {error.strerror}", fix)
        second = os.open(first.name, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return ok(f"flock holds in {folder}")
        finally:
            os.close(second)
    return fail(f"two hold the same lock in {folder}", fix)


def database(ground: Ground) -> Check:
    """Check whether the database opens and is whole."""
    path = ground.places.database
    if not path.exists():
        return ok(f"{path}, made when it is needed")
    size = path.stat().st_size
    deadline = time.monotonic() + CHECK_SECONDS
    fix = (
        f"Keep a copy of {path} with its -wal and -shm, then bring back a backup beside it, or `sqlite3 FILE .recover`."
    )
    try:
        connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=CHECK_SECONDS)
    except sqlite3.Error as error:
        return fail(f"{path} cannot be opened: {error}", fix)
    try:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        tables = connection.execute("SELECT count(*) FROM sqlite_master WHERE type = 'table'").fetchone()[0]
        found = f"{size / 2**20:.1f} MiB, {tables} tables, user_version {version}"
        connection.set_progress_handler(lambda: time.monotonic() > deadline, 10_000)
        problems = [str(row[0]) for row in connection.execute("PRAGMA quick_check(3)").fetchmany(3)]
    except sqlite3.OperationalError as error:
        if "interrupted" in str(error):
            return ok(f"{found}; too large to be checked whole in {CHECK_SECONDS:g} s")
        if "locked" in str(error):
            return warn(f"{path} is locked by another program", "Look who holds it: fuser -v FILE.")
        return fail(f"{path}: {error}", fix)
    except sqlite3.Error as error:
        return fail(f"{path}: {error}", fix)
    finally:
        connection.close()
    return ok(found) if problems == ["ok"] else fail(f"{path} is damaged: {'; '.join(problems)}", fix)


def sqlite(ground: Ground) -> Check:
    """Check the SQLite library that Python brings."""
    if sqlite3.sqlite_version_info < WAL_FIXED:
        return ok(f"{sqlite3.sqlite_version}; 3.51.3 fixed a rare corruption of WAL databases, unless back-ported here")
    return ok(sqlite3.sqlite_version)
