"""Recipes that follow another one: what both have in common changes with it, what is a recipe's own stays."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vllm_studio_tui.domain.errors import InvalidRecipe, UsageError
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.domain.recipe_inheritance import followed, following, with_base, with_followers
from vllm_studio_tui.services.recipes.recipes import Recipes
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.recipes import RecipeRows

BASE = {
    "id": "base", "name": "base", "backend": "vllm", "model_path": "org/base", "max_model_len": 8192,
    "max_num_seqs": 8, "env_vars": {"A": "1", "B": "2"}, "tags": ["prod"], "port": 8001,
}  # fmt: skip


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Recipes]:
    with contextlib.closing(Database.open(tmp_path / "other.db")) as found:
        yield Recipes(RecipeRows(found))


@pytest.fixture
def recipes(tmp_path: Path) -> Iterator[Recipes]:
    with contextlib.closing(Database.open(tmp_path / "studio.db")) as found:
        kept = Recipes(RecipeRows(found))
        kept.create(kept.read(BASE)[0])
        yield kept


def child(recipes: Recipes, **values: Any) -> Recipe:
    return recipes.create(recipes.read({"id": "child", "name": "child", "extends": "base", **values})[0])


def change(recipes: Recipes, name: str, **values: Any) -> Recipe:
    return recipes.save(recipes.get(name).model_copy(update=values))


def test_a_new_recipe_has_what_its_base_has_and_what_it_says_itself(recipes: Recipes) -> None:
    made = child(recipes, max_model_len=4096, env_vars={"B": "3"})
    assert (made.model_path, made.max_num_seqs, made.max_model_len) == ("org/base", 8, 4096)
    assert made.env_vars == {"A": "1", "B": "3"}
    assert made.port is None and made.tags == ()  # these are each recipe's own


def test_a_change_of_the_base_reaches_what_is_the_same_and_no_more(recipes: Recipes) -> None:
    child(recipes, max_model_len=4096, env_vars={"B": "3"})
    change(recipes, "base", max_num_seqs=16, max_model_len=16_384, env_vars={"A": "9", "B": "8", "C": "7"})
    made = recipes.get("child")
    assert (made.max_num_seqs, made.max_model_len) == (16, 4096)
    assert made.env_vars == {"A": "9", "B": "3", "C": "7"}


def test_what_is_given_back_to_the_engine_stays_there(recipes: Recipes) -> None:
    child(recipes)
    change(recipes, "child", max_num_seqs=None)
    change(recipes, "base", max_num_seqs=32)
    assert recipes.get("child").max_num_seqs is None


def test_what_the_base_gives_back_its_followers_do_too(recipes: Recipes) -> None:
    child(recipes)
    change(recipes, "base", max_num_seqs=None)
    assert recipes.get("child").max_num_seqs is None


def test_a_base_of_a_base_reaches_all_of_them(recipes: Recipes) -> None:
    child(recipes)
    recipes.create(recipes.read({"id": "below", "name": "below", "extends": "child"})[0])
    change(recipes, "base", max_model_len=512)
    assert recipes.get("below").max_model_len == 512


def test_a_recipe_that_begins_to_follow_takes_what_it_has_not(recipes: Recipes) -> None:
    recipes.create(recipes.read({"id": "one", "name": "one", "model_path": "org/one"})[0])
    change(recipes, "one", extends="base")
    made = recipes.get("one")
    assert (made.model_path, made.max_num_seqs) == ("org/one", 8)


def test_undo_takes_a_change_back_with_all_that_followed(recipes: Recipes) -> None:
    child(recipes)
    change(recipes, "base", max_num_seqs=16)
    undone = recipes.undo()
    assert undone is not None and {one.recipe_id for one in undone.changes} == {"base", "child"}
    assert recipes.get("child").max_num_seqs == recipes.get("base").max_num_seqs == 8


def test_each_follower_keeps_a_revision_of_it(recipes: Recipes) -> None:
    child(recipes)
    change(recipes, "base", max_num_seqs=16)
    latest = recipes.revisions("child")[0]
    assert latest.number == 2 and latest.data is not None and latest.data["max_num_seqs"] == 16


def test_a_base_that_others_follow_is_not_deleted(recipes: Recipes) -> None:
    child(recipes)
    with pytest.raises(UsageError, match="base is the base of child"):
        recipes.delete("base")
    recipes.delete_all(["base", "child"])
    assert recipes.all() == []


def test_followers_of_a_base_with_another_id_follow_it_there(recipes: Recipes) -> None:
    child(recipes)
    before = recipes.get("base")
    recipes.save(before.model_copy(update={"id": "other"}), before=before)
    assert recipes.get("child").extends == "other"


@pytest.mark.parametrize("path", [["base"], ["base", "child"]])
def test_nobody_follows_itself(recipes: Recipes, path: list[str]) -> None:
    child(recipes)
    with pytest.raises(UsageError, match="would follow itself"):
        change(recipes, "base", extends=path[-1])
    assert recipes.get("base").extends is None


def test_a_base_that_is_not_there_is_said(recipes: Recipes) -> None:
    with pytest.raises(InvalidRecipe) as raised:
        recipes.read({"id": "x", "name": "x", "extends": "nobody"})
    assert raised.value.problems == [("extends", "there is no recipe nobody")]


def test_an_export_reads_back_without_the_base(recipes: Recipes, empty: Recipes) -> None:
    made = child(recipes, max_model_len=4096)
    assert empty.import_(recipes.export(["child"]).encode(), "a file").imported == ["child"]
    assert empty.get("child") == made


def test_both_of_a_file_come_together_in_any_order(recipes: Recipes, empty: Recipes) -> None:
    child(recipes)
    empty.import_(recipes.export(["child", "base"]).encode(), "a file")
    change(empty, "base", max_num_seqs=77)
    assert empty.get("child").max_num_seqs == 77


def test_in_what_a_recipe_follows_is_told() -> None:
    data = with_base({"id": "c", "max_num_seqs": 2, "env_vars": {"B": "3"}}, BASE)
    assert following(data, BASE) == ["backend", "model_path", "max_model_len", "env_vars.A"]


values = st.sampled_from([1, 2, "a", None])
data = st.dictionaries(
    st.sampled_from(["max_num_seqs", "dtype", "env_vars", "port"]),
    st.one_of(values, st.dictionaries(st.sampled_from(["A", "B"]), st.sampled_from(["1", "2"]), min_size=1)),
).map(lambda one: {key: value for key, value in one.items() if value is not None})


@given(data, data, data)
@settings(max_examples=300)
def test_following_is_sound(mine: dict[str, Any], before: dict[str, Any], after: dict[str, Any]) -> None:
    assert followed(mine, before, before) == mine
    whole = with_base({}, before)
    assert {**followed(whole, before, after), "port": 0} == {**with_base({}, after), "port": 0}
    then = followed(mine, before, after)
    for name, value in mine.items():
        if value != before.get(name) and not isinstance(value, dict):
            assert then[name] == value
    assert then.get("port") == mine.get("port")


@given(st.dictionaries(st.sampled_from("abcd"), data, min_size=1), st.data())
@settings(max_examples=200)
def test_any_change_ends_and_loses_no_recipe(stored: dict[str, dict[str, Any]], draw: st.DataObject) -> None:
    pick: Callable[[], Any] = lambda: draw.draw(st.sampled_from([None, *"abcd"]))  # noqa: E731
    stored = {name: {**one, "extends": pick()} for name, one in stored.items()}
    name = draw.draw(st.sampled_from(sorted(stored)))
    try:
        changes = with_followers({name: {**draw.draw(data), "extends": pick()}}, stored)
    except UsageError:
        return
    assert name in changes and all(one is not None for one in changes.values())
