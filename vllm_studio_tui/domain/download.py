"""Downloads of models from a hub: what would come, and how far one is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from vllm_studio_tui.kit.iso_time import iso_time


class DownloadState(StrEnum):
    """Where a download stands."""

    QUEUED = "queued"  # another one goes first
    RUNNING = "running"
    PAUSED = "paused"  # by a person, by a full disk, or because its process was ended; `error` says which
    FAILED = "failed"  # it cannot go on as things are; `error` and `advice` say why and what to do
    DONE = "done"

    @property
    def live(self) -> bool:
        """Return whether a process works on it, or waits to."""
        return self in (DownloadState.QUEUED, DownloadState.RUNNING)


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """A file of a repository that a download brings.

    Attributes:
        size: Its bytes.
        here: How many of them are on the disk: all of them, or what an earlier try brought.
        digest: What the hub says of its content: the sha256 of a large file, git's sha1 of a small one. Lower-case hex.
    """

    name: str
    size: int
    digest: str
    here: int = 0


@dataclass(frozen=True, slots=True)
class SkippedFiles:
    """Files of a repository that are left where they are, and why."""

    names: tuple[str, ...]
    bytes: int
    why: str


@dataclass(frozen=True, slots=True)
class DownloadPlan:
    """What a download would bring.

    Attributes:
        repo: The name on the hub, as `Qwen/Qwen3-0.6B`.
        revision: What was asked for: a branch, a tag or a commit.
        commit: The commit that it is at now; just this one is downloaded.
        quantization: The one that was chosen of a GGUF repository; empty where there was nothing to choose.
        choices: The quantizations that there are in a GGUF repository, with the bytes of each.
        skipped: What is not downloaded, by why.
        folder: The folder of the cache that it goes to.
        room: Bytes that are free on its disk; None: unknown.
        gated: The hub gives it only to those who accepted its terms.
        licence: As the repository names it; empty where it does not.
        page: Where to read of it, and to accept its terms.
        target: What it will be to a recipe's `model_path`: its name, the snapshot's folder, or the GGUF file in it.
        warnings: What a person should know before: its weights are pickled, code of its own, ..
    """

    repo: str
    revision: str
    commit: str
    files: tuple[PlannedFile, ...]
    quantization: str = ""
    choices: tuple[tuple[str, int], ...] = ()
    skipped: tuple[SkippedFiles, ...] = ()
    folder: str = ""
    room: int | None = None
    gated: bool = False
    licence: str = ""
    page: str = ""
    target: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        """Return the bytes of all its files."""
        return sum(one.size for one in self.files)

    @property
    def here(self) -> int:
        """Return how many of them are on this machine already."""
        return sum(one.here for one in self.files)

    @property
    def missing(self) -> int:
        """Return how many bytes have to come."""
        return self.bytes - self.here

    @property
    def fits(self) -> bool | None:
        """Return whether the disk has room for what is missing; None where that is unknown."""
        return None if self.room is None else self.missing <= self.room

    def to_json(self) -> dict[str, Any]:
        """Return it as `models pull --dry-run --json` prints it."""
        return {
            "repo": self.repo,
            "revision": self.revision,
            "commit": self.commit,
            "quantization": self.quantization or None,
            "choices": [{"quantization": name, "bytes": size} for name, size in self.choices],
            "files": [
                {"name": one.name, "bytes": one.size, "here": one.here, "digest": one.digest} for one in self.files
            ],
            "skipped": [{"names": list(one.names), "bytes": one.bytes, "why": one.why} for one in self.skipped],
            "bytes": self.bytes,
            "here": self.here,
            "missing": self.missing,
            "folder": self.folder,
            "room": self.room,
            "fits": self.fits,
            "gated": self.gated,
            "licence": self.licence or None,
            "page": self.page,
            "path": self.target,
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True, slots=True)
class Download:
    """A download, as its directory says.

    Attributes:
        id: Its name, for `pause`, `resume`, `cancel` and `forget`.
        quantization: Which one of a GGUF repository; empty where there was nothing to choose.
        bytes_done: Bytes that are on the disk, those that were there before with them.
        speed: Bytes a second of the last seconds; None while nothing comes.
        path: What to name in a recipe, once it is done; before that where it will be. Empty where that is not known.
        error: Why it is paused or failed, one line; while it runs, what it waits for; else empty.
        advice: What to do about that.
        started, changed: Seconds since the epoch.
    """

    id: str
    repo: str
    revision: str
    state: DownloadState
    quantization: str = ""
    bytes_done: int = 0
    bytes_total: int | None = None
    speed: float | None = None
    seconds_left: float | None = None
    path: str = ""
    error: str = ""
    advice: str = ""
    files_done: int = 0
    files_total: int | None = None
    started: float = 0.0
    changed: float = 0.0

    @property
    def name(self) -> str:
        """Return the repository, with the quantization where one was chosen."""
        return f"{self.repo}:{self.quantization}" if self.quantization else self.repo

    @property
    def share(self) -> float | None:
        """Return how much of it is here, 0-1; None while its size is not known."""
        if self.bytes_total is None:
            return None
        return min(1.0, self.bytes_done / self.bytes_total) if self.bytes_total else 1.0

    def to_json(self) -> dict[str, Any]:
        """Return it as `models downloads --json` prints it."""
        return {
            "id": self.id,
            "repo": self.repo,
            "revision": self.revision,
            "quantization": self.quantization or None,
            "state": self.state.value,
            "bytes_done": self.bytes_done,
            "bytes_total": self.bytes_total,
            "speed": self.speed,
            "seconds_left": self.seconds_left,
            "path": self.path,
            "error": self.error or None,
            "advice": self.advice or None,
            "files_done": self.files_done,
            "files_total": self.files_total,
            "started": iso_time(self.started),
            "changed": iso_time(self.changed),
        }


@dataclass(frozen=True, slots=True)
class Cancelled:
    """A download that was ended for good, and the bytes that came free on the disk."""

    download: Download
    freed: int
