"""extra_args to arguments."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_studio_tui.backends import llamacpp, sglang, vllm
from vllm_studio_tui.backends.common.flags import FlagStyle, extra_arguments, normalised
from vllm_studio_tui.domain.errors import InvalidRecipe

PLAIN = FlagStyle()


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ({"block_size": 16}, ["--block-size", "16"]),
        ({"block-size": 16}, ["--block-size", "16"]),
        ({"--block-size": 16}, ["--block-size", "16"]),
        ({"enforce_eager": True}, ["--enforce-eager"]),
        ({"enforce_eager": False, "seed": None}, []),
        ({"cpu_offload_gb": 0}, ["--cpu-offload-gb", "0"]),
        ({"spec_x": 0.25}, ["--spec-x", "0.25"]),
        ({"chat_template": "a b 'c'"}, ["--chat-template", "a b 'c'"]),
        ({"max_model_len": -1}, ["--max-model-len=-1"]),
        ({"download_dir": "--evil"}, ["--download-dir=--evil"]),
        ({"limit": {"im-age": {"a-b": 1}}}, ["--limit", '{"im_age":{"a_b":1}}']),
        (
            {"speculative_config": '{"num-speculative-tokens": 5}'},
            ["--speculative-config", '{"num_speculative_tokens":5}'],
        ),
        ({"speculative_config": "not json"}, ["--speculative-config", "not json"]),
        ({"tags_list": ["a", 1]}, ["--tags-list", '["a",1]']),
        ({"raw": ["-O", "3", "--x y"]}, ["-O", "3", "--x y"]),
        ({"_raw": "-O 3 '--x y'"}, ["-O", "3", "--x y"]),
        ({"compilation_config.mode": 3}, ["--compilation-config.mode", "3"]),
    ],
)
def test_keys_and_values_become_arguments(extra: dict[str, object], expected: list[str]) -> None:
    assert extra_arguments(extra, [], PLAIN) == expected


def test_what_describes_or_is_for_the_studio_makes_no_flag() -> None:
    extra: dict[str, object] = {
        "venv_path": "/opt/v",
        "cuda-visible-devices": "0",
        "description": "x",
        "benchmark_notes_20260622": "fast",
        "tuned-20260622": True,
        "notes": "y",
        "docker_image": "z",
    }
    assert extra_arguments(extra, [], PLAIN) == []


@pytest.mark.parametrize(
    "present",
    [
        ["--tensor-parallel-size", "2"],
        ["--tensor_parallel_size=2"],
        ["-tp", "2"],
        ["-tp=2"],
    ],
)
@pytest.mark.parametrize("key", ["tensor_parallel_size", "tensor-parallel-size", "tp", "-tp"])
def test_a_flag_is_not_given_twice_however_it_is_spelled(present: list[str], key: str) -> None:
    assert extra_arguments({key: 4}, present, vllm.STYLE) == []


def test_the_negative_form_counts_as_the_flag() -> None:
    assert extra_arguments({"no_enable_prefix_caching": True}, ["--enable-prefix-caching"], vllm.STYLE) == []
    assert extra_arguments({"no_enable_prefix_caching": True}, [], vllm.STYLE) == ["--no-enable-prefix-caching"]


def test_the_raw_tail_wins_over_the_same_key() -> None:
    assert extra_arguments({"seed": 1, "raw": ["--seed", "2"]}, [], PLAIN) == ["--seed", "2"]


def test_two_spellings_of_one_key_give_one_flag() -> None:
    assert extra_arguments({"block_size": 16, "block-size": 32}, [], PLAIN) == ["--block-size", "16"]


def test_a_negative_number_among_the_arguments_is_no_flag() -> None:
    assert extra_arguments({"x": 1}, ["--max-model-len", "-1"], PLAIN) == ["--x", "1"]


def test_lists_are_what_each_engine_wants() -> None:
    assert extra_arguments({"served_model_name": ["a", "b"]}, [], vllm.STYLE) == ["--served-model-name", "a", "b"]
    assert extra_arguments({"lora_modules": [{"name": "x", "path": "/y"}]}, [], vllm.STYLE) == [
        "--lora-modules",
        '{"name":"x","path":"/y"}',
    ]
    assert extra_arguments({"allowed_origins": ["*"]}, [], vllm.STYLE) == ["--allowed-origins", '["*"]']
    assert extra_arguments({"lora_paths": ["a=/x", "b=/y"]}, [], sglang.STYLE) == ["--lora-paths", "a=/x", "b=/y"]
    assert extra_arguments({"override_tensor": ["a=CPU", "b=CPU"]}, [], llamacpp.STYLE) == [
        "--override-tensor",
        "a=CPU",
        "--override-tensor",
        "b=CPU",
    ]


def test_values_of_a_list_cannot_become_flags() -> None:
    assert extra_arguments({"served_model_name": ["a", "--uds"]}, [], vllm.STYLE) == [
        "--served-model-name",
        '["a","--uds"]',
    ]


def test_llama_server_takes_no_equals_sign() -> None:
    assert extra_arguments({"n_predict": -1, "ngl": 99}, [], llamacpp.STYLE) == [
        "--n-predict",
        "-1",
        "--n-gpu-layers",
        "99",
    ]


def test_underscores_stay_where_an_engine_wants_them() -> None:
    assert extra_arguments({"cache_mode": "Q8"}, [], FlagStyle(underscores=True)) == ["--cache_mode", "Q8"]


@pytest.mark.parametrize(
    "extra",
    [
        {"api_key": "sk-hidden-1"},
        {"api-key": ["sk-hidden-1"]},
        {"hf_token": "sk-hidden-1"},
        {"raw": ["--api-key", "sk-hidden-1"]},
        {"raw": ["--api-key=sk-hidden-1"]},
        {"raw": "--api_key sk-hidden-1"},
    ],
)
def test_a_secret_is_refused_and_not_repeated(extra: dict[str, object]) -> None:
    with pytest.raises(InvalidRecipe) as caught:
        extra_arguments(extra, [], vllm.STYLE)
    assert "env:" in caught.value.advice
    assert "sk-hidden-1" not in str(caught.value)


@pytest.mark.parametrize(
    "extra",
    [
        {"a b": 1},
        {"": 1},
        {"--": 1},
        {"x=1": 2},
        {"x": "a\0b"},
        {"x": float("nan"), "y": {"z": float("nan")}},
        {"x": "y" * 200_000},
        {"raw": "it's"},
        {"raw": {"a": 1}},
        {"raw": 7},
    ],
)
def test_what_cannot_be_an_argument_is_refused(extra: dict[str, object]) -> None:
    with pytest.raises(InvalidRecipe):
        extra_arguments(extra, [], PLAIN)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=12), json_values, max_size=6))
@pytest.mark.parametrize("style", [PLAIN, vllm.STYLE, llamacpp.STYLE])
def test_any_extra_args_give_clean_arguments_or_a_refusal(style: FlagStyle, extra: dict[str, object]) -> None:
    try:
        arguments = extra_arguments(extra, [], style)
    except InvalidRecipe as error:
        assert error.problems
        return
    assert all(isinstance(one, str) and "\0" not in one for one in arguments)


@given(st.dictionaries(st.from_regex(r"[a-z_-]{1,8}", fullmatch=True), json_values, max_size=3))
def test_normalised_objects_have_no_dashes_in_their_keys(value: dict[str, object]) -> None:
    def keys(one: object) -> list[str]:
        if isinstance(one, dict):
            return [*one, *(key for inner in one.values() for key in keys(inner))]
        return [key for inner in one for key in keys(inner)] if isinstance(one, list) else []

    assert not any("-" in key for key in keys(normalised(value)))
    assert normalised(json.loads("[1, {}]")) == [1, {}]
