"""The commands of each backend in its particulars, and how text of a person is refused or shown."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from vllm_studio_tui.backends import registry
from vllm_studio_tui.backends.base import Command, LaunchContext
from vllm_studio_tui.backends.checks import check
from vllm_studio_tui.backends.common.commands import shell_text
from vllm_studio_tui.backends.common.gguf_files import weights
from vllm_studio_tui.backends.common.thinking import thinking_kwargs
from vllm_studio_tui.backends.custom import Custom, fill, split
from vllm_studio_tui.backends.external import External
from vllm_studio_tui.backends.llamacpp import EMBEDDED, LlamaCpp
from vllm_studio_tui.backends.sglang import KEY_VARIABLE, WITH_KEY, SGLang
from vllm_studio_tui.backends.vllm import Vllm
from vllm_studio_tui.config.settings import Settings
from vllm_studio_tui.domain.errors import InvalidRecipe, LaunchRefused
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.kit.masking import looks_secret
from vllm_studio_tui.services.recipes.starting import engines_here


def recipe(**fields: Any) -> Recipe:
    return Recipe.model_validate({"id": "r", "name": "R", "model_path": "org/model", "backend": "vllm"} | fields)


def program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o700)
    return path


def context(path: Path | None = None, **settings: Any) -> LaunchContext:
    return LaunchContext(Settings(**settings), "127.0.0.1", 8001, environ={"PATH": str(path or "/nonexistent")})


# --- vLLM ---------------------------------------------------------------------------------------------------


def test_vllm_is_the_one_beside_the_named_interpreter(tmp_path: Path) -> None:
    python, beside = program(tmp_path / "v/bin/python"), program(tmp_path / "v/bin/vllm")
    elsewhere = program(tmp_path / "bin/vllm")
    argv = Vllm().command(recipe(python_path=str(python)), context(elsewhere.parent)).argv
    assert argv[:3] == (str(beside), "serve", "org/model")


def test_without_a_script_beside_it_the_interpreter_runs_the_module(tmp_path: Path) -> None:
    python = program(tmp_path / "v/bin/python")
    argv = Vllm().command(recipe(python_path=str(python)), context()).argv
    assert argv[:4] == (str(python), "-m", "vllm.entrypoints.cli.main", "serve")


def test_vllm_is_looked_for_in_recipe_settings_and_path_in_this_order(tmp_path: Path) -> None:
    named, set_, found = (program(tmp_path / one / "vllm") for one in ("named", "set", "path"))
    where = context(found.parent, vllm_executable=str(set_))
    assert Vllm().command(recipe(executable=str(named)), where).argv[0] == str(named)
    assert Vllm().command(recipe(), where).argv[0] == str(set_)
    assert Vllm().command(recipe(), context(found.parent)).argv[0] == str(found)
    with pytest.raises(LaunchRefused, match="vllm_executable"):
        Vllm().command(recipe(), context())


def test_a_missing_interpreter_is_refused_and_not_replaced_by_another(tmp_path: Path) -> None:
    found = program(tmp_path / "vllm")
    with pytest.raises(LaunchRefused, match="python_path"):
        Vllm().command(recipe(python_path="/no/such/python"), context(found.parent))


def test_vllm_gets_every_field(tmp_path: Path) -> None:
    full = recipe(
        tensor_parallel_size=4,
        pipeline_parallel_size=2,
        max_model_len=32768,
        gpu_memory_utilization=0.85,
        max_num_seqs=32,
        kv_cache_dtype="fp8",
        quantization="awq_marlin",
        dtype="float16",
        trust_remote_code=True,
        tool_call_parser="hermes",
        reasoning_parser="qwen3",
        extra_args={"enable_prefix_caching": True, "tp": 8},
    )
    argv = Vllm().command(full, context(program(tmp_path / "vllm").parent)).argv
    assert list(argv[2:]) == shlex.split(
        "org/model --host 127.0.0.1 --port 8001 --tensor-parallel-size 4 --pipeline-parallel-size 2 "
        "--max-model-len 32768 --gpu-memory-utilization 0.85 --max-num-seqs 32 --kv-cache-dtype fp8 "
        "--quantization awq_marlin --dtype float16 --reasoning-parser qwen3 --trust-remote-code "
        "--tool-call-parser hermes --enable-auto-tool-choice --enable-prefix-caching"
    )


def test_a_context_that_vllm_shall_choose_is_one_argument(tmp_path: Path) -> None:
    argv = Vllm().command(recipe(max_model_len=-1), context(program(tmp_path / "vllm").parent)).argv
    assert "--max-model-len=-1" in argv


@pytest.mark.parametrize("field", ["model_path", "served_model_name"])
@pytest.mark.parametrize("backend", [Vllm(), SGLang(), LlamaCpp()])
def test_a_name_that_would_be_a_flag_is_refused(backend: Vllm | SGLang | LlamaCpp, field: str, tmp_path: Path) -> None:
    evil = recipe(backend=backend.name, executable=str(program(tmp_path / "x")), **{field: "--uds=/tmp/x"})
    with pytest.raises(InvalidRecipe, match=field):
        backend.command(evil, context())


def test_a_home_in_a_path_is_expanded_since_no_shell_will(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    mine = recipe(model_path="~/m")
    argv = Vllm().command(mine, context(program(tmp_path / "vllm").parent)).argv
    assert argv[2] == "/home/somebody/m" == Vllm().model_name(mine)


def test_the_first_of_several_served_names_is_the_one_to_ask_for() -> None:
    assert Vllm().model_name(recipe(extra_args={"served-model-name": ["a", "b"]})) == "a"
    assert Vllm().model_name(recipe(served_model_name="x", extra_args={"served_model_name": "a"})) == "x"
    assert Vllm().ready(recipe(served_model_name="x")).model == "x"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"model_path": "MiniMax-M2"}, None),
        ({"model_path": "MiniMax-M2", "thinking_mode": "balanced"}, 64_000),
        ({"model_path": "MiniMax-M2-REAP-50", "thinking_mode": "auto"}, 128_000),
        ({"model_path": "GLM-4.7", "thinking_mode": "aggressive"}, 64_000),
        ({"model_path": "plain", "thinking_mode": "aggressive"}, None),
        ({"model_path": "plain", "max_thinking_tokens": 300}, 300),
        ({"model_path": "DeepSeek-R1", "max_thinking_tokens": 300, "thinking_mode": "balanced"}, 300),
    ],
)
def test_a_thinking_budget_is_only_said_when_asked_for(fields: dict[str, Any], expected: int | None) -> None:
    found = thinking_kwargs(recipe(**fields))
    assert found == (None if expected is None else {"max_thinking_tokens": expected})


def test_thinking_can_be_switched_off(tmp_path: Path) -> None:
    argv = Vllm().command(recipe(thinking_mode="disabled"), context(program(tmp_path / "vllm").parent)).argv
    assert argv[argv.index("--default-chat-template-kwargs") + 1] == '{"enable_thinking":false}'


# --- SGLang -------------------------------------------------------------------------------------------------


def test_sglang_uses_its_own_names(tmp_path: Path) -> None:
    python = program(tmp_path / "bin/python")
    full = recipe(
        backend="sglang",
        tensor_parallel_size=2,
        max_model_len=4096,
        gpu_memory_utilization=0.8,
        max_num_seqs=8,
        extra_args={"tp": 4, "enable-metrics": False},
    )
    argv = SGLang().command(full, context(sglang_python=str(python))).argv
    assert list(argv) == [
        str(python),
        *shlex.split("-m sglang.launch_server --model-path org/model --host 127.0.0.1 --port 8001 --tp-size 2"),
        *shlex.split("--context-length 4096 --mem-fraction-static 0.8 --max-running-requests 8"),
    ]


def test_sglang_makes_no_token_for_a_health_check(tmp_path: Path) -> None:
    python = program(tmp_path / "bin/python")
    env = SGLang().command(recipe(backend="sglang", python_path=str(python)), context()).env
    assert env["SGLANG_ENABLE_HEALTH_ENDPOINT_GENERATION"] == "0"


def test_sglang_gets_its_key_inside_the_process_only(tmp_path: Path) -> None:
    package = tmp_path / "sglang"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "launch_server.py").write_text(
        "import os, sys\n"
        "if __name__ == '__main__':\n"
        "    print(sys.argv[1:])\n"
        "    print(open('/proc/self/cmdline').read().split(chr(0)))\n"
        f"    print(os.environ.get({KEY_VARIABLE!r}))\n"
    )
    mine = recipe(backend="sglang", python_path=sys.executable, api_key="env:K", model_path="m")
    command = SGLang().command(mine, context())
    assert command.env_refs == {KEY_VARIABLE: "env:K"}
    assert command.argv[1:3] == ("-c", WITH_KEY)
    env = {**os.environ, "PYTHONPATH": str(tmp_path), KEY_VARIABLE: "-secret"}
    out = subprocess.run(command.argv, env=env, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    arguments, cmdline, left = out.splitlines()
    assert arguments.endswith("'--enable-metrics', '--api-key=-secret']")
    assert "-secret" not in cmdline
    assert left == "None"  # and what it starts does not inherit it


def test_sglang_with_a_key_and_a_config_file_is_refused(tmp_path: Path) -> None:
    mine = recipe(backend="sglang", python_path=sys.executable, api_key="env:K", extra_args={"config": "/x.yaml"})
    with pytest.raises(InvalidRecipe, match="config"):
        SGLang().command(mine, context())


# --- llama.cpp ----------------------------------------------------------------------------------------------


@pytest.fixture
def gguf(tmp_path: Path) -> Path:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUF")
    return path


def test_llama_server_gets_its_flags(tmp_path: Path, gguf: Path) -> None:
    server = program(tmp_path / "bin/llama-server")
    full = recipe(
        backend="llamacpp",
        model_path=str(gguf),
        max_model_len=4096,
        max_num_seqs=2,
        kv_cache_dtype="q8_0",
        extra_args={"n-gpu-layers": 99, "c": 1, "flash_attn": "auto"},
    )
    argv = LlamaCpp().command(full, context(server.parent)).argv
    assert list(argv) == [
        str(server),
        *shlex.split(f"--model {gguf} --host 127.0.0.1 --port 8001 --alias r --ctx-size 4096 --parallel 2"),
        *shlex.split("--cache-type-k q8_0 --cache-type-v q8_0 --metrics --jinja --n-gpu-layers 99 --flash-attn auto"),
    ]


def test_without_llama_server_the_embedded_engine_serves(gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vllm_studio_tui.backends.llamacpp.find_spec", lambda name: name == "xllamacpp")
    monkeypatch.setattr("importlib.metadata.version", lambda _: "0.2")
    mine = recipe(backend="llamacpp", model_path=str(gguf), api_key="env:K")
    command = LlamaCpp().command(mine, context(embedded_threads=3))
    assert command.argv[:3] == (sys.executable, "-m", EMBEDDED)
    assert command.argv[command.argv.index("--threads") + 1] == "3"
    assert command.env_refs == {"LLAMA_API_KEY": "env:K"}
    assert command.notes
    (here,) = (one for one in engines_here(Settings(), {"PATH": "/nowhere"}) if one.name == "llamacpp")
    assert here.words == "llama.cpp (embedded)"
    assert command.notes[0].startswith(here.words)  # the same words where it would run
    own = LlamaCpp().command(mine.model_copy(update={"extra_args": {"t": 1}}), context(embedded_threads=3))
    assert own.argv[own.argv.index("--threads") + 1] == "1"


def test_a_named_llama_server_that_is_missing_is_not_replaced(gguf: Path) -> None:
    with pytest.raises(LaunchRefused, match=r"demo"):
        LlamaCpp().command(recipe(backend="llamacpp", model_path=str(gguf), executable="/no/llama-server"), context())


def test_a_hub_name_is_for_llama_server_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = program(tmp_path / "llama-server")
    hub = recipe(backend="llamacpp", model_path="ggml-org/x:Q4_K_M")
    argv = LlamaCpp().command(hub, context(server.parent)).argv
    assert argv[argv.index("--hf-repo") + 1] == "ggml-org/x:Q4_K_M"
    monkeypatch.setattr("vllm_studio_tui.backends.llamacpp.find_spec", lambda _name: True)
    with pytest.raises(InvalidRecipe, match="no file here"):
        LlamaCpp().command(hub, context())


def test_of_a_folder_the_only_model_is_taken_and_of_shards_the_first(tmp_path: Path) -> None:
    with pytest.raises(InvalidRecipe, match="no GGUF"):
        weights(tmp_path)
    for name in ("mmproj-x.gguf", "m-00002-of-00002.gguf", "m-00001-of-00002.gguf"):
        (tmp_path / name).write_bytes(b"GGUF")
    assert weights(tmp_path).name == "m-00001-of-00002.gguf"
    (tmp_path / "other.gguf").write_bytes(b"GGUF")
    with pytest.raises(InvalidRecipe, match="several"):
        weights(tmp_path)


def test_the_only_projector_beside_a_model_is_loaded_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = program(tmp_path / "bin" / "llama-server")
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("m.gguf", "mmproj-m-f16.gguf"):
        (folder / name).write_bytes(b"GGUF")

    def made(**fields: Any) -> Command:
        wanted = {"backend": "llamacpp", "executable": str(server), "model_path": str(folder), **fields}
        return LlamaCpp().command(recipe(**wanted), context())

    eyes = str(folder / "mmproj-m-f16.gguf")
    for command in (made(), made(model_path=str(folder / "m.gguf"))):
        assert command.argv[command.argv.index("--mmproj") + 1] == eyes
        assert "vision: false" in " ".join(command.notes)
    for other in ({"vision": False}, {"extra_args": {"no_mmproj": True}}):
        assert "--mmproj" not in made(**other).argv
        assert not made(**other).notes
    own = made(extra_args={"mm": "/own.gguf"}).argv
    assert own[own.index("--mmproj") + 1] == "/own.gguf"
    assert own.count("--mmproj") == 1
    (folder / "mmproj-m-q8.gguf").write_bytes(b"GGUF")
    assert "--mmproj" not in made().argv  # which of them nobody said
    (folder / "mmproj-m-q8.gguf").rename(folder / "other.gguf")
    assert "--mmproj" not in made(model_path=str(folder / "m.gguf")).argv  # nor whose it is


# --- custom and external ------------------------------------------------------------------------------------


def custom(command: str, **fields: Any) -> Recipe:
    return recipe(backend="custom", command=command, **fields)


def test_a_placeholder_stays_inside_its_argument() -> None:
    model = """/m/it's "a" {port} $(id) model; ls"""
    mine = custom("/bin/echo --model={model} '{host}:{port}' {name} {{raw}}", model_path=model, served_model_name="n n")
    assert Custom().command(mine, context()).argv == (
        "/bin/echo",
        f"--model={model}",
        "127.0.0.1:8001",
        "n n",
        "{raw}",
    )


@pytest.mark.parametrize("command", ["x {modle}", "x {", "x }", "x {}", "x '", "x {model.path}", "x {0}"])
def test_a_template_that_cannot_be_filled_is_refused_with_what_is_known(command: str) -> None:
    with pytest.raises(InvalidRecipe, match=r"\{model\}"):
        Custom().command(custom(command), context())


def test_the_nearest_placeholder_is_suggested() -> None:
    with pytest.raises(InvalidRecipe, match=r"did you mean \{model\}"):
        fill("{modle}", {"model": "x", "port": "1"})


def test_a_relative_program_is_one_of_the_working_directory(tmp_path: Path) -> None:
    script = program(tmp_path / "serve.sh")
    assert Custom().command(custom("./serve.sh {port}", cwd=str(tmp_path)), context()).argv == (str(script), "8001")
    with pytest.raises(LaunchRefused):
        Custom().command(custom("./serve.sh {port}", cwd="/"), context())


def test_a_wrapper_of_a_known_engine_shows_its_stages_and_counts(tmp_path: Path) -> None:
    wrapped = custom("/bin/echo {port}", metrics_style="vllm", api_key="env:K", health_path="/ping")
    mine = Custom(registry.backends)
    assert mine.stages_for(wrapped) == Vllm().stages
    assert mine.counters_for(wrapped) == Vllm().counters
    assert mine.command(wrapped, context()).env_refs == {"VLLM_API_KEY": "env:K"}
    assert mine.ready(wrapped).path == "/ping"
    plain = custom("/bin/echo {port}", api_key="env:K")
    assert mine.counters_for(plain) is None
    assert mine.command(plain, context()).notes


@given(st.text(max_size=60), st.text(max_size=20))
def test_any_template_gives_as_many_arguments_as_words(template: str, model: str) -> None:
    try:
        words = split(template)
        filled = [fill(one, {"model": model}) for one in words]
    except InvalidRecipe:
        return
    assert len(filled) == len(words)


def test_an_external_server_is_probed_below_its_address_and_never_launched() -> None:
    mine = recipe(backend="external", base_url="https://h:1/proxy/v1")
    assert External().ready(mine).path == "/proxy/v1/models"
    with pytest.raises(LaunchRefused, match="https://h:1/proxy/v1"):
        External().command(mine, context())


@pytest.mark.parametrize(
    ("url", "severity"),
    [("http://u:p@h/v1", "error"), ("http://h/v1", "warning")],
)
def test_an_address_that_will_not_do_is_said(url: str, severity: str) -> None:
    mine = recipe(backend="external", base_url=url, api_key="env:K")
    assert {one.severity for one in check(External(), mine, context())} == {severity}


@pytest.mark.parametrize("url", ["http://[::1/v1", "http:///v1", "http://h:0/v1", "http://h:x/v1", "h/v1"])
def test_what_is_no_address_is_refused_by_the_recipe(url: str) -> None:
    with pytest.raises(ValidationError, match="base_url"):
        recipe(backend="external", base_url=url)


# --- showing a command --------------------------------------------------------------------------------------


def test_a_shown_command_can_be_pasted_and_shows_no_secret() -> None:
    text = shell_text(
        ["/opt/a b/vllm", "serve", "it's"],
        {"A": "x y", "HF_TOKEN": "hf_secret", "MINE": "s3cret", "TOKENIZERS_PARALLELISM": "false"},
        masked={"MINE"},
    )
    assert "secret" not in text
    assert "s3cret" not in text
    assert shlex.split(text) == [
        "A=x y",
        "HF_TOKEN=***",
        "MINE=***",
        "TOKENIZERS_PARALLELISM=false",
        "/opt/a b/vllm",
        "serve",
        "it's",
    ]


@given(st.lists(st.text(st.characters(exclude_characters="\0"), max_size=20), min_size=1, max_size=5))
def test_a_shown_command_reads_back_as_its_arguments(argv: list[str]) -> None:
    assert shlex.split(shell_text(argv, {})) == argv


def test_names_of_secrets_are_told_from_names_that_only_look_alike() -> None:
    assert all(looks_secret(one) for one in ("HF_TOKEN", "api_key", "AWS_SECRET_ACCESS_KEY", "DB_PASSWORD"))
    assert not any(looks_secret(one) for one in ("TOKENIZERS_PARALLELISM", "MAX_TOKENS", "KEYBOARD", "VLLM_PORT"))
