"""How a run starts under its keeper, and every way in which that fails: programs, ports, time."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.process.house import House, until
from vllm_studio_tui.domain.run import FINAL, State
from vllm_studio_tui.domain.spec import Failure, Restart
from vllm_studio_tui.runs import control, read
from vllm_studio_tui.runs.estimate import earlier_starts, time_left

SERVER = str(Path(__file__).with_name("server.py"))


def test_each_stage_is_marked_and_tells_how_long_the_next_start_will_take(house: House) -> None:
    first = house.ready(house.launch("--load-seconds", "1.5"))
    assert next(iter(first.status.marks)) == "weights"
    stopped = control.stop(first)  # its log may have named one stage more after it was ready
    second = house.launch(argv=(sys.executable, SERVER, "0", "--say", "Starting to load model"))  # and loads for ever
    until(lambda: house.now(second).status.stage == "weights", "weights")
    now = house.now(second)
    earlier = earlier_starts(now, read.all_runs(house.places))
    assert [one.marks for one in earlier] == [stopped.status.marks]
    began = (now.status.started_at or 0.0) + now.status.marks["weights"]
    rest = time_left(now.status, earlier, began)
    assert rest is not None
    assert 0.0 < rest < 60.0
    assert time_left(now.status, earlier, began + 3600.0) < rest  # type: ignore[operator]
    assert time_left(first.status, earlier, time.time()) is None, "it is ready"
    control.stop(second)


def test_a_start_that_moves_to_another_port_is_ended(house: House) -> None:
    moved = Failure(r"Port (\d+) is currently in use\. Switching to (\d+)", "port_moved", "moved to {2}", fatal=True)
    script = "import time; print('Port 5000 is currently in use. Switching to 5001.', flush=True); time.sleep(600)"
    run = house.launch(argv=(sys.executable, "-c", script), failures=(moved,))
    until(lambda: house.now(run).status.final, "ended")
    assert (house.now(run).status.reason, house.now(run).status.title) == ("port_moved", "moved to 5001")
    house.check_nothing_is_left()


def test_a_start_that_takes_too_long_is_ended_and_explained(house: House) -> None:
    run = house.launch("--load-seconds", "60", deadline=1.0)
    until(lambda: house.now(run).status.final, "ended")
    assert house.now(run).status.reason == "start_timeout"
    house.check_nothing_is_left()


def test_a_start_can_be_cancelled(house: House) -> None:
    run = house.launch("--load-seconds", "60")
    until(lambda: house.now(run).state is State.LOADING, "loading")
    assert control.stop(run).state is State.EXITED
    house.check_nothing_is_left()


def test_a_missing_program_is_said_at_once(house: House) -> None:
    run = house.launch(argv=("/nonexistent/engine",))
    until(lambda: house.now(run).status.final, "failed")
    assert house.now(run).status.reason == "binary_missing"
    house.check_nothing_is_left()


@pytest.mark.parametrize(
    ("first", "mode", "reason", "words"),
    [
        ("#!/bin/sh", 0o644, "binary_not_executable", "is not executable (mode 0644"),
        ("#!/opt/old-venv/bin/python3", 0o755, "interpreter_missing", "/opt/old-venv/bin/python3 does not exist"),
        ("just text", 0o755, "binary_not_executable", "is text without a first line `#!`"),
        ("\x7fELF\0", 0o755, "binary_unfit", "is no program for this machine"),
    ],
)
def test_a_program_that_is_there_and_cannot_be_run_is_not_called_missing(
    house: House, tmp_path: Path, first: str, mode: int, reason: str, words: str
) -> None:
    program = tmp_path / "engine"
    program.write_text(f"{first}\n")
    program.chmod(mode)
    run = house.launch(argv=(str(program),))
    until(lambda: house.now(run).status.final, "failed")
    status = house.now(run).status
    assert status.reason == reason
    assert words in (status.title or "")
    house.check_nothing_is_left()


def test_a_port_that_is_taken_meanwhile_is_the_reason(house: House) -> None:
    run = house.ready(house.launch(restart=Restart("on-failure", delay=0.5)))
    keeper = run.status.keeper_pid or 0
    os.kill(keeper, signal.SIGSTOP)  # else it would hold the port as soon as its engine has gone
    house.kill_engine(run)
    with socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        until(lambda: _bound(thief, run.port or 0), "the port is ours")
        thief.listen()
        os.kill(keeper, signal.SIGCONT)
        until(lambda: house.now(run).status.final, "failed")
        status = house.now(run).status
    assert status.reason == "port_in_use"
    assert f"Process {os.getpid()} (" in (status.advice or "")


def test_the_port_is_held_while_a_restart_is_waited_for(house: House) -> None:
    run = house.ready(house.launch(restart=Restart("on-failure", delay=60)))
    house.ask(run)  # what is left of a connection must not be in its way
    house.kill_engine(run)
    until(lambda: house.now(run).state is State.BACKOFF, "backoff")

    def can_be_had() -> bool:
        with socket.socket() as thief:
            thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            return _bound(thief, run.port or 0)

    until(lambda: not can_be_had(), "the port is held")
    assert not can_be_had()
    control.stop(run)
    house.check_nothing_is_left()


def test_the_port_is_held_from_its_choice_to_the_start_of_the_engine(house: House) -> None:
    """The launching face binds it before anything is built, and hands it over to the keeper."""
    taken: list[bool] = []

    def before(port: int) -> tuple[str, ...]:
        with socket.socket() as thief:
            thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.append(_bound(thief, port))
        return (sys.executable,)

    run = house.ready(house.launch(before=before))
    assert taken == [False]
    control.stop(run)


def test_an_engine_that_binds_at_once_finds_nobody_holding_its_port(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """llama-server binds 20 ms after it was started; whoever launched it may be slow to look up from its keeper."""
    wait = subprocess.Popen.wait

    def slow(self: subprocess.Popen[bytes], timeout: float | None = None) -> int:
        code = wait(self, timeout)
        if "vllm_studio_tui.keeper" in self.args:  # type: ignore[operator]
            until(lambda: any(one.state is State.READY or one.state in FINAL for one in runs()), "its engine is up")
        return code

    def runs() -> list[read.RunView]:
        return read.all_runs(house.places)

    monkeypatch.setattr(subprocess.Popen, "wait", slow)
    run = house.launch()
    assert house.now(run).state is State.READY, house.log(run)
    control.stop(run)


def _bound(thief: socket.socket, port: int) -> bool:
    try:
        thief.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True
