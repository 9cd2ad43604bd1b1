"""What deleting a model takes from the disk, planned first: its own files, and nothing that others need."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.model import Kind, Source
from vllm_studio_tui.models.inventory.found import Found
from vllm_studio_tui.models.inventory.ollama import layers_of, manifests
from vllm_studio_tui.models.inventory.walking import Budget

if TYPE_CHECKING:
    from huggingface_hub import HFCacheInfo

#: Files that llama.cpp keeps beside a file that it downloaded.
SIDE_FILES = (".etag", ".json")


@dataclass(frozen=True, slots=True)
class Removal:
    """What is taken away.

    Attributes:
        files: Files and links to unlink; those of an own kind of store come from its rules.
        folders: Folders that are taken away with all that is in them.
        empty: Folders that are taken away if nothing is left in them, the deepest first.
        frees: Bytes that come free.
        keeps: Bytes of the model that others use as well, and that stay.
        stays: What of its folder is left, by name.
        strategy: The hub's own plan, which does it.
    """

    files: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()
    frees: int = 0
    keeps: int = 0
    stays: tuple[str, ...] = ()
    strategy: Any = None

    @property
    def paths(self) -> tuple[str, ...]:
        """Return everything that is deleted, for people."""
        if self.strategy is None:
            return (*self.folders, *self.files)
        one = self.strategy
        return tuple(sorted(str(path) for group in (one.repos, one.snapshots, one.files) for path in group))


def plan_removal(found: Found, others: Iterable[Found], revision: str = "") -> Removal:
    """Return what deleting a model would take away. Blocking.

    Args:
        others: All other models that lie here.
        revision: Of a model in the hub's cache, only this commit, by its beginning, or branch.

    Raises:
        StudioError: That cannot be told.
    """
    if found.source == Source.HUB:
        return _of_hub(found, revision)
    if found.source == Source.OLLAMA:
        return _of_ollama(found)
    return _of_folder(found, list(others))


def carry_out(removal: Removal) -> None:
    """Delete what was planned. Blocking.

    Raises:
        OSError: Something could not be deleted; what was deleted before that is gone.
    """
    if removal.strategy is not None:
        removal.strategy.execute()
    for path in removal.files:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)  # noqa: PTH108, RUF100
    for path in removal.folders:
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(path)
    for path in removal.empty:
        with contextlib.suppress(OSError):
            os.rmdir(path)  # noqa: PTH106, RUF100


# --- folders --------------------------------------------------------------------------------------------


def _of_folder(found: Found, others: list[Found]) -> Removal:
    if os.path.islink(found.path):  # noqa: PTH114, RUF100
        return Removal(files=(found.path,), keeps=found.bytes, stays=(os.path.realpath(found.path),))
    needed = {file.path for other in others for file in other.files}
    files = [one.path for one in found.files if one.path not in needed]
    folder = found.path if found.kind != Kind.GGUF else os.path.dirname(found.path)  # noqa: PTH120, RUF100
    folders = []
    if found.kind == Kind.GGUF:
        files += [side for one in files for end in SIDE_FILES if os.path.isfile(side := one + end)]  # noqa: PTH113, RUF100
    else:
        notes = os.path.join(folder, ".cache", "huggingface")  # noqa: PTH118, RUF100
        folders = [notes] if os.path.isdir(notes) and not os.path.islink(notes) else []  # noqa: PTH112, PTH114, RUF100
    empty = [os.path.join(folder, ".cache"), folder] if folder != found.origin else []  # noqa: PTH118, RUF100
    frees, keeps = _sizes(files)
    gone = {os.path.basename(one) for one in files} | {".cache"}  # noqa: PTH119, RUF100
    with contextlib.suppress(OSError):
        stays = sorted(name for name in os.listdir(folder) if name not in gone) if folder != found.origin else []  # noqa: PTH208, RUF100
        return Removal(tuple(files), tuple(folders), tuple(empty), frees, keeps, tuple(stays))
    return Removal(tuple(files), tuple(folders), tuple(empty), frees, keeps)


def _sizes(files: Iterable[str]) -> tuple[int, int]:
    """Return the bytes that come free with these files, and those that other names of them keep."""
    names: Counter[tuple[int, int]] = Counter()
    known: dict[tuple[int, int], os.stat_result] = {}
    for path in files:
        try:
            status = os.lstat(path)
        except OSError:
            continue
        names[status.st_dev, status.st_ino] += 1
        known[status.st_dev, status.st_ino] = status
    frees = sum(one.st_size for key, one in known.items() if one.st_nlink <= names[key])
    return frees, sum(one.st_size for one in known.values()) - frees


# --- the hub's cache ------------------------------------------------------------------------------------


def _of_hub(found: Found, revision: str) -> Removal:
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        cache = scan_cache_dir(found.origin)
    except (CacheNotFound, OSError, ValueError) as error:
        raise StudioError(f"the cache {found.origin} cannot be read", cause=str(error)) from None
    repo = next((one for one in cache.repos if str(one.repo_path) == os.path.realpath(found.repo)), None)
    if repo is None:
        # A download that never got to a file, or a repository whose parts do not fit: nothing else can use it.
        if os.path.islink(found.repo):  # noqa: PTH114, RUF100
            raise StudioError(f"{found.repo} is a link", advice="Delete what it leads to by hand.")
        frees, keeps = _sizes(os.path.join(at, name) for at, _, names in os.walk(found.repo) for name in names)  # noqa: PTH118, RUF100
        return Removal(folders=(found.repo,), frees=frees, keeps=keeps)
    if found.kind == Kind.GGUF and not revision:
        return _files_of_hub(found, cache, repo)
    hashes = [
        one.commit_hash
        for one in repo.revisions
        if not revision or one.commit_hash.startswith(revision) or revision in one.refs
    ]
    if not hashes:
        known = ", ".join(sorted(one.commit_hash[:12] for one in repo.revisions))
        raise StudioError(f"{found.name} has no revision {revision[:80]}", cause=f"There are: {known}.")
    strategy = cache.delete_revisions(*hashes)
    total = sum(one.size_on_disk for one in repo.revisions if one.commit_hash in hashes)
    frees = strategy.expected_freed_size
    if len(hashes) == len(repo.revisions):
        # The rest of downloads that were not finished goes with it.
        frees += sum(one.size_on_disk for one in cache.incomplete_files if repo.repo_path in one.file_path.parents)
        total = repo.size_on_disk
    return Removal(strategy=strategy, frees=frees, keeps=max(0, total - frees))


def _files_of_hub(found: Found, cache: HFCacheInfo, repo: Any) -> Removal:
    """Return the removal of one quantization from a repository, in all revisions; of the last, of all of it."""
    wanted = {os.path.realpath(one.path) for one in found.weights}
    entries = [
        one
        for revision in repo.revisions
        for one in revision.files
        if os.path.realpath(one.file_path) in wanted
    ]  # fmt: skip
    weights = [one for revision in repo.revisions for one in revision.files if one.file_name.endswith(".gguf")]
    if {one.file_path for one in weights} <= {one.file_path for one in entries}:
        strategy = cache.delete_revisions(*(one.commit_hash for one in repo.revisions))
        return Removal(strategy=strategy, frees=strategy.expected_freed_size)
    strategy = cache.delete_files(*entries)
    return Removal(strategy=strategy, frees=strategy.expected_freed_size)


# --- Ollama ---------------------------------------------------------------------------------------------


def _of_ollama(found: Found) -> Removal:
    """Return the removal of a manifest, and of the layers that no other manifest names."""
    own = {layer.blob for layer in layers_of(found.repo) or ()}
    for _, path in manifests(found.origin, Budget()):
        if os.path.realpath(path) == os.path.realpath(found.repo):
            continue
        layers = layers_of(path)
        if layers is None:
            raise StudioError(
                f"{path} cannot be read", cause="Whether another model needs the same files cannot be told."
            )
        own -= {layer.blob for layer in layers}
    blobs = [one for one in found.files if os.path.basename(one.path) in own]  # noqa: PTH119, RUF100
    shared = sum(one.bytes for one in found.files) - sum(one.bytes for one in blobs)
    frees, keeps = _sizes(one.path for one in blobs)
    parent = os.path.dirname(found.repo)  # noqa: PTH120, RUF100
    return Removal((found.repo, *(one.path for one in blobs)), (), (parent,), frees, keeps + shared)
