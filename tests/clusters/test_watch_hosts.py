"""Hosts that are only looked at, over a real network that can be cut: a namespace with an sshd and a real engine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.clusters.hosts import Hosts, running
from tests.process.serving import small_model
from tests.smi import write_smi
from vllm_studio_tui.config.setting_types import Host
from vllm_studio_tui.domain.host_overview import HostRun
from vllm_studio_tui.kit import process
from vllm_studio_tui.remote.agentless import script
from vllm_studio_tui.remote.host_watch import HostWatch

pytestmark = [pytest.mark.nodes, pytest.mark.timeout(240)]
PORT = 8000


def wait(condition: Callable[[], object], what: str, seconds: float = 60.0) -> float:
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() - begin < seconds, f"not in time: {what}"
        time.sleep(0.1)
    return time.monotonic() - begin


@pytest.fixture
def hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hosts]:
    """One host with two GPUs as they were published, and the small model in an engine that nobody's studio started."""
    with running(tmp_path, ("a",)) as made:
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
        monkeypatch.setenv("VLLM_STUDIO_HOME", str(tmp_path / "here"))
        write_smi(made["a"].folder / "programs", "h100_load", "h200_idle")
        with (made["a"].folder / "sshd_config").open("a") as file:
            file.write(f"SetEnv PATH={made['a'].folder / 'programs'}:/usr/bin:/bin\n")
        made.tell("nosshd", "a")
        made.tell("sshd", "a")
        engine = f"{sys.executable} -m vllm_studio_tui.backends.embedded --model {small_model()} --port {PORT}"
        wait(lambda: ssh(f"cd {Path.cwd()}; {engine} >/dev/null 2>&1 </dev/null & echo begun") == "begun", "it begins")
        yield made


def ssh(command: str) -> str:
    done = subprocess.run(
        ["ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=3", "a", command],
        capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    return done.stdout.strip()


def shells() -> list[int]:
    """The loops of shells that look, whatever host they are on."""
    found = []
    for one in process.all_processes():
        if one.name != "sh" or one.state in "ZX":
            continue
        line = Path(f"/proc/{one.pid}/cmdline")
        try:
            argv = line.read_bytes().split(b"\0")
        except OSError:
            continue
        if argv[:2] == [b"sh", b"-c"] and len(argv) > 2 and b"IFS= read -r l" in argv[2]:
            found.append(one.pid)
    return found


def test_a_network_that_is_cut_is_told_nothing_is_left_there_and_it_comes_back(
    hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "ALONE", 20)
    monkeypatch.setattr(script, "STEP", 5)
    before = shells()
    watch = HostWatch({"a": Host(connect="ssh://a", agentless=True)}, lambda: None)
    watch.start()

    def run() -> HostRun | None:
        overview = watch.states[0].overview
        return next((one for one in overview.runs if one.id == f"llamacpp:{PORT}"), None) if overview else None

    try:
        wait(lambda: (one := run()) is not None and one.running is not None, "its engine is measured")
        answer = ssh(
            f"{sys.executable} -c \"import urllib.request as u; print(len(u.urlopen('http://127.0.0.1:{PORT}/completion',"
            ' b\'{\\"prompt\\": \\"Once\\", \\"n_predict\\": 200}\', timeout=100).read()) > 0)"'
        )
        assert answer == "True"
        overview = watch.states[0].overview
        assert overview is not None
        assert [gpu.name for gpu in overview.gpus] == ["NVIDIA H100 80GB HBM3", "NVIDIA H200"]
        assert len(set(shells()) - set(before)) >= 1
        hosts["a"].cut()
        told = wait(lambda: watch.states[0].error is not None, "it is told")
        print(f"cut: told after {told:.1f} s")
        assert told < 45
        left = wait(lambda: not set(shells()) - set(before), "its shell ends by itself, while nobody can reach it", 60)
        print(f"its shell ended {left:.1f} s later")
        hosts["a"].heal()
        watch.retry("a")
        print(
            f"it answered {wait(lambda: watch.states[0].answers, 'it answers again'):.1f} s after the network came back"
        )
        assert run() is not None, "the engine went on"
    finally:
        watch.close(10)
