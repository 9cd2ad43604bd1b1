"""Checks of a recipe, the registry, and causes of failures that no capture shows."""

from __future__ import annotations

import re
import time
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.weight_files import model
from vllm_studio_tui.backends import checks, registry
from vllm_studio_tui.backends.base import Command, LaunchContext, Problem
from vllm_studio_tui.backends.common import cmdline
from vllm_studio_tui.backends.common.known_names import known
from vllm_studio_tui.backends.failures.table import FAILURES
from vllm_studio_tui.backends.vllm import Vllm
from vllm_studio_tui.config.settings import Settings
from vllm_studio_tui.domain.errors import NotFound
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.keeper.causes import find
from vllm_studio_tui.keeper.log_watch import LogWatch


def check(tmp_path: Path, *, host: str = "127.0.0.1", **fields: Any) -> list[Problem]:
    """The problems of a recipe for an installed vLLM."""
    program = tmp_path / "vllm"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o700)
    values = {"id": "r", "name": "R", "model_path": "org/model", "executable": str(program), "host": host} | fields
    recipe = Recipe.model_validate(values)
    return checks.check(Vllm(), recipe, LaunchContext(Settings(), host, 8001, environ={}))


def test_a_sound_recipe_has_no_problems(tmp_path: Path) -> None:
    fields: dict[str, Any] = {
        "tool_call_parser": "hermes",
        "reasoning_parser": "qwen3",
        "extra_args": {"enforce_eager": True, "-cc.mode": 3, "no_enable_prefix_caching": True, "raw": ["--any"]},
    }
    assert check(tmp_path, **fields) == []


@pytest.mark.parametrize(
    ("fields", "field", "severity", "advice"),
    [
        ({"model_path": "/no/such"}, "model_path", "error", "hub"),
        ({"model_path": "org/x.gguf"}, "model_path", "error", "llamacpp"),
        ({"host": "192.168.1.2"}, "host", "warning", "api_key"),
        ({"trust_remote_code": True}, "trust_remote_code", "warning", "read"),
        ({"tool_call_parser": "qwen3-coder"}, "tool_call_parser", "warning", "qwen3_coder"),
        ({"reasoning_parser": "deepseek-r1"}, "reasoning_parser", "warning", "deepseek_r1"),
        ({"extra_args": {"max_num_batched_token": 1}}, "extra_args", "warning", "max_num_batched_tokens"),
        ({"extra_args": {"swap_space": 4}}, "extra_args", "warning", "Remove"),
        ({"extra_args": {"task": "generate"}}, "extra_args", "warning", "runner"),
        ({"extra_args": {"enable_prefix_caching": False}}, "extra_args", "warning", "no_enable_prefix_caching"),
        ({"extra_args": {"benchmark_notes_20260622": "x"}}, "extra_args", "warning", "description"),
        ({"extra_args": {"api_key": "x"}}, "extra_args", "error", "env:NAME"),
        ({"gpus": ["0"], "tensor_parallel_size": 2}, "gpus", "error", "tensor_parallel_size"),
        ({"gpus": ["0", "0"]}, "gpus", "error", "once"),
        ({"env_vars": {"LD_PRELOAD": "/x.so"}}, "env_vars", "warning", "mean"),
        ({"cwd": "/no/such"}, "cwd", "error", "Correct"),
        ({"executable": "/no/such"}, "executable", "error", "Install"),
    ],
)
def test_each_problem_names_its_field_and_a_cure(
    tmp_path: Path, fields: dict[str, Any], field: str, severity: str, advice: str
) -> None:
    found = check(tmp_path, **fields)
    assert [(one.field, one.severity) for one in found if (one.field, one.severity) == (field, severity)]
    assert advice in " ".join(one.advice for one in found)


def test_a_key_makes_an_open_address_no_problem(tmp_path: Path) -> None:
    assert check(tmp_path, host="192.168.1.2", api_key="env:K") == []


def test_a_folder_of_gguf_files_is_not_for_vllm_and_one_with_safetensors_is(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "x.gguf").write_bytes(b"GGUF")
    assert [one.field for one in check(tmp_path, model_path=str(folder))] == ["model_path"]
    assert check(tmp_path, model_path=str(model(folder))) == []


def test_errors_stand_before_warnings(tmp_path: Path) -> None:
    found = check(tmp_path, trust_remote_code=True, model_path="/no/such", extra_args={"swap_space": 4})
    assert [one.severity for one in found] == ["error", "warning", "warning"]


@pytest.mark.parametrize("backend", ["vllm", "sglang"])
def test_tables_of_known_names_are_whole(backend: str) -> None:
    table = known(backend)
    assert table is not None
    assert len(table.flags) > 300
    assert {"host", "port", "tool-call-parser", "reasoning-parser"} <= table.flags
    assert table.on_by_default <= table.flags
    assert not {one for one in table.flags if one.startswith("-") or " " in one}
    assert len(table.tool_parsers) > 30
    assert len(table.reasoning_parsers) > 30
    assert known("custom") is None


# --- registry -----------------------------------------------------------------------------------------------


class Mine(Vllm):
    name = "mine"

    def command(self, recipe: Recipe, context: LaunchContext) -> Command:
        return Command(("true",))


@pytest.fixture
def plug_ins(monkeypatch: pytest.MonkeyPatch) -> Any:
    def use(**values: str) -> None:
        points = [EntryPoint(name, value, registry.GROUP) for name, value in values.items()]
        monkeypatch.setattr("importlib.metadata.entry_points", lambda group: points if group == registry.GROUP else [])
        registry._loaded.cache_clear()

    yield use
    monkeypatch.undo()
    registry._loaded.cache_clear()


def test_a_plug_in_is_a_backend_like_any_other(plug_ins: Any) -> None:
    plug_ins(mine=f"{__name__}:Mine")
    assert type(registry.backend("mine")).__name__ == "Mine"
    assert registry.broken_plug_ins() == {}


def test_a_broken_plug_in_is_reported_and_hurts_nobody(plug_ins: Any) -> None:
    plug_ins(gone="no_such_module_here:X", wrong="json:dumps", twice="vllm_studio_tui.backends.vllm:Vllm")
    assert set(registry.backends()) == set(registry.OURS)
    broken = registry.broken_plug_ins()
    assert set(broken) == {"gone", "wrong", "twice"}
    assert "no_such_module_here" in broken["gone"]
    with pytest.raises(NotFound, match="no_such_module_here"):
        registry.backend("gone")


def test_an_unknown_backend_names_the_nearest() -> None:
    with pytest.raises(NotFound, match="Did you mean sglang"):
        registry.backend("sglan")
    with pytest.raises(NotFound, match="There are: custom"):
        registry.backend("x" * 500)


# --- causes -------------------------------------------------------------------------------------------------

LINES: dict[str, str] = {
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total": "out_of_memory",
    "ggml_backend_cuda_buffer_type_alloc_buffer: cudaMalloc failed: out of memory": "out_of_memory",
    "ValueError: To serve at least one request with the model's max seq len (131072), (16.0 GiB KV cache is needed, "
    "which is larger than the available KV cache memory (5.2 GiB). Based on the available memory, the estimated "
    "maximum model length is 42592. Try increasing": "kv_cache_too_small",
    "ValueError: No available memory for the cache blocks. Try increasing": "kv_cache_too_small",
    "RuntimeError: Available memory on node 0 (11.09/13.96 GiB) on kv cache allocation is less than requested memory "
    "for kv (64.0 GiB)": "kv_cache_too_small",
    "ValueError: Free memory on device cuda:0 (3.5/23.6 GiB) on startup is less than desired GPU memory utilization "
    "(0.92, 21.7 GiB)": "gpu_memory_taken",
    "ValueError: Free memory on device (3.5/23.6 GiB) on startup is less than desired GPU memory utilization (0.9, 1": (
        "gpu_memory_taken"
    ),
    "OSError: [Errno 98] Address already in use": "port_in_use",
    "OSError: You are trying to access a gated repo.": "gated",
    "huggingface_hub.errors.LocalEntryNotFoundError: Cannot find an appropriate cached snapshot folder": "offline",
    "OSError: org/x is not a local folder and is not a valid model identifier listed on 'https://hf.co'": (
        "model_missing"
    ),
    "OSError: [Errno 28] No space left on device: '/root/.cache/huggingface/x'": "disk_full",
    "ValueError: World size (4) is larger than the number of available GPUs (2) in this node.": "too_few_gpus",
    "ValueError: Total number of attention heads (28) must be divisible by tensor parallel size (3).": (
        "tensor_parallel_indivisible"
    ),
    "vllm: error: unrecognized arguments: --swap-space 4": "unknown_flag",
    "error: invalid argument: --bogus": "unknown_flag",
    "ModuleNotFoundError: No module named 'vllm'": "missing_module",
    "/usr/bin/python3: No module named sglang": "missing_module",
    "ImportError: libcudart.so.12: cannot open shared object file: No such file or directory": "broken_install",
    "llama_model_load: error loading model: unknown model architecture: 'qwen9'": "architecture_unsupported",
    "gguf_init_from_file: invalid magic characters: 'vers', expected 'GGUF'": "model_corrupt",
    "embedded: not a GGUF file: '/etc/hostname'": "model_corrupt",
    "embedded: failed to open GGUF file '/x' (Permission denied)": "file_denied",
    "Please pass the argument `trust_remote_code=True` to allow custom code to be run.": "remote_code_needed",
    "(EngineCore pid=1) INFO config: model='x', trust_remote_code=True, dtype=torch.bfloat16": "",
    "KeyError: \"Tool parser 'qwen' not found.\"": "unknown_parser",
    "RuntimeError: Engine core initialization failed. See root cause above.": "engine_died",
    "Worker proc VllmWorker-0 died unexpectedly (exit code: -9), shutting down executor.": "killed",
}


@pytest.mark.parametrize(("line", "reason"), LINES.items())
def test_a_line_gives_its_cause(line: str, reason: str, tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    log.write_text(f"loading\n\x1b[31m{line}\x1b[0m\nbye\n")
    watch = LogWatch(log, (), FAILURES)
    watch.begin_at(0)
    found = find(watch.attempt_lines(), FAILURES)
    assert (found.failure.reason if found else "") == reason


def test_the_earliest_cause_wins_over_what_points_at_it(tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    log.write_text(
        "RuntimeError: Engine core initialization failed.\n"
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.50 GiB.\n"
        "OSError: [Errno 98] Address already in use\n"
    )
    watch = LogWatch(log, (), FAILURES)
    watch.begin_at(0)
    found = find(watch.attempt_lines(), FAILURES)
    assert found is not None
    assert found.failure.reason == "out_of_memory"
    assert found.groups[0] == "2.50 GiB"


def test_a_cause_that_stays_is_not_tried_again() -> None:
    fixed = {one.reason for one in FAILURES if not one.restart}
    assert {"model_missing", "unknown_flag", "context_too_long", "gated", "missing_module"} <= fixed
    assert not {"out_of_memory", "port_in_use", "gpu_memory_taken", "engine_died"} & fixed


@given(st.text(max_size=300))
def test_no_line_is_too_strange_for_the_patterns(text: str) -> None:
    for one in FAILURES:
        match = re.search(one.pattern, text, re.IGNORECASE)
        assert match is None or isinstance(match.groups(), tuple)


# --- command lines ------------------------------------------------------------------------------------------


@given(st.lists(st.text(max_size=12), max_size=8))
def test_any_command_line_is_read_without_harm(line: list[str]) -> None:
    found = cmdline.program(line)
    assert found is None or len(found.rest) < len(line)
    for one in registry.backends().values():
        engine = one.foreign(line)
        assert engine is None or engine.port is None or 0 < engine.port <= 65535


@pytest.mark.parametrize(
    ("rest", "port"),
    [
        (["--port", "9"], 9),
        (["--port=9"], 9),
        (["--port", "1", "--port", "2"], 2),
        (["--port"], 8000),
        (["--port", "99999"], None),
        (["--port", "x"], None),
        (["--port=٣"], None),
        (["--portal", "9"], 8000),
        ([], 8000),
    ],
)
def test_a_port_is_a_port_or_unknown(rest: list[str], port: int | None) -> None:
    assert cmdline.port_option(rest, 8000) == port


def test_an_engine_that_names_no_model_is_found_without_one() -> None:
    found = Vllm().foreign(["/usr/bin/python3", "-u", "/opt/bin/vllm", "serve", "--port", "1"])
    assert found is not None
    assert (found.model, found.port, found.host) == (None, 1, None)
    old = Vllm().foreign(["python", "-m", "vllm.entrypoints.openai.api_server", "--model", "m"])
    assert old is not None
    assert (old.model, old.port) == ("m", 8000)


@pytest.mark.parametrize("text", ["max seq len (1), (1 GiB KV ", "dev/shm ", "CUDA out of memory ", "tensor ", "a"])
def test_a_long_hostile_line_costs_no_pattern_more_than_a_moment(text: str) -> None:
    # Characters that a pattern looks at grow with the line, not with its square: ten times the line, no more than
    # some thirty times the work. CPU time of this thread, and the least of three, so that a busy host does not matter.
    def cost(length: int) -> float:
        line, least = (text * length)[:length], 9.0
        for _ in range(3):
            began = time.thread_time()
            for one in patterns:
                one.search(line)
            least = min(least, time.thread_time() - began)
        return least

    patterns = [re.compile(one.pattern, re.IGNORECASE) for one in FAILURES]
    assert cost(40_000) < 30 * cost(4000)
