"""Every field of a recipe changes something of what is started, or a check names it: each field, each engine."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.contract.installed import BACKENDS, needed, programs, settings
from vllm_studio_tui.backends import llamacpp
from vllm_studio_tui.backends.base import Backend, LaunchContext, Problem
from vllm_studio_tui.backends.checks import check
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.runs.make_spec import resolve

#: Kinds of engines; the embedded one is llama.cpp's where no llama-server is installed.
ENGINES = [*BACKENDS, "embedded"]
#: What only people read, and what is read when recipes are kept.
FOR_PEOPLE = {"description", "tags", "extends"}
#: What `serve` alone reads: it changes nothing of an engine but the names that some of them answer to.
FOR_SERVE = {
    "aliases", "on_demand", "ttl", "persistent", "preload", "priority", "max_concurrent", "stall_timeout", "params",
}  # fmt: skip
#: What says where it runs: test_no_handover_field_is_dropped.py and test_ranks_of_engines.py try each of it.
FOR_FOLLOWERS = {"nodes", "strategy", "handover"}
#: Two or more values of each field; some of them only some engines can do something with.
VALUES: dict[str, list[Any]] = {
    "id": ["other"],
    "name": ["Other"],
    "model_path": ["MODEL-2"],
    "runtime": ["docker"],
    "host": ["192.168.7.7", "localhost"],
    "port": [8555],
    "served_model_name": ["another"],
    "api_key": ["env:MY_KEY"],
    "base_url": ["http://127.0.0.1:7/v1"],
    "revision": ["abc123"],
    "tokenizer": ["org/tokenizer"],
    "lora_modules": [{"sql": "/lora/sql.gguf"}],
    "gpus": [["1"], ["0", "1"]],
    "tensor_parallel_size": [2],
    "pipeline_parallel_size": [2],
    "data_parallel_size": [2],
    "expert_parallel": [True],
    "max_model_len": [4096],
    "gpu_memory_utilization": [0.5],
    "kv_cache_dtype": ["fp8", "q8_0", "nonsense"],
    "max_num_seqs": [7],
    "max_num_batched_tokens": [2048],
    "enable_prefix_caching": [False],
    "enable_chunked_prefill": [False],
    "speculative": [{"method": "ngram", "num_speculative_tokens": 3}, {"type": "draft-simple"}, {"odd": 1}],
    "dtype": ["float16"],
    "quantization": ["awq"],
    "trust_remote_code": [True],
    "tool_call_parser": ["hermes"],
    "reasoning_parser": ["qwen3", "deepseek"],
    "enable_auto_tool_choice": [True],
    "thinking_mode": ["disabled", "aggressive", "auto"],
    "max_thinking_tokens": [2048],
    "chat_template_kwargs": [{"enable_thinking": False}],
    "vision": [True],
    "executable": ["serve.sh"],
    "python_path": ["other/python3"],
    "command": ["serve.sh --port {port} --more"],
    "cwd": ["/tmp"],
    "env_vars": [{"A": "1"}],
    "extra_args": [{"seed": 3}, {"made_up_flag": "x"}],
    "health_path": ["/up"],
    "metrics_style": ["vllm", "odd"],
    "ready_timeout": [60.0],
    "restart": [{"policy": "always"}],
    "docker": [{"image": "org/image:1"}],
}
#: Told or honoured by what is above a backend.
FIELDS = [name for name in Recipe.model_fields if name not in FOR_PEOPLE | FOR_SERVE | FOR_FOLLOWERS | {"backend"}]


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    """A folder with every program, and two models."""
    programs(tmp_path)
    programs(tmp_path / "other")
    for name in ("MODEL", "MODEL-2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "m.gguf").write_bytes(b"GGUF")
    return tmp_path


def make(kind: str, folder: Path, **fields: Any) -> tuple[Recipe, Backend, LaunchContext]:
    backend = BACKENDS["llamacpp" if kind == "embedded" else kind]
    values: dict[str, Any] = {"id": "r", "name": "R", "backend": backend.name, "model_path": "MODEL"}
    values |= needed(backend)
    values |= fields
    if kind == "transformers" and "revision" in fields:
        values["model_path"] = "org/model"
    for name in ("model_path", "executable", "python_path"):
        if values.get(name) in ("MODEL", "MODEL-2", "serve.sh", "other/python3"):
            values[name] = str(folder / values[name])
    recipe = Recipe.model_validate(values)
    if kind == "embedded":
        (folder / "llama-server").unlink(missing_ok=True)
    host, port = recipe.host, recipe.port or 8000
    context = LaunchContext(settings(folder), host, port, sys.executable, {"PATH": str(folder)})
    return recipe, backend, context


def started(recipe: Recipe, backend: Backend, context: LaunchContext) -> dict[str, Any] | None:
    """All that a run is made of, but for the recipe itself; None: it cannot be started."""
    if not backend.needs_launch:
        return {"ready": backend.ready(recipe), "model": backend.model_name(recipe), "url": recipe.base_url,
                "key": recipe.api_key, "id": recipe.id, "name": recipe.name}  # fmt: skip
    try:
        spec = dataclasses.asdict(resolve(recipe, backend, context, "run-1", environ={}))
    except StudioError:
        return None
    return {name: value for name, value in spec.items() if name not in ("recipe", "recipe_revision", "created_at")}


def said(recipe: Recipe, backend: Backend, context: LaunchContext, field: str) -> list[Problem]:
    return [one for one in check(backend, recipe, context) if one.field == field]


def test_every_field_is_tried() -> None:
    assert set(VALUES) >= set(FIELDS)


@pytest.mark.parametrize("field", [name for name in VALUES if name in Recipe.model_fields])
@pytest.mark.parametrize("kind", ENGINES)
def test_a_field_changes_what_is_started_or_a_check_names_it(
    kind: str, field: str, engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llamacpp, "find_spec", lambda _name: object())
    monkeypatch.setattr("vllm_studio_tui.runs.make_spec.sys.executable", sys.executable)
    plain = started(*make(kind, engine, **({"model_path": "org/model"} if field == "revision" else {})))
    for value in VALUES[field]:
        fields = {field: value}
        if field == "runtime":
            if kind == "external":
                continue  # refused when the recipe is made
            fields["docker"] = {"image": "org/image:1"}
        if field == "revision" and kind not in ("tabbyapi", "embedded"):
            fields["model_path"] = "org/model"
        recipe, backend, context = make(kind, engine, **fields)
        now = started(recipe, backend, context)
        problems = said(recipe, backend, context, field)
        assert now != plain or problems, f"{value} is dropped"
        if problems and now == plain:
            assert all(one.message for one in problems)


@pytest.mark.parametrize("kind", [kind for kind in ENGINES if kind not in ("external", "custom")])
def test_a_flag_that_a_field_says_already_is_named(kind: str, engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llamacpp, "find_spec", lambda _name: object())
    recipe, backend, context = make(kind, engine, extra_args={"host": "10.0.0.1"})
    assert any("host" in one.message for one in said(recipe, backend, context, "extra_args"))


def test_a_mode_of_thinking_that_the_model_has_no_budget_for_is_told(engine: Path) -> None:
    for thinking in ("aggressive", "balanced"):
        for path, told in (("org/qwen3-32b", True), ("org/glm-4.7", False)):
            recipe, backend, context = make("vllm", engine, model_path=path, thinking_mode=thinking)
            assert bool(said(recipe, backend, context, "thinking_mode")) is told


@pytest.mark.parametrize("kind", [kind for kind in ENGINES if kind not in ("external", "custom")])
def test_a_name_that_the_model_has_anyway_is_no_value_without_effect(
    kind: str, engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llamacpp, "find_spec", lambda _name: object())
    recipe, backend, context = make(kind, engine)
    named = recipe.model_copy(update={"served_model_name": backend.model_name(recipe)})
    problems = said(named, backend, context, "served_model_name")
    assert not [one for one in problems if "changes nothing" in one.message], problems


def test_what_is_implied_by_another_field_is_not_called_idle(engine: Path) -> None:
    recipe, backend, context = make("vllm", engine, tool_call_parser="hermes", enable_auto_tool_choice=True)
    assert not said(recipe, backend, context, "enable_auto_tool_choice")
    recipe, backend, context = make("sglang", engine, enable_prefix_caching=True, enable_chunked_prefill=True)
    assert not any("changes nothing" in one.message for one in check(backend, recipe, context))


@pytest.mark.parametrize("kind", ENGINES)
def test_aliases_are_handed_to_the_engine_that_goes_by_names(kind: str, engine: Path) -> None:
    recipe, backend, context = make(kind, engine, aliases=["small", "fast"], served_model_name="m")
    plain = make(kind, engine, served_model_name="m")[0]
    if kind != "vllm":
        assert started(recipe, backend, context) == started(plain, backend, context)
        return
    assert "--served-model-name m small fast" in " ".join(backend.command(recipe, context).argv)
