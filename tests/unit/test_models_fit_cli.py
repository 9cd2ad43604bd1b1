"""`models fit` in the shell: sizes as people write them, the document for programs, what cannot be said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.test_model_facts import LLAMA, safetensors
from vllm_studio_tui.cli.app import run
from vllm_studio_tui.cli.models_fit import read_size
from vllm_studio_tui.domain.errors import UsageError

GIB = 1 << 30


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("VLLM_STUDIO_HOME", str(tmp_path / "home"))
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(LLAMA))
    safetensors(folder / "model.safetensors", {"model.layers.0.self_attn.q_proj.weight": ("BF16", [64, 64])})
    return str(folder)


@pytest.mark.parametrize(
    ("text", "size"),
    [("24GiB", 24 * GIB), ("80GB", 80 * GIB), ("24g", 24 * GIB), ("1.5 GiB", GIB * 3 // 2), ("1024", 1024), ("", None)],
)
def test_sizes_are_read_as_people_write_them(text: str, size: int | None) -> None:
    assert read_size(text) == size


@pytest.mark.parametrize("text", ["0", "much", "-1", "1e9", "24 GiB free", "9" * 40])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        read_size(text)


def fit(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert run(["models", "fit", *arguments, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert isinstance(document, dict)
    return document


def test_the_document_has_what_others_rely_on(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    memory = str(24 * GIB)
    found = fit(capsys, model, "--gpus", "1", "--gpu-memory", memory, "--context", "256", "--concurrency", "2")
    assert found["weights_bytes"] == 64 * 64 * 2
    assert found["kv_bytes_per_token"] == 2 * 2 * 16 * 2 * 2
    assert found["per_gpu"].keys() == {"low", "likely", "high"}
    assert found["fits"] is True and found["max_context"] == 512
    assert (found["context"], found["concurrency"], found["memory"]) == (256, 2, 24 * GIB)


def test_more_users_and_longer_texts_need_more(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    one = fit(capsys, model, "--gpu-memory", "24GiB", "--context", "128")
    more = fit(capsys, model, "--gpu-memory", "24GiB", "--context", "512", "--concurrency", "8")
    assert more["parts"]["kv"]["likely"] == 32 * one["parts"]["kv"]["likely"]


def test_the_table_is_for_people(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "fit", model, "--gpu-memory", "24GiB", "--grid"]) == 0
    said = capsys.readouterr().out
    assert "fits: 512 tokens for 1 at once on 1 x 24.0 GiB" in said
    assert "CONTEXT" in said and "KV cache" in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["/nowhere/at-all"], "nothing can be said of"),
        (["MODEL", "--context", "long"], "no number of tokens"),
        (["MODEL", "--gpu-memory", "large"], "is no size"),
        (["MODEL", "--gpus", "2", "--tensor-parallel", "4", "--gpu-memory", "24GiB"], "ranks take 4 GPUs"),
        (["MODEL", "--gpus", "3", "--pipeline-parallel", "2", "--gpu-memory", "24GiB"], "no 2 groups"),
        (["MODEL", "--backend", "external", "--gpu-memory", "24GiB"], "nothing is known of the memory"),
    ],
)
def test_what_cannot_be_said_is_said(
    model: str, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["models", "fit", *(model if one == "MODEL" else one for one in arguments)]) in (1, 2)
    assert words in capsys.readouterr().err
