"""Fields of recipes and settings that say how requests are served: read, checked, shown, kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vllm_studio_tui.backends import registry
from vllm_studio_tui.backends.base import LaunchContext
from vllm_studio_tui.backends.checks import check
from vllm_studio_tui.config.setting_values import read_setting, setting_values
from vllm_studio_tui.config.settings import Settings, load_settings, save_setting
from vllm_studio_tui.domain.errors import InvalidRecipe, SettingsError
from vllm_studio_tui.domain.recipe import recipe_to_data
from vllm_studio_tui.domain.recipe_reading import parse_recipe
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.services.recipes.field_assignments import with_settings
from vllm_studio_tui.services.recipes.form import read_form, texts_of
from vllm_studio_tui.services.recipes.form_fields import form_fields, is_shown
from vllm_studio_tui.studio import Studio

FIELDS: dict[str, Any] = {
    "aliases": ["small", "gpt-5-nano"],
    "on_demand": True,
    "ttl": 300.0,
    "persistent": True,
    "preload": True,
    "priority": -3,
    "max_concurrent": 4,
    "stall_timeout": 60.0,
    "params": {"set": {"top_k": 1}, "default": {"temperature": 0.2, "stop": ["x"]}, "strip": ["seed", "user"]},
}


def data(**fields: Any) -> dict[str, Any]:
    return {"id": "a", "name": "A", "backend": "vllm", "model_path": "org/m", **fields}


def test_they_survive_the_form_an_export_and_an_import(tmp_path: Path) -> None:
    recipe = parse_recipe(data(**FIELDS))[0]
    assert {name: recipe_to_data(recipe)[name] for name in FIELDS} == FIELDS
    assert read_form(texts_of(recipe)).recipe == recipe
    with Studio.open_sync(Places.under(tmp_path)) as studio:
        studio.recipes.create(recipe)
        for form in ("yaml", "json"):
            text = studio.recipes.export(["a"], form=form)
            studio.recipes.delete("a")
            studio.recipes.import_(text.encode(), f"a.{form}")
            assert studio.recipes.get("a") == recipe


def test_they_are_set_from_the_command_line() -> None:
    words = ["aliases=x y", "on_demand=yes", "ttl=0", 'params.set={"top_k": 1}', "params.strip=seed"]
    recipe = parse_recipe(with_settings(data(), words))[0]
    assert (recipe.aliases, recipe.on_demand, recipe.ttl) == (("x", "y"), True, 0)
    assert (recipe.params.set, recipe.params.strip) == ({"top_k": 1}, ("seed",))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("aliases", ["a\nb"]),
        ("aliases", ["a b"]),
        ("aliases", [""]),
        ("aliases", ["x" * 201]),
        ("ttl", -1),
        ("max_concurrent", 0),
        ("stall_timeout", 0),
        ("priority", 100_000),
        ("params", {"set": {"model": "other"}}),
        ("params", {"strip": ["stream"]}),
        ("params", {"sets": {}}),
    ],
    ids=str,
)
def test_what_cannot_be_meant_is_refused_with_its_field(field: str, value: Any) -> None:
    with pytest.raises(InvalidRecipe) as refused:
        parse_recipe(data(**{field: value}))
    assert refused.value.problems[0][0].partition(".")[0] == field


def test_a_server_of_others_has_none_that_start_it() -> None:
    texts = {"backend": "external", "base_url": "http://127.0.0.1:1/v1"}
    shown = {one.name for one in form_fields() if is_shown(one, texts)}
    assert {"aliases", "max_concurrent", "params.set"} <= shown
    assert not {"on_demand", "ttl", "persistent", "preload", "priority"} & shown
    recipe = parse_recipe(data(backend="external", base_url="http://127.0.0.1:1/v1", preload=True, ttl=3))[0]
    said = check(registry.backend("external"), recipe, LaunchContext(Settings(), "127.0.0.1", 1))
    assert {one.field for one in said} >= {"preload", "ttl"}


TABLE = {"big": {"members": ["a", "b"], "together": True}}


def test_tables_are_read_from_the_file_a_variable_and_a_line(tmp_path: Path) -> None:
    places = Places.under(tmp_path)
    places.config.mkdir(parents=True, mode=0o700)
    places.settings_file.write_text("groups:\n  big:\n    members: [a, b]\n    together: true\nmax_wait: 5\n")
    places.settings_file.chmod(0o600)
    for settings in (
        load_settings(places, {}),
        load_settings(places, {"VLLM_STUDIO_GROUPS": json.dumps(TABLE)}),
        Settings.model_validate({"groups": read_setting("groups", "{big: {members: [a, b], together: true}}")}),
    ):
        assert settings.groups["big"].members == ("a", "b")
        assert settings.groups["big"].together
    shown = {one.key: one for one in setting_values(places, {})}
    assert json.loads(shown["groups"].text) == TABLE
    assert shown["peers"].text == ""
    save_setting(places, "groups", {"other": {"members": ["c"]}})
    found = load_settings(places, {})
    assert (set(found.groups), found.max_wait) == ({"other"}, 5)
    save_setting(places, "groups", None)
    assert load_settings(places, {}).groups == {}


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("groups", "[1, 2"),
        ("groups", "words"),
        ("groups", "{g: {members: [a], nonsense: 1}}"),
        ("peers", "{p: {url: ftp://x}}"),
        ("peers", "{p: {url: 'http://user:secret-word@x'}}"),
        ("peers", "{p: {url: 'http://x', api_key: secret-word}}"),
        ("peers", "{'a/b': {url: 'http://x'}}"),
        ("loading", "loud"),
        ("max_wait", "0"),
        ("on_demand", "perhaps"),
    ],
)
def test_what_cannot_be_set_says_so_without_the_secret(tmp_path: Path, key: str, text: str) -> None:
    with pytest.raises(ValueError) as wrong:
        read_setting(key, text)
    with pytest.raises(SettingsError) as refused:
        load_settings(Places.under(tmp_path), {f"VLLM_STUDIO_{key.upper()}": text})
    for said in (str(wrong.value), str(refused.value)):
        assert said
        assert "secret-word" not in said
