"""Recipes: what is read from what people and other programs wrote, and what is said about it."""

from __future__ import annotations

from pprint import pformat
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_studio_tui.backends.parsers import suggest_parsers
from vllm_studio_tui.domain.errors import InvalidRecipe
from vllm_studio_tui.domain.normalise import normalise, slug
from vllm_studio_tui.domain.recipe import Recipe, parse_recipe, recipe_to_data

MINIMAL = {"id": "a", "name": "A", "model_path": "/m/a"}


def read(**fields: Any) -> Recipe:
    return parse_recipe({**MINIMAL, **fields})[0]


def notes_of(data: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {note.field: (note.action, note.why) for note in parse_recipe({**MINIMAL, **data})[1]}


def test_defaults_are_safe() -> None:
    recipe = read()
    assert (recipe.backend, recipe.host, recipe.port, recipe.trust_remote_code) == ("vllm", "127.0.0.1", None, False)
    assert (recipe.max_model_len, recipe.gpu_memory_utilization, recipe.restart.policy) == (None, None, "never")


@pytest.mark.parametrize(
    ("given", "field", "value"),
    [
        ({"engine": "sglang"}, "backend", "sglang"),
        ({"tp": 4}, "tensor_parallel_size", 4),
        ({"pp": 2}, "pipeline_parallel_size", 2),
        ({"max-model-len": 100}, "max_model_len", 100),
        ({"envVars": {"A": 1}}, "env_vars", {"A": "1"}),
        ({"env-vars": {"A": True, "B": None}}, "env_vars", {"A": "1"}),
        ({"extra_args": {"env_vars": {"A": "x"}}}, "env_vars", {"A": "x"}),
        ({"extra_args": {"cuda_visible_devices": "0,2"}}, "gpus", ("0", "2")),
        ({"env_vars": {"CUDA_VISIBLE_DEVICES": "3"}}, "gpus", ("3",)),
        ({"extra_args": {"venv_path": "/opt/v"}}, "python_path", "/opt/v/bin/python"),
        ({"gpus": [0, "GPU-1"]}, "gpus", ("0", "GPU-1")),
        ({"gpus": 0}, "gpus", ("0",)),
        ({"enforce_eager": True}, "extra_args", {"enforce_eager": True}),
    ],
)
def test_the_names_of_others_are_understood(given: dict[str, Any], field: str, value: Any) -> None:
    assert getattr(read(**given), field) == value


def test_what_the_original_wrote_blindly_is_reset_and_said() -> None:
    data = {"host": "0.0.0.0", "port": 8000, "trust_remote_code": True}  # noqa: S104
    recipe, made = parse_recipe({**MINIMAL, **data}, imported=True)
    assert (recipe.host, recipe.port, recipe.trust_remote_code) == ("127.0.0.1", None, False)
    notes = {note.field: (note.action, note.why) for note in made}
    assert all(notes[field][0] == "changed" and notes[field][1] for field in data)


def test_what_a_person_sets_here_stays_set() -> None:
    recipe = read(host="0.0.0.0", port=8000, trust_remote_code=True)  # noqa: S104
    assert (recipe.host, recipe.port, recipe.trust_remote_code) == ("0.0.0.0", 8000, True)  # noqa: S104
    assert parse_recipe(recipe_to_data(recipe))[0] == recipe


def test_what_was_meant_is_kept() -> None:
    recipe = read(host="10.0.0.5", port=9000, max_model_len=32768, max_num_seqs=256)
    assert (recipe.host, recipe.port, recipe.max_model_len, recipe.max_num_seqs) == ("10.0.0.5", 9000, 32768, 256)


def test_notes_and_bookkeeping_never_become_flags() -> None:
    given = {"status": "running", "created_at": "x", "extra_args": {"benchmark_notes_20260622": "fast", "tags": ["a"]}}
    recipe = read(**given)
    assert recipe.extra_args == {}
    assert recipe.tags == ("a",)
    assert notes_of(given)["extra_args.benchmark_notes_20260622"][0] == "dropped"


def test_variables_that_run_other_code_are_kept_and_pointed_out() -> None:
    notes = notes_of({"env_vars": {"LD_PRELOAD": "/x.so"}})
    assert notes["env_vars.LD_PRELOAD"][0] == "taken"
    assert "look at it" in notes["env_vars.LD_PRELOAD"][1]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"id": "A b"}, "id"),
        ({"backend": "x y"}, "backend"),
        ({"port": 70000}, "port"),
        ({"tensor_parallel_size": 0}, "tensor_parallel_size"),
        ({"gpu_memory_utilization": 1.5}, "gpu_memory_utilization"),
        ({"api_key": "sk-plain-secret"}, "api_key"),
        ({"backend": "external", "base_url": "http://x"}, "base_url"),
        ({"backend": "external", "base_url": "ftp://x/v1"}, "base_url"),
        ({"backend": "external"}, "recipe"),
        ({"backend": "custom"}, "recipe"),
        ({"env_vars": {"A B": "x"}}, "env_vars"),
        ({"model_path": "a\nb"}, "model_path"),
        ({"extra_args": [1]}, "extra_args"),
        ({"restart": {"policy": "sometimes"}}, "restart.policy"),
        ({"runtime": "docker"}, "recipe"),
        ({"runtime": "podman"}, "runtime"),
    ],
)
def test_what_cannot_be_used_is_named_with_its_field(given: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRecipe) as refused:
        read(**given)
    assert field in [name for name, _ in refused.value.problems]
    assert "sk-plain-secret" not in refused.value.cause or field == "api_key"


def test_every_problem_is_named_at_once() -> None:
    with pytest.raises(InvalidRecipe) as refused:
        read(port=0, tp=-1, gpu_memory_utilization=7)
    assert len(refused.value.problems) == 3


REAL = [
    {
        "id": "mirothinker-v1.5-235b-awq-4bit",
        "name": "MiroThinker",
        "model_path": "/mnt/llm_models/MiroThinker-v1.5-235B-AWQ-4bit",
        "backend": "vllm",
        "tensor_parallel_size": 8,
        "max_model_len": 262144,
        "gpu_memory_utilization": 0.95,
        "max_num_seqs": 32,
        "kv_cache_dtype": "fp8",
        "quantization": "awq_marlin",
        "dtype": "float16",
        "tool_call_parser": None,
        "reasoning_parser": "deepseek_r1",
        "thinking_mode": "balanced",
        "max_thinking_tokens": 32768,
        "extra_args": {"enable-chunked-prefill": True, "enable-prefix-caching": True},
    },
    {
        "id": "qwen3-vl-32b-thinking",
        "name": "Qwen3 VL",
        "model_path": "/models/Qwen3-VL-32B-Thinking",
        "tp": 2,
        "pp": 3,
        "dtype": "float16",
        "extra_args": {"block-size": 16, "disable-custom-all-reduce": True, "cuda_visible_devices": "0,1,2,3,4,5"},
    },
]


@pytest.mark.parametrize("data", REAL, ids=lambda data: str(data["id"]))
def test_real_recipes_of_the_original_come_in_whole(data: dict[str, Any]) -> None:
    recipe, _ = parse_recipe(data)
    assert recipe.id == data["id"]
    assert recipe.tensor_parallel_size == data.get("tp", data.get("tensor_parallel_size"))
    assert parse_recipe(recipe_to_data(recipe))[0] == recipe


@pytest.mark.parametrize(
    ("name", "tool", "reasoning"),
    [
        ("MiniMax-M2.1", "minimax_m2", "minimax_m2_append_think"),
        ("GLM-4.7-REAP-50", "glm47", "glm45"),
        ("Qwen3-30B-A3B-Thinking-2507", "hermes", "deepseek_r1"),
        ("Qwen3-8B", "hermes", "qwen3"),
        ("gpt-oss-20b", "openai", "openai_gptoss"),
        ("something-else", None, None),
    ],
)
def test_parsers_are_suggested_by_family_also_behind_a_neutral_alias(
    name: str, tool: str | None, reasoning: str | None
) -> None:
    assert suggest_parsers(read(model_path=f"/m/{name}", served_model_name="neutral")) == (tool, reasoning)


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from([*Recipe.model_fields, "tp", "engine", "env-vars", "cuda_visible_devices", "status", "notes"])


@given(st.dictionaries(KEYS | st.text(max_size=8), VALUES, max_size=8))
def test_any_object_is_a_recipe_or_is_refused_with_reasons(data: dict[str, Any]) -> None:
    try:
        recipe, _ = parse_recipe(data)
    except InvalidRecipe as refused:
        assert refused.problems
    else:
        assert parse_recipe(recipe_to_data(recipe))[0] == recipe


@given(st.dictionaries(KEYS | st.text(max_size=8), VALUES, max_size=8))
def test_what_is_normal_stays_as_it_is(data: dict[str, Any]) -> None:
    once, _ = normalise(data)
    twice, notes = normalise(once)
    assert pformat(twice) == pformat(once)
    assert all(note.action == "taken" for note in notes)


@given(VALUES)
def test_what_is_no_object_is_refused(data: Any) -> None:
    if not isinstance(data, dict):
        with pytest.raises(InvalidRecipe):
            parse_recipe(data)


@given(st.text())
def test_an_id_can_be_made_of_any_name(text: str) -> None:
    assert parse_recipe({**MINIMAL, "id": slug(text)})[0].id == slug(text)
