"""Suggest values that a model's family needs and its recipe leaves open. They are never set unasked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.backends.common.parsers import family_of, suggest_parsers

if TYPE_CHECKING:
    from vllm_studio_tui.domain.recipe import Recipe

#: Families of which vLLM spreads the experts, and above how many GPUs: their layers cannot be cut finer.
_EXPERTS_ABOVE = {"MiniMax M2": 4}


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A value for a field that a recipe leaves open, and why."""

    field: str
    value: Any
    why: str

    def to_json(self) -> dict[str, Any]:
        """Return `field`, `value` and `why`."""
        return {"field": self.field, "value": self.value, "why": self.why}


def suggestions(recipe: Recipe) -> tuple[Suggestion, ...]:
    """Return suggested values for fields that the recipe leaves open."""
    family = family_of(recipe)
    if family is None:
        return ()
    found = []
    tools, thinking = suggest_parsers(recipe)
    if tools and not recipe.tool_call_parser:
        found.append(Suggestion("tool_call_parser", tools, f"{family.name} models write tool calls so"))
    if thinking and not recipe.reasoning_parser:
        found.append(Suggestion("reasoning_parser", thinking, f"{family.name} models write their thinking so"))
    above = _EXPERTS_ABOVE.get(family.name)
    wide = recipe.backend == "vllm" and above is not None and recipe.tensor_parallel_size > above
    if wide and not recipe.expert_parallel:
        why = f"{family.name} over more than {above} GPUs needs its experts spread"
        found.append(Suggestion("expert_parallel", True, why))
    return tuple(found)


def taken(recipe: Recipe, some: Iterable[Suggestion]) -> Recipe:
    """Return the recipe with these suggestions in it."""
    return recipe.model_copy(update={one.field: one.value for one in some})
