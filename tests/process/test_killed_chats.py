"""Killed at random while it streams or is in a round of tool calls: nothing is made twice, and no chat is broken.

A real small model on the embedded engine answers. It has no template for tools, so that its calls are forced by a JSON
schema and read from its text.
"""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ports import free_port
from tests.process.house import until
from tests.process.serving import small_model


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[int]:
    """Serve the small model; yield its port."""
    port, path = free_port(), small_model()
    words = ["--model", str(path), "--port", str(port), "--ctx-size", "8192", "--parallel", "4"]
    argv = [sys.executable, "-m", "vllm_studio_tui.backends.embedded", *words]
    with (tmp_path / "engine.log").open("wb") as log, subprocess.Popen(argv, stdout=log, stderr=log) as process:
        try:
            until(lambda: _answers(port), "the small model")
            yield port
        finally:
            process.kill()


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def kill(home: Path, port: int, count: int, seed: int) -> dict[str, int]:
    """Have a program killed so many times; return what was seen. It fails where anything is damaged."""
    argv = [sys.executable, "-m", "tests.process.killed_chats", str(home), str(port), str(count), str(seed)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=count * 12 + 120, check=False)
    assert done.returncode == 0, done.stderr[-6000:]
    found: dict[str, int] = json.loads(done.stdout)
    return found


@pytest.mark.timeout(180)
def test_killed_a_few_times_nothing_is_made_twice_and_no_chat_is_broken(tmp_path: Path, engine: int) -> None:
    seen = kill(tmp_path / "home", engine, 4, seed=3)
    assert seen["killed"] >= 2, seen


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_killed_a_hundred_times_nothing_is_made_twice_and_no_chat_is_broken(tmp_path: Path, engine: int) -> None:
    seen = kill(tmp_path / "home", engine, 100, seed=1)
    print(seen)
    assert seen["killed"] >= 60, seen
    assert seen["call done"] >= 10, seen
    assert seen["call unknown"] >= 3, "killed while a call was made"
    assert seen["assistant interrupted"] >= 10, "killed while it streamed"
    assert seen["letters kept"] >= 500, seen
