"""`vllm-studio gpus processes`, `environment` and `signal`, with real processes that a driver names."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from tests.family import Family, wait_for
from vllm_studio_tui.__main__ import main
from vllm_studio_tui.cli import gpu_processes
from vllm_studio_tui.domain.gpus import Gpu, GpuProcess, GpuReport
from vllm_studio_tui.kit import process as kit
from vllm_studio_tui.services.watching import services
from vllm_studio_tui.studio import Studio


@pytest.fixture
def family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Family]:
    made = Family(tmp_path)
    holder = GpuProcess(made.pids[2], "alice", "python3", 614 * 1024**2, sm=7)
    report = GpuReport(time.time(), (Gpu(3, "GPU-3", "H100", processes=(holder,)),))
    monkeypatch.setattr(Studio, "gpu_report", lambda self, **_: report)
    assert issubclass(Studio, services.WatchingServices)
    monkeypatch.setenv("VLLM_STUDIO_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(gpu_processes, "BETWEEN", 0.0)
    yield made
    made.end()


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["vllm-studio", *words])
    try:
        return main()
    except SystemExit as end:
        return int(end.code or 0)


def test_processes_are_listed_as_a_tree_and_as_a_document(
    family: Family, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "gpus", "processes") == 0
    text = capsys.readouterr().out
    lines = {int(line.split()[0]): line for line in text.splitlines()[1:]}
    assert "└ family.py 0" in lines[family.pids[2]] and "614 MiB" in lines[family.pids[2]]
    assert text.splitlines()[0].split()[:3] == ["PID", "COMMAND", "USER"]
    assert run(monkeypatch, "gpus", "processes", "--json") == 0
    found = {one["pid"]: one for one in json.loads(capsys.readouterr().out)["processes"]}
    one = found[family.pids[2]]
    assert (one["gpus"], one["gpu_memory"], one["sm"], one["ours"]) == ([3], 614 * 1024**2, 7, False)
    assert one["depth"] == found[family.pids[1]]["depth"] + 1 and one["created"].endswith("Z")
    assert run(monkeypatch, "gpus", "processes", "--flat") == 0
    assert "└" not in capsys.readouterr().out


def test_an_environment_is_printed_without_secrets(
    family: Family, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "gpus", "environment", str(family.pids[2])) == 0
    assert "HF_TOKEN=***" in capsys.readouterr().out
    assert run(monkeypatch, "gpus", "environment", "1") == 1
    assert "belongs to no run" in capsys.readouterr().err


def test_a_process_of_somebody_else_is_asked_about_twice(
    family: Family, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pid = family.pids[2]
    assert run(monkeypatch, "gpus", "signal", str(pid)) == 2
    assert "--yes" in capsys.readouterr().err
    assert run(monkeypatch, "gpus", "signal", str(pid), "--signal", "SEGV", "--yes") == 2
    asked: list[str] = []
    answers = iter([True, False, True, True])

    def confirm(question: str, **_: Any) -> bool:
        asked.append(question)
        return next(answers)

    monkeypatch.setattr(typer, "confirm", confirm)
    monkeypatch.setattr(gpu_processes, "_can_ask", lambda: True)
    assert run(monkeypatch, "gpus", "signal", str(pid)) == 1
    assert kit.alive(pid, None) and len(asked) == 2 and "no run here" in asked[1]
    assert run(monkeypatch, "gpus", "signal", str(pid), "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["sent"] == [{"pid": pid, "sent": "TERM", "words": ""}]
    wait_for(lambda: not kit.alive(pid, None))


def test_a_dry_run_says_what_it_would_do_and_sends_nothing(
    family: Family, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, third = map(str, family.pids)
    assert run(monkeypatch, "gpus", "signal", second, third, "-s", "kill", "--dry-run", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert [one["ends"] for one in told["consequences"]] == [2, 1] and told["signal"] == "KILL"
    assert "KILL" not in told["consequences"][0]["signals"]
    assert all(kit.alive(pid, None) for pid in family.pids) and first
