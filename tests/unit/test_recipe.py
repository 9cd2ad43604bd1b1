"""Recipes: what is read from what people and other programs wrote, and what is said about it."""

from __future__ import annotations

from pprint import pformat
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_studio_tui.backends.common.parsers import suggest_parsers
from vllm_studio_tui.domain.errors import InvalidRecipe
from vllm_studio_tui.domain.recipe import Recipe, recipe_to_data
from vllm_studio_tui.domain.recipe_reading import normalise, parse_recipe, slug

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


#: A recipe as the original writes one: every field, set or not.
WHOLE: dict[str, Any] = {
    **MINIMAL, "backend": "vllm", "env_vars": None, "tensor_parallel_size": 1, "pipeline_parallel_size": 1,
    "max_model_len": 32768, "gpu_memory_utilization": 0.9, "kv_cache_dtype": "auto", "max_num_seqs": 256,
    "trust_remote_code": True, "tool_call_parser": None, "reasoning_parser": None, "enable_auto_tool_choice": False,
    "quantization": None, "dtype": None, "host": "0.0.0.0", "port": 8000, "served_model_name": None,  # noqa: S104
    "python_path": None, "extra_args": {}, "max_thinking_tokens": None, "thinking_mode": "conservative",
}  # fmt: skip
BLANKET = {"host": "0.0.0.0", "port": 8000, "trust_remote_code": True}  # noqa: S104


@pytest.mark.parametrize("data", [WHOLE, {**WHOLE, "dtype": "float16", "status": "running"},
                                  {**MINIMAL, **BLANKET, "model_key": "a", "is_default": 0}])  # fmt: skip
def test_what_the_original_wrote_blindly_is_reset_and_said(data: dict[str, Any]) -> None:
    recipe, made = parse_recipe(data, imported=True)
    assert (recipe.host, recipe.port, recipe.trust_remote_code) == ("127.0.0.1", None, False)
    notes = {note.field: (note.action, note.why) for note in made}
    assert all(notes[field][0] == "changed" and notes[field][1] for field in BLANKET)


@pytest.mark.parametrize("data", [{**MINIMAL, **BLANKET}, {**WHOLE, "restart": {"policy": "always"}}])
def test_what_a_person_wrote_stays_on_an_import_and_is_pointed_out(data: dict[str, Any]) -> None:
    recipe, made = parse_recipe(data, imported=True)
    assert (recipe.host, recipe.port, recipe.trust_remote_code) == ("0.0.0.0", 8000, True)  # noqa: S104
    notes = {note.field: (note.action, note.why) for note in made}
    assert "no api_key" in notes["host"][1]
    assert "code of the model" in notes["trust_remote_code"][1]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"backend": "custom", "command": "/opt/run.sh {port}"}, "command"),
        ({"executable": "/opt/vllm"}, "executable"),
        ({"python_path": "/opt/v/bin/python"}, "python_path"),
        ({"extra_args": {"venv_path": "/opt/v"}}, "python_path"),
        ({"runtime": "docker", "docker": {"image": "an-image"}}, "docker.image"),
        ({"runtime": "docker", "docker": {"image": "x", "volumes": ["/:/host"]}}, "docker.volumes"),
        ({"runtime": "docker", "docker": {"image": "x", "args": ["--privileged"]}}, "docker.args"),
        ({"extra_args": {"tool-parser-plugin": "/tmp/evil.py"}}, "extra_args.tool-parser-plugin"),
        ({"extra_args": {"logits_processors": ["evil:Thing"]}}, "extra_args.logits_processors"),
    ],
)
def test_what_a_launch_would_run_is_pointed_out_on_an_import(given: dict[str, Any], field: str) -> None:
    recipe, made = parse_recipe({**MINIMAL, **given}, imported=True)
    assert "a launch will use this" in next(note.why for note in made if note.field == field and note.why[:1] == "a")
    assert parse_recipe(recipe_to_data(recipe))[0] == recipe


@pytest.mark.parametrize(
    ("given", "field", "value"),
    [
        ({"max_model_len": "32k"}, "max_model_len", 32_000),
        ({"max_model_len": "32K"}, "max_model_len", 32_768),
        ({"max_model_len": "25.6k"}, "max_model_len", 25_600),
        ({"max_model_len": "1_000"}, "max_model_len", 1000),
        ({"max_model_len": "auto"}, "max_model_len", -1),
        ({"max_model_len": 0}, "max_model_len", None),
        ({"max_num_seqs": 0}, "max_num_seqs", None),
        ({"max_num_seqs": "0"}, "max_num_seqs", None),
        ({"max_num_batched_tokens": "8K"}, "max_num_batched_tokens", 8192),
        ({"max_thinking_tokens": "16k"}, "max_thinking_tokens", 16_000),
    ],
)
def test_counts_are_understood_as_people_write_them_and_it_is_said(
    given: dict[str, Any], field: str, value: int | None
) -> None:
    assert getattr(read(**given), field) == value
    assert notes_of(given)[field][0] == "changed" or given[field] in ("1_000",)


def test_a_name_is_made_an_id_on_an_import_and_kept_as_the_name() -> None:
    recipe, notes = parse_recipe({"id": "GLM-4.7", "model_path": "/m"}, imported=True)
    assert (recipe.id, recipe.name) == ("glm-4.7", "GLM-4.7")
    assert any(note.field == "id" and "GLM-4.7" in note.why for note in notes)
    recipe, _ = parse_recipe({"id": "Org/A b", "name": "My", "model_path": "/m"}, imported=True)
    assert (recipe.id, recipe.name) == ("a-b", "My")


@pytest.mark.parametrize(
    "given",
    [
        {"extra_args": {"visible_devices": "0,1", "CUDA_VISIBLE_DEVICES": "2"}},
        {"env_vars": {"CUDA_VISIBLE_DEVICES": "2"}, "extra_args": {"visible_devices": "0,1"}},
        {"gpus": "0,1", "extra_args": {"cuda_visible_devices": "2"}},
        {"visible_devices": "0,1", "cuda_visible_devices": "2"},
    ],
)
def test_of_two_lists_of_gpus_one_is_said_to_be_dropped(given: dict[str, Any]) -> None:
    recipe, notes = parse_recipe({**MINIMAL, **given})
    assert recipe.gpus == ("0", "1")
    dropped = [note.field.lower() for note in notes if note.action == "dropped"]
    assert len(dropped) == 1
    assert dropped[0].endswith("cuda_visible_devices")


def test_engines_of_the_original_that_are_none_here_are_told() -> None:
    command = {"exllama_command": "/opt/x/python {a}"}
    recipe, notes = parse_recipe({**MINIMAL, "backend": "exllamav3", "extra_args": command}, imported=True)
    assert recipe.backend == "custom"
    assert recipe.command == (
        "/opt/x/python {{a}} --host {host} --port {port} --served-model-name {name} --model {model}"
    )
    assert any(note.field == "backend" and note.action == "changed" for note in notes)
    _, notes = parse_recipe({**MINIMAL, "backend": "vllm", "extra_args": {"launch_command": "x"}}, imported=True)
    assert any(note.field == "command" and "does not use it" in note.why for note in notes)


def test_a_recipe_for_exllamav3_is_served_by_tabbyapi_with_the_fields_that_it_has() -> None:
    given = {"max_model_len": 8192, "kv_cache_dtype": "q8", "gpu_memory_utilization": 0.8, "dtype": "float16"}
    recipe, notes = parse_recipe({**MINIMAL, "backend": "exllamav3", **given}, imported=True)
    assert (recipe.backend, recipe.max_model_len, recipe.kv_cache_dtype) == ("tabbyapi", 8192, "q8")
    assert (recipe.gpu_memory_utilization, recipe.dtype) == (None, None)
    told = {note.field: note for note in notes}
    assert "TabbyAPI serves such models" in told["backend"].why
    assert (told["gpu_memory_utilization"].action, told["dtype"].action) == ("dropped", "dropped")
    assert told["max_model_len"].action == "taken"


def test_a_recipe_for_mlx_becomes_the_command_of_its_server() -> None:
    given = {"max_model_len": 8192, "trust_remote_code": True, "extra_args": {"draft_model": "a {b}", "temp": 0.5}}
    recipe, notes = parse_recipe({**MINIMAL, "backend": "mlx", **given}, imported=True)
    assert recipe.backend == "custom"
    assert recipe.command == (
        "mlx_lm.server --model {model} --host {host} --port {port} --trust-remote-code"
        " --draft-model 'a {{b}}' --temp 0.5"
    )
    assert (recipe.extra_args, recipe.max_model_len) == ({}, None)
    told = {note.field: note for note in notes}
    assert told["max_model_len"].action == "dropped"
    assert "look at it before" in [one.why for one in notes if one.field == "command"][-1]
    with_python, _ = parse_recipe({**MINIMAL, "backend": "mlx", "python_path": "/m/bin/python"}, imported=True)
    assert str(with_python.command).startswith("{python} -m mlx_lm.server --model {model}")


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
    assert "sk-plain-secret" not in str(refused.value)


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
