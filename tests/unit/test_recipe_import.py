"""Importing recipes: the good ones come in, the bad ones are named, and nothing that is given does harm."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vllm_studio_tui.backends.registry import backends
from vllm_studio_tui.domain.errors import InvalidRecipe, NotFound, StudioError, UsageError
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.domain.recipe_reading import parse_recipe
from vllm_studio_tui.kit.secrets import resolve
from vllm_studio_tui.services.recipes.formats.command import from_command
from vllm_studio_tui.services.recipes.formats.format import MAX_BYTES
from vllm_studio_tui.services.recipes.parsing import read_documents
from vllm_studio_tui.services.recipes.recipes import Broken, Recipes
from vllm_studio_tui.services.recipes.sources import read_source
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.recipes import RecipeRows
from vllm_studio_tui.store.schema import EMPTY


def in_memory() -> RecipeRows:
    """Recipes in a database without a file."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.row_factory = sqlite3.Row
    for statement in EMPTY:
        connection.execute(statement)
    return RecipeRows(Database(Path("memory"), connection))


@pytest.fixture
def rows() -> RecipeRows:
    return in_memory()


@pytest.fixture
def recipes(rows: RecipeRows) -> Recipes:
    return Recipes(rows)


ONE = {"id": "a", "name": "A", "model_path": "/m/a"}


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(ONE),
        json.dumps([ONE]),
        json.dumps({"recipes": [ONE]}),
        yaml.safe_dump(ONE),
        yaml.safe_dump([ONE]),
        "---\n" + yaml.safe_dump(ONE) + "---\n",
        "\ufeff" + json.dumps(ONE),
    ],
)
def test_every_form_of_file_is_read(recipes: Recipes, text: str) -> None:
    assert recipes.import_(text.encode(), "f").imported == ["a"]
    assert recipes.get("a").model_path == "/m/a"


def test_good_entries_are_kept_and_bad_ones_named_with_entry_and_field(recipes: Recipes) -> None:
    entries = [ONE, {"id": "b", "port": 99999}, 7, {**ONE, "id": "c"}]
    report = recipes.import_(json.dumps(entries).encode(), "file.json")
    assert report.imported == ["a", "c"]
    assert [(one["index"], one["id"], one["source"]) for one in report.failed] == [
        (1, "b", "file.json"),
        (2, None, "file.json"),
    ]
    assert {"field": "port"}.items() <= {"field": report.failed[0]["errors"][0]["field"]}.items()


def test_a_dry_run_changes_nothing(recipes: Recipes, rows: RecipeRows) -> None:
    assert recipes.import_(json.dumps(ONE).encode(), "f", dry_run=True).imported == ["a"]
    assert rows.list() == []


def test_the_same_file_twice_is_no_second_recipe_and_another_content_gets_an_id_of_its_own(
    recipes: Recipes, rows: RecipeRows
) -> None:
    raw = json.dumps([ONE, ONE]).encode()
    recipes.import_(raw, "f")
    recipes.import_(raw, "f")
    assert list(dict(rows.list())) == ["a"]
    again = recipes.import_(raw, "f")
    assert (again.imported, again.existing) == ([], ["a"])
    other = json.dumps({**ONE, "model_path": "/m/other"}).encode()
    for dry_run in (True, False):
        report = recipes.import_(other, "f", dry_run=dry_run)
        assert (report.imported, report.kept_both) == (["a-2"], {"a-2": "a"})
        said = next(one for one in report.fields if one["field"] == "id" and one["action"] == "changed")
        assert "model_path /m/a -> /m/other" in said["why"]
    assert recipes.get("a").model_path == "/m/a"
    assert recipes.import_(other, "f").existing == ["a-2"]


def test_what_is_there_with_other_content_gives_way_when_that_is_asked(recipes: Recipes, rows: RecipeRows) -> None:
    recipes.import_(json.dumps(ONE).encode(), "f")
    rows.insert("b", {"port": "many"})
    other = json.dumps([{**ONE, "port": 9000}, {**ONE, "id": "b"}]).encode()
    assert recipes.import_(other, "f", replace=True, dry_run=True).replaced == ["a", "b"]
    assert recipes.get("a").port is None
    report = recipes.import_(other, "f", replace=True)
    assert report.replaced == ["a", "b"]
    assert "port none -> 9000" in next(one["why"] for one in report.fields if one["field"] == "id" and one["why"])
    assert recipes.get("a").port == 9000
    assert sorted(dict(rows.list())) == ["a", "b"]


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: [*b,*b,*b,*b,*b,*b,*b,*b]\n"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"   \n",
        b"\xff\xfe\x00",
        b"x" * (MAX_BYTES + 1),
        b"[" * 100_000,
        ("[" * 60 + "]" * 60).encode(),
        BOMB.encode(),
        b"{ not: [closed",
        b"null",
        b"[]",
        b"!!python/object/apply:os.system ['true']",
        b'{"id": "a", "id": }',
    ],
)
def test_what_holds_no_recipes_is_refused_with_a_reason(recipes: Recipes, rows: RecipeRows, raw: bytes) -> None:
    with pytest.raises(StudioError) as refused:
        recipes.import_(raw, "bad.txt")
    assert "bad.txt" in refused.value.title
    assert rows.list() == []


def test_an_error_in_json_or_yaml_names_its_place() -> None:
    with pytest.raises(StudioError, match="line 2"):
        read_documents(b'{"id": "a",\n "name": }', "f")
    with pytest.raises(StudioError, match="line 3"):
        read_documents(b"id: a\nname: b\n\t- x", "f")


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        (
            "CUDA_VISIBLE_DEVICES=0,1 vllm serve /m/x "
            "--tensor-parallel-size 2 \\\n  --max-model-len=4096 --foo -1 --eager",
            {
                "backend": "vllm",
                "model_path": "/m/x",
                "tensor_parallel_size": 2,
                "max_model_len": 4096,
                "gpus": ("0", "1"),
                "extra_args": {"foo": "-1", "eager": True},
            },
        ),
        (
            "/opt/v/bin/python -m vllm.entrypoints.openai.api_server "
            "--model org/m -tp 2 --served-model-name 'my model'",
            {"backend": "vllm", "python_path": "/opt/v/bin/python", "served_model_name": "my model"},
        ),
        (
            "python -m sglang.launch_server --model-path org/m --context-length 8192 --mem-fraction-static 0.8",
            {"backend": "sglang", "model_path": "org/m", "max_model_len": 8192, "gpu_memory_utilization": 0.8},
        ),
        (
            "./llama-server -m /m/x.gguf -c 4096 --port 9000 --flash-attn auto",
            {"backend": "llamacpp", "executable": "./llama-server", "port": 9000},
        ),
    ],
)
def test_a_pasted_command_becomes_a_recipe(text: str, fields: dict[str, Any]) -> None:
    data = from_command(text)
    assert data is not None
    recipe, _ = parse_recipe(data)
    for field, value in fields.items():
        assert getattr(recipe, field) == value


@pytest.mark.parametrize(
    "text", ["vllm is nice", "echo vllm serve x", "", "serve vllm", "id: a", "grep 'vllm serve x' notes"]
)
def test_what_only_looks_like_a_command_is_none(text: str) -> None:
    assert from_command(text) is None


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=10,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode) | VALUES.map(lambda v: json.dumps(v).encode()))
def test_nothing_that_is_imported_raises_anything_but_our_errors(raw: bytes) -> None:
    with contextlib.suppress(StudioError):
        Recipes(in_memory()).import_(raw, "f")


@given(VALUES)
def test_yaml_of_any_value_is_read_or_refused(value: Any) -> None:
    with contextlib.suppress(StudioError):
        Recipes(in_memory()).import_(yaml.safe_dump(value, allow_unicode=True).encode("utf-8", "replace"), "f")


@given(st.text(max_size=120))
def test_any_text_is_a_command_or_none(text: str) -> None:
    assert from_command("vllm serve " + text) is None or isinstance(from_command("vllm serve " + text), dict)


@pytest.mark.parametrize("form", ["yaml", "json"])
def test_what_is_exported_comes_in_again_as_it_was(recipes: Recipes, form: str) -> None:
    for one in recipes.starters():
        recipes.create(one)
    text = recipes.export(form=form)
    other = Recipes(in_memory())
    assert other.import_(text.encode(), "f").failed == []
    assert other.all() == recipes.all()


WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Z")), min_size=1, max_size=12)
EVERYWHERE = "0.0.0.0"  # noqa: S104
TEXTS = WORDS | st.sampled_from([EVERYWHERE, "yes", "null", "1e3", "*a", "&b", "{x}", "2026-01-01", "32k", "- x", "'"])
ANY_RECIPE = st.fixed_dictionaries(
    {
        "id": st.from_regex(r"[a-z0-9][a-z0-9._-]{0,20}", fullmatch=True),
        "name": TEXTS,
        "model_path": TEXTS,
        "backend": st.sampled_from(["vllm", "sglang", "llamacpp", "tabbyapi"]),
    },
    optional={
        "host": st.sampled_from([EVERYWHERE, "::", "127.0.0.1", "10.0.0.5"]),
        "port": st.integers(1, 65535) | st.just(8000),
        "trust_remote_code": st.booleans(),
        "description": TEXTS,
        "tags": st.lists(WORDS, max_size=3),
        "gpus": st.lists(st.sampled_from(["0", "1", "GPU-1"]), max_size=3, unique=True),
        "tensor_parallel_size": st.integers(1, 8),
        "pipeline_parallel_size": st.integers(1, 8),
        "max_model_len": st.integers(-1, 100_000),
        "gpu_memory_utilization": st.floats(0.1, 1),
        "kv_cache_dtype": st.sampled_from(["auto", "fp8"]),
        "max_num_seqs": st.integers(1, 512),
        "quantization": TEXTS,
        "executable": TEXTS,
        "python_path": TEXTS,
        "command": TEXTS,
        "api_key": st.sampled_from(["env:KEY", "file:/run/key"]),
        "env_vars": st.dictionaries(
            st.sampled_from(["A", "HF_TOKEN", "LD_PRELOAD", "HF_HUB_DISABLE_IMPLICIT_TOKEN"]), TEXTS, max_size=3
        ),
        "extra_args": st.dictionaries(
            st.sampled_from(["eager", "swap-space", "raw"]),
            st.booleans() | st.integers() | TEXTS | st.lists(WORDS, max_size=2) | st.just({"a": [1, None]}),
            max_size=3,
        ),
        "restart": st.sampled_from([{"policy": "always"}, {"policy": "on-failure", "delay": 1.5}]),
    },
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(ANY_RECIPE, min_size=1, max_size=3, unique_by=lambda one: one["id"]), st.sampled_from(["yaml", "json"]))
def test_an_import_of_ones_own_export_is_the_identity(
    tmp_path_factory: pytest.TempPathFactory, entries: list[dict[str, Any]], form: str
) -> None:
    folder = tmp_path_factory.mktemp("secrets")
    mine, rows = Recipes(own := in_memory(), folder), in_memory()
    for entry in entries:
        with contextlib.suppress(InvalidRecipe):
            mine.create(parse_recipe(entry)[0])
    if not own.list():
        return
    before = own.list()
    report = mine.import_(mine.export(form=form).encode(), "export")
    assert (report.imported, report.failed) == ([], [])
    assert sorted(report.existing) == [recipe_id for recipe_id, _ in before]
    assert own.list() == before
    theirs = Recipes(rows, folder)
    theirs.import_(mine.export(form=form).encode(), "export")
    assert rows.list() == before


def test_a_pasted_command_keeps_what_the_person_wrote_and_points_it_out(recipes: Recipes) -> None:
    pasted = b"vllm serve org/m --trust-remote-code --host 0.0.0.0 --port 8000"
    report = recipes.import_(pasted, "pasted")
    recipe = recipes.get("m")
    assert (recipe.host, recipe.port, recipe.trust_remote_code) == (EVERYWHERE, 8000, True)
    told = {one["field"]: one["why"] for one in report.fields}
    assert "no api_key" in told["host"]
    assert "code of the model" in told["trust_remote_code"]


@pytest.mark.parametrize(
    ("name", "tp", "expected"),
    [
        ("GLM-4.7", 4, {"tool_call_parser": "glm47", "reasoning_parser": "glm45"}),
        ("MiniMax-M2", 4, {"tool_call_parser": "minimax_m2", "reasoning_parser": "minimax_m2_append_think"}),
        ("MiniMax-M2", 8, {"tool_call_parser": "minimax_m2", "reasoning_parser": "minimax_m2_append_think",
                           "expert_parallel": True}),
        ("Qwen3-8B", 1, {"tool_call_parser": "hermes", "reasoning_parser": "qwen3"}),
        ("INTELLECT-3", 1, {"tool_call_parser": "hermes", "reasoning_parser": "deepseek_r1"}),
        ("unheard-of", 1, {}),
    ],
)  # fmt: skip
def test_an_import_suggests_what_the_model_needs_and_takes_it_when_told(
    recipes: Recipes, name: str, tp: int, expected: dict[str, Any]
) -> None:
    raw = json.dumps({"id": "a", "model_path": f"/m/{name}", "tp": tp}).encode()
    offered = recipes.import_(raw, "f", dry_run=True).suggestions
    assert {one["field"]: one["value"] for one in offered} == expected
    report = recipes.import_(raw, "f", suggested=True)
    assert report.suggestions == []
    recipe = recipes.get("a")
    assert {field: getattr(recipe, field) for field in expected} == expected


def test_what_a_recipe_sets_is_never_suggested_otherwise(recipes: Recipes) -> None:
    raw = json.dumps({**ONE, "model_path": "/m/Qwen3", "tool_call_parser": "mine"}).encode()
    report = recipes.import_(raw, "f", suggested=True)
    assert recipes.get("a").tool_call_parser == "mine"
    assert not any(one["field"] == "tool_call_parser" and "suggest" in one["why"] for one in report.fields)


def test_an_engine_that_nobody_knows_is_told(recipes: Recipes) -> None:
    report = recipes.import_(json.dumps({**ONE, "backend": "unheard-of"}).encode(), "f")
    assert any(one["field"] == "backend" and "vllm" in one["why"] for one in report.fields)


PASTED = "HF_TOKEN=hf_abcdefghij OTHER=$THERE vllm serve org/m --api-key sk-abc"


def test_a_pasted_key_becomes_a_file_of_its_own_and_is_told(tmp_path: Path) -> None:
    recipes = Recipes(in_memory(), folder := tmp_path / "secrets")
    assert recipes.import_(PASTED.encode(), "pasted", dry_run=True).imported == ["m"]
    assert not folder.exists()
    report = recipes.import_(PASTED.encode(), "pasted")
    recipe = recipes.get("m")
    assert recipe.api_key == f"file:{folder / 'm.api_key'}"
    assert recipe.env_vars == {"HF_TOKEN": f"file:{folder / 'm.HF_TOKEN'}", "OTHER": "env:THERE"}
    assert {resolve(one, {}) for one in (recipe.api_key, recipe.env_vars["HF_TOKEN"])} == {"sk-abc", "hf_abcdefghij"}
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700
    assert any(one["field"] == "api_key" and str(folder) in one["why"] for one in report.fields)
    assert "sk-abc" not in json.dumps(report.to_json()) + recipes.export()
    assert recipes.import_(PASTED.encode(), "pasted").existing == ["m"]
    assert len(list(folder.iterdir())) == 2
    recipes.import_(PASTED.replace("sk-abc", "sk-other").encode(), "pasted")
    assert resolve(recipes.get("m").api_key or "", {}) == "sk-abc"  # the other's secret is another file
    assert resolve(recipes.get("m-2").api_key or "", {}) == "sk-other"


def test_nothing_is_kept_of_a_recipe_that_cannot_be_used(tmp_path: Path) -> None:
    recipes = Recipes(in_memory(), tmp_path / "secrets")
    report = recipes.import_(json.dumps({**ONE, "api_key": "sk-abc", "port": "many"}).encode(), "f")
    assert report.failed
    assert not (tmp_path / "secrets").exists()


def test_recipes_are_kept_changed_copied_found_and_deleted(tmp_path: Path) -> None:
    db = Database.open(tmp_path / "studio.db")
    recipes = Recipes(RecipeRows(db))
    made = recipes.create(parse_recipe({**ONE, "description": "fast one", "tags": ["gguf"]})[0])
    with pytest.raises(UsageError):
        recipes.create(made)
    recipes.save(made.model_copy(update={"name": "New"}))
    assert recipes.get("a").name == "New"
    assert recipes.duplicate("a", "b").id == "b"
    assert [one.id for one in recipes.search("FAST gguf")] == ["a", "b"]
    assert recipes.search("nothing of the kind") == []
    recipes.delete("b")
    with pytest.raises(NotFound, match="no recipe b"):
        recipes.delete("b")
    with pytest.raises(NotFound):
        recipes.save(made.model_copy(update={"id": "zz"}))
    db.close()


def test_a_stored_recipe_that_cannot_be_read_hides_no_other(recipes: Recipes, rows: RecipeRows) -> None:
    recipes.create(parse_recipe(ONE)[0])
    rows.insert("broken", {"name": "B", "model_path": "/m", "port": "many"})
    good, broken = recipes.all_stored()
    assert isinstance(good, Recipe)
    assert isinstance(broken, Broken)
    assert "port" in broken.error.cause
    assert [one.id for one in recipes.all()] == ["a"]
    with pytest.raises(InvalidRecipe):
        recipes.get("broken")


def test_an_unknown_id_names_the_nearest_and_a_starter_says_how_to_take_it(recipes: Recipes) -> None:
    recipes.create(parse_recipe({**ONE, "id": "llama-70b"})[0])
    with pytest.raises(NotFound) as near:
        recipes.get("lama-70b")
    assert "llama-70b" in near.value.advice
    with pytest.raises(NotFound) as starter:
        recipes.get("qwen3-8b")
    assert "--starter qwen3-8b" in starter.value.advice


def test_every_starter_names_a_backend_that_exists_and_says_for_whom_it_is(recipes: Recipes) -> None:
    for one in recipes.starters():
        assert one.backend in backends()
        assert one.description


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(StudioError, match="cannot be read"):
        read_source(str(tmp_path / "none.yaml"))


@pytest.mark.parametrize(
    "given",
    [
        {"runtime": {"docker": {"image": "vllm/vllm-openai:v0.33.0", "shm": "8g"}}},
        {"runtime": {"kind": "docker", "ref": "vllm/vllm-openai:v0.33.0", "label": "x"}},
        {"extra_args": {"docker_image": "vllm/vllm-openai:v0.33.0"}},
    ],
)
def test_every_way_to_name_a_container_is_read(given: dict[str, object]) -> None:
    recipe, _ = parse_recipe({"id": "a", "name": "A", "model_path": "org/a", **given}, imported=True)
    assert (recipe.runtime, recipe.docker.image) == ("docker", "vllm/vllm-openai:v0.33.0")
    assert recipe.extra_args == {}


def test_the_originals_own_server_is_explained() -> None:
    recipe, notes = parse_recipe(
        {
            "id": "deepseek-v3.2-reap-w3a16",
            "name": "R",
            "backend": "transformers",
            "extra_args": {"env_vars": {"DEEPSEEK_MODEL_PATH": "/mnt/m", "DEEPSEEK_PORT": "8000"}},
        },
        imported=True,
    )
    assert recipe.model_path == "/mnt/m"
    told = {note.field: note.why for note in notes}
    assert "does not read it" in told["env_vars.DEEPSEEK_PORT"]
