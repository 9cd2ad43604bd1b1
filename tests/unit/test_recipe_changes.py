"""Changes of recipes: what differs is said field by field and can be applied; every form is kept and comes back."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from vllm_studio_tui.domain.errors import InvalidRecipe, NotFound, StoreError, UsageError
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.domain.recipe_reading import parse_recipe
from vllm_studio_tui.services.recipes.changes import ABSENT, compare
from vllm_studio_tui.services.recipes.recipes import Recipes
from vllm_studio_tui.store import database, schema
from vllm_studio_tui.store import recipes as store
from vllm_studio_tui.store.database import Database, applied
from vllm_studio_tui.store.recipes import RecipeRows

TEXT = st.text(st.characters(exclude_characters="\0\n", exclude_categories=["Cs"]), max_size=12)
WORDS = st.text("abcXYZ019_-. ", min_size=1, max_size=8)
ANY_FORM: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"id": st.just("one"), "name": WORDS, "model_path": st.just("m")},
    optional={
        "description": TEXT,
        "tags": st.lists(WORDS, max_size=4),
        "gpus": st.lists(st.sampled_from(["0", "1", "2", "3"]), max_size=4),
        "max_model_len": st.none() | st.integers(1, 200_000),
        "gpu_memory_utilization": st.none() | st.floats(0.1, 1),
        "expert_parallel": st.booleans(),
        "env_vars": st.dictionaries(st.sampled_from(["A", "HF_HOME", "X_TOKEN"]), TEXT, max_size=3),
        "extra_args": st.dictionaries(WORDS, st.none() | st.booleans() | st.integers() | TEXT, max_size=3),
        "speculative": st.dictionaries(WORDS, st.dictionaries(WORDS, st.integers(), max_size=2), max_size=2),
        "restart": st.fixed_dictionaries({}, optional={"policy": st.sampled_from(["never", "always"])}),
        "docker": st.fixed_dictionaries({}, optional={"args": st.lists(WORDS, max_size=3)}),
    },
)


def recipe(**fields: Any) -> Recipe:
    return parse_recipe({"id": "one", "name": "One", "model_path": "m", **fields})[0]


# --- what differs ------------------------------------------------------------------------------------------------


@settings(max_examples=120, deadline=None)
@given(ANY_FORM, ANY_FORM)
def test_a_change_applied_to_what_was_makes_what_comes_of_it(old: dict[str, Any], new: dict[str, Any]) -> None:
    try:
        before, after = Recipe.model_validate(old), Recipe.model_validate(new)
    except ValidationError:
        return
    change = compare(before, after)
    assert change.apply(before) == after
    assert compare(after, before).apply(after) == before
    assert bool(change) == (before != after)
    assert compare(None, after).apply(None) == after
    assert compare(before, None).apply(before) is None
    for one in change.fields:
        assert one.texts() != ([], [])
        assert one.words()


def test_fields_come_in_the_order_of_the_recipe_and_maps_and_lists_entry_by_entry() -> None:
    before = recipe(gpus=["0", "1"], env_vars={"A": "1", "B": "2"}, restart={"policy": "never"}, tags=["x"])
    after = recipe(
        gpus=["0", "2"], env_vars={"B": "3", "C": "4"}, max_model_len=18416, restart={"policy": "always"}, tags=["x"]
    )
    found = {one.field: one.texts() for one in compare(before, after).fields}
    assert list(found.items()) == [
        ("gpus", (["1"], ["2"])),
        ("max_model_len", (["not set"], ["18416"])),
        ("env_vars.B", (["2"], ["3"])),
        ("env_vars.C", ([], ["4"])),
        ("env_vars.A", (["1"], [])),
        ("restart.policy", (["never"], ["always"])),
    ]
    change = compare(before, after)
    assert change.words(2) == "gpus 1 -> 2, max_model_len not set -> 18416 and 4 more"
    assert change.fields[-2].new is ABSENT


def test_what_is_for_people_makes_no_other_launch() -> None:
    assert compare(recipe(), recipe(description="new", tags=["a"])).launched == ()
    assert [one.field for one in compare(recipe(), recipe(description="new", port=1)).launched] == ["port"]


def test_secrets_are_masked_and_still_seen_to_differ() -> None:
    before = recipe(env_vars={"HF_TOKEN": "hf_abcdefghijklmnop"}, extra_args={"api-key": "sk-aaaaaaaaaaaa"})
    after = recipe(env_vars={"HF_TOKEN": "hf_qrstuvwxyzabcdef"}, extra_args={})
    change = compare(before, after)
    said = f"{change.words()} {change.to_json()} {[one.texts() for one in change.fields]}"
    assert "hf_" not in said
    assert "sk-" not in said
    assert next(one for one in change.fields if one.path[0] == "env_vars").texts() == (["***"], ["*** (another)"])


# --- what is kept ------------------------------------------------------------------------------------------------


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    with contextlib.closing(Database.open(tmp_path / "studio.db")) as found:
        yield found


@pytest.fixture
def recipes(db: Database) -> Recipes:
    return Recipes(RecipeRows(db))


def test_each_form_is_kept_with_number_time_reason_and_what_it_changed(recipes: Recipes) -> None:
    recipes.create(recipe(), reason="form")
    recipes.save(recipe(port=8001), reason="fix: a free port")
    recipes.delete("one")
    third, second, first = recipes.revisions("one")
    assert [(one.number, one.reason) for one in (first, second, third)] == [
        (1, "form"), (2, "fix: a free port"), (3, "deleted")
    ]  # fmt: skip
    assert first.at <= second.at <= third.at
    assert second.change is not None
    assert [one.words() for one in second.change.fields] == ["port not set -> 8001"]
    assert second.recipe() == recipe(port=8001)
    assert third.data is None
    with pytest.raises(UsageError):
        third.recipe()
    assert recipes.restore("one", 1) == recipe()
    assert recipes.number(recipe()) == 4
    assert recipes.number(recipe(port=8001)) is None  # not what is kept now
    with pytest.raises(NotFound, match="no revision 9"):
        recipes.restore("one", 9)
    with pytest.raises(NotFound, match="no recipe two"):
        recipes.revisions("two")


def test_undo_goes_on_back_and_never_loops(recipes: Recipes) -> None:
    recipes.create(recipe())
    recipes.save(recipe(port=8001))
    recipes.create(recipe(id="two"))
    recipes.save(recipe(port=8002))
    recipes.delete("one")
    said = []
    while (undone := recipes.undo()) is not None:
        said.append(undone.words())
    assert said == [
        "one is back", "one port 8002 -> 8001", "two is gone", "one port 8001 -> not set", "one is gone"
    ]  # fmt: skip
    assert recipes.all() == []
    assert recipes.last_change() is None
    # What is changed after that can be undone again, and nothing before it.
    recipes.create(recipe(port=9))
    assert recipes.undo() is not None
    assert recipes.undo() is None


def test_what_was_done_at_once_is_taken_back_at_once(recipes: Recipes) -> None:
    recipes.create(recipe())
    raw = b'[{"id": "a", "model_path": "m"}, {"id": "one", "model_path": "other"}]'
    recipes.import_(raw, "file", replace=True)
    assert [one.id for one in recipes.all()] == ["a", "one"]
    assert recipes.undo() is not None
    assert recipes.all() == [recipe()]
    recipes.save(recipe(id="renamed"), before=recipe())
    assert [one.id for one in recipes.all()] == ["renamed"]
    recipes.undo()
    assert recipes.all() == [recipe()]


def test_what_was_changed_meanwhile_is_not_overwritten(recipes: Recipes) -> None:
    recipes.create(recipe())
    recipes.save(recipe(port=1))
    with pytest.raises(UsageError, match="changed meanwhile"):
        recipes.save(recipe(max_model_len=5), before=recipe())
    assert recipes.get("one") == recipe(port=1)


def test_what_something_else_wrote_is_kept_and_not_undone(recipes: Recipes, db: Database) -> None:
    recipes.create(recipe())
    recipes.save(recipe(port=1))
    other = '{"name": "One", "model_path": "by hand"}'
    with db.write() as tables:
        tables.conn.execute("UPDATE recipes SET data = ?", (other,))
    assert recipes.last_change() is None  # it is no longer what the change made of it
    recipes.save(recipe(port=3))
    assert [one.reason for one in recipes.revisions("one")] == ["edit", "changed elsewhere", "edit", "new"]
    assert recipes.undo() is not None
    assert recipes.get("one").model_path == "by hand"
    assert recipes.undo() is None


def test_old_revisions_go_and_the_last_ones_stay(recipes: Recipes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "KEPT", 3)
    for port in range(1, 8):
        recipes.save(recipe(port=port)) if port > 1 else recipes.create(recipe(port=port))
    assert [one.number for one in recipes.revisions("one")] == [7, 6, 5]
    assert recipes.revisions("one")[-1].change is None  # what it was before is not known
    assert [undone.words() for _ in range(3) if (undone := recipes.undo()) is not None] == [
        "one port 7 -> 6", "one port 6 -> 5"
    ]  # fmt: skip
    monkeypatch.setattr(store, "KEPT_OF_ALL", 2)
    recipes.create(recipe(id="two"))
    assert len(recipes.revisions("one")) == 1
    assert recipes.revisions("one")[0].recipe() == recipe(port=5)


def test_a_form_that_can_no_longer_be_read_is_still_compared(recipes: Recipes, db: Database) -> None:
    recipes.create(recipe())
    RecipeRows(db).update("one", {"name": "One", "model_path": "m", "port": "many"})
    latest = recipes.revisions("one")[0]
    assert latest.change is not None
    assert "port" in [one.field for one in latest.change.fields]
    with pytest.raises(InvalidRecipe):
        latest.recipe()
    assert recipes.undo() is not None
    assert recipes.get("one") == recipe()


# --- databases of before -----------------------------------------------------------------------------------------


def previous_version(path: Path) -> None:
    """A database as the version before revisions left it, with a recipe and a run in it."""
    connection = sqlite3.connect(path)
    for statement in (*schema.TABLES, *schema.RUN_LEDGER, *schema.REQUEST_LEASE):
        connection.execute(statement)
    connection.execute(
        "CREATE TABLE _sqlite_migrations (id INTEGER PRIMARY KEY, migration_set TEXT, name TEXT, applied_at TEXT)"
    )
    for name in schema.MIGRATIONS[:3]:
        connection.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES (?, ?, '2026-11-01')",
            (schema.MIGRATION_SET, name),
        )
    moment = "2026-11-11T10:30:00.000Z"
    connection.execute('INSERT INTO recipes VALUES (\'one\', \'{"name":"One","model_path":"m"}\', ?, ?)', (moment,) * 2)
    connection.execute("INSERT INTO runs (run_id, recipe_id, created_at) VALUES ('one-1', 'one', 5.0)")
    connection.commit()
    connection.close()


def test_recipes_of_before_begin_with_what_they_are_and_runs_of_before_have_no_number(tmp_path: Path) -> None:
    path = tmp_path / "studio.db"
    previous_version(path)
    with contextlib.closing(Database.open(path)) as db:
        assert applied(db._connection) == list(schema.MIGRATIONS)
        recipes = Recipes(RecipeRows(db))
        (only,) = recipes.revisions("one")
        assert (only.number, only.reason, round(only.at)) == (1, "an earlier version", 1794393000)
        assert recipes.last_change() is None  # nothing was changed since
        recipes.save(recipe(port=1))
        assert recipes.undo() is not None
        assert recipes.get("one") == recipe()
        assert db.row("SELECT revision_number FROM runs")[0] is None  # type: ignore[index]
    assert path.with_name("studio.db.backup-3").exists()


def test_a_database_of_before_that_can_only_be_read_has_its_revisions_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "studio.db"
    previous_version(path)
    before = path.read_bytes()
    monkeypatch.setattr(database, "_unwritable", lambda path: "no right to write it")
    with contextlib.closing(Database.open(path)) as db:
        assert db.read_only
        recipes = Recipes(RecipeRows(db))
        assert [one.number for one in recipes.revisions("one")] == [1]
        assert recipes.get("one") == recipe()
        assert recipes.last_change() is None
        with pytest.raises(StoreError):
            recipes.save(recipe(port=1))
        with pytest.raises(StoreError):
            recipes.undo()
    assert path.read_bytes() == before
