"""`status --hosts` and the line of all hosts, as programs of their own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hosts import WELL, document, speaking
from vllm_studio_tui.cli import status
from vllm_studio_tui.config.hosts import save_host
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.runs.host_line import Heard, ask_for_it, read_heard


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    monkeypatch.setenv("VLLM_STUDIO_HOME", str(tmp_path))
    return Places.under(tmp_path)


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 40
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def said(capsys: pytest.CaptureFixture[str]) -> str:
    assert status.quick(["status", "--line", "--hosts"]) == 0
    return capsys.readouterr().out.rstrip("\n")


def test_a_watcher_that_is_started_says_what_it_heard(places: Places, capsys: pytest.CaptureFixture[str]) -> None:
    with speaking(document(WELL)) as well:
        save_host(places, "well", {"connect": well})
        ask_for_it(places)
        until(lambda: read_heard(places).at is not None, "it is heard")
        until(lambda: said(capsys) == "● 2  1842 tok/s  4 waiting", "it is on the line")
        save_host(places, "well", None)
        until(lambda: read_heard(places) == Heard((), read_heard(places).at), "no host is left, and it ends")


def command(*words: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", "vllm_studio_tui", *words]
    return subprocess.run(program, capture_output=True, text=True, timeout=100, check=False, stdin=subprocess.DEVNULL)


def test_status_of_hosts_names_those_that_do_not_answer_and_exits_with_1(places: Places) -> None:
    with speaking(document(WELL)) as well:
        save_host(places, "well", {"connect": well})
        done = command("status", "--hosts", "--json")
        assert done.returncode == 0, done.stderr
        (run,) = json.loads(done.stdout)["runs"]
        assert (run["host"], run["run_id"], run["tokens_per_second"]) == ("well", "r1", 1842.0)
        save_host(places, "gone", {"connect": "https://127.0.0.1:1"})
        done = command("status", "--hosts", "--timeout", "20")
        assert done.returncode == 1
        assert "gone: " in done.stderr and "Connection refused" in done.stderr
        assert "well" in done.stdout and "qwen3-32b" in done.stdout
        assert "gone" not in done.stdout
    assert command("status", "--hosts", "--all").returncode == 2
    assert set(json.loads(command("status", "--json").stdout)) == {"runs"}
