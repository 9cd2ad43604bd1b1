"""The directories of a home, and files that are never half written.

`VLLM_STUDIO_HOME=DIR` puts everything under DIR; otherwise the platform's own directories are used.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

APP = "vllm-studio"


def machine_id() -> str:
    """Return a short name of this host, stable over reboots, for homes that several hosts share."""
    for source in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        with contextlib.suppress(OSError):
            text = Path(source).read_text(encoding="ascii", errors="replace").strip()
            if text:
                return "".join(c for c in text if c.isalnum())[:12]
    return "".join(c if c.isalnum() else "-" for c in os.uname().nodename)[:32] or "host"


def boot_id() -> str:
    """Return the kernel's id of this boot; empty if it has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


@dataclass(frozen=True, slots=True)
class Places:
    """The directories of one home."""

    config: Path
    data: Path
    state: Path
    cache: Path

    @classmethod
    def of(cls, environ: Mapping[str, str] | None = None) -> Places:
        """Return the directories that the environment selects."""
        environ = os.environ if environ is None else environ
        home = environ.get("VLLM_STUDIO_HOME")
        if home:
            return cls.under(Path(home).expanduser().absolute())
        import platformdirs  # deferred: not needed under VLLM_STUDIO_HOME

        return cls(
            platformdirs.user_config_path(APP),
            platformdirs.user_data_path(APP),
            platformdirs.user_state_path(APP),
            platformdirs.user_cache_path(APP),
        )

    @classmethod
    def under(cls, home: Path) -> Places:
        """Return directories that are all under one directory."""
        return cls(home / "config", home / "data", home / "state", home / "cache")

    @property
    def runs(self) -> Path:
        """Return the directory of this machine's runs."""
        return self.state / "runs" / machine_id()

    @property
    def downloads(self) -> Path:
        """Return the directory of this machine's downloads of models."""
        return self.state / "downloads" / machine_id()

    @property
    def database(self) -> Path:
        return self.data / "studio.db"

    @property
    def samples(self) -> Path:
        """Return where this machine's samples are kept."""
        return self.state / "samples" / machine_id() / "samples.db"

    @property
    def alert_line(self) -> Path:
        """Return the file with the worst alert of this machine, for those who take no samples."""
        return self.samples.with_name("alert")

    @property
    def alerts_lock(self) -> Path:
        """Return the file that the program holds which keeps and tells this machine's alerts."""
        return self.samples.with_name("alerts.lock")

    @property
    def host_line(self) -> Path:
        """Return what this machine's watcher of hosts heard last, for the single line; its lock is beside it."""
        return self.state / "hosts" / machine_id() / "line.json"

    @property
    def unsaved(self) -> list[Path]:
        """Return the directories of recovery files."""
        return unsaved_folders(self.database, self.state, self.cache)

    @property
    def exports(self) -> Path:
        """Return the directory that is offered for what is written to files on request."""
        return self.data / "exports"

    @property
    def settings_file(self) -> Path:
        return self.config / "config.yaml"


def unsaved_folders(database: Path, *others: Path) -> list[Path]:
    """Return where recovery files of a database may be: beside it, else in the first place that can be written."""
    import hashlib  # deferred: most commands have nothing to recover
    import tempfile

    name = hashlib.sha256(os.fsencode(database.absolute())).hexdigest()[:12]
    last = Path(tempfile.gettempdir()) / f"{APP}-{os.getuid()}-{name}"
    return [*(place / "unsaved" for place in (database.parent, *others)), last]


def private_dir(path: Path) -> Path:
    """Make a directory, and its parents, that only its owner can enter."""
    if not path.is_dir():
        if path.parent != path:
            private_dir(path.parent)  # one by one: `parents=True` would make the parents with the umask's rights
        path.mkdir(mode=0o700, exist_ok=True)
    return path


def write_atomic(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Replace a file as a whole: a reader sees the old bytes or the new, never a part.

    Raises:
        OSError: The disk is full, or the directory cannot be written. The old file is untouched.
    """
    import tempfile  # deferred: what only reads does without

    fd, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(fd, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(mode)
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise


@contextlib.contextmanager
def locked(path: Path, *, timeout: float = 10.0) -> Iterator[None]:
    """Hold an exclusive `flock` on a file, waiting up to `timeout` seconds.

    Raises:
        TimeoutError: Somebody else held it for all that time.
    """
    import fcntl
    import time

    private_dir(path.parent)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + timeout
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise TimeoutError(f"{path.name} is held by another process") from None
                time.sleep(0.01)
        yield
    finally:
        os.close(fd)
