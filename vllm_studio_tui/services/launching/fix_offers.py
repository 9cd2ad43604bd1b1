"""What is offered to somebody whose run has failed: changes of its recipe, or why there is none.

A fix is computed from the recipe that failed. Once the recipe was changed it is no longer what failed, so that the same
fix cannot be taken twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from vllm_studio_tui.domain.errors import InvalidRecipe
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.domain.recipe_reading import parse_recipe
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.services.launching.fixes import Fix, fixes
from vllm_studio_tui.services.recipes.changes import Change, FieldChange, Proposal, compare

#: What a launch fills in by itself in the recipe of a run: the GPUs of `auto`, the demo's file.
_AUTO, _DEMO = ["auto"], "demo:"


@dataclass(frozen=True, slots=True)
class Offer:
    """Fixes as proposals, the best first; where there are none, why."""

    proposals: tuple[Proposal, ...] = ()
    why_not: str = ""


def offer(run: RunView, stored: Recipe, launched: Recipe | None = None) -> Offer:
    """Return the fixes of a failed run as changes of its recipe.

    Args:
        stored: The recipe as it is kept now.
        launched: The form that the run was launched with, where that is kept; None: the run's own copy is read.
    """
    base = launched or _recipe_of(run, stored)
    changed = compare(base, stored).launched if launched is not None else _since(base, stored)
    if changed:
        words = Change(stored.id, changed).words()
        return Offer(why_not=f"{stored.id} was changed since this run failed: {words}. Run it again to see.")
    found = tuple(made for one in fixes(run.status, base) if (made := _proposal(stored, one)) is not None)
    if found:
        return Offer(found)
    advice = f" {run.status.advice}" if run.status.advice else ""
    return Offer(why_not=f"No change of the recipe is known that would help.{advice}")


def _recipe_of(run: RunView, stored: Recipe) -> Recipe:
    """Return the recipe that a run carries; runs of the first versions carry none."""
    given: Mapping[str, Any] = run.spec.recipe if run.spec is not None else {}
    try:
        return parse_recipe({**given, "id": stored.id})[0]
    except InvalidRecipe:
        return stored


def _since(base: Recipe, stored: Recipe) -> tuple[FieldChange, ...]:
    return tuple(
        one
        for one in compare(base, stored).launched
        if not (one.field == "gpus" and one.new == _AUTO)
        and not (one.field == "model_path" and str(one.new).startswith(_DEMO))
    )


def _proposal(stored: Recipe, fix: Fix) -> Proposal | None:
    try:
        after = Recipe.model_validate({**stored.model_dump(), **fix.changes})
    except ValidationError:  # a change that an engine's table names and this version does not take
        return None
    if after == stored:
        return None
    title = _title(fix, stored)
    return Proposal(stored, after, title, reason=f"fix: {title[:1].lower()}{title[1:]}")


def _title(fix: Fix, stored: Recipe) -> str:
    """Return in plain words what a fix does; its label where it does something rare."""
    name, value = next(iter(fix.changes.items()))
    before = getattr(stored, name, None)
    if name == "max_model_len":
        return "Shorten the context"
    if name == "max_num_seqs":
        return "Fewer requests at once"
    if name == "kv_cache_dtype" and value == "fp8":
        return "A KV cache of half the size"
    if name == "gpu_memory_utilization":
        return "Use more of the GPU's memory" if before is None or value > before else "Use less of the GPU's memory"
    if name == "tensor_parallel_size":
        return f"Share it over {value} {'GPU' if value == 1 else 'GPUs'}"
    if name == "port" and value is None:
        return "Take any free port"
    if name == "backend":
        return f"Run it on {value}"
    if name == "trust_remote_code":
        return "Let the model's own code run"
    label = fix.label
    return f"{label[:1].upper()}{label[1:]}" if label.startswith("no ") else f"Set {label}"
