"""Deleting a model: what it frees, who needs it, and that nobody has it loaded."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import replace

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.model import Deletion, Model, Source
from vllm_studio_tui.kit.open_files import holders
from vllm_studio_tui.models.inventory.found import Found
from vllm_studio_tui.models.inventory.removal import Removal, carry_out, plan_removal

#: Programs whose stores are theirs, and what they say for it.
OWNERS = {Source.OLLAMA: "Ollama", Source.LMSTUDIO: "LM Studio"}


def plan_deletion(
    model: Model,
    found: Found,
    others: Iterable[Found],
    *,
    runs: Sequence[str],
    downloads: Sequence[str] = (),
    revision: str = "",
) -> tuple[Deletion, Removal]:
    """Return what deleting a model would do. Blocking.

    Args:
        runs: Ids of the live runs that use it.
        downloads: Ids of the downloads that bring it just now.
        revision: Only this one, of a model in the hub's cache.

    Raises:
        StudioError: That cannot be told.
    """
    removal = plan_removal(found, others, revision)
    refused, advice = "", ""
    if runs:
        refused = f"it is loaded by {', '.join(runs)}"
        advice = f"Stop it first: vllm-studio stop {runs[0]}"
    elif downloads:
        refused = f"it is being downloaded ({', '.join(downloads)})"
        advice = "Cancel that download instead, or pause it first."
    elif held := holders([os.path.realpath(one.path) for one in found.files]):
        refused = "it is open in " + ", ".join(f"{name} (pid {pid})" for pid, name in sorted(held.items())[:5])
        advice = "End that program first."
    elif trouble := _unwritable(removal):
        refused = trouble
        advice = "Delete it as a user who may, or give yourself the right to."
    elif not removal.paths:
        refused = "none of its files is its alone"
    owner = OWNERS.get(Source(found.source), "")
    if not refused and owner:
        advice = _way_of(owner, model)
    if not advice and removal.stays:
        advice = f"It stays: {', '.join(removal.stays[:5])}" + (", .." if len(removal.stays) > 5 else "")
    deletion = Deletion(
        model, removal.frees, removal.keeps, removal.paths, model.recipes, tuple(runs), owner, refused, advice
    )
    return deletion, removal


def carry_out_deletion(deletion: Deletion, removal: Removal, *, of_others: bool) -> Deletion:
    """Delete what was planned. Blocking.

    Args:
        of_others: Also from a store that belongs to another program.

    Raises:
        StudioError: It may not be deleted, or could not.
    """
    if deletion.refused:
        raise StudioError(
            f"{deletion.model.name} is not deleted", cause=_sentence(deletion.refused), advice=deletion.advice
        )
    if deletion.owner and not of_others:
        raise StudioError(
            f"{deletion.model.name} is not deleted", cause=f"It lies in a store of {deletion.owner}.",
            advice=deletion.advice,
        )  # fmt: skip
    try:
        carry_out(removal)
    except OSError as error:
        raise StudioError(
            f"{deletion.model.name} was not deleted to its end",
            cause=f"{error.filename or deletion.model.path}: {error.strerror or error}",
            advice="Delete it again, once that is mended.",
        ) from error
    left = [path for path in removal.paths if os.path.lexists(path)]
    if left:
        raise StudioError(
            f"{deletion.model.name} was not deleted to its end",
            cause=f"{len(left)} of its files are still there, as {left[0]}.",
            advice="Delete it again, once that is mended.",
        )
    return replace(deletion, done=True)


def _way_of(owner: str, model: Model) -> str:
    """Return what another program says to have a model of its own deleted."""
    if owner == "Ollama":
        found = shutil.which("ollama")
        return f"{'Ollama itself does it' if found else 'Where Ollama is installed'}: ollama rm {model.name}"
    return "LM Studio lists it under My Models, and deletes it there."


def _unwritable(removal: Removal) -> str:
    """Return what cannot be deleted for want of rights, in words; empty where nothing speaks against it."""
    for path in removal.paths:
        parent = os.path.dirname(path)  # noqa: PTH120, RUF100
        if os.path.lexists(path) and not os.access(parent, os.W_OK | os.X_OK):
            return f"{parent} cannot be written"
    return ""


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}."
