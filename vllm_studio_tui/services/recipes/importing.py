"""Import recipes from files and pasted text. What cannot be read is reported; nothing is overwritten unasked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from vllm_studio_tui.backends import registry
from vllm_studio_tui.backends.common.suggestions import suggestions, taken
from vllm_studio_tui.domain.errors import InvalidRecipe
from vllm_studio_tui.domain.recipe import FieldNote, Recipe, recipe_to_data
from vllm_studio_tui.domain.recipe_secrets import mask_recipe
from vllm_studio_tui.services.recipes.changes import Change, compare
from vllm_studio_tui.services.recipes.formats.format import Found
from vllm_studio_tui.services.recipes.parsing import read_found
from vllm_studio_tui.store.original import BrokenRow

#: How a stored recipe of an id is found: the recipe, `UNREADABLE`, or None where there is none.
Lookup = Callable[[str], "Recipe | str | None"]
UNREADABLE = "unreadable"


@dataclass(slots=True)
class ImportReport:
    """The outcome of an import, for every entry and every field.

    Attributes:
        imported: Ids of recipes that are new, or were replaced.
        existing: Ids of those that were there already, the very same.
        replaced: Those of `imported` whose former content is gone.
        kept_both: New ids to those whose content differs.
        suggestions: What the model of a recipe is known to need and the recipe leaves open.
        changes: Of those that are replaced, what differs.
        alike: Of an engine that runs, a recipe that is kept for the same model.
    """

    imported: list[str] = field(default_factory=list)
    existing: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    kept_both: dict[str, str] = field(default_factory=dict)
    failed: list[dict[str, Any]] = field(default_factory=list)
    fields: list[dict[str, str]] = field(default_factory=list)
    suggestions: list[dict[str, Any]] = field(default_factory=list)
    changes: dict[str, Change] = field(default_factory=dict)
    alike: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return every attribute as `recipes import --json` prints it."""
        changes = {name: one.to_json() for name, one in self.changes.items()}
        return {**asdict(replace(self, changes={})), "changes": changes}


@dataclass(frozen=True, slots=True)
class Entry:
    """An imported recipe, and what was changed in it.

    Attributes:
        known: One of the same id is there, with other content.
        before: That one, where this one takes its place and it can be read.
    """

    recipe: Recipe
    notes: tuple[FieldNote, ...]
    known: bool = False
    same: bool = False
    before: Recipe | None = None


def read_entries(
    raw: bytes | list[Found],
    source: str,
    read: Callable[[Any], tuple[Recipe, list[FieldNote]]],
    lookup: Lookup,
    report: ImportReport,
    *,
    replace: bool = False,
    suggested: bool = False,
) -> list[Entry]:
    """Return the recipes of a file, each under the id that it will have, and fill in the report.

    Args:
        raw: The file, or what was read of it already.
        replace: A recipe of the same id with other content gives way; else both are kept.
        suggested: Take what is suggested for the model's family.

    Raises:
        StudioError: The file as a whole cannot be read.
    """
    entries: list[Entry] = []
    now: dict[str, Recipe] = {}
    for index, found in enumerate(raw if isinstance(raw, list) else read_found(raw, source)):
        data = found.data
        try:
            if isinstance(data, BrokenRow):
                raise InvalidRecipe("not a recipe", [("data", data.why)])
            recipe, notes = read(data)
            notes = [*found.notes, *notes]
        except InvalidRecipe as error:
            report.failed.append(_failure(index, data, source, error))
            continue
        offered = suggestions(recipe)
        if suggested:
            recipe = taken(recipe, offered)
            notes += [FieldNote(one.field, "changed", f"now {one.value}: {one.why}") for one in offered]
            offered = ()
        notes += _unknown_backend(recipe)
        entry = _place(recipe, notes, lambda name: now.get(name) or lookup(name), replace=replace)
        now[entry.recipe.id] = entry.recipe
        entries.append(entry)
        _tell(report, recipe, entry)
        if not entry.same:
            report.suggestions += [{"recipe": entry.recipe.id, **one.to_json()} for one in offered]
    return entries


def _tell(report: ImportReport, recipe: Recipe, entry: Entry) -> None:
    kept = entry.recipe.id
    if entry.same:
        if kept not in (*report.existing, *report.imported):
            report.existing.append(kept)
        return
    report.imported.append(kept)
    if entry.known and kept == recipe.id:
        report.replaced.append(kept)
        if entry.before is not None:
            report.changes[kept] = compare(entry.before, entry.recipe)
    if kept != recipe.id:
        report.kept_both[kept] = recipe.id
    report.fields += [
        {"recipe": kept, "field": note.field, "action": note.action, "why": note.why} for note in entry.notes
    ]


def _place(recipe: Recipe, notes: list[FieldNote], lookup: Lookup, *, replace: bool) -> Entry:
    """Return the recipe under the id that it will have."""
    first = lookup(recipe.id)
    candidate, number, there = recipe, 1, first
    while there is not None:
        if isinstance(there, Recipe) and recipe_to_data(there) == recipe_to_data(candidate):
            return Entry(candidate, tuple(notes), known=True, same=True)
        if replace:
            what = differences(there, recipe) if isinstance(there, Recipe) else "what was there could not be read"
            note = FieldNote("id", "taken", f"replaces the one that was there: {what}")
            return Entry(recipe, (*notes, note), True, before=there if isinstance(there, Recipe) else None)
        number += 1
        candidate = recipe.model_copy(update={"id": f"{recipe.id[:58]}-{number}"})
        there = lookup(candidate.id)
    if candidate is recipe:
        return Entry(recipe, tuple(notes))
    what = differences(first, recipe) if isinstance(first, Recipe) else "it cannot be read any more"
    why = f"{recipe.id} is there with other content ({what}): both are kept, this one as {candidate.id}"
    return Entry(candidate, (*notes, FieldNote("id", "changed", why)), known=True)


def differences(before: Recipe, after: Recipe) -> str:
    """Return what differs between two recipes, in a line; secrets masked."""
    old, new = mask_recipe(before.model_dump(mode="json")), mask_recipe(after.model_dump(mode="json"))
    names = [name for name in new if name != "id" and getattr(before, name) != getattr(after, name)]
    parts = [f"{name} {_short(old[name])} -> {_short(new[name])}" for name in names[:6]]
    return ", ".join(parts) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def _short(value: Any) -> str:
    return "none" if value in (None, "", [], {}) else str(value)[:60]


def _unknown_backend(recipe: Recipe) -> list[FieldNote]:
    known = registry.backends()
    if recipe.backend in known:
        return []
    why = f"{recipe.backend} is no engine here, and a launch will be refused; there are: {', '.join(sorted(known))}"
    return [FieldNote("backend", "taken", why)]


def _failure(index: int, data: Any, source: str, error: InvalidRecipe) -> dict[str, Any]:
    given = data.get("id") if isinstance(data, Mapping) else data.id if isinstance(data, BrokenRow) else None
    return {
        "index": index,
        "id": str(given)[:80] if given is not None else None,
        "source": source,
        "errors": [{"field": name, "message": message} for name, message in error.problems],
    }
