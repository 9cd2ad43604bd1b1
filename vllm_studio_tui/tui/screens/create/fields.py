"""The five fields of a new recipe, each on a line, with what stands behind its value below it."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import BindingType

from vllm_studio_tui.tui.keys import actions
from vllm_studio_tui.tui.widgets.field_row import FieldInput, FieldRow

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
