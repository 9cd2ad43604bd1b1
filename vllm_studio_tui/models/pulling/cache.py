"""The cache of huggingface_hub, as far as downloads touch it.

Its layout is the library's: `models--OWNER--NAME/` with `blobs/DIGEST`, `snapshots/COMMIT/NAME` that link to them,
`refs/REVISION` and, beside all repositories, `.locks/`. What has come of a file lies in `blobs/DIGEST.incomplete`, as
in earlier versions of the library.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from vllm_studio_tui.domain.download import PlannedFile
from vllm_studio_tui.models.hub_client import HubFile
from vllm_studio_tui.models.pulling.file_names import usable
from vllm_studio_tui.models.pulling.locks import is_locked

#: Room that is left on a disk: what else is written there must not fail because of us.
RESERVE = 512 << 20


@dataclass(frozen=True, slots=True)
class RepoCache:
    """The folder of one repository in a cache."""

    root: Path
    repo: str

    @property
    def folder(self) -> Path:
        return self.root / self._name

    @property
    def _name(self) -> str:
        return f"models--{self.repo.replace('/', '--')}"

    def blob(self, digest: str) -> Path:
        return self.folder / "blobs" / digest

    def partial(self, digest: str) -> Path:
        """Return what has come of a file."""
        return self.folder / "blobs" / f"{digest}.incomplete"

    def lock(self, digest: str) -> Path:
        """Return the file that whoever fetches a blob holds locked, the library as well."""
        return self.root / ".locks" / self._name / f"{digest}.lock"

    def snapshot(self, commit: str) -> Path:
        return self.folder / "snapshots" / commit

    def here(self, file: HubFile | PlannedFile, commit: str = "") -> int:
        """Return how many bytes of a file are on the disk."""
        whole = _size(self.blob(file.digest))
        if whole is None and commit:
            whole = _size(self.snapshot(commit) / file.name)  # without links: a copy in the snapshot
        if whole is not None:
            return file.size
        part = _size(self.partial(file.digest))
        return 0 if part is None or part > file.size else part

    def write_ref(self, revision: str, commit: str) -> None:
        """Note which commit a branch or tag is at, as the library does; whoever is offline finds it there."""
        if revision == commit or not usable(revision):
            return
        path = self.folder / "refs" / revision
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(OSError):
            if path.read_text(encoding="ascii", errors="replace") == commit:
                return
        new = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        new.write_text(commit, encoding="ascii")
        new.replace(path)

    def missing(self, names: Iterable[str], commit: str) -> list[str]:
        """Return the files that a snapshot lacks."""
        folder = self.snapshot(commit)
        return [name for name in names if not (folder / name).is_file()]

    def discard(self, digests: Iterable[str]) -> int:
        """Delete blobs, whole and partial, that no snapshot leads to and that nobody fetches just now; return the bytes
        that came free."""
        used = self._used()
        freed = 0
        for digest in dict.fromkeys(digests):
            if is_locked(self.lock(digest)):  # another home's download, or the library
                continue
            paths = [self.partial(digest), *([self.blob(digest)] if digest not in used else [])]
            for path in paths:
                with contextlib.suppress(OSError):
                    found = path.lstat()
                    path.unlink()
                    freed += found.st_blocks * 512
        for folder in (self.folder / "blobs", self.folder / "snapshots", self.folder):
            with contextlib.suppress(OSError):
                folder.rmdir()  # only where it is empty
        return freed

    def _used(self) -> set[str]:
        """Return the blobs to which files of snapshots lead."""
        used = set()
        for folder, _, names in os.walk(self.folder / "snapshots"):
            for name in names:
                with contextlib.suppress(OSError):
                    used.add((Path(folder) / name).readlink().name)
        return used


def room_at(path: Path) -> int | None:
    """Return how many bytes may be written where a folder is or will be; None: it cannot be found out."""
    for one in (path, *path.parents):
        try:
            found = os.statvfs(one)
        except FileNotFoundError:
            continue
        except OSError:
            return None
        # A disk of a few gigabytes keeps less back than a large one.
        reserve = min(RESERVE, found.f_blocks * found.f_frsize // 20)
        return max(0, found.f_bavail * found.f_frsize - reserve)
    return None


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except (OSError, ValueError):
        return None
