"""What a person can do with recipes."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from vllm_studio_tui.config.data import data_dir
from vllm_studio_tui.domain.errors import InvalidRecipe, NotFound, StudioError, UsageError
from vllm_studio_tui.domain.normalise import slug
from vllm_studio_tui.domain.recipe import FieldNote, Recipe, parse_recipe, recipe_to_data
from vllm_studio_tui.services.importing import read_documents

if TYPE_CHECKING:
    from vllm_studio_tui.runs.foreign import Foreign


class RecipeRows(Protocol):
    """Where recipes are kept: plain data by id."""

    def list(self) -> list[tuple[str, dict[str, Any]]]: ...

    def get(self, recipe_id: str) -> dict[str, Any] | None: ...

    def insert(self, recipe_id: str, data: Mapping[str, Any]) -> None: ...

    def update(self, recipe_id: str, data: Mapping[str, Any]) -> None: ...

    def delete(self, recipe_id: str) -> bool: ...


@dataclass(frozen=True, slots=True)
class Broken:
    """A stored recipe that can no longer be read. It hides none of the others."""

    id: str
    error: InvalidRecipe


@dataclass(slots=True)
class ImportReport:
    """What came of every entry and of every field."""

    imported: list[str] = field(default_factory=list)
    failed: list[dict[str, Any]] = field(default_factory=list)
    fields: list[dict[str, str]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return {"imported": self.imported, "failed": self.failed, "fields": self.fields}


class Recipes:
    """Recipes, kept."""

    def __init__(self, rows: RecipeRows) -> None:
        self._rows = rows

    def all(self) -> list[Recipe]:
        """All that can be read, by id."""
        return [one for one in self.all_stored() if isinstance(one, Recipe)]

    def all_stored(self) -> list[Recipe | Broken]:
        """All, also those that can no longer be read."""
        found: list[Recipe | Broken] = []
        for recipe_id, data in self._rows.list():
            try:
                found.append(parse_recipe({**data, "id": recipe_id})[0])
            except InvalidRecipe as error:
                found.append(Broken(recipe_id, error))
        return found

    def get(self, recipe_id: str) -> Recipe:
        """One recipe.

        Raises:
            NotFound: There is none; the nearest ids are named.
            InvalidRecipe: It is stored but can no longer be read.
        """
        data = self._rows.get(recipe_id)
        if data is not None:
            return parse_recipe({**data, "id": recipe_id})[0]
        starters = [one.id for one in self.starters()]
        if recipe_id in starters:
            advice = f"It is a starter. Take it: vllm-studio recipes add --starter {recipe_id}"
            raise NotFound(f"no recipe {recipe_id}", advice=advice)
        ids = [one for one, _ in self._rows.list()]
        near = difflib.get_close_matches(recipe_id, ids, 3, 0.5)
        advice = (
            f"Did you mean {', '.join(near)}?" if near else "See `vllm-studio recipes list` and `recipes starters`."
        )
        raise NotFound(f"no recipe {recipe_id[:80]}", advice=advice)

    def create(self, recipe: Recipe) -> Recipe:
        """Keep a new recipe.

        Raises:
            UsageError: The id is taken.
        """
        if self._rows.get(recipe.id) is not None:
            raise UsageError(f"{recipe.id} exists already", advice="Choose another id, or edit that one.")
        self._rows.insert(recipe.id, recipe_to_data(recipe))
        return recipe

    def save(self, recipe: Recipe) -> Recipe:
        """Replace a recipe that exists."""
        if self._rows.get(recipe.id) is None:
            raise NotFound(f"no recipe {recipe.id}", advice="Create it first.")
        self._rows.update(recipe.id, recipe_to_data(recipe))
        return recipe

    def attach(self, engine: Foreign, recipe_id: str | None = None) -> Recipe:
        """Keep an engine of somebody else as an external recipe.

        Raises:
            UsageError: Its port is not known, or the id is taken.
        """
        if engine.base_url is None:
            raise UsageError(
                f"the port of process {engine.pid} cannot be told",
                advice="Add it yourself: vllm-studio recipes add ID --backend external --set base_url=http://..",
            )
        name = engine.model or f"{engine.backend}-{engine.port}"
        recipe, _ = parse_recipe({
            "id": recipe_id or slug(name),
            "name": name.rstrip("/").rsplit("/", 1)[-1],
            "backend": "external",
            "model_path": name,
            "served_model_name": name,
            "base_url": engine.base_url,
            "description": f"{engine.backend} of {engine.user}, attached as process {engine.pid}",
        })  # fmt: skip
        return self.create(recipe)

    def duplicate(self, recipe_id: str, new_id: str) -> Recipe:
        """The same recipe under another id, which is its name too until somebody gives it one."""
        data = recipe_to_data(self.get(recipe_id))
        copy, _ = parse_recipe({**data, "id": new_id, "name": new_id})
        return self.create(copy)

    def delete(self, recipe_id: str) -> None:
        """Delete a recipe. Its runs and what they used stay."""
        if not self._rows.delete(recipe_id):
            self.get(recipe_id)  # says that there is none, and what is near

    def search(self, text: str) -> list[Recipe]:
        """Recipes with every word in id, name, path, description or tags."""
        words = text.lower().split()
        found = []
        for one in self.all():
            inside = " ".join((one.id, one.name, one.model_path, one.description, *one.tags)).lower()
            if all(word in inside for word in words):
                found.append(one)
        return found

    # --- in and out -------------------------------------------------------------------------------------

    def import_(self, raw: bytes, source: str, *, dry_run: bool = False) -> ImportReport:
        """Take in what is good; name what is not, with its entry and field.

        Raises:
            StudioError: The file as a whole cannot be read.
        """
        report = ImportReport()
        taken: dict[str, Recipe] = {}
        for index, entry in enumerate(read_documents(raw, source)):
            try:
                recipe, notes = parse_recipe(entry, imported=True)
            except InvalidRecipe as error:
                given = entry.get("id") if isinstance(entry, Mapping) else None
                report.failed.append(
                    {
                        "index": index,
                        "id": str(given)[:80] if given is not None else None,
                        "source": source,
                        "errors": [{"field": name, "message": message} for name, message in error.problems],
                    }
                )
                continue
            kept, same = self._room(recipe, taken)
            if kept.id != recipe.id:
                notes.append(FieldNote("id", "changed", f"{recipe.id} exists with other content: now {kept.id}"))
            taken[kept.id] = kept
            if not dry_run and not same:
                self._rows.insert(kept.id, recipe_to_data(kept))
            report.imported.append(kept.id)
            report.fields += [
                {"recipe": kept.id, "field": note.field, "action": note.action, "why": note.why} for note in notes
            ]
        return report

    def _room(self, recipe: Recipe, taken: Mapping[str, Recipe]) -> tuple[Recipe, bool]:
        """The recipe under an id that is free, and whether the very same one is there already."""
        candidate, number = recipe, 1
        while True:
            there: Recipe | None = taken.get(candidate.id)
            if there is None:
                data = self._rows.get(candidate.id)
                if data is None:
                    return candidate, False
                try:
                    there = parse_recipe({**data, "id": candidate.id})[0]
                except InvalidRecipe:
                    there = None
            if there is not None and recipe_to_data(there) == recipe_to_data(candidate):
                return candidate, True
            number += 1
            candidate = recipe.model_copy(update={"id": f"{recipe.id[:58]}-{number}"})

    def export(self, ids: Iterable[str] = (), *, form: str = "yaml") -> str:
        """Recipes as text that `import_` reads back; secrets are references and stay so."""
        chosen = [self.get(one) for one in ids] or self.all()
        data = [recipe_to_data(one) for one in chosen]
        if form == "json":
            return json.dumps(data, indent=2, ensure_ascii=False) + "\n"
        import yaml

        return yaml.safe_dump({"recipes": data}, sort_keys=False, allow_unicode=True)

    def starters(self) -> list[Recipe]:
        """The recipes that come with the program."""
        found: list[Recipe] = []
        for path in sorted(data_dir("recipes").glob("*.yaml")):
            found += [parse_recipe(entry)[0] for entry in read_documents(path.read_bytes(), path.name)]
        return found

    def starter(self, recipe_id: str) -> Recipe:
        """One of them."""
        for one in self.starters():
            if one.id == recipe_id:
                return one
        raise NotFound(f"no starter recipe {recipe_id}", advice="See `vllm-studio recipes starters`.")


def read_source(source: str) -> bytes:
    """The bytes of a file, or of standard input for `-`.

    Raises:
        StudioError: It cannot be read.
    """
    import sys

    if source == "-":
        return sys.stdin.buffer.read(8 * 1024 * 1024)
    try:
        with Path(source).expanduser().open("rb") as stream:
            return stream.read(8 * 1024 * 1024)
    except OSError as error:
        raise StudioError(f"{source} cannot be read", cause=error.strerror or str(error)) from None
