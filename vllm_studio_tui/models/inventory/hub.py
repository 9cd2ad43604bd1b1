"""Models in a cache of huggingface_hub: `models--OWNER--NAME` with `refs`, `snapshots/COMMIT` and `blobs`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

from vllm_studio_tui.domain.model import Kind, Source
from vllm_studio_tui.models.inventory.folders import folder_model, gguf_models
from vllm_studio_tui.models.inventory.found import Found, FoundFile
from vllm_studio_tui.models.inventory.walking import Budget, Folder, read_folder, read_small

PREFIX = "models--"
#: Folders of one snapshot, deep: a GGUF repository has one for each large quantization.
DEEP = 3


def repo_name(path: str) -> str:
    """Return the name on the hub of a repository's folder."""
    return path.rstrip("/").rpartition("/")[2].removeprefix(PREFIX).replace("--", "/")


def is_hub_cache(folder: Folder) -> bool:
    """Return whether a folder is a cache of the hub."""
    return any(name.startswith(PREFIX) for name in folder.folders)


def of_cache(folder: Folder, budget: Budget, *, by_name: bool) -> Iterator[Found]:
    """Yield the models of a cache. Blocking.

    Args:
        by_name: It is the one in which engines look: a name on the hub is path enough, and else the snapshot's folder.
    """
    for name in folder.folders:
        if budget.spent:
            budget.trouble(f"{folder.path} is too large to look through: not all of it was looked at")
            return
        if name.startswith(PREFIX):
            yield from _of_repo(folder, name, budget, by_name=by_name)


def _of_repo(cache: Folder, entry: str, budget: Budget, *, by_name: bool) -> Iterator[Found]:
    repo = read_folder(cache.under(entry), budget)
    if repo is None:
        return
    name = repo_name(entry)
    partly = _incomplete(repo, budget)
    snapshot = current_snapshot(repo, budget)
    found = list(_of_snapshot(snapshot, name, cache.path, budget, by_name=by_name)) if snapshot is not None else []
    if not found:
        if partly:
            words = "the download was not finished"
            path = name if by_name else repo.path
            yield Found(
                path, name, Source.HUB, cache.path, Kind.NOTHING, "", tuple(partly), words, False, repo=repo.path
            )
        return
    commit = snapshot.path.rpartition("/")[2] if snapshot is not None else ""
    about = _revisions(repo, budget)
    for one in found:
        # Whose the rest of a download is, its name does not say: it explains what is missing, and nothing else.
        missing = f"{one.missing} (a download was not finished)" if partly and one.missing else one.missing
        yield replace(one, missing=missing, revision=commit, repo=repo.path, about={**one.about, **about})


def current_snapshot(repo: Folder, budget: Budget) -> Folder | None:
    """Return the snapshot that a name alone means: that of `refs/main`, else the latest one. Blocking."""
    snapshots = read_folder(repo.under("snapshots"), budget)
    if snapshots is None or not snapshots.folders:
        return None
    main = read_small(repo.under("refs/main"), 200)
    commit = main.decode("ascii", "replace").strip() if main is not None else ""
    if commit not in snapshots.folders:
        commit = max(snapshots.folders, key=lambda one: (_changed(snapshots.under(one)), one))
    return read_folder(snapshots.under(commit), budget)


def _of_snapshot(snapshot: Folder, name: str, cache: str, budget: Budget, *, by_name: bool) -> Iterator[Found]:
    """Yield the models of a snapshot: one by name, and each GGUF file by its path."""
    model = folder_model(
        snapshot, source=Source.HUB, origin=cache, name=name, path=name if by_name else snapshot.path
    )  # fmt: skip
    if model is not None:
        gone = sorted(one for one in snapshot.broken if one not in snapshot.files)
        if gone and model.complete:
            model = replace(model, missing=f"the content of {', '.join(gone[:3])}", complete=False)
        yield model
    level = [snapshot]
    for _ in range(DEEP):
        for folder in level:
            yield from gguf_models(folder, source=Source.HUB, origin=cache)
        inside = [path for folder in level for path in map(folder.under, folder.folders)]
        level = [one for path in inside[:200] if (one := read_folder(path, budget)) is not None]


def _revisions(repo: Folder, budget: Budget) -> dict[str, str]:
    """Return the revisions of a repository that has several, each with the branches and tags that mean it."""
    again = Budget(entries=1000, seconds=0.5)  # this folder was read before, in this look
    snapshots = read_folder(repo.under("snapshots"), again)
    if snapshots is None or len(snapshots.folders) < 2:
        return {}
    refs = read_folder(repo.under("refs"), budget)
    named: dict[str, list[str]] = {}
    for name in sorted(refs.files) if refs is not None else ():
        data = read_small(repo.under(f"refs/{name}"), 200)
        named.setdefault(data.decode("ascii", "replace").strip() if data else "", []).append(name)
    words = [
        f"{one[:12]} ({', '.join(named[one])})" if one in named else one[:12] for one in snapshots.folders[:10]
    ]  # fmt: skip
    return {"revisions": ", ".join(words)}


def _incomplete(repo: Folder, budget: Budget) -> list[FoundFile]:
    """Return what a download that has not ended has left of blobs."""
    blobs = read_folder(repo.under("blobs"), budget)
    if blobs is None:
        return []
    return [
        FoundFile(blobs.under(name), *blobs.status(name), "weights")
        for name in sorted(blobs.files)
        if name.endswith(".incomplete")
    ]


def _changed(path: str) -> float:
    try:
        return os.stat(path).st_mtime  # noqa: PTH116, RUF100
    except OSError:
        return 0.0
