"""`recipes compare`, `tag`, `tags`, `pin`, and what `recipes list` makes of them."""

from __future__ import annotations

import json

from tests.unit.test_recipes_cli import Studio, places, studio

__all__ = ["places", "studio"]


def two(studio: Studio) -> None:
    for name, length in (("one", "4096"), ("two", "8192")):
        settings = ("--set", f"max_model_len={length}", "--set", "env_vars.HF_TOKEN=env:MINE")
        assert studio("recipes", "add", name, "--backend", "vllm", "--model", "org/m", *settings).code == 0


def test_two_recipes_are_compared_without_their_names(studio: Studio) -> None:
    two(studio)
    said = studio("recipes", "compare", "one", "two")
    assert (said.code, said.out.splitlines()) == (0, ["- max_model_len  4096", "+ max_model_len  8192"])
    document = json.loads(studio("recipes", "compare", "one", "two", "--json").out)
    assert document["changes"] == [{"field": "max_model_len", "old": 4096, "new": 8192}]
    studio("recipes", "duplicate", "one", "three")
    assert "differ in their names only" in studio("recipes", "compare", "one", "three").out
    assert studio("recipes", "compare", "one", "gone").code == 1


def test_tags_are_put_on_and_taken_off_and_found(studio: Studio) -> None:
    two(studio)
    assert studio("recipes", "tag", "one", "+night", "big", "#slow").out == "one: #night #big #slow\n"
    assert studio("recipes", "tag", "one", "-big", "-never-there").out == "one: #night #slow\n"
    assert studio("recipes", "tag", "two", "+night").code == 0
    listed = json.loads(studio("recipes", "list", "--tag", "night", "--tag", "slow", "--json").out)
    assert [one["id"] for one in listed["recipes"]] == ["one"]
    assert "No recipe matches '#none'" in studio("recipes", "list", "--tag", "none").out
    assert json.loads(studio("recipes", "tags", "--json").out)["tags"] == [
        {"tag": "night", "recipes": 2},
        {"tag": "slow", "recipes": 1},
    ]
    for wrong in ("+a,b", "+", "+a b"):
        assert studio("recipes", "tag", "one", wrong).code == 2
    studio("recipes", "undo")
    assert "#night" not in studio("recipes", "show", "two").out


def test_pinned_recipes_stand_first(studio: Studio) -> None:
    two(studio)
    assert studio("recipes", "pin", "two").out == "two is pinned\n"
    listed = json.loads(studio("recipes", "list", "--json").out)["recipes"]
    assert [(one["id"], one["pinned"]) for one in listed] == [("two", True), ("one", False)]
    assert "(pinned)" in studio("recipes", "list").out
    studio("recipes", "pin", "two", "--off")
    listed = json.loads(studio("recipes", "list", "--json").out)["recipes"]
    assert [one["id"] for one in listed] == ["one", "two"]
    assert studio("recipes", "pin", "gone").code == 1
