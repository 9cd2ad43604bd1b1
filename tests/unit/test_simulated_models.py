"""The models of the simulation: files that are read as those of the real models are, and take no room."""

from __future__ import annotations

from pathlib import Path

import pytest

from vllm_studio_tui.models.facts import read_facts
from vllm_studio_tui.simulation import model_files
from vllm_studio_tui.simulation.kinds import GIB
from vllm_studio_tui.simulation.models import model_of

SHAPES = {shape.id: shape for shape in model_files.SHAPES}


def files(hub: Path) -> list[Path]:
    return [path for path in hub.rglob("*") if path.is_file() and not path.is_symlink()]


@pytest.mark.parametrize("name", SHAPES)
def test_a_model_is_as_large_as_its_engine_pretends(tmp_path: Path, name: str) -> None:
    snapshot = model_files.write_model(tmp_path, SHAPES[name])
    weights = sum(path.stat().st_size for path in snapshot.glob("*.safetensors"))
    assert weights / GIB == pytest.approx(model_of(name).weights, rel=0.1)
    assert len(list(snapshot.glob("*.safetensors"))) == model_of(name).files
    facts = read_facts(snapshot)
    assert facts.exact and facts.architecture.context == SHAPES[name].context
    assert sum(one.bytes for one in facts.weights) == pytest.approx(weights, rel=0.001)


def test_published_numbers_of_parameters_come_out(tmp_path: Path) -> None:
    found = {name: read_facts(model_files.write_model(tmp_path, shape)).parameters for name, shape in SHAPES.items()}
    wanted = {"Qwen/Qwen3-32B": 32.8e9, "meta-llama/Llama-3.3-70B-Instruct": 70.6e9, "openai/gpt-oss-120b": 116.8e9,
              "HuggingFaceTB/SmolLM2-135M-Instruct": 134.5e6}  # fmt: skip
    assert {name: found[name] for name in wanted} == pytest.approx(wanted, rel=0.005)


def test_they_take_no_room_and_are_written_once(tmp_path: Path) -> None:
    model_files.write_models(tmp_path)
    made = files(tmp_path)
    assert sum(path.stat().st_size for path in made) > 400 * GIB
    assert sum(path.stat().st_blocks * 512 for path in made) < 20 * 1024**2
    before = {path: path.stat().st_mtime_ns for path in made}
    model_files.write_models(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in files(tmp_path)} == before
    assert not list(tmp_path.glob("*gpt-oss*")), "that one comes while one looks"


def test_a_disk_that_takes_no_such_file_has_no_such_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: object) -> None:
        raise OSError(27, "File too large")

    monkeypatch.setattr(model_files, "_write", refuses)
    model_files.write_models(tmp_path)
    assert not list(tmp_path.rglob("config.json"))
