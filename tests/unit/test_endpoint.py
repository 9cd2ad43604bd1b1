"""What there is to paste so that other programs ask a run: it is tried against an engine, and never holds a key."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ports import free_port
from vllm_studio_tui.services.launching.endpoint import Endpoint

KEY = "swordfish-of-the-test"
NAME = 'it\'s a "model"; $(touch nothing)'


@pytest.fixture(scope="module")
def engine() -> Iterator[str]:
    """The address of a simulated engine that wants a key, and whose model has an awkward name."""
    port = free_port()
    argv = [sys.executable, "-m", "vllm_studio_tui.simulation.engine", "--port", str(port), "--model", NAME]
    with subprocess.Popen([*argv, "--api-key", KEY], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        try:
            _wait(f"http://127.0.0.1:{port}/health")
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            running.terminate()


def _wait(url: str) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except (OSError, urllib.error.URLError):
            assert time.monotonic() < deadline, "the engine does not get ready"
            time.sleep(0.05)


def pasted(program: list[str], text: str, folder: Path, **env: str) -> str:
    """Run what was pasted, and return what it prints."""
    done = subprocess.run(
        [*program, text], capture_output=True, text=True, timeout=60, cwd=folder, env={**os.environ, **env}, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("kind", ["env", "file"])
def test_curl_the_sdk_and_the_env_lines_work_against_an_engine_with_a_key(
    engine: str, tmp_path: Path, kind: str
) -> None:
    key_file = tmp_path / "a key's file"
    key_file.write_text(f"{KEY}\n")
    endpoint = Endpoint(engine, NAME, "env:STUDIO_TEST_KEY" if kind == "env" else f"file:{key_file}", True)
    snippets = {one.name: one.text for one in endpoint.snippets()}
    assert not any(KEY in text for text in snippets.values())

    answer = json.loads(pasted(["bash", "-ec"], snippets["curl"], tmp_path, STUDIO_TEST_KEY=KEY))
    assert answer["model"] == NAME
    assert answer["choices"][0]["message"]["content"]
    assert pasted([sys.executable, "-c"], snippets["python"], tmp_path, STUDIO_TEST_KEY=KEY).strip()

    for name, wanted in (
        ("env", "OPENAI_BASE_URL"),
        ("claude-code", "ANTHROPIC_BASE_URL"),
        ("aider", "OPENAI_API_BASE"),
    ):
        lines = "\n".join(line for line in snippets[name].split("\n") if line.startswith("export "))
        told = pasted(["bash", "-ec"], f"{lines}\nenv -0", tmp_path, STUDIO_TEST_KEY=KEY).split("\0")
        values = dict(one.split("=", 1) for one in told if "=" in one)
        root = engine.removesuffix("/v1")
        assert values[wanted] == (root if name == "claude-code" else engine)
        key = {"claude-code": "ANTHROPIC_AUTH_TOKEN"}.get(name, "OPENAI_API_KEY")
        assert values[key] == KEY
        model = {"env": "OPENAI_MODEL", "claude-code": "ANTHROPIC_MODEL"}.get(name)
        assert model is None or values[model] == NAME

    provider = json.loads(snippets["opencode"])["provider"]["vllm-studio"]
    assert provider["options"]["baseURL"] == engine
    assert provider["options"]["apiKey"] in ("{env:STUDIO_TEST_KEY}", f"{{file:{key_file}}}")
    assert list(provider["models"]) == [NAME]
    assert not (tmp_path / "nothing").exists()  # a name runs nothing


def test_without_a_key_there_is_a_word_for_clients_that_insist_on_one() -> None:
    endpoint = Endpoint("http://127.0.0.1:8000/v1", "m")
    assert endpoint.env_lines() == [
        "export OPENAI_BASE_URL=http://127.0.0.1:8000/v1",
        "export OPENAI_API_KEY=none",
        "export OPENAI_MODEL=m",
    ]
    snippets = {one.name: one.text for one in endpoint.snippets()}
    assert "Authorization" not in snippets["curl"]
    assert "claude-code" not in snippets  # this engine does not speak Anthropic's API
