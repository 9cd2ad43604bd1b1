"""The plug-ins of the documentation, installed beside the studio."""

from __future__ import annotations

import configparser
import json
import os
import re
import signal
import subprocess
import sys
import tomllib
import urllib.request
from pathlib import Path

from tests.ports import free_port
from tests.unit.test_request_callbacks import Hook

PACKAGE = Path(__file__).parents[1] / "fixtures" / "example_plug_ins"


ENGINE = PACKAGE.with_name("example_package")
STUDIO = [sys.executable, "-m", "vllm_studio_tui"]


def environment(home: Path) -> dict[str, str]:
    paths = [str(PACKAGE), str(ENGINE), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "VLLM_STUDIO_HOME": str(home),
        "PYTHONPATH": os.pathsep.join(paths),
        "PATH": f"{ENGINE / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "EXAMPLE_REQUESTS": str(home / "lines.jsonl"),
    }


def studio(home: Path, *argv: str) -> tuple[int, str, str]:
    done = subprocess.run([*STUDIO, *argv], env=environment(home), capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def test_the_doctor_names_them(tmp_path: Path) -> None:
    _, out, _ = studio(tmp_path, "doctor", "--json")
    rows = {one["name"]: one["found"] for one in json.loads(out)["checks"]}
    assert rows["plug-ins"] == "backend example, parsers for 1 family, request callback lines, panel tokens"
    assert rows["own metrics"] == "step_tokens, busy_slots"


def test_serve_tells_the_callback_and_the_webhook_of_a_request_also_when_it_is_being_stopped(tmp_path: Path) -> None:
    recipe = {"id": "echo", "name": "Echo", "backend": "example", "model_path": "org/echo"}
    (tmp_path / "echo.json").write_text(json.dumps(recipe))
    (tmp_path / "config").mkdir(mode=0o700)
    hook = Hook()
    (tmp_path / "config" / "config.yaml").write_text(f"webhook_url: {hook.url}\n")
    (tmp_path / "config" / "config.yaml").chmod(0o600)
    assert studio(tmp_path, "recipes", "import", str(tmp_path / "echo.json"))[0] == 0
    try:
        code, _, err = studio(tmp_path, "launch", "echo", "--wait", "--port", str(free_port()))
        assert code == 0, err
        with subprocess.Popen(
            [*STUDIO, "serve", "--port", "0"], env=environment(tmp_path), stdout=subprocess.PIPE, text=True
        ) as server:
            assert server.stdout is not None
            address = re.search(r"http://\S+/v1", server.stdout.readline())
            assert address is not None
            ask = {"model": "echo", "messages": [{"role": "user", "content": "say these words"}]}
            request = urllib.request.Request(
                f"{address[0]}/chat/completions", json.dumps(ask).encode(), {"Content-Type": "application/json"}
            )
            with urllib.request.urlopen(request, timeout=30) as answer:
                told = answer.headers["x-vllm-studio-request"]
                answer.read()
            server.send_signal(signal.SIGTERM)
            assert server.wait(30) == 0
    finally:
        studio(tmp_path, "stop", "--all")
        hook.close()
    (line,) = (tmp_path / "lines.jsonl").read_text().splitlines()
    record = json.loads(line)
    assert (record["id"], record["recipe_id"], record["status"]) == (told, "echo", 200)
    assert [one for _, body in hook.got for one in json.loads(body)["data"]["requests"]] == [record]
    assert "these words" not in line


def test_the_project_file_names_the_same_entry_points_as_the_installed_package() -> None:
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text())
    installed = configparser.ConfigParser()
    installed.read(next(PACKAGE.glob("*.dist-info")) / "entry_points.txt")
    groups = project["project"]["entry-points"]
    assert groups == {group: dict(installed[group]) for group in installed.sections()}
    named = {place.partition(":")[0] for points in groups.values() for place in points.values()}
    assert named == set(project["tool"]["setuptools"]["py-modules"])
