"""Whether there is room for a model before it is fetched."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.functional.stage import recipe
from vllm_studio_tui.services.launching.disk_room import GIB, disk_room, expected_size


class Usage(NamedTuple):
    total: int
    used: int
    free: int


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Any:
    def set_free(gib: float) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(0, 0, int(gib * GIB)))

    return set_free


@pytest.mark.parametrize(
    ("name", "gib"),
    [
        ("meta-llama/Llama-3.3-70B-Instruct", 134),
        ("Qwen/Qwen2.5-32B-Instruct-AWQ", 19),
        ("Qwen/Qwen3-30B-A3B-FP8", 31),
        ("mistralai/Mixtral-8x7B-v0.1", 107),
        ("Qwen/Qwen3-0.6B", 1),
        ("openai/gpt-oss-120b", 229),
        ("org/model-2024b3", None),
        ("microsoft/phi-4", None),
    ],
)
def test_a_name_tells_the_size(name: str, gib: int | None) -> None:
    found = expected_size(name)
    assert (None if found is None else round(found / GIB)) == gib


def test_too_little_room_is_said_with_both_amounts(tmp_path: Path, free: Any) -> None:
    free(50)
    (found,) = disk_room(recipe("x", model_path="org/big-70B"), {"HF_HOME": str(tmp_path)})
    assert found.severity == "warning"
    assert f"fetched to {tmp_path}/hub: about 134 GiB" in found.message
    assert "50.0 GiB are free" in found.message
    free(200)
    assert disk_room(recipe("x", model_path="org/big-70B"), {"HF_HOME": str(tmp_path)}) == []


def test_a_full_disk_is_said_of_any_model(tmp_path: Path, free: Any) -> None:
    free(0.3)
    (found,) = disk_room(recipe("x", model_path="org/phi"), {"HOME": str(tmp_path)})
    assert "where 0.3 GiB are free" in found.message


def test_what_is_there_needs_no_room_and_what_is_half_there_needs_less(tmp_path: Path, free: Any) -> None:
    blobs = tmp_path / "hub" / "models--org--m-7B" / "blobs"
    blobs.mkdir(parents=True)
    with (blobs / "abc.incomplete").open("wb") as file:
        file.truncate(10 * GIB)
    wanted, environ = recipe("x", model_path="org/m-7B"), {"HF_HOME": str(tmp_path)}
    free(5)
    assert disk_room(wanted, environ) == []
    free(3)
    assert "about 3 GiB" in disk_room(wanted, environ)[0].message
    (blobs / "abc.incomplete").rename(blobs / "abc")
    assert disk_room(wanted, environ) == []


def test_offline_a_model_that_is_not_there_is_said(tmp_path: Path) -> None:
    environ = {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    (found,) = disk_room(recipe("x", model_path="org/m"), environ)
    assert "HF_HUB_OFFLINE forbids" in found.message


def test_the_recipes_own_folder_counts(tmp_path: Path, free: Any) -> None:
    free(1)
    own = recipe("x", model_path="org/m", extra_args={"download_dir": str(tmp_path / "there")})
    assert str(tmp_path / "there") in disk_room(own, {})[0].message
    by_env = recipe("x", model_path="org/m", env_vars={"HF_HUB_CACHE": str(tmp_path / "cache")})
    assert str(tmp_path / "cache") in disk_room(by_env, {})[0].message


def test_models_of_this_machine_and_engines_that_fetch_nothing_are_not_looked_at(tmp_path: Path, free: Any) -> None:
    free(0.1)
    assert disk_room(recipe("x", model_path=str(tmp_path)), {}) == []
    assert disk_room(recipe("x", backend="llamacpp", model_path="org/m-7B"), {}) == []
