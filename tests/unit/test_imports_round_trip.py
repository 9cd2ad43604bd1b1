"""What is rendered for another tool is imported again as the same recipe, as far as that tool can carry it."""

from __future__ import annotations

import json
import string
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.test_imports_of_tools import flags_of, imported, words_of
from vllm_studio_tui.config.settings import Settings
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.recipe import Recipe, recipe_to_data
from vllm_studio_tui.services.render.gather import gather_source
from vllm_studio_tui.services.render.registry import render

WORD = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=8)
PATH = st.builds(lambda a, b: f"/models/{a}/{b}", WORD, WORD)
#: Any text without a line break: what a shell or YAML could take for something else.
TEXT = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=20
).filter(lambda text: text == text.strip() and not text.startswith("-") and "\x85" not in text)
NAME = st.builds(lambda a, b: f"x{a}_{b}", WORD, WORD)


def some(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.none(), strategy)


ENGINE: dict[str, st.SearchStrategy[Any]] = {
    "model_path": PATH,
    "served_model_name": some(NAME),
    "port": st.integers(1024, 65535),
    "tensor_parallel_size": st.integers(1, 8),
    "pipeline_parallel_size": st.integers(1, 4),
    "max_model_len": some(st.integers(1, 10**6)),
    "gpu_memory_utilization": some(st.sampled_from([0.1, 0.5, 0.85, 0.95])),
    "kv_cache_dtype": st.sampled_from(["auto", "fp8"]),
    "max_num_seqs": some(st.integers(1, 512)),
    "dtype": some(st.sampled_from(["bfloat16", "float16"])),
    "quantization": some(st.sampled_from(["fp8", "awq"])),
    "trust_remote_code": st.booleans(),
    "tool_call_parser": some(st.just("hermes")),
    "reasoning_parser": some(st.just("qwen3")),
    "revision": some(WORD),
}
VLLM = {
    **ENGINE,
    "data_parallel_size": st.integers(1, 4),
    "expert_parallel": st.booleans(),
    "enable_prefix_caching": some(st.booleans()),
    "enable_chunked_prefill": some(st.booleans()),
    "max_num_batched_tokens": some(st.integers(1, 99999)),
    "tokenizer": some(PATH),
    "lora_modules": st.dictionaries(NAME, PATH, max_size=3),
    "speculative": st.dictionaries(NAME, st.integers(0, 9), max_size=2),
    "chat_template_kwargs": st.dictionaries(NAME, st.one_of(st.booleans(), TEXT), max_size=2),
    "extra_args": st.fixed_dictionaries(
        {},
        optional={
            "enforce-eager": st.just(True),
            "seed": st.integers(0, 99).map(str),
            "cudagraph-capture-sizes": st.lists(st.integers(1, 99).map(str), min_size=2, max_size=3),
            "chat-template": TEXT,
            "compilation-config": st.fixed_dictionaries({"mode": st.integers(0, 3)}),
        },
    ),
}
SGLANG = dict(ENGINE)
REQUESTS: dict[str, st.SearchStrategy[Any]] = {
    "name": TEXT,
    "description": st.one_of(st.just(""), TEXT),
    "ttl": some(st.integers(0, 9999)),
    "max_concurrent": some(st.integers(1, 99)),
    "preload": st.booleans(),
    "persistent": st.booleans(),
    "priority": st.integers(-9, 9),
    "vision": some(st.booleans()),
    "aliases": st.lists(NAME.map(lambda name: f"y{name}"), max_size=3, unique=True),
    "gpus": st.sampled_from([(), ("0",), ("0", "1")]),
    "env_vars": st.dictionaries(st.sampled_from(["A", "B_C", "lower"]), TEXT, max_size=3),
    "params": st.fixed_dictionaries(
        {}, optional={"set": st.dictionaries(NAME, st.integers(), min_size=1, max_size=2), "strip": st.just(["seed"])}
    ),
}
GGUF = {
    "model_path": PATH.map(lambda path: f"{path}.gguf"),
    "port": st.integers(1024, 65535),
    "served_model_name": NAME,
    "max_model_len": some(st.integers(1, 10**6)),
    "max_num_seqs": some(st.integers(1, 64)),
    "max_num_batched_tokens": some(st.integers(1, 4096)),
    "enable_prefix_caching": some(st.booleans()),
    "extra_args": st.fixed_dictionaries(
        {}, optional={"threads": st.just("8"), "flash-attn": st.just("on"), "swa-full": st.just(True)}
    ),
}


def recipes(backend: str, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Recipe]:
    program = (
        {"python_path": "/venv/bin/python"} if backend == "sglang" else {"executable": f"/venv/bin/{PROGRAMS[backend]}"}
    )
    base = {"id": "some-id", "name": "some-id", "backend": backend, **program}
    return st.fixed_dictionaries(fields).map(lambda given: Recipe.model_validate({**base, **given}))


PROGRAMS = {"vllm": "vllm", "llamacpp": "llama-server", "sglang": ""}


@pytest.fixture(autouse=True)
def programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engines' programs are where the recipes say."""
    monkeypatch.setattr("vllm_studio_tui.backends.common.commands.shutil.which", lambda name, path=None: name)
    monkeypatch.setattr("vllm_studio_tui.backends.common.commands.program_trouble", lambda *_: None)


def rendered(kind: str, recipe: Recipe) -> dict[str, str]:
    made = gather_source(
        [recipe], Settings(), resolve=lambda path: path, number=lambda _: None, environ={"PATH": "/venv/bin"}
    )
    return render(kind, made)


def compare(before: Recipe, after: Recipe, *, but: set[str]) -> None:
    backend, mine, env = words_of(before)
    _, theirs, env_after = words_of(after)
    assert flags_of(backend, theirs) == flags_of(backend, mine)
    if "env_vars" not in but:
        assert env_after == env
    one, other = _plain(before), _plain(after)
    # A parser of tool calls switches the choice of tools on by itself; names that clients ask by are one list.
    but = but | {"enable_auto_tool_choice"}
    assert {key: value for key, value in other.items() if key not in but} == {
        key: value for key, value in one.items() if key not in but
    }


def _plain(recipe: Recipe) -> dict[str, Any]:
    """Return a recipe's data with the values of flags as a command has them: 3 and "3" are one there."""
    data = recipe_to_data(recipe)
    if "extra_args" in data:
        data["extra_args"] = {key: _words(value) for key, value in data["extra_args"].items()}
    return data


def _words(value: Any) -> Any:
    if isinstance(value, list):
        return [str(one) for one in value]
    return json.dumps(value, sort_keys=True) if isinstance(value, dict) else _text(value)


def _text(value: Any) -> Any:
    try:
        found = json.loads(value) if isinstance(value, str) else None
    except ValueError:
        found = None
    return json.dumps(found, sort_keys=True) if isinstance(found, dict) else value if value is True else str(value)


MANY = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@MANY
@given(recipes("vllm", **VLLM))
def test_flags_in_a_file_carry_what_the_engine_is_told(recipe: Recipe) -> None:
    text = rendered("engine-config", recipe)["some-id.yaml"]
    entries, report = imported(text.encode(), "some-id.yaml")
    assert not report.failed
    compare(recipe, entries[0].recipe, but={"id", "name", "executable"})
    assert "Not in this file: executable" in text


@MANY
@given(recipes("sglang", **SGLANG))
def test_the_same_holds_for_another_engine(recipe: Recipe) -> None:
    text = rendered("engine-config", recipe)["some-id.yaml"]
    entries, _ = imported(text.encode(), "some-id.yaml")
    after = entries[0].recipe.model_copy(update={"python_path": recipe.python_path})
    compare(recipe, after, but={"id", "name", "python_path"})


@MANY
@given(recipes("vllm", **{**VLLM, **REQUESTS}))
def test_llama_swap_carries_what_it_has_a_word_for(recipe: Recipe) -> None:
    text = rendered("llama-swap", recipe)["config.yaml"]
    entries, report = imported(text.encode(), "config.yaml")
    assert not report.failed
    compare(recipe, entries[0].recipe, but={"ready_timeout", *({"served_model_name"} if recipe.aliases else ())})


@MANY
@given(recipes("llamacpp", **{**GGUF, **REQUESTS}))
def test_llama_swap_carries_llama_servers_flags(recipe: Recipe) -> None:
    text = rendered("llama-swap", recipe)["config.yaml"]
    entries, _ = imported(text.encode(), "config.yaml")
    compare(recipe, entries[0].recipe, but={"ready_timeout"})


def test_what_a_file_of_flags_cannot_carry_is_said_at_its_head() -> None:
    recipe = Recipe(
        id="a",
        name="A",
        model_path="org/m",
        executable="/venv/bin/vllm",
        ttl=5,
        api_key="env:KEY",
        env_vars={"X": "a b"},
    )
    text = rendered("engine-config", recipe)["a.yaml"]
    assert {"ttl", "api_key", "executable", "env_vars"} <= set(
        text.partition("Not in this file: ")[2].partition("\n")[0].split(", ")
    )
    assert "# Start: /venv/bin/vllm serve --config a.yaml\n" in text
    assert "# Set before: X='a b'\n" in text
    assert yaml.safe_load(text)["model"] == "org/m"


def test_an_engine_without_such_a_file_is_left_out_by_name() -> None:
    with pytest.raises(StudioError, match="no recipe can be") as refused:
        rendered("engine-config", Recipe(id="g", name="G", model_path="/m.gguf", backend="llamacpp"))
    assert "llamacpp reads no file of flags" in refused.value.cause
