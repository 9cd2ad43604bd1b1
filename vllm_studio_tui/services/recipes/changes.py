"""What differs between two forms of a recipe, field by field: the value behind every diff that is shown.

Maps and lists are compared entry by entry. Values are kept as they are, so that a change can be applied; what is shown
of them (`texts`, `words`, `to_json`) has its secrets masked.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from vllm_studio_tui.kit.masking import MASK, mask_data

if TYPE_CHECKING:
    from vllm_studio_tui.domain.recipe import Recipe


class Missing(Enum):
    """The value of a field or an entry that is not there at all; None is a value of its own."""

    ABSENT = "absent"


ABSENT: Final = Missing.ABSENT
#: What stands for a value that leaves the choice to the engine.
NOT_SET = "not set"
#: Fields whose text may look like a secret and is none.
_NAMES = frozenset({"id", "name", "backend", "model_path", "served_model_name", "tags"})
#: Fields that are for people: a launch is the same without them.
FOR_PEOPLE = frozenset({"id", "name", "description", "tags"})


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field, or one entry of a map, that differs.

    Attributes:
        path: The field's name; of an entry the field's and its own.
        old, new: Its plain values, as JSON holds them; ABSENT where it is not there.
    """

    path: tuple[str, ...]
    old: Any
    new: Any

    @property
    def field(self) -> str:
        """Return the name to show: `max_model_len`, `env_vars.HF_HOME`."""
        return ".".join(self.path)

    def texts(self) -> tuple[list[str], list[str]]:
        """Return the lines of the old and of the new value; of lists and long texts only those that differ."""
        old, new = self._called(self._shown(self.old)), self._called(self._shown(self.new))
        if old == new and (MASK in str(old)):
            return _lines(old), [f"{line} (another)" for line in _lines(new)]
        before, after = _lines(old), _lines(new)
        if not (_many(old) or _many(new)):
            return before, after
        gone, come = _only(before, after)
        return gone, come

    def words(self) -> str:
        """Return it in a line: `max_model_len 131072 -> 18416`."""
        old, new = self.texts()
        if self.old is ABSENT or not old:
            return f"{self.field} + {_short(new)}"
        if self.new is ABSENT or not new:
            return f"{self.field} - {_short(old)}"
        return f"{self.field} {_short(old)} -> {_short(new)}"

    def to_json(self) -> dict[str, Any]:
        """Return field, old and new value, secrets masked; null where there is none."""
        old, new = self._shown(self.old), self._shown(self.new)
        return {"field": self.field, "old": None if old is ABSENT else old, "new": None if new is ABSENT else new}

    def _called(self, value: Any) -> Any:
        """Return a value as people call it: an engine by its name in tables."""
        if self.path != ("backend",) or not isinstance(value, str):
            return value
        from vllm_studio_tui.backends import registry

        return registry.label(value)

    def _shown(self, value: Any) -> Any:
        return value if value is ABSENT or self.path[0] in _NAMES else mask_data(value, self.path[-1])


@dataclass(frozen=True, slots=True)
class Change:
    """All that differs between two forms of a recipe, in the order of its fields.

    Attributes:
        recipe_id: The recipe's id: the new one where it was renamed.
        created, deleted: There was none before, there is none after.
    """

    recipe_id: str
    fields: tuple[FieldChange, ...]
    created: bool = False
    deleted: bool = False

    def __bool__(self) -> bool:
        return bool(self.fields)

    @property
    def launched(self) -> tuple[FieldChange, ...]:
        """Return the fields that make another launch of it."""
        return tuple(one for one in self.fields if one.path[0] not in FOR_PEOPLE)

    def words(self, most: int = 4) -> str:
        """Return it in a line, of at most so many fields."""
        if self.created or self.deleted:
            return "new" if self.created else "deleted"
        more = f" and {len(self.fields) - most} more" if len(self.fields) > most else ""
        return (", ".join(one.words() for one in self.fields[:most]) + more) or "nothing"

    def to_json(self) -> list[dict[str, Any]]:
        """Return the fields as JSON documents hold them, secrets masked."""
        return [one.to_json() for one in self.fields]

    def apply(self, recipe: Recipe | None) -> Recipe | None:
        """Return a recipe with these fields as they are afterwards; None where it is deleted.

        Raises:
            ValueError: What comes of it is no recipe.
        """
        from vllm_studio_tui.domain.recipe import Recipe

        if self.deleted:
            return None
        data = plain(recipe)
        for one in self.fields:
            target = data
            for name in one.path[:-1]:
                target = target.setdefault(name, {})
            if one.new is ABSENT:
                target.pop(one.path[-1], None)
            else:
                target[one.path[-1]] = one.new
        return Recipe.model_validate(data)


@dataclass(frozen=True, slots=True)
class Proposal:
    """A change of a recipe that nobody has agreed to yet.

    Attributes:
        before: The recipe as it is kept; None: it is new.
        after: What it would be.
        title: What the change does, in a few words.
        notes: What follows from it, a sentence each.
        reason: Kept with the revision; empty: the title.
    """

    before: Recipe | None
    after: Recipe
    title: str = ""
    notes: tuple[str, ...] = ()
    reason: str = ""

    @property
    def name(self) -> str:
        """Return the recipe's id, as it would be."""
        return self.after.id

    @property
    def change(self) -> Change:
        """Return what differs."""
        return compare(self.before, self.after)


def compare(before: Recipe | None, after: Recipe | None) -> Change:
    """Return what differs between two forms of a recipe; None: there is none."""
    old, new = plain(before), plain(after)
    if before is None and after is not None:
        new = _sparse(after)
    if after is None and before is not None:
        old = _sparse(before)
    found = after if after is not None else before
    name = found.id if found is not None else ""
    return Change(name, tuple(_fields(old, new)), before is None, after is None)


def compare_data(recipe_id: str, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> Change:
    """Return what differs between two recipes as they are kept, also such as can no longer be read."""
    return Change(recipe_id, tuple(_fields(before or {}, after or {})), before is None, after is None)


def plain(recipe: Recipe | None) -> dict[str, Any]:
    """Return every field of a recipe as plain data; empty for None."""
    return {} if recipe is None else recipe.model_dump(mode="json")


def _sparse(recipe: Recipe) -> dict[str, Any]:
    from vllm_studio_tui.domain.recipe import recipe_to_data

    return recipe_to_data(recipe)


def _fields(old: Mapping[str, Any], new: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[FieldChange]:
    names = list(old) if len(old) > len(new) else list(new)
    for name in dict.fromkeys([*names, *old, *new]):
        before, after = old.get(name, ABSENT), new.get(name, ABSENT)
        if before == after and type(before) is type(after):
            continue
        maps = [one for one in (before, after) if isinstance(one, Mapping)]
        if not path and maps and all(one is ABSENT or isinstance(one, Mapping) for one in (before, after)):
            first: Mapping[str, Any] = {} if before is ABSENT else before
            second: Mapping[str, Any] = {} if after is ABSENT else after
            yield from _fields(first, second, (name,))
        else:
            yield FieldChange((*path, name), before, after)


def _many(value: Any) -> bool:
    return isinstance(value, list) or (isinstance(value, str) and "\n" in value)


def _only(before: Sequence[str], after: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the lines that only one of two lists has, in order."""
    gone: list[str] = []
    come: list[str] = []
    for kind, a, b, c, d in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if kind != "equal":
            gone += before[a:b]
            come += after[c:d]
    return gone, come


def _lines(value: Any) -> list[str]:
    if value is ABSENT:
        return []
    if isinstance(value, list):
        return [_text(one) for one in value]
    if isinstance(value, str) and "\n" in value:
        return value.split("\n")
    return [_text(value)]


def _text(value: Any) -> str:
    if value is None or value == "":
        return NOT_SET
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)


def _short(lines: Sequence[str]) -> str:
    text = " ".join(lines)
    return text if len(text) <= 60 else f"{text[:59]}…"
