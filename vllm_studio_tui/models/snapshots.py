"""Where a model of the hub lies in its cache on this machine."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from vllm_studio_tui.kit.file_access import is_folder
from vllm_studio_tui.models.local import hub_cache

_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?")
_COMMIT = re.compile(r"[0-9A-Za-z._-]{1,100}")


def cached_model(name: str, environ: Mapping[str, str], revision: str = "main") -> Path | None:
    """Return the snapshot of a name, or of `NAME:QUANT` its GGUF file; None where it is not in the cache. Blocking."""
    repo, _, quant = name.partition(":")
    if not _NAME.fullmatch(repo):
        return None
    folder = hub_cache(environ) / f"models--{repo.replace('/', '--')}"
    snapshot = _snapshot(folder, revision)
    if snapshot is None or not quant:
        return snapshot
    try:
        files = sorted(one for one in snapshot.iterdir() if one.name.lower().endswith(".gguf"))
    except OSError:
        return None
    return next((one for one in files if quant.lower() in one.name.lower()), None)


def _snapshot(folder: Path, revision: str) -> Path | None:
    snapshots = folder / "snapshots"
    try:
        commit = (folder / "refs" / revision).read_bytes()[:200].decode(errors="replace").strip()
        if _COMMIT.fullmatch(commit) and is_folder(snapshots / commit):
            return snapshots / commit
    except (OSError, ValueError):
        pass
    try:
        return max(snapshots.iterdir(), key=lambda one: one.stat().st_mtime, default=None)
    except OSError:
        return None
