"""The forms that a recipe had: what each changed, and what taking the last one back does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.domain.errors import InvalidRecipe, UsageError
from vllm_studio_tui.domain.recipe_reading import parse_recipe
from vllm_studio_tui.domain.recipe_secrets import mask_recipe
from vllm_studio_tui.kit.iso_time import iso_time
from vllm_studio_tui.services.recipes.changes import Change, compare, compare_data

if TYPE_CHECKING:
    from vllm_studio_tui.domain.recipe import Recipe
    from vllm_studio_tui.store.recipes import RevisionRow


@dataclass(frozen=True, slots=True)
class Revision:
    """A form that a recipe had.

    Attributes:
        number: Counts the forms of one recipe, from 1.
        at: Seconds since the epoch.
        reason: What made it: `form`, `import`, `fix: ..`.
        data: The recipe's data as it was kept; None: it was deleted.
        change: What differs from the form before; None where that is not kept.
    """

    recipe_id: str
    number: int
    at: float
    reason: str
    data: Mapping[str, Any] | None
    change: Change | None

    def recipe(self) -> Recipe:
        """Return it as a recipe.

        Raises:
            UsageError: The recipe was deleted.
            InvalidRecipe: It can no longer be read.
        """
        if self.data is None:
            raise UsageError(f"revision {self.number} of {self.recipe_id} is that it was deleted")
        return parse_recipe({**self.data, "id": self.recipe_id})[0]

    def to_json(self) -> dict[str, Any]:
        """Return what `recipes history --json` prints of it, secrets masked."""
        return {
            "revision": self.number,
            "at": iso_time(self.at),
            "reason": self.reason,
            "deleted": self.data is None,
            "changes": None if self.change is None else self.change.to_json(),
            "recipe": None if self.data is None else mask_recipe(self.data),
        }


@dataclass(frozen=True, slots=True)
class Undoing:
    """A change that was, or would be, taken back.

    Attributes:
        at: Seconds since the epoch at which it was made.
        reason: What made it.
        changes: What taking it back changes, a recipe each.
    """

    at: float
    reason: str
    changes: tuple[Change, ...]

    def words(self) -> str:
        """Return what taking it back does, in a line."""
        return "; ".join(f"{one.recipe_id} {_words(one)}" for one in self.changes[:4]) + (
            f" and {len(self.changes) - 4} more recipes" if len(self.changes) > 4 else ""
        )

    def to_json(self) -> dict[str, Any]:
        """Return what `recipes undo --json` prints, secrets masked."""
        changes = [
            {"recipe": one.recipe_id, "created": one.created, "deleted": one.deleted, "changes": one.to_json()}
            for one in self.changes
        ]
        return {"undone": self.reason, "at": iso_time(self.at), "recipes": changes}


def _words(one: Change) -> str:
    return "is back" if one.created else "is gone" if one.deleted else one.words()


def revision_of(row: RevisionRow) -> Revision:
    """Return a kept form with what it changed."""
    change = None if row.first else _change(row.recipe_id, row.before, row.data)
    return Revision(row.recipe_id, row.number, row.at, row.reason, row.data, change)


def undoing_of(rows: list[RevisionRow]) -> Undoing | None:
    """Return what taking these forms back changes; None where there are none."""
    if not rows:
        return None
    changes = tuple(_change(one.recipe_id, one.data, one.before) for one in rows)
    return Undoing(rows[0].at, rows[0].reason, changes)


def _change(recipe_id: str, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> Change:
    try:
        old, new = (None if one is None else parse_recipe({**one, "id": recipe_id})[0] for one in (before, after))
    except InvalidRecipe:  # a form of before that can no longer be read is compared as it stands
        return compare_data(recipe_id, before, after)
    return compare(old, new)
