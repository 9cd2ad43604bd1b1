"""What a process shows of an engine becomes a recipe: words, variables, folder, ports, GPUs."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from vllm_studio_tui.domain.errors import NotFound, StudioError, UsageError
from vllm_studio_tui.domain.gpus import Gpu, GpuProcess, GpuReport
from vllm_studio_tui.domain.recipe_reading import parse_recipe
from vllm_studio_tui.runs.foreign import Foreign
from vllm_studio_tui.runs.process_facts import ProcessFacts, container_of, variables_of, words_of
from vllm_studio_tui.services.recipes.running import compared, find_running, recipe_of_process

VLLM = ("/v/bin/python3.12", "/v/bin/vllm", "serve", "org/model", "--max-model-len", "4096")


def facts(*argv: str, environ: Mapping[str, str] | None = None, **more: object) -> ProcessFacts:
    return ProcessFacts(77, tuple(argv), environ if environ is not None else {}, **more)  # type: ignore[arg-type]


def test_a_script_and_its_interpreter_are_one_program() -> None:
    found = recipe_of_process(facts(*VLLM, ports={8000: True}, user="ann"), {}).data
    assert (found["backend"], found["model_path"], found["executable"]) == ("vllm", "org/model", "/v/bin/vllm")
    assert found["port"] == 8000
    assert found["description"] == "as process 77 of ann runs"
    main = ("python", "-m", "vllm.entrypoints.cli.main", "serve", "m")
    assert recipe_of_process(facts(*main), {}).data["model_path"] == "m"
    module = ("/v/bin/python", "-m", "vllm.entrypoints.openai.api_server", "--model", "m")
    assert recipe_of_process(facts(*module), {}).data["python_path"] == "/v/bin/python"


def test_a_program_that_was_found_by_path_is_named_in_full(tmp_path: Path) -> None:
    program = tmp_path / "llama-server"
    program.touch()
    one = facts("llama-server", "-m", "/m/a.gguf", environ={"PATH": f"/nowhere:{tmp_path}"}, program=str(program))
    assert recipe_of_process(one, {}).data["executable"] == str(program)


def test_only_variables_that_engines_read_are_taken_and_no_secret_is_said() -> None:
    given = {
        "VLLM_LOGGING_LEVEL": "DEBUG", "HOME": "/home/ann", "AWS_SECRET_ACCESS_KEY": "x" * 40,
        "HF_TOKEN": "hf_" + "a" * 34,
        "VLLM_API_KEY": "sk-" + "b" * 40, "CUDA_VISIBLE_DEVICES": "1,2", "NCCL_DEBUG": "INFO", "CUDA_VERSION": "12",
        "VLLM_STUDIO_HOME": "/x", "LD_PRELOAD": "/evil.so", "HF_HOME": "/hf",
    }  # fmt: skip
    found = recipe_of_process(facts(*VLLM, environ=given), {"NCCL_DEBUG": "INFO", "HF_TOKEN": given["HF_TOKEN"]})
    assert found.data["env_vars"] == {
        "VLLM_LOGGING_LEVEL": "DEBUG", "HF_TOKEN": "env:HF_TOKEN", "CUDA_VISIBLE_DEVICES": "1,2",
        "LD_PRELOAD": "/evil.so", "HF_HOME": "/hf",
    }  # fmt: skip
    assert found.data["api_key"] == given["VLLM_API_KEY"]
    told = " ".join(note.why for note in found.notes)
    assert "NCCL_DEBUG: the studio has the same" in told
    assert "4 other variables" in told
    assert not any(given[name] in told for name in ("VLLM_API_KEY", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY"))
    recipe, notes = parse_recipe(found.data, imported=True, keep=lambda field, value: f"file:/secrets/{field}")
    assert (recipe.gpus, recipe.api_key) == (("1", "2"), "file:/secrets/api_key")
    assert any(note.field == "env_vars.LD_PRELOAD" and "look at it" in note.why for note in notes)


def test_what_cannot_be_seen_is_said() -> None:
    theirs = ProcessFacts(77, ("llama-server", "-m", "./a.gguf"), None, user="bob")
    told = {note.field: note.why for note in recipe_of_process(theirs, {}).notes}
    assert told["env_vars"] == "cannot be seen: the process belongs to bob"
    assert "cannot be seen" in told["cwd"]
    for argv in (("VLLM::EngineCore",), (), ("nginx", "-g", "x")):
        with pytest.raises(StudioError, match="cannot be made a recipe") as raised:
            recipe_of_process(facts(*argv), {})
        assert "foreign attach 77" in raised.value.advice


def test_paths_of_its_folder_lead_there_from_here_too(tmp_path: Path) -> None:
    for name in ("a.gguf", "template.jinja"):
        (tmp_path / name).touch()
    line = ("/b/llama-server", "-m", "./a.gguf", "--chat-template-file", "template.jinja")
    found = recipe_of_process(facts(*line, cwd=str(tmp_path)), {})
    assert (found.data["model_path"], found.data["cwd"]) == (str(tmp_path / "a.gguf"), str(tmp_path))
    plain = recipe_of_process(facts(*line[:3], cwd=str(tmp_path)), {}).data
    assert "cwd" not in plain


def test_listening_everywhere_is_not_taken_over_unsaid() -> None:
    notes = recipe_of_process(facts(*VLLM, "--port", "8001", ports={8001: True}), {}).notes
    assert any(note.field == "host" and "every address" in note.why for note in notes)
    notes = recipe_of_process(facts(*VLLM, "--port", "8001", ports={8001: False}), {}).notes
    assert not any(note.field == "host" for note in notes)


def test_the_gpus_that_it_holds_are_its_gpus() -> None:
    def report(*pids: int) -> GpuReport:
        gpus = [Gpu(at, f"GPU-{at}", "H100", processes=(GpuProcess(pid),)) for at, pid in enumerate(pids)]
        return GpuReport(0.0, tuple(gpus))

    one = facts(*VLLM, family=(77, 78))
    assert recipe_of_process(one, {}, report(5, 78, 77, 5)).data["gpus"] == ["1", "2"]
    assert "gpus" not in recipe_of_process(one, {}, report(77, 78)).data


def test_another_container_is_noted() -> None:
    theirs = b"0::/system.slice/docker-" + b"ab" * 32 + b".scope\n"
    assert container_of(theirs, b"0::/\n") == "abababababab"
    assert container_of(theirs, theirs) is None
    assert container_of(b"0::/user.slice\n", b"") is None
    notes = recipe_of_process(facts(*VLLM, container="abababababab"), {}).notes
    assert any(note.field == "runtime" and "abababababab" in note.why for note in notes)


def test_a_flag_is_the_same_however_it_is_written() -> None:
    data = {"id": "a", "name": "a", "backend": "vllm", "model_path": "m"}
    saved, _ = parse_recipe(
        {**data, "tags": ["x"], "extra_args": {"enforce_eager": True, "--seed": 2, "swap-space": 4}}
    )
    rebuilt, _ = parse_recipe(
        {**data, "id": "b", "extra_args": {"enforce-eager": True, "seed": "2", "swap-space": "8"}}
    )
    assert compared(rebuilt, saved) == saved.model_copy(
        update={"extra_args": {"enforce_eager": True, "--seed": 2, "swap-space": "8"}}
    )


def test_the_engine_is_named_by_process_or_port_or_is_the_only_one() -> None:
    one = Foreign(11, 1, "vllm", "m", 8000, None, "ann")
    two = Foreign(12, 1, "llamacpp", "n", 8001, None, "ann")
    assert find_running(None, [one]) is one
    assert find_running(12, [one, two]) is two
    assert find_running(8000, [one, two]) is one
    with pytest.raises(UsageError, match="several engines"):
        find_running(None, [one, two])
    for where, engines in ((None, []), (9, [one])):
        with pytest.raises(NotFound):
            find_running(where, engines)


def mutated(raw: bytes, chance: random.Random) -> bytes:
    data = bytearray(raw)
    for _ in range(chance.randint(1, 10)):
        at = chance.randrange(len(data) + 1)
        data[at : at + chance.randint(0, 8)] = chance.choice(
            [b"\0", b"=", b"--", b"-", chance.randbytes(5), "\N{SNOWMAN}\u202e".encode(), b"{'a':", b"$(x)", b"\xff"]
        )
    return bytes(data)


def fuzzed(turns: int, seed: int) -> float:
    """Read mutated command lines and variables; return the seconds that the slowest took."""
    chance, slowest = random.Random(seed), 0.0
    lines = [VLLM, ("llama-server", "-m", "a.gguf", "-c", "2048", "--port", "8080", "--api-key", "k"),
             ("python", "-m", "sglang.launch_server", "--model-path", "m", "--tp", "2")]  # fmt: skip
    environ = b"PATH=/bin\0HF_TOKEN=abc\0VLLM_API_KEY=k\0CUDA_VISIBLE_DEVICES=0,1\0LD_PRELOAD=x\0"
    for turn in range(turns):
        line = mutated("\0".join(lines[turn % 3]).encode() + b"\0", chance)
        began = time.thread_time()
        one = ProcessFacts(
            77,
            words_of(line),
            variables_of(mutated(environ, chance)),
            "/tmp",
            "/bin/x",
            "u",
            {80: True},
        )
        container_of(mutated(b"0::/docker/" + b"ab" * 32, chance), b"")
        with contextlib.suppress(StudioError):
            parse_recipe(recipe_of_process(one, {}).data, imported=True, keep=lambda field, value: "file:/x")
        slowest = max(slowest, time.thread_time() - began)
    return slowest


def test_whatever_a_process_calls_itself_is_read_or_refused() -> None:
    fuzzed(9, 1)  # engines are imported when they are first asked
    assert fuzzed(1500, 3) < 0.05
