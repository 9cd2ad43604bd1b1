"""Which GPUs a run claims, and that a check and a launch say the same of them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from vllm_studio_tui.domain.errors import LaunchRefused, StudioError
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.domain.recipe_reading import parse_recipe
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.runs import gpu_use as module
from vllm_studio_tui.runs.gpu_use import claims, gpus_here
from vllm_studio_tui.simulation import nvml as simulation
from vllm_studio_tui.simulation.marks import GPUS as SIMULATE
from vllm_studio_tui.studio import Studio


def recipe(**fields: Any) -> Recipe:
    data = {"id": "r", "name": "r", "backend": "vllm", "model_path": "org/m", "executable": sys.executable, **fields}
    return parse_recipe(data)[0]


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SIMULATE, raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(module, "DEVICES", ("/nonexistent/nvidia*",))


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SIMULATE, "2")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(simulation._Library, "scenario", None)


@pytest.mark.usefixtures("no_gpu")
def test_without_a_gpu_none_is_claimed_unless_it_is_named() -> None:
    assert claims(recipe(tensor_parallel_size=2)) == ()
    assert claims(recipe(backend="sglang")) == ()
    assert claims(recipe(gpus=["0"])) == ("0",)


@pytest.mark.usefixtures("no_gpu")
def test_two_engines_on_the_cpu_do_not_stand_in_each_others_way(tmp_path: Path) -> None:
    from dataclasses import replace

    from tests.functional.stage import snapshot

    launcher = Studio(Places.under(tmp_path)).launcher
    planned = launcher.check(recipe(), None, ())
    assert not [one for one in planned if one.field == "gpus"]
    first = next(one for one in snapshot(tmp_path / "runs").runs if one.live and one.spec is not None)
    assert first.spec is not None
    on_the_cpu = replace(first, spec=replace(first.spec, gpus=claims(recipe())))
    assert not [one for one in launcher.check(recipe(id="s"), None, (on_the_cpu,)) if one.field == "gpus"]


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize(
    ("fields", "version", "expected"),
    [
        ({}, None, ("0",)),
        ({"tensor_parallel_size": 2}, "0.33.0", ("0", "1")),
        ({}, "0.33.0+cpu", ()),
        ({"extra_args": {"device": "cpu"}}, None, ()),
        ({"env_vars": {"VLLM_TARGET_DEVICE": "cpu"}}, None, ()),
        ({"env_vars": {"CUDA_VISIBLE_DEVICES": ""}}, None, ()),
        ({"env_vars": {"CUDA_VISIBLE_DEVICES": "-1"}}, None, ()),
        ({"env_vars": {"CUDA_VISIBLE_DEVICES": "3,1"}}, None, ("3", "1")),  # named by a person
        ({"extra_args": {"cuda_visible_devices": 1}}, None, ("1",)),
        ({"env_vars": {"CUDA_VISIBLE_DEVICES": "env:MINE"}}, None, ("0",)),
        ({"gpus": "auto"}, None, ()),
        ({"backend": "llamacpp"}, None, ()),
        ({"gpus": ["1"]}, "0.33.0+cpu", ("1",)),
    ],
)
def test_the_gpus_that_the_engine_will_take_are_claimed(
    fields: dict[str, Any], version: str | None, expected: tuple[str, ...]
) -> None:
    assert claims(recipe(**fields), version) == expected


def test_a_gpu_shows_itself_by_its_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DEVICES", (f"{tmp_path}/nvidia[0-9]*",))
    (tmp_path / "nvidiactl").touch()
    assert not gpus_here({})
    (tmp_path / "nvidia0").touch()
    assert gpus_here({})


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize(
    "fields",
    [
        {"gpus": ["7"]},
        {"gpus": ["GPU-nobody"]},
        {"tensor_parallel_size": 4},
        {"backend": "custom", "command": "{python} -c pass", "gpus": ["0", "7"], "tensor_parallel_size": 2},
        {"gpus": "auto", "tensor_parallel_size": 3},
        {"gpus": ["0"], "tensor_parallel_size": 2},
    ],
)
def test_what_a_check_calls_an_error_is_refused_by_a_launch_in_the_same_words(
    tmp_path: Path, fields: dict[str, Any]
) -> None:
    launcher = Studio(Places.under(tmp_path)).launcher
    wanted = recipe(**fields)
    said = [one.message for one in launcher.check(wanted) if one.severity == "error"]
    assert said
    with pytest.raises(LaunchRefused) as caught:
        launcher.launch(wanted)
    told = f"{caught.value.title}: {caught.value.cause}"
    assert all(message in told for message in said)
    assert not (tmp_path / "state" / "runs").exists() or not any((tmp_path / "state" / "runs").rglob("spec.json"))


@pytest.mark.usefixtures("two_gpus")
def test_a_gpu_that_does_not_answer_is_pointed_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SIMULATE, "2,fault=lost:1")
    launcher = Studio(Places.under(tmp_path)).launcher
    (found,) = [one for one in launcher.check(recipe(gpus=["1"])) if one.field == "gpus"]
    assert (found.severity, found.message) == ("warning", "GPU 1 does not answer: GPU is lost")
    with pytest.raises(StudioError, match="1 free GPUs are needed and 0 are free"):
        monkeypatch.setenv(SIMULATE, "1,fault=lost:0")
        monkeypatch.setattr(simulation._Library, "scenario", None)
        launcher.launch(recipe(gpus="auto"))
