"""The table of recipes: JSON data by id."""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from typing import Any

from vllm_studio_tui.domain.errors import StoreError
from vllm_studio_tui.store.conversion import from_json, now, to_json
from vllm_studio_tui.store.database import Database


class RecipeRows:
    """The table `recipes`."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def list(self) -> builtins.list[tuple[str, dict[str, Any]]]:
        """Return all recipes by id. One whose data cannot be read is empty, so that it hides no other."""
        found = self._db.rows("SELECT id, data FROM recipes ORDER BY id")
        return [(row["id"], from_json(row["data"], dict)) for row in found]

    def get(self, recipe_id: str) -> dict[str, Any] | None:
        row = self._db.row("SELECT data FROM recipes WHERE id = ?", (recipe_id,))
        return None if row is None else from_json(row["data"], dict)

    def insert(self, recipe_id: str, data: Mapping[str, Any]) -> None:
        """Add a recipe.

        Raises:
            StoreError: There is one of this id.
        """
        moment = now()
        with self._db.write() as tables:
            if self.get(recipe_id) is not None:
                raise StoreError(f"{recipe_id} exists already", advice="Choose another id, or edit that one.")
            row = {"id": recipe_id, "data": to_json(dict(data)), "created_at": moment, "updated_at": moment}
            tables.table("recipes").insert(row)

    def update(self, recipe_id: str, data: Mapping[str, Any]) -> None:
        """Replace the data of a recipe.

        Raises:
            StoreError: There is none of this id.
        """
        with self._db.write() as tables:
            if self.get(recipe_id) is None:
                raise StoreError(f"no recipe {recipe_id}", advice="It may have been deleted elsewhere.")
            tables.table("recipes").update(recipe_id, {"data": to_json(dict(data)), "updated_at": now()})

    def delete(self, recipe_id: str) -> bool:
        """Delete a recipe; False if there was none."""
        if self.get(recipe_id) is None:
            return False
        with self._db.write() as tables:
            tables.table("recipes").delete_where("id = ?", [recipe_id])
        return True
