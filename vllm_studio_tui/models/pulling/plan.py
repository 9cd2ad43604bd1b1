"""Find out what a download would bring: which files, how large, what of it is here, and whether there is room."""

from __future__ import annotations

from collections.abc import Sequence

from vllm_studio_tui.domain.download import DownloadPlan, PlannedFile, SkippedFiles
from vllm_studio_tui.models.hub_client import HubAccess, HubClient
from vllm_studio_tui.models.pulling.cache import RepoCache, room_at
from vllm_studio_tui.models.pulling.choice import choose
from vllm_studio_tui.models.pulling.names import read_name


def make_plan(
    access: HubAccess,
    text: str,
    *,
    revision: str | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
) -> DownloadPlan:
    """Ask the hub for a repository, and choose of its files. Blocking.

    Args:
        text: What a person named: `OWNER/NAME`, `OWNER/NAME:Q4_K_M`, an address.

    Raises:
        UsageError: It is no name, or a quantization has to be chosen.
        HubError: The hub does not give it, or cannot be reached.
        NotFound: The repository has no such file.
    """
    name = read_name(text)
    with HubClient(access) as hub:
        found = hub.repository(name.repo, revision or name.revision)
        chosen = choose(found.files, part=name.part, include=include, exclude=exclude)
        if found.gated:
            hub.check_access(name.repo)
        page = hub.page(name.repo)
    cache = RepoCache(access.cache, name.repo)
    files = tuple(PlannedFile(one.name, one.size, one.digest, cache.here(one, found.commit)) for one in chosen.files)
    skipped = chosen.skipped
    if found.unusable:
        skipped = (*skipped, SkippedFiles(found.unusable, 0, "their names are no names of files here"))
    warnings = chosen.warnings
    if any(one.name.endswith(".py") for one in files):
        warnings = (*warnings, "it brings Python code of its own, which runs where an engine is told to trust it")
    if chosen.first:
        target = str(cache.snapshot(found.commit) / chosen.first)
    else:
        target = name.repo if found.revision == "main" else str(cache.snapshot(found.commit))
    return DownloadPlan(
        repo=name.repo,
        revision=found.revision,
        commit=found.commit,
        files=files,
        quantization=chosen.quantization,
        choices=chosen.quantizations,
        skipped=skipped,
        folder=str(cache.folder),
        room=room_at(cache.folder),
        gated=found.gated,
        licence=found.licence,
        page=page,
        target=target,
        warnings=warnings,
    )
