"""Before a launch: what is certain not to fit is refused, what is likely is warned of, each with what would fit."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from tests.unit.test_model_facts import LLAMA, safetensors
from vllm_studio_tui.backends.base import Problem
from vllm_studio_tui.config.settings import Settings
from vllm_studio_tui.domain.errors import HopelessLaunch
from vllm_studio_tui.domain.gpus import Gpu, GpuProcess, GpuReport
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.services.fit.service import FitService
from vllm_studio_tui.services.launching.launcher import Launcher

GIB = 1 << 30


def model(tmp_path: Path, gib: int, *, context: int = 131_072) -> Path:
    """Make a model of so many GiB: its numbers are a hole in the file."""
    folder = tmp_path / f"model-{gib}"
    folder.mkdir()
    config = {**LLAMA, "num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32, "head_dim": 128,
              "num_key_value_heads": 8, "vocab_size": 32_000, "model_type": "llama",
              "max_position_embeddings": context}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    safetensors(folder / "model.safetensors", {"model.layers.0.mlp.up_proj.weight": ("BF16", [gib << 15, 1 << 14])})
    return folder


def gpus(*sizes: int, held: int = 0) -> GpuReport:
    others = (GpuProcess(77, gpu_memory=held),) if held else ()
    return GpuReport(
        0.0,
        tuple(Gpu(at, f"GPU-{at}", "NVIDIA L4", size * GIB, held, processes=others) for at, size in enumerate(sizes)),
    )


def recipe(path: Path, **values: Any) -> Recipe:
    return Recipe(**{"id": "a", "name": "a", "model_path": str(path), "backend": "vllm", **values})


def problems(wanted: Recipe, report: GpuReport) -> list[Problem]:
    return FitService(lambda: report, list).problems(wanted, report)


def test_weights_larger_than_the_gpu_are_refused(tmp_path: Path) -> None:
    (found,) = problems(recipe(model(tmp_path, 30), max_model_len=4096), gpus(24))
    assert (found.field, found.severity) == ("model_path", "error")
    assert "needs 3" in found.message and "may take 22.1" in found.message and "weights 30.0" in found.message
    assert "quantization: fp8" in found.advice


def test_more_gpus_that_are_there_are_named(tmp_path: Path) -> None:
    (found,) = problems(recipe(model(tmp_path, 30), max_model_len=4096, kv_cache_dtype="fp8"), gpus(24, 24))
    assert "tensor_parallel_size: 2" in found.advice


def test_a_context_too_long_is_refused_with_the_longest_that_fits(tmp_path: Path) -> None:
    folder = model(tmp_path, 14)
    (found,) = problems(recipe(folder, max_model_len=131_072), gpus(24))
    assert (found.field, found.severity) == ("max_model_len", "error")
    longest = int(found.advice.partition("max_model_len: ")[2].rstrip("."))
    assert 20_000 < longest < 60_000
    assert problems(recipe(folder, max_model_len=longest), gpus(24)) == []


def test_a_context_that_nobody_named_is_the_models_own(tmp_path: Path) -> None:
    folder = model(tmp_path, 14)
    assert [one.severity for one in problems(recipe(folder), gpus(24))] == ["error"]
    assert problems(recipe(folder, max_model_len=-1), gpus(24)) == []  # as much as fits


def test_what_only_others_stand_in_the_way_of_is_a_warning(tmp_path: Path) -> None:
    (found,) = problems(recipe(model(tmp_path, 14), max_model_len=4096), gpus(24, held=20 * GIB))
    assert found.severity == "warning"
    assert "others hold 20.0 GiB" in found.message and found.advice.startswith("Wait until the others are gone")


def test_an_engine_that_finds_a_way_is_warned_of(tmp_path: Path) -> None:
    wanted = recipe(model(tmp_path, 30), backend="llamacpp", max_model_len=4096)
    (found,) = problems(wanted, gpus(24))
    assert found.severity == "warning" and "in the memory of the host, which is slow" in found.advice


def test_without_a_gpu_nothing_is_certain(tmp_path: Path) -> None:
    found = problems(recipe(model(tmp_path, 4000), max_model_len=4096), GpuReport(0.0))
    assert [one.severity for one in found] == ["warning"]


@pytest.mark.parametrize(
    "values",
    [{"model_path": "/nowhere"}, {"model_path": "no/model"}, {"backend": "external", "base_url": "http://a/v1"}],
)
def test_of_what_nothing_is_known_nothing_is_said(tmp_path: Path, values: dict[str, Any]) -> None:
    assert problems(recipe(tmp_path, **values), gpus(24)) == []


def launcher(tmp_path: Path, report: GpuReport) -> Launcher:
    fit = FitService(lambda: report, list)
    return Launcher(Places.under(tmp_path / "home"), Settings(), lambda: None, memory=fit.problems)  # type: ignore[arg-type, return-value]


def test_a_check_says_it_and_a_launch_refuses_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = tmp_path / "vllm"
    engine.write_text("#!/bin/sh\n")
    engine.chmod(0o755)
    folder = model(tmp_path, 30)
    (folder / "tokenizer.json").write_text("{}")
    (folder / "config.json").write_text(
        json.dumps({**json.loads((folder / "config.json").read_text()), "model_type": "llama"})
    )
    wanted = recipe(folder, max_model_len=4096, executable=str(engine))
    studio = launcher(tmp_path, gpus(24))
    assert "model_path" in [one.field for one in studio.check(wanted, gpus(24), []) if one.severity == "error"]
    with pytest.raises(HopelessLaunch, match="would not start") as raised:
        studio.refuse_hopeless(wanted)
    assert "30.0" in raised.value.cause
    launcher(tmp_path, gpus(80)).refuse_hopeless(wanted)


def test_a_fault_of_the_reckoning_takes_no_launch_down(tmp_path: Path) -> None:
    def fails(wanted: Recipe, report: GpuReport | None) -> list[Problem]:
        raise ZeroDivisionError("no")

    studio = Launcher(Places.under(tmp_path), Settings(), lambda: None, memory=fails)  # type: ignore[arg-type, return-value]
    found = studio.check(recipe(tmp_path, backend="custom", command="true {model}"), GpuReport(0.0), [])
    (told,) = (one for one in found if "ZeroDivisionError" in one.message)
    assert told.severity == "warning"


def gguf(path: Path, kind: int, block: tuple[int, int], *, layers: int = 32, architecture: str = "llama") -> Path:
    """Write a GGUF file with one large tensor of a type: its numbers are a hole."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    values: dict[str, str | int] = {
        "general.architecture": architecture, f"{architecture}.block_count": layers,
        f"{architecture}.embedding_length": 4096, f"{architecture}.attention.head_count": 32,
        f"{architecture}.attention.head_count_kv": 8, f"{architecture}.context_length": 8192,
    }  # fmt: skip
    count = 14 << 30
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, len(values))
    for name, value in values.items():
        head += text(name)
        head += struct.pack("<I", 8) + text(value) if isinstance(value, str) else struct.pack("<II", 4, value)
    head += text("blk.0.ffn_up.weight") + struct.pack("<IQQIQ", 2, count >> 12, 1 << 12, kind, 0)
    head += b"\0" * (-len(head) % 32)
    with path.open("wb") as file:
        file.write(head)
        file.truncate(len(head) + count // block[0] * block[1])
    return path


def test_a_smaller_quantization_that_lies_beside_is_named(tmp_path: Path) -> None:
    wanted = gguf(tmp_path / "x-Q8_0.gguf", 8, (32, 34))
    gguf(tmp_path / "x-Q6_K.gguf", 14, (256, 210))
    gguf(tmp_path / "x-Q4_0.gguf", 2, (32, 18))
    gguf(tmp_path / "other-Q5_0.gguf", 6, (32, 22), layers=40)
    gguf(tmp_path / "x-mmproj.gguf", 6, (32, 22))
    (found,) = problems(recipe(wanted, backend="llamacpp", max_model_len=4096), gpus(14))
    assert f"et model_path: {tmp_path}/x-Q6_K.gguf" in found.advice
    (found,) = problems(recipe(wanted, backend="llamacpp", max_model_len=4096), gpus(10))
    assert f"et model_path: {tmp_path}/x-Q4_0.gguf" in found.advice
    (found,) = problems(recipe(wanted, backend="llamacpp", max_model_len=4096), gpus(6))
    assert "model_path:" not in found.advice
