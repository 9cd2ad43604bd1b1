"""The five fields of a new recipe, each on a line, with what stands behind its value below it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from textual.binding import BindingType

from vllm_studio_tui.tui.keys import actions
from vllm_studio_tui.tui.widgets.field_row import FieldInput, FieldRow

if TYPE_CHECKING:
    from vllm_studio_tui.domain.creation import Creation

#: Name, label, whether it is chosen from a list, and the unit.
FIELDS = (
    ("engine", "Engine", True, ""),
    ("gpus", "GPUs", True, ""),
    ("context", "Longest talk", False, "tokens"),
    ("users", "Users at once", False, ""),
    ("name", "Name", False, ""),
)
#: The actions of the page that a field does.
MOVES = frozenset({"create.up", "create.down"})


class CreateInput(FieldInput):
    """The input of a field."""

    PREFIX = "create"
    BINDINGS: ClassVar[list[BindingType]] = [one for one in actions.bindings("create") if one.id in MOVES]


class CreateField(FieldRow):
    """A field of the page."""

    INPUT = CreateInput


def words_of(made: Creation) -> dict[str, str]:
    """Return what stands in each field, by its name."""
    chosen = made.chosen
    return {
        "engine": f"{chosen.title} {chosen.version}".rstrip() if chosen is not None else made.engine,
        "gpus": f"{made.gpus} of {made.gpus_here}" if made.gpus_here else "none here",
        "context": str(made.context or ""),
        "users": str(made.users or ""),
        "name": made.recipe.id,
    }


def values_of(made: Creation, name: str) -> list[Any]:
    """Return what a field is chosen from; empty where there is nothing to choose."""
    if name == "engine":
        return [one.name for one in made.engines if one.ready] or [one.name for one in made.engines]
    counts = [count for count in (1, 2, 4, 8, 16) if count <= made.gpus_here]
    return sorted({*counts, made.gpus_here}) if made.gpus_here else []
