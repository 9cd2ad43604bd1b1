"""Which files of a model something else uses as well: another revision, another model, or another name of the file."""

from __future__ import annotations

import os
from collections.abc import Iterable

from vllm_studio_tui.domain.model import Source
from vllm_studio_tui.models.inventory.found import Found
from vllm_studio_tui.models.inventory.ollama import layers_of, manifests
from vllm_studio_tui.models.inventory.walking import Budget, walk


def shared_files(found: Found, others: Iterable[Found]) -> set[str]:
    """Return the paths of those files of a model whose bytes others use. Blocking; it never raises.

    Args:
        others: All other models that lie here.
    """
    needed = {file.path for other in others for file in other.files}
    if found.source == Source.HUB and found.repo:
        needed |= _of_other_revisions(found)
    if found.source == Source.OLLAMA:
        needed |= _of_other_manifests(found)
    if found.source != Source.HUB:
        needed |= {one.path for one in found.files if os.path.islink(one.path)}  # noqa: PTH114, RUF100
    return {one.path for one in found.files if one.path in needed or _real(one.path) in needed or _names(one.path) > 1}


def _of_other_revisions(found: Found) -> set[str]:
    """Return the blobs that other snapshots of a repository lead to."""
    own = os.path.join(found.repo, "snapshots", found.revision)  # noqa: PTH118, RUF100
    return {
        _real(folder.under(name))
        for folder in walk(os.path.join(found.repo, "snapshots"), Budget(seconds=1.0))  # noqa: PTH118, RUF100
        if folder.path != own and not folder.path.startswith(f"{own}/")
        for name in folder.files
    }


def _of_other_manifests(found: Found) -> set[str]:
    """Return the blobs that other manifests of Ollama name."""
    return {
        os.path.join(found.origin, "blobs", layer.blob)  # noqa: PTH118, RUF100
        for _, path in manifests(found.origin, Budget(seconds=1.0))
        if path != found.repo
        for layer in layers_of(path) or ()
    }


def _names(path: str) -> int:
    """Return how many names the file itself has: hard links."""
    try:
        return os.stat(path).st_nlink  # noqa: PTH116, RUF100
    except (OSError, ValueError):
        return 1


def _real(path: str) -> str:
    try:
        return os.path.realpath(path)
    except (OSError, ValueError):
        return path
