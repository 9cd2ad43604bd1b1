"""A backend of another package: installed beside the studio, it is launched, watched and asked like ours.

That each fact of a backend is read wherever it counts is tried in `tests/contract/test_plug_in.py`.
"""

from __future__ import annotations

import configparser
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.ports import free_port

PACKAGE = Path(__file__).parents[1] / "fixtures" / "example_package"


def studio(home: Path, *argv: str, installed: bool = True) -> tuple[int, str, str]:
    env = {**os.environ, "VLLM_STUDIO_HOME": str(home)}
    if installed:
        env["PYTHONPATH"] = f"{PACKAGE}{os.pathsep}{env.get('PYTHONPATH', '')}"
        env["PATH"] = f"{PACKAGE / 'bin'}{os.pathsep}{env['PATH']}"
    done = subprocess.run(
        [sys.executable, "-m", "vllm_studio_tui", *argv], env=env, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def home(tmp_path: Path) -> Path:
    recipe = {"id": "echo", "name": "Echo", "backend": "example", "model_path": "org/echo"}
    (tmp_path / "echo.json").write_text(json.dumps(recipe))
    code, _, err = studio(tmp_path, "recipes", "import", str(tmp_path / "echo.json"))
    assert code == 0, err
    return tmp_path


def test_it_is_launched_asked_measured_and_stopped(home: Path) -> None:
    try:
        code, out, err = studio(home, "launch", "echo", "--wait", "--port", str(free_port()), "--json")
        assert code == 0, err
        run: dict[str, Any] = json.loads(out)
        assert run["state"] == "ready"
        code, out, _ = studio(home, "recipes", "command", "echo", "--json")
        assert json.loads(out)["argv"][0] == str(PACKAGE / "bin" / "example-server")
        code, out, err = studio(home, "chat", "--recipe", "echo", "say this again")
        assert (code, out.strip()) == (0, "say this again"), err
        code, out, err = studio(home, "metrics", "echo", "--json", "--interval", "0.2")
        assert code == 0, err
        assert json.loads(out)["generation_tokens_total"] == 3
        runs = json.loads(studio(home, "status", "--json")[1])["runs"]
        assert [one["backend"] for one in runs] == ["example"]
    finally:
        code, out, _ = studio(home, "stop", "--all", "--json")
    assert json.loads(out)["runs"][0]["state"] == "exited"


def test_its_own_failure_is_explained(home: Path) -> None:
    studio(home, "recipes", "edit", "echo", "--set", "model_path=missing")
    code, out, err = studio(home, "launch", "echo", "--wait", "--port", str(free_port()), "--json")
    assert code == 1
    assert "there is no model missing" in out + err


def test_a_pasted_command_and_the_doctor_know_it(tmp_path: Path) -> None:
    (tmp_path / "pasted.sh").write_text("example-server org/echo --port 9001 --context 8192 --odd-flag 3\n")
    code, _, err = studio(tmp_path, "recipes", "import", str(tmp_path / "pasted.sh"))
    assert code == 0, err
    _, out, _ = studio(tmp_path, "recipes", "show", "echo", "--json")
    recipe = json.loads(out)["recipe"]
    assert (recipe["backend"], recipe["port"], recipe["max_model_len"]) == ("example", 9001, 8192)
    assert recipe["extra_args"] == {"odd-flag": "3"}
    _, out, _ = studio(tmp_path, "doctor", "--json")
    rows = {one["name"]: one["found"] for one in json.loads(out)["checks"]}
    assert rows["engine example"] == str(PACKAGE / "bin" / "example-server")
    assert "example" in rows["engines"]
    assert rows["plug-ins"] == "backend example, parsers for 1 family"


def test_without_its_package_the_recipe_stays_and_the_cause_is_said(home: Path) -> None:
    code, _, err = studio(home, "launch", "echo", installed=False)
    assert code == 1
    assert "there is no backend 'example'" in err
    code, out, _ = studio(home, "recipes", "list", "--json", installed=False)
    assert [one["id"] for one in json.loads(out)["recipes"]] == ["echo"]


def test_its_parsers_are_suggested_and_loaded_from_its_file(tmp_path: Path) -> None:
    recipe = {"id": "m", "name": "M", "backend": "vllm", "model_path": "org/Example-Model-7B", "port": 8123}
    recipe["tool_call_parser"] = "example_tools"
    recipe["executable"] = sys.executable
    (tmp_path / "m.json").write_text(json.dumps(recipe))
    code, _, err = studio(tmp_path, "recipes", "import", str(tmp_path / "m.json"))
    assert code == 0, err
    _, out, _ = studio(tmp_path, "recipes", "command", "m", "--json")
    argv = json.loads(out)["argv"]
    assert argv[argv.index("--tool-parser-plugin") + 1] == str(PACKAGE / "example_parser.py")
    _, out, _ = studio(tmp_path, "recipes", "check", "m", "--json")
    assert "example_tools" not in out
    _, out, _ = studio(tmp_path, "recipes", "check", "m", "--json", installed=False)
    assert "has no parser example_tools" in out


def test_its_project_file_names_the_same_entry_points_as_the_installed_package() -> None:
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]
    installed = configparser.ConfigParser()
    installed.read(next(PACKAGE.glob("*.dist-info")) / "entry_points.txt")
    assert project["entry-points"] == {group: dict(installed[group]) for group in installed.sections()}
