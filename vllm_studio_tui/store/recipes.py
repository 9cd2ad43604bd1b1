"""The tables of recipes and of the forms they had: JSON data by id."""

from __future__ import annotations

import builtins
import sqlite3
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from vllm_studio_tui.domain.errors import StoreError
from vllm_studio_tui.domain.recipe_inheritance import with_followers
from vllm_studio_tui.store.conversion import from_json, now, storable, to_json
from vllm_studio_tui.store.database import Database

#: Revisions that are kept of a recipe, and of all together; the last of each recipe is always kept.
KEPT = 100
KEPT_OF_ALL = 5000


@dataclass(frozen=True, slots=True)
class RevisionRow:
    """A form that a recipe had.

    Attributes:
        number: Counts the forms of one recipe, from 1.
        at: Seconds since the epoch.
        data: The recipe's data; None: it was deleted.
        before: The data of the form before; None: there was no recipe.
        first: No form before it is kept, although there was one.
    """

    recipe_id: str
    number: int
    at: float
    reason: str
    data: dict[str, Any] | None
    before: dict[str, Any] | None = None
    first: bool = False


class RecipeRows:
    """The tables `recipes` and `recipe_revisions`. Each change of a recipe is a revision in the same transaction."""

    def __init__(self, db: Database | Callable[[], Database]) -> None:
        """Args:
        db: The database, or what opens it: called when a recipe is first read or written, in that thread.
        """
        self._given = db

    @property
    def _db(self) -> Database:
        return self._given() if callable(self._given) else self._given

    def list(self) -> builtins.list[tuple[str, dict[str, Any]]]:
        """Return all recipes by id. One whose data cannot be read is empty, so that it hides no other."""
        found = self._db.rows("SELECT id, data FROM recipes ORDER BY id")
        return [(row["id"], from_json(row["data"], dict)) for row in found]

    def changed_at(self) -> dict[str, float]:
        """Return when each recipe was last changed, in seconds since the epoch."""
        found = self._db.rows("SELECT id, (julianday(updated_at) - 2440587.5) * 86400.0 AS at FROM recipes")
        return {row["id"]: float(row["at"]) for row in found if row["at"] is not None}

    def get(self, recipe_id: str) -> dict[str, Any] | None:
        row = self._db.row("SELECT data FROM recipes WHERE id = ?", (recipe_id,))
        return None if row is None else from_json(row["data"], dict)

    # --- changing ---------------------------------------------------------------------------------------

    def insert(self, recipe_id: str, data: Mapping[str, Any], reason: str = "new") -> None:
        """Add a recipe.

        Raises:
            StoreError: There is one of this id.
        """
        with self._db.write():
            if self.get(recipe_id) is not None:
                raise StoreError(f"{recipe_id} exists already", advice="Choose another id, or edit that one.")
            self.change({recipe_id: data}, reason)

    def update(self, recipe_id: str, data: Mapping[str, Any], reason: str = "edit") -> None:
        """Replace the data of a recipe.

        Raises:
            StoreError: There is none of this id.
        """
        with self._db.write():
            if self.get(recipe_id) is None:
                raise StoreError(f"no recipe {recipe_id}", advice="It may have been deleted elsewhere.")
            self.change({recipe_id: data}, reason)

    def delete(self, recipe_id: str, reason: str = "deleted") -> bool:
        """Delete a recipe; False if there was none. Its revisions stay."""
        if self.get(recipe_id) is None:
            return False
        self.change({recipe_id: None}, reason)
        return True

    def change(self, wanted: Mapping[str, Mapping[str, Any] | None], reason: str) -> None:
        """Make several changes that belong together, and are taken back together.

        Args:
            wanted: The new data of each recipe; None deletes it. Recipes that follow one of them change with it.

        Raises:
            UsageError: A recipe would follow itself, or others follow one that is deleted.
        """
        with self._db.write() as tables:
            first = 0
            wanted = with_followers(wanted, dict(self.list()))
            for recipe_id, data in wanted.items():
                self._keep_unseen(tables.conn, recipe_id)
                if data is None and self.get(recipe_id) is None:
                    continue
                seq = self._write(tables.conn, recipe_id, None if data is None else to_json(dict(data)), reason)
                first = first or seq
                tables.conn.execute("UPDATE recipe_revisions SET change_id = ? WHERE seq = ?", (first, seq))
            _prune(tables.conn, wanted)

    def _write(
        self, connection: sqlite3.Connection, recipe_id: str, text: str | None, reason: str, *, settled: bool = False
    ) -> int:
        """Write a recipe and its revision; return the `seq` of that."""
        moment = now()
        if text is None:
            connection.execute("DELETE FROM recipes WHERE id = ?", (recipe_id,))
        else:
            connection.execute(
                """INSERT INTO recipes (id, data, created_at, updated_at) VALUES (?1, ?2, ?3, ?3)
                    ON CONFLICT (id) DO UPDATE SET data = excluded.data, updated_at = excluded.updated_at""",
                (recipe_id, text, moment),
            )
        return _add(connection, recipe_id, text, reason, settled=settled)

    def _keep_unseen(self, connection: sqlite3.Connection, recipe_id: str) -> None:
        """Keep what a recipe is now where its last revision does not say so: something else wrote it."""
        row = connection.execute("SELECT data FROM recipes WHERE id = ?", (recipe_id,)).fetchone()
        last = _last(connection, recipe_id)
        if row is not None and (last is None or last["data"] != row[0]):
            _add(connection, recipe_id, row[0], "changed elsewhere", settled=True)

    # --- revisions --------------------------------------------------------------------------------------

    def revisions(self, recipe_id: str) -> builtins.list[RevisionRow]:
        """Return the forms that a recipe had, also a deleted one, the latest first."""
        found = self._db.rows("SELECT * FROM recipe_revisions WHERE recipe_id = ? ORDER BY number", (recipe_id,))
        return [_revision(row, found[index - 1] if index else None) for index, row in enumerate(found)][::-1]

    def number(self, recipe_id: str) -> int | None:
        """Return the number of the latest revision; None where there is none."""
        row = self._db.row("SELECT MAX(number) FROM recipe_revisions WHERE recipe_id = ?", (recipe_id,))
        return None if row is None else row[0]

    def changed_since(self, seq: int | None) -> tuple[int, builtins.list[dict[str, Any]]]:
        """Return the place after the latest change of any recipe, and what was changed since an earlier such place.

        Args:
            seq: None: nothing but the place is wanted.
        """
        if seq is None:
            row = self._db.row("SELECT MAX(seq) FROM recipe_revisions")
            return (row[0] or 0 if row is not None else 0), []
        found = self._db.rows(
            "SELECT seq, recipe_id, number, reason, data IS NULL AS gone FROM recipe_revisions WHERE seq > ?"
            " ORDER BY seq LIMIT 1000",
            (seq,),
        )
        told = [
            {
                "recipe_id": row["recipe_id"],
                "change": "deleted" if row["gone"] else "created" if row["number"] == 1 else "saved",
                "revision": row["number"],
                "reason": row["reason"],
            }
            for row in found
        ]
        return (found[-1]["seq"] if found else seq), told

    def last_change(self) -> builtins.list[RevisionRow]:
        """Return the revisions that the next `undo` takes back; empty where there are none."""
        return [_revision(row, before) for row, before in self._open_change()]

    def undo(self) -> builtins.list[RevisionRow]:
        """Take the last change back that was not taken back yet, and return its revisions; empty: there is none.

        Each time it goes one change further back: what it writes is a revision, too, but no change to be undone.
        """
        with self._db.write() as tables:
            found = self._open_change()
            for row, before in found:
                text = None if before is None else before["data"]
                self._write(tables.conn, row["recipe_id"], text, f"undo: {row['reason']}", settled=True)
            seqs = [row["seq"] for row, _ in found]
            if seqs:
                # What lies between and could not be undone, because its recipe was changed elsewhere, never will be.
                tables.conn.execute("UPDATE recipe_revisions SET settled = 1 WHERE seq >= ?", (min(seqs),))
            return [_revision(row, before) for row, before in found]

    def _open_change(self) -> builtins.list[tuple[sqlite3.Row, sqlite3.Row | None]]:
        """Return the rows of the last change that can be undone, each with the one before it, the last first."""
        for head in self._db.rows(
            "SELECT DISTINCT change_id FROM recipe_revisions WHERE NOT settled ORDER BY change_id DESC LIMIT 200"
        ):
            rows = self._db.rows("SELECT * FROM recipe_revisions WHERE change_id = ? ORDER BY seq DESC", (head[0],))
            pairs = [(row, self._before(row)) for row in rows]
            if all(self._can_undo(row, before) for row, before in pairs):
                return pairs
        return []

    def _before(self, row: sqlite3.Row) -> sqlite3.Row | None:
        query = "SELECT * FROM recipe_revisions WHERE recipe_id = ? AND number < ? ORDER BY number DESC LIMIT 1"
        return self._db.row(query, (row["recipe_id"], row["number"]))

    def _can_undo(self, row: sqlite3.Row, before: sqlite3.Row | None) -> bool:
        """Return whether the recipe still is what the change made of it, and what it was before is still kept."""
        stored = self._db.row("SELECT data FROM recipes WHERE id = ?", (row["recipe_id"],))
        return (None if stored is None else stored[0]) == row["data"] and (before is not None or row["number"] == 1)


def _add(
    connection: sqlite3.Connection, recipe_id: str, text: str | None, reason: str, *, settled: bool = False
) -> int:
    last = _last(connection, recipe_id)
    added = connection.execute(
        "INSERT INTO recipe_revisions (recipe_id, number, at, reason, data, settled) VALUES (?, ?, ?, ?, ?, ?)",
        (recipe_id, 1 if last is None else last["number"] + 1, time.time(), storable(reason)[:200], text, settled),
    )
    return int(added.lastrowid or 0)


def _last(connection: sqlite3.Connection, recipe_id: str) -> sqlite3.Row | None:
    query = "SELECT * FROM recipe_revisions WHERE recipe_id = ? ORDER BY number DESC LIMIT 1"
    found: sqlite3.Row | None = connection.execute(query, (recipe_id,)).fetchone()
    return found


def _prune(connection: sqlite3.Connection, ids: Mapping[str, Any]) -> None:
    for recipe_id in ids:
        connection.execute(
            """DELETE FROM recipe_revisions WHERE recipe_id = ?1 AND number <=
                (SELECT MAX(number) FROM recipe_revisions WHERE recipe_id = ?1) - ?2""",
            (recipe_id, KEPT),
        )
    connection.execute(
        """DELETE FROM recipe_revisions WHERE seq <= (SELECT MAX(seq) FROM recipe_revisions) - ?
            AND seq NOT IN (SELECT MAX(seq) FROM recipe_revisions GROUP BY recipe_id)""",
        (KEPT_OF_ALL,),
    )


def _revision(row: sqlite3.Row, before: sqlite3.Row | None) -> RevisionRow:
    return RevisionRow(
        row["recipe_id"],
        row["number"],
        row["at"],
        row["reason"],
        None if row["data"] is None else from_json(row["data"], dict),
        None if before is None or before["data"] is None else from_json(before["data"], dict),
        before is None and row["number"] > 1,
    )
