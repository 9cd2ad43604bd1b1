"""The form of a recipe: every field, as text and back."""

from __future__ import annotations

import pytest

from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.domain.recipe_reading import parse_recipe
from vllm_studio_tui.services.recipes.form import read_form, texts_of
from vllm_studio_tui.services.recipes.form_fields import (
    LABELS,
    TITLES,
    blank_text,
    flag_of,
    form_fields,
    is_needed,
    is_shown,
)
from vllm_studio_tui.services.recipes.recipes import Recipes


def made(**fields: object) -> Recipe:
    recipe, _ = parse_recipe({"id": "a", "name": "a", "backend": "vllm", "model_path": "org/a", **fields})
    return recipe


def test_every_field_of_the_model_is_in_the_form() -> None:
    shown = {one.name.partition(".")[0] for one in form_fields()}
    assert shown == set(Recipe.model_fields)
    assert all(one.section != "More" for one in form_fields())
    assert all(one.help for one in form_fields() if one.kind in ("map", "flags", "list"))


def test_the_starters_come_back_as_they_were() -> None:
    class Rows:
        def __getattr__(self, name: str) -> object:
            raise AssertionError(name)

    for recipe in Recipes(Rows()).starters():  # type: ignore[arg-type]
        reading = read_form(texts_of(recipe), recipe)
        assert reading.recipe == recipe, reading.errors


def test_values_are_read_as_they_are_typed() -> None:
    texts = texts_of(made())
    texts |= {
        "gpus": "0, 1",
        "tensor_parallel_size": "2",
        "gpu_memory_utilization": "0.85",
        "trust_remote_code": "yes",
        "vision": "no",
        "env_vars": "A=1 TOKEN=env:HF_TOKEN B='x y'",
        "extra_args": "--enable-prefix-caching --swap-space 4 --name='a b'",
        "restart.policy": "on-failure",
        "restart.budget": "5",
        "port": "",
    }
    recipe = read_form(texts).recipe
    assert recipe is not None
    assert (recipe.gpus, recipe.tensor_parallel_size, recipe.gpu_memory_utilization) == (("0", "1"), 2, 0.85)
    assert (recipe.trust_remote_code, recipe.vision, recipe.port) == (True, False, None)
    assert recipe.env_vars == {"A": "1", "TOKEN": "env:HF_TOKEN", "B": "x y"}
    assert recipe.extra_args == {"enable_prefix_caching": True, "swap_space": 4, "name": "a b"}
    assert (recipe.restart.policy, recipe.restart.budget) == ("on-failure", 5)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("port", "http", "not a number"),
        ("port", "99999", "65535"),
        ("gpu_memory_utilization", "1.5", "less than or equal to 1"),
        ("env_vars", "novalue", "NAME=value"),
        ("env_vars", "A='open", "not closed"),
        ("extra_args", "value --flag", "without a flag"),
        ("api_key", "sk-123", "not written into a recipe"),
        ("id", "A B", "an id is"),
        ("model_path", "", "missing"),
        ("restart.policy", "sometimes", "never"),
        ("restart.delay", "x", "not a number"),
    ],
)
def test_what_is_wrong_stands_beside_its_field(name: str, text: str, words: str) -> None:
    reading = read_form(texts_of(made()) | {name: text})
    assert reading.recipe is None
    assert words in reading.errors[name]


def test_a_flag_keeps_the_spelling_it_had() -> None:
    recipe = made(extra_args={"flash-attn": "auto"})
    assert read_form(texts_of(recipe), recipe).recipe == recipe


def test_an_empty_form_says_what_it_needs() -> None:
    reading = read_form(texts_of(None))
    assert reading.recipe is None
    assert set(reading.errors) & {"id", "model_path"}


def test_a_new_recipe_is_called_as_its_model() -> None:
    reading = read_form(texts_of(None) | {"model_path": "~/models/Qwen3-8B-Q4_K_M.gguf", "backend": "llamacpp"})
    assert reading.recipe is not None
    assert (reading.recipe.id, reading.recipe.name) == ("qwen3-8b-q4_k_m", "qwen3-8b-q4_k_m")


def test_what_is_needed_is_known_before_anything_is_saved() -> None:
    texts = texts_of(None)
    by_name = {one.name: one for one in form_fields()}
    assert [one.name for one in form_fields() if is_needed(one, texts)] == ["model_path"]
    assert read_form(texts).errors == {"model_path": "model_path is missing"}
    external = texts | {"backend": "external"}
    assert [one.name for one in form_fields() if is_needed(one, external)] == ["base_url"]
    assert blank_text(by_name["base_url"], external, new=True) == "needed"
    assert [one.name for one in form_fields() if is_needed(one, texts | {"backend": "custom"})] == ["command"]


def test_a_blank_field_shows_the_default_of_its_engine_and_never_none() -> None:
    by_name = {one.name: one for one in form_fields()}
    sglang = texts_of(None) | {"backend": "sglang"}
    assert blank_text(by_name["enable_prefix_caching"], sglang, new=True) == "default yes"
    assert blank_text(by_name["max_model_len"], sglang, new=True) == "the model's own"
    for one in form_fields():
        assert "None" not in blank_text(one, sglang, new=False)
        assert "None" not in one.help, one.name


def test_only_fields_that_the_engine_uses_are_shown_and_those_with_a_text() -> None:
    texts = texts_of(None) | {"backend": "llamacpp"}
    shown = {one.name for one in form_fields() if is_shown(one, texts)}
    assert "max_model_len" in shown
    assert not {"tensor_parallel_size", "base_url", "command", "docker.image"} & shown
    texts["tensor_parallel_size"] = "2"
    assert "tensor_parallel_size" in {one.name for one in form_fields() if is_shown(one, texts)}


def test_every_field_has_words_and_its_flag_where_that_is_known() -> None:
    by_name = {one.name: one for one in form_fields()}
    assert all(one.label and "_" not in one.label for one in form_fields())
    vllm = texts_of(None) | {"backend": "vllm"}
    assert flag_of(by_name["tensor_parallel_size"], vllm) == "--tensor-parallel-size"
    assert flag_of(by_name["description"], vllm) == ""
    assert set(LABELS) <= set(by_name)
    assert {one.section for one in form_fields()} <= set(TITLES)
