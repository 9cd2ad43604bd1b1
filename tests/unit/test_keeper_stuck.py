"""Processes that no signal ends, because a driver holds them in the kernel: the keeper lets go of them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vllm_studio_tui.domain.run import RunState, State
from vllm_studio_tui.domain.spec import Stop
from vllm_studio_tui.keeper import stopping
from vllm_studio_tui.keeper.engine import EnergyReading, Engine
from vllm_studio_tui.keeper.files import Ledger
from vllm_studio_tui.keeper.stopping import Phase, Stopping
from vllm_studio_tui.keeper.tree import Tree
from vllm_studio_tui.keeper.usage import UsageRecorder
from vllm_studio_tui.kit import process


class Stuck:
    """A program of ours that SIGKILL does not end."""

    pid = 1
    killed = 0

    def kill(self) -> None:
        self.killed += 1

    def poll(self) -> int | None:
        return None

    def wait(self, timeout: float | None = None) -> int:
        assert timeout is not None, "it would be waited for without end"
        raise subprocess.TimeoutExpired("stuck", timeout)


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as child:
        yield child
        child.kill()


def test_an_engine_that_did_not_end_is_let_go_of_and_not_waited_for(sleeper: subprocess.Popen[bytes]) -> None:
    engine = Engine(sleeper.pid, process.start_ticks(sleeper.pid) or 0, os.pidfd_open(sleeper.pid), sleeper)
    assert engine.reap() == (None, None)
    assert sleeper.poll() is None
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(engine.fd)


def test_an_engine_that_ended_tells_how() -> None:
    child = subprocess.Popen([sys.executable, "-c", "raise SystemExit(7)"])
    engine = Engine(child.pid, process.start_ticks(child.pid) or 0, os.pidfd_open(child.pid), child)
    while not engine.ended():
        os.sched_yield()
    assert engine.reap() == (7, None)


def test_a_reading_of_energy_that_no_signal_ends_does_not_keep_the_end_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vllm_studio_tui.keeper.usage.LAST", 0.1)
    usage = UsageRecorder(Ledger(tmp_path), Tree("r-1"), ("sleep", "600"))
    usage.last_energy(RunState("r-1", State.STOPPING))
    reading, stuck = EnergyReading(("x",)), Stuck()
    reading._child = stuck  # type: ignore[assignment]
    reading.end()
    assert (reading.pid, stuck.killed) == (None, 1)


def test_a_program_that_ends_a_container_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    stuck: Any = Stuck()
    monkeypatch.setattr(stopping, "_run", lambda argv: stuck)
    one = Stopping(Stop(), None, Tree("no-such-run"), 0.0, ("docker", "stop", "x"))
    now = 0.0
    while not one.step(now):
        now += 5.0
        assert now < 600
    assert (one.phase, stuck.killed, one.left) == (Phase.DONE, 1, [])
