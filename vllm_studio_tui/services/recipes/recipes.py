"""Keep, read, search, import and export recipes."""

from __future__ import annotations

import builtins
import difflib
import json
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.config.packaged_data import data_dir
from vllm_studio_tui.domain.errors import InvalidRecipe, NotFound, UsageError
from vllm_studio_tui.domain.recipe import FieldNote, Recipe, recipe_to_data
from vllm_studio_tui.domain.recipe_inheritance import based
from vllm_studio_tui.domain.recipe_reading import parse_recipe, slug
from vllm_studio_tui.domain.recipe_secrets import mask_recipe, plaintext_fields
from vllm_studio_tui.services.recipes.changes import Proposal
from vllm_studio_tui.services.recipes.importing import UNREADABLE, ImportReport, read_entries
from vllm_studio_tui.services.recipes.parsing import read_documents
from vllm_studio_tui.services.recipes.pins import keep_pins, load_pins
from vllm_studio_tui.services.recipes.secret_files import SecretFiles

if TYPE_CHECKING:
    from vllm_studio_tui.runs.foreign import Foreign
    from vllm_studio_tui.services.recipes.revisions import Revision, Undoing
    from vllm_studio_tui.services.recipes.rows import RecipeRows


@dataclass(frozen=True, slots=True)
class Broken:
    """A stored recipe that can no longer be read. It hides none of the others."""

    id: str
    error: InvalidRecipe


class Recipes:
    """Recipes, kept."""

    def __init__(self, rows: RecipeRows, secrets: Path | None = None, state: Path | None = None) -> None:
        """Args:
        secrets: Where secrets go that are found in recipes; None: they stay, and such an `api_key` is refused.
        state: The directory where pins are kept; None: nothing can be pinned.
        """
        self._rows = rows
        self._secrets = secrets
        self._state = state

    def read(self, data: Any, *, imported: bool = False, dry_run: bool = False) -> tuple[Recipe, list[FieldNote]]:
        """Return a recipe from a person's or a file's data; a secret in it is stored in a file and becomes a reference.

        Args:
            imported: It comes from elsewhere: what a launch of it would do is pointed out.
            dry_run: Nothing is written; references are what they would be.

        Raises:
            InvalidRecipe: It cannot be used; every problem is named with its field.
        """
        data = based(data, self._rows.get, imported=imported)
        if self._secrets is None:
            return parse_recipe(data, imported=imported)
        owner = slug(str(data.get("id") or data.get("name") or "recipe")) if isinstance(data, Mapping) else "recipe"
        found: list[tuple[str, str]] = []

        def keep(name: str, value: str) -> str:
            found.append((name, value))
            return SecretFiles(folder, dry=True).keep(owner, name, value)

        folder = self._secrets
        recipe, notes = parse_recipe(data, imported=imported, keep=keep)
        for name, value in [] if dry_run else found:  # only now: nothing is kept of what cannot be used
            SecretFiles(folder).keep(owner, name, value)
        return recipe, notes

    def _to_keep(self, recipe: Recipe) -> Recipe:
        """Return the recipe as it is stored: with references in place of secrets."""
        data = recipe_to_data(recipe)
        return self.read(data)[0] if plaintext_fields(data) else recipe

    def all(self) -> list[Recipe]:
        """Return all recipes that can be read, by id."""
        return [one for one in self.all_stored() if isinstance(one, Recipe)]

    def all_stored(self) -> list[Recipe | Broken]:
        """Return all recipes, also those that can no longer be read."""
        found: list[Recipe | Broken] = []
        for recipe_id, data in self._rows.list():
            try:
                found.append(parse_recipe({**data, "id": recipe_id})[0])
            except InvalidRecipe as error:
                found.append(Broken(recipe_id, error))
        return found

    def get(self, recipe_id: str) -> Recipe:
        """Return a recipe by its id.

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

    def create(self, recipe: Recipe, *, reason: str = "new") -> Recipe:
        """Keep a new recipe.

        Args:
            reason: Kept with the revision, as by every method that changes something.

        Raises:
            UsageError: The id is taken.
        """
        if self._rows.get(recipe.id) is not None:
            raise UsageError(f"{recipe.id} exists already", advice="Choose another id, or edit that one.")
        recipe = self._to_keep(recipe)
        self._rows.insert(recipe.id, recipe_to_data(recipe), reason)
        return recipe

    def save(self, recipe: Recipe, *, reason: str = "edit", before: Recipe | None = None) -> Recipe:
        """Replace a recipe that exists.

        Args:
            before: What it was when the change was made up, under its id of then; None: whatever it is now.

        Raises:
            NotFound: There is none.
            UsageError: It is not that any more, or the new id is taken.
        """
        was = recipe.id if before is None else before.id
        stored = self._rows.get(was)
        if stored is None:
            raise NotFound(f"no recipe {was}", advice="Create it first.")
        if before is not None and self._lookup(was) != before:
            raise UsageError(f"{was} was changed meanwhile", advice="Look at it again: nothing was saved.")
        recipe = self._to_keep(recipe)
        data = recipe_to_data(recipe)
        if was == recipe.id:
            self._rows.update(recipe.id, data, reason)
        elif self._rows.get(recipe.id) is not None:
            raise UsageError(f"{recipe.id} exists already", advice="Choose another id, or edit that one.")
        else:
            self._rows.change({recipe.id: data, was: None}, reason)
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
        return self.create(recipe, reason="attached")

    def duplicate(self, recipe_id: str, new_id: str) -> Recipe:
        """Store a copy of a recipe under another id, which is also its name."""
        data = recipe_to_data(self.get(recipe_id))
        copy, _ = parse_recipe({**data, "id": new_id, "name": new_id})
        return self.create(copy, reason=f"copy of {recipe_id}")

    def delete(self, recipe_id: str) -> None:
        """Delete a recipe. Its revisions, its runs and what they used stay."""
        if not self._rows.delete(recipe_id):
            self.get(recipe_id)  # says that there is none, and what is near

    def pins(self) -> builtins.list[str]:
        """Return the ids of pinned recipes, which stand before the others; also of deleted ones."""
        return sorted(load_pins(self._state))

    def pin(self, recipe_id: str, *, pinned: bool = True) -> None:
        """Pin a recipe, or take its pin away.

        Raises:
            NotFound: There is no such recipe.
            StoreError: That cannot be kept.
        """
        if self._rows.get(recipe_id) is None:
            self.get(recipe_id)
        pins = load_pins(self._state)
        keep_pins(self._state, pins | {recipe_id} if pinned else pins - {recipe_id})

    # --- revisions --------------------------------------------------------------------------------------

    def delete_all(self, ids: Iterable[str]) -> None:
        """Delete several recipes as one change, which `undo` takes back as one."""
        self._rows.change(dict.fromkeys(ids), "deleted")

    def changed_at(self) -> dict[str, float]:
        """Return when each recipe was last changed, in seconds since the epoch."""
        return self._rows.changed_at()

    def revisions(self, recipe_id: str) -> builtins.list[Revision]:
        """Return every kept form of a recipe, also of a deleted one, the latest first.

        Raises:
            NotFound: There never was such a recipe.
        """
        from vllm_studio_tui.services.recipes.revisions import revision_of

        found = [revision_of(row) for row in self._rows.revisions(recipe_id)]
        if not found:
            self.get(recipe_id)
        return found

    def revision(self, recipe_id: str, number: int) -> Revision:
        """Return one form of a recipe.

        Raises:
            NotFound: It is not kept.
        """
        for one in self.revisions(recipe_id):
            if one.number == number:
                return one
        advice = f"See `vllm-studio recipes history {recipe_id}`."
        raise NotFound(f"no revision {number} of {recipe_id} is kept", advice=advice)

    def number(self, recipe: Recipe) -> int | None:
        """Return the number of a recipe's latest revision; None where it is not what is kept."""
        return self._rows.number(recipe.id) if self._lookup(recipe.id) == recipe else None

    def changed_since(self, place: int | None) -> tuple[int, builtins.list[dict[str, Any]]]:
        """Return a place in the order of changes, and what any program has changed since an earlier such place.

        Args:
            place: None: nothing but the present place is wanted.
        """
        return self._rows.changed_since(place)

    def restore(self, recipe_id: str, number: int) -> Recipe:
        """Make a recipe what it was, also a deleted one; return it.

        Raises:
            NotFound: This revision is not kept.
            UsageError: This revision is that the recipe was deleted.
            InvalidRecipe: It can no longer be read.
        """
        recipe = self.revision(recipe_id, number).recipe()
        reason = f"revision {number} brought back"
        exists = self._rows.get(recipe_id) is not None
        return self.save(recipe, reason=reason) if exists else self.create(recipe, reason=reason)

    def last_change(self) -> Undoing | None:
        """Return what `undo` would take back now; None where there is nothing."""
        from vllm_studio_tui.services.recipes.revisions import undoing_of

        return undoing_of(self._rows.last_change())

    def undo(self) -> Undoing | None:
        """Take the last change of recipes back; each time one further. None where there is nothing left."""
        from vllm_studio_tui.services.recipes.revisions import undoing_of

        return undoing_of(self._rows.undo())

    def search(self, text: str) -> list[Recipe]:
        """Return recipes with every word in id, name, path, description or tags."""
        words = text.lower().split()
        found = []
        for one in self.all():
            inside = " ".join((one.id, one.name, one.model_path, one.description, *one.tags)).lower()
            if all(word in inside for word in words):
                found.append(one)
        return found

    # --- in and out -------------------------------------------------------------------------------------

    def import_(
        self,
        raw: bytes,
        source: str,
        *,
        dry_run: bool = False,
        replace: bool = False,
        suggested: bool = False,
        only: Container[str] | None = None,
    ) -> ImportReport:
        """Take in what is good; name what is not, with its entry and field.

        Args:
            replace: A recipe of the same id with other content gives way; else both are kept.
            suggested: Take what is suggested for each model's family.
            only: Ids to keep, of those in the file; None: all.

        Raises:
            StudioError: The file as a whole cannot be read.
        """
        report = ImportReport()
        read = partial(self.read, imported=True, dry_run=dry_run)
        wanted = {}
        for entry in read_entries(raw, source, read, self._lookup, report, replace=replace, suggested=suggested):
            if not entry.same and (only is None or entry.recipe.id in only):
                wanted[entry.recipe.id] = recipe_to_data(entry.recipe)
        if wanted and not dry_run:
            self._rows.change(wanted, f"import of {source}")
        report.imported = [one for one in report.imported if only is None or one in only]
        return report

    def import_running(
        self,
        where: int | None = None,
        *,
        against: str | None = None,
        dry_run: bool = False,
        replace: bool = False,
        suggested: bool = False,
    ) -> ImportReport:
        """Make a recipe of an engine that somebody started, see `services.recipes.running`.

        Args:
            where: Its process or its port; None: the only one that runs.
            against: A recipe that is kept: what the process does otherwise is reported, and kept only with `replace`.

        Raises:
            NotFound: No such engine runs, or no such recipe is kept.
            UsageError: Several run.
            StudioError: The process does not show how it was started.
        """
        from vllm_studio_tui.services.recipes.running import read_running

        saved = self.get(against) if against is not None else None
        dry_run = dry_run or (saved is not None and not replace)
        read = partial(self.read, imported=True, dry_run=dry_run)
        source, entries, report = read_running(
            where, read, self._lookup, self.all(), saved, replace=replace, suggested=suggested
        )
        wanted = {one.recipe.id: recipe_to_data(one.recipe) for one in entries if not one.same}
        if wanted and not dry_run:
            self._rows.change(wanted, source)
        return report

    def import_proposals(self, raw: bytes, source: str) -> builtins.list[Proposal]:
        """Return what an import with `replace` would change, a recipe each; nothing is written."""
        read = partial(self.read, imported=True, dry_run=True)
        entries = read_entries(raw, source, read, self._lookup, ImportReport(), replace=True)
        return [Proposal(entry.before, entry.recipe) for entry in entries if not entry.same]

    def _lookup(self, recipe_id: str) -> Recipe | str | None:
        data = self._rows.get(recipe_id)
        if data is None:
            return None
        try:
            return parse_recipe({**data, "id": recipe_id})[0]
        except InvalidRecipe:
            return UNREADABLE

    def export(self, ids: Iterable[str] = (), *, form: str = "yaml") -> str:
        """Return recipes as text that `import_` reads back; references stay, plain secrets are masked."""
        chosen = [self.get(one) for one in ids] or self.all()
        data = [mask_recipe(recipe_to_data(one)) for one in chosen]
        if form == "json":
            return json.dumps(data, indent=2, ensure_ascii=False) + "\n"
        import yaml

        return yaml.safe_dump({"recipes": data}, sort_keys=False, allow_unicode=True)

    def starters(self) -> list[Recipe]:
        """Return the recipes that come with the program."""
        found: list[Recipe] = []
        for path in sorted(data_dir("recipes").glob("*.yaml")):
            found += [parse_recipe(entry)[0] for entry in read_documents(path.read_bytes(), path.name)]
        return found

    def starter(self, recipe_id: str) -> Recipe:
        """Return a starter by its id."""
        for one in self.starters():
            if one.id == recipe_id:
                return one
        raise NotFound(f"no starter recipe {recipe_id}", advice="See `vllm-studio recipes starters`.")
