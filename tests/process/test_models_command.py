"""`vllm-studio models` as a program of its own: lists, scans, shows and deletes what really lies there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.process.house import House
from tests.unit.weight_files import gguf, model

Said = subprocess.CompletedProcess[str]


@pytest.fixture
def studio(tmp_path: Path) -> Callable[..., Said]:
    """Runs a command line in a home of its own, with one folder of models."""
    home, folder = tmp_path / "home", tmp_path / "big"
    (home / "config").mkdir(parents=True)
    (home / "config" / "config.yaml").write_text(f"models_dirs: [{folder}]\n")
    folder.mkdir()
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "XDG_", "OLLAMA_"))}
    environ |= {"VLLM_STUDIO_HOME": str(home), "HOME": str(tmp_path / "person")}

    def run(*argv: str, **more: str) -> Said:
        command = [sys.executable, "-m", "vllm_studio_tui", *argv]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=60, env={**environ, **more}, stdin=subprocess.DEVNULL
        )

    return run


def test_the_list_is_what_other_programs_rely_on(tmp_path: Path, studio: Callable[..., Said]) -> None:
    folder = model(tmp_path / "big" / "Some-8B")
    (tmp_path / "big" / "M-Q4_K_M.gguf").write_bytes(gguf()[:-100])
    studio("recipes", "add", "mine", "--set", f"model_path={folder}")
    said = studio("models", "list", "--json")
    found = {one["name"]: one for one in json.loads(said.stdout)["models"]}
    assert found["Some-8B"].keys() >= {
        "path", "name", "architecture", "parameters", "quantization", "context", "bytes", "complete", "source",
        "recipes",
    }  # fmt: skip
    assert (found["Some-8B"]["recipes"], found["Some-8B"]["complete"]) == (["mine"], True)
    assert (found["M-Q4_K_M"]["complete"], found["M-Q4_K_M"]["source"]) == (False, "folder")
    table = studio("models", "list")
    assert "Some-8B" in table.stdout
    assert "not whole: M-Q4_K_M.gguf is cut off" in table.stdout
    assert json.loads(studio("models", "list", "--source", "ollama", "--json").stdout) == {"models": []}
    assert studio("models", "list", "--source", "nowhere").returncode == 2


def test_a_scan_tells_of_each_place(tmp_path: Path, studio: Callable[..., Said]) -> None:
    model(tmp_path / "big" / "a")
    said = studio("models", "scan")
    assert f"{tmp_path}/big: 1 model" in said.stdout
    assert ".ollama/models" in said.stdout
    below = studio("models", "scan", str(tmp_path / "big" / "a"), "--json")
    assert [one["name"] for one in json.loads(below.stdout)["models"]] == ["a"]
    assert studio("models", "scan", str(tmp_path / "nothing")).returncode == 2


def test_it_asks_before_it_deletes_and_a_dry_run_changes_nothing(tmp_path: Path, studio: Callable[..., Said]) -> None:
    folder = model(tmp_path / "big" / "a")
    plan = json.loads(studio("models", "delete", "a", "--dry-run", "--json").stdout)
    assert (plan["deleted"], plan["frees"] > 0, folder.is_dir()) == (False, True, True)
    refused = studio("models", "delete", "a")
    assert (refused.returncode, "Say --yes" in refused.stderr, folder.is_dir()) == (2, True, True)
    done = studio("models", "delete", "a", "--yes", "--json")
    assert json.loads(done.stdout)["deleted"] is True
    assert not folder.exists()
    assert "no model called a" in studio("models", "delete", "a", "--yes").stderr


def test_names_that_would_move_the_cursor_are_harmless_in_a_terminal(
    tmp_path: Path, studio: Callable[..., Said]
) -> None:
    (tmp_path / "big" / "evil\x1b[2J\n.gguf").write_bytes(gguf())
    assert "\x1b" not in studio("models", "list").stdout
    assert json.loads(studio("models", "list", "--json").stdout)["models"][0]["name"] == "evil\x1b[2J\n"


def test_a_model_that_a_live_run_uses_is_refused(house: House, tmp_path: Path, studio: Callable[..., Said]) -> None:
    folder = model(tmp_path / "big" / "a")
    environ = {"VLLM_STUDIO_HOME": str(house.root), "VLLM_STUDIO_MODELS_DIR": str(tmp_path / "big")}
    command = f"{sys.executable} -m vllm_studio_tui.simulation.engine --port {{port}} --model sim"
    data = {"id": "sim", "backend": "custom", "model_path": str(folder), "served_model_name": "sim", "command": command}
    (tmp_path / "sim.json").write_text(json.dumps(data))
    assert studio("recipes", "import", str(tmp_path / "sim.json"), **environ).returncode == 0
    launched = studio("launch", "sim", "--wait", **environ)
    assert launched.returncode == 0, launched.stderr
    said = studio("models", "delete", "a", "--yes", **environ)
    assert (said.returncode, folder.is_dir()) == (1, True)
    assert "vllm-studio stop sim" in said.stderr
    assert studio("stop", "sim", **environ).returncode == 0
    assert studio("models", "delete", "a", "--yes", **environ).returncode == 0
