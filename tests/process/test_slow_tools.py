"""A tool server that is slow to start, and `chat`: it says so, goes on once the server is there, ends when told to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.ports import free_port
from tests.process.test_mcp_client import WELL
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.studio import Studio

SLOW = """
import os, runpy, sys, time
while not os.path.exists(sys.argv[1]):
    time.sleep(0.05)
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture
def engine() -> Iterator[str]:
    port = free_port()
    argv = [sys.executable, "-m", "vllm_studio_tui.simulation.engine", "--port", str(port), "--model", "sim"]
    child = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1).close()
            break
        except OSError:
            assert child.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
    yield f"http://127.0.0.1:{port}/v1"
    child.kill()
    child.wait()


def asking(home: Path, engine: str, *words: str) -> subprocess.Popen[str]:
    """`chat` with a server that starts once a file is there; the first line that it says is taken."""
    with Studio.open_sync(Places.under(home)) as studio:
        entry = {"command": sys.executable, "args": ["-c", SLOW, str(home / "go"), WELL]}
        studio.tools.add_server("slow", entry, trust=True, replace=True)
    argv = [sys.executable, "-m", "vllm_studio_tui", "chat", "Hello", "--base-url", engine, "--model", "sim"]
    env = {**os.environ, "VLLM_STUDIO_HOME": str(home)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    child = subprocess.Popen([*argv, *words], env=env, text=True, **pipes)  # type: ignore[call-overload]
    assert child.stderr is not None
    assert child.stderr.readline() == "waiting for the tools of slow … (ctrl+c stops)\n"
    return child  # type: ignore[no-any-return]


@pytest.mark.parametrize("words", [("--tools",), ("--tools", "slow,time")], ids=["all", "named"])
def test_the_question_is_asked_when_the_tools_are_there(tmp_path: Path, engine: str, words: tuple[str, ...]) -> None:
    child = asking(tmp_path, engine, *words)
    (tmp_path / "go").touch()
    _, said = child.communicate(timeout=60)
    assert child.returncode == 0, said
    assert "tool call:" in said  # the simulated engine calls the first tool that it is offered


@pytest.mark.parametrize("words", [("--tools",), ("--tools", "slow")], ids=["all", "named"])
def test_whoever_waits_may_end_it(tmp_path: Path, engine: str, words: tuple[str, ...]) -> None:
    child = asking(tmp_path, engine, *words)
    began = time.monotonic()
    child.send_signal(signal.SIGINT)
    out, said = child.communicate(timeout=60)
    assert (child.returncode, out.strip()) == (130, "")
    assert "Traceback" not in said
    assert time.monotonic() - began < 25, "the server has a minute to start"
    left = [one for one in psutil.process_iter(["cmdline"]) if str(tmp_path / "go") in (one.info["cmdline"] or [])]
    assert left == []
