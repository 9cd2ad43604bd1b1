"""The directory of a download: what is to come (`spec.json`), how far it is (`state.json`), who works on it (`lock`).

Only the process of a download writes its state. A face writes what it asks for (`asked`) and sends a signal. Standard
library only: a download that waits for its turn has loaded no more than this.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vllm_studio_tui.domain.download import Download, DownloadPlan, DownloadState, PlannedFile
from vllm_studio_tui.domain.field_checks import whole
from vllm_studio_tui.keeper.files import take_lock
from vllm_studio_tui.kit import safe_json
from vllm_studio_tui.kit.paths import private_dir, write_atomic
from vllm_studio_tui.models.pulling.file_names import usable
from vllm_studio_tui.models.pulling.locks import is_locked

SPEC, STATE, LOCK, LOG, ASKED = "spec.json", "state.json", "lock", "download.log", "asked"
#: Bytes of a spec or a state; more was not written by us.
MOST = 32 << 20
PAUSE = "pause"
_DIGEST = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class DownloadSpec:
    """What is to be downloaded. It holds no token: each process finds its own."""

    id: str
    repo: str
    revision: str
    commit: str
    endpoint: str
    cache: str
    target: str
    files: tuple[PlannedFile, ...]
    quantization: str = ""
    created: float = 0.0
    #: Digests of what was on the disk before: cancelling leaves it there.
    before: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        return sum(one.size for one in self.files)

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "repo": self.repo,
            "revision": self.revision,
            "commit": self.commit,
            "endpoint": self.endpoint,
            "cache": self.cache,
            "target": self.target,
            "quantization": self.quantization,
            "created": self.created,
            "before": list(self.before),
            "files": [[one.name, one.size, one.digest] for one in self.files],
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> DownloadSpec:
        """Read a spec.

        Raises:
            ValueError, TypeError, KeyError: It cannot be understood.
        """
        files = tuple(PlannedFile(str(name), int(size), str(digest)) for name, size, digest in data["files"])
        if not all(usable(one.name) and _DIGEST.fullmatch(one.digest) and one.size >= 0 for one in files):
            raise ValueError("a file that cannot be one")
        texts = {name: str(data[name]) for name in ("id", "repo", "revision", "commit", "endpoint", "cache", "target")}
        return cls(
            **texts,
            files=files,
            quantization=str(data.get("quantization") or ""),
            created=_time(data.get("created")),
            before=tuple(str(one) for one in data.get("before") or ()),
        )


@dataclass(frozen=True, slots=True)
class State:
    """How far a download is, as its process wrote it."""

    state: DownloadState = DownloadState.QUEUED
    bytes_done: int = 0
    files_done: int = 0
    speed: float | None = None
    error: str = ""
    advice: str = ""
    #: When it took its place in the queue, in nanoseconds since the epoch.
    queued: int = 0
    pid: int | None = None
    start: int | None = None
    changed: float = field(default_factory=time.time)

    def to_json(self) -> dict[str, Any]:
        return {
            "state": self.state.value,
            "bytes_done": self.bytes_done,
            "files_done": self.files_done,
            "speed": self.speed,
            "error": self.error,
            "advice": self.advice,
            "queued": self.queued,
            "pid": self.pid,
            "start": self.start,
            "changed": self.changed,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> State:
        return cls(
            DownloadState(str(data.get("state"))),
            _count(data.get("bytes_done")),
            _count(data.get("files_done")),
            _time(data.get("speed")) or None,
            str(data.get("error") or "")[:2000],
            str(data.get("advice") or "")[:2000],
            _count(data.get("queued")),
            _count(data.get("pid")) or None,
            _count(data.get("start")) or None,
            _time(data.get("changed")),
        )


def read_spec(folder: Path) -> DownloadSpec | None:
    """Return what is to come; None where that cannot be read."""
    try:
        return DownloadSpec.from_json(_object(folder / SPEC))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def read_state(folder: Path) -> State:
    """Return the state as it was last written; of a torn one nothing is known but that it is not done."""
    try:
        return State.from_json(_object(folder / STATE))
    except (OSError, ValueError, TypeError):
        return State(changed=0.0)


def write_state(folder: Path, state: State, *, lasting: bool = True) -> None:
    """Replace the state; figures that are written again in a second need not survive a power cut.

    Raises:
        OSError: It cannot be written.
    """
    data = json.dumps(state.to_json(), separators=(",", ":")).encode()
    if lasting:
        write_atomic(folder / STATE, data)
        return
    new = folder / f".{STATE}.new"
    new.write_bytes(data)
    new.chmod(0o600)
    new.replace(folder / STATE)


def is_held(folder: Path) -> bool:
    """Return whether a process works on it, or waits to."""
    return is_locked(folder / LOCK)


def create(root: Path, plan: DownloadPlan, *, endpoint: str, cache: Path) -> DownloadSpec:
    """Make the directory of a download.

    Raises:
        OSError: It cannot be written.
    """
    private_dir(root)
    stem = "".join(letter if letter.isalnum() else "-" for letter in plan.repo.rsplit("/", 1)[-1].lower())[:40].strip(
        "-"
    )
    while True:
        name = f"{stem or 'model'}-{secrets.token_hex(2)}"
        with contextlib.suppress(FileExistsError):
            (root / name).mkdir(mode=0o700)
            break
    spec = DownloadSpec(
        name,
        plan.repo,
        plan.revision,
        plan.commit,
        endpoint,
        str(cache),
        plan.target,
        plan.files,
        plan.quantization,
        time.time(),
        tuple(one.digest for one in plan.files if one.here == one.size),
    )
    write_atomic(root / name / SPEC, json.dumps(spec.to_json(), separators=(",", ":")).encode())
    write_state(root / name, State(bytes_done=plan.here, queued=time.time_ns()))
    return spec


def begin(folder: Path, prefix: Sequence[str] = ()) -> bool:
    """Start the process of a download, which outlives us; False: it has one, or was refused.

    Args:
        prefix: What the command begins with: what puts it into a scope of systemd.

    Raises:
        OSError: It cannot be started.
    """
    fd = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not take_lock(fd):
            return False
        with contextlib.suppress(OSError):
            (folder / ASKED).unlink()
        old = read_state(folder)
        write_state(
            folder, replace(old, state=DownloadState.QUEUED, speed=None, error="", advice="", queued=time.time_ns(),
                            pid=None, start=None, changed=time.time()),
        )  # fmt: skip
        with (folder / LOG).open("ab") as log:
            os.chmod(folder / LOG, 0o600)  # noqa: PTH101, RUF100
            child = subprocess.Popen(
                [*prefix, sys.executable, "-m", "vllm_studio_tui.models.pulling", str(folder), "--lock-fd", str(fd)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(fd,),
                start_new_session=True,
                cwd="/",
            )
        child.wait(timeout=30)  # it detaches once it has read its spec
        return child.returncode == 0
    except subprocess.TimeoutExpired:
        return False
    finally:
        os.close(fd)


def view(folder: Path) -> Download | None:
    """Return a download as its directory says; None where there is none that can be read."""
    held = is_held(folder)  # before the state: one that ends between is seen as ended
    spec, state = read_spec(folder), read_state(folder)
    if spec is None:
        return None
    error, advice, now = state.error, state.advice, state.state
    if now.live and not held:
        now = DownloadState.PAUSED
        error = "interrupted: its process was ended, or the machine restarted"
        advice = "Resume it: it goes on where it was."
    speed = state.speed if now is DownloadState.RUNNING else None
    left = (spec.total - state.bytes_done) / speed if speed else None
    return Download(
        id=folder.name,
        repo=spec.repo,
        revision=spec.revision,
        state=now,
        quantization=spec.quantization,
        bytes_done=min(state.bytes_done, spec.total),
        bytes_total=spec.total,
        speed=speed,
        seconds_left=left,
        path=spec.target,
        error=error,
        advice=advice,
        files_done=state.files_done,
        files_total=len(spec.files),
        started=spec.created,
        changed=state.changed,
    )


def _count(value: Any) -> int:
    return int(value) if whole(value) and value > 0 else 0


def _time(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e13 else 0.0


def _object(path: Path) -> dict[str, Any]:
    with path.open("rb") as stream:
        raw = stream.read(MOST + 1)
    data = safe_json.loads(raw) if len(raw) <= MOST else None
    if not isinstance(data, dict):
        raise ValueError(f"{path.name} holds no object")
    return data
