"""The plug-ins of the documentation, installed beside the studio."""

from __future__ import annotations

import configparser
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "fixtures" / "example_plug_ins"


def studio(home: Path, *argv: str) -> tuple[int, str, str]:
    env = {**os.environ, "VLLM_STUDIO_HOME": str(home)}
    env["PYTHONPATH"] = f"{PACKAGE}{os.pathsep}{env.get('PYTHONPATH', '')}"
    done = subprocess.run(
        [sys.executable, "-m", "vllm_studio_tui", *argv], env=env, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


def test_the_doctor_names_them(tmp_path: Path) -> None:
    _, out, _ = studio(tmp_path, "doctor", "--json")
    rows = {one["name"]: one["found"] for one in json.loads(out)["checks"]}
    assert rows["plug-ins"] == "request callback lines, panel tokens"
    assert rows["own metrics"] == "step_tokens, busy_slots"


def test_the_project_file_names_the_same_entry_points_as_the_installed_package() -> None:
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text())
    installed = configparser.ConfigParser()
    installed.read(next(PACKAGE.glob("*.dist-info")) / "entry_points.txt")
    groups = project["project"]["entry-points"]
    assert groups == {group: dict(installed[group]) for group in installed.sections()}
    named = {place.partition(":")[0] for points in groups.values() for place in points.values()}
    assert named == set(project["tool"]["setuptools"]["py-modules"])
