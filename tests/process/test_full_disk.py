"""A full disk while an engine dies: what is said is so at once, a stop is quick, and nothing is lost."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.disks import fill, small_disk
from tests.process.house import House, until
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.domain.spec import Restart, Stop
from vllm_studio_tui.keeper.files import LEDGER
from vllm_studio_tui.keeper.tree import VARIABLE
from vllm_studio_tui.kit import process
from vllm_studio_tui.runs import control, read


@pytest.fixture
def small(tmp_path: Path) -> Iterator[House]:
    with small_disk(tmp_path / "disk", 2) as disk:
        house = House(disk / "home")
        try:
            yield house
        finally:
            house.end()


def take_all(house: House, run: read.RunView, *, ledger: bool) -> Path:
    """No page is free any more; with `ledger` the last page of the run's ledger is full too."""
    with house.standing(run):
        path = run.folder / LEDGER
        if ledger:
            with path.open("ab") as stream:
                stream.write(b" " * (4095 - path.stat().st_size % 4096) + b"\n")
        return fill(house.root)


@pytest.mark.parametrize("ledger", [False, True], ids=["the ledger has room", "nothing has room"])
def test_an_end_that_cannot_be_written_is_said_at_once_and_written_later(small: House, ledger: bool) -> None:
    run = small.ready(small.launch())
    ballast = take_all(small, run, ledger=ledger)
    small.kill_engine(run)
    until(lambda: not small.now(run).engine_alive, "engine gone")
    now = small.now(run)
    assert (now.status.pid, now.state in (State.FAILED, State.UNHEALTHY)) == (None, True), now.status
    if ledger:
        assert "the disk is full" in (now.status.title or "")
        assert str(run.folder) in (now.status.advice or "")
    else:
        until(lambda: small.now(run).status.exit_signal == 9, "told by the ledger")
    assert now.keeper_alive, "it waits until it can write"
    ballast.unlink()
    until(lambda: not small.now(run).keeper_alive, "the keeper has written it and left")
    now = small.now(run)
    assert (now.state, now.status.reason, now.status.exit_signal) == (State.FAILED, "killed", 9)
    assert [line["signal"] for line in small.ledger(run) if line["kind"] == "exit"] == [9]
    control.settle(small.places)
    assert small.now(run).status == now.status
    small.check_nothing_is_left()


@pytest.mark.parametrize("dies", [True, False], ids=["dead", "alive"])
def test_a_run_on_a_full_disk_is_stopped_quickly(small: House, dies: bool) -> None:
    run = small.ready(small.launch("--grandchildren", "1", "--reparent"))
    ballast = take_all(small, run, ledger=True)
    if dies:
        small.kill_engine(run)
        until(lambda: not small.now(run).engine_alive, "engine gone")
    begin = time.monotonic()
    ended = control.stop(small.now(run))
    assert time.monotonic() - begin < 28
    assert (ended.state, ended.status.reason) == (State.EXITED, "stopped")
    marked = [one for one in small.ours() if process.environment_value(one.pid, VARIABLE)]
    assert not marked, "engine and workers are gone"
    ballast.unlink()
    until(lambda: not small.ours(), "its keeper gone, too")
    if not dies:
        assert (small.now(run).state, small.now(run).status.reason) == (State.EXITED, "stopped")
    control.settle(small.places)
    assert not read.live_runs(small.places)


def test_an_engine_that_is_started_again_on_a_full_disk_is_the_one_that_is_shown(small: House) -> None:
    run = small.ready(small.launch(restart=Restart("on-failure", delay=0.05)))
    ballast = take_all(small, run, ledger=True)
    small.kill_engine(run)
    until(lambda: small.now(run).status.pid not in (None, run.status.pid), "the new one")
    now = small.now(run)
    assert now.engine_alive
    assert "cannot write" in (now.status.title or "")
    ballast.unlink()
    assert control.stop(now).status.final
    until(lambda: not small.ours(), "all processes gone")


def test_a_stop_of_what_a_keeper_is_already_ending_does_not_wait_for_the_disk(small: House) -> None:
    """The ledger still has room, so that the end is known; the keeper stays for the state alone."""
    run = small.ready(small.launch("--ignore-term", stop=Stop(leader_grace=60.0, tree_grace=60.0)))
    take_all(small, run, ledger=False)
    status = small.now(run).status
    assert status.keeper_pid is not None
    process.send(status.keeper_pid, status.keeper_start, signal.SIGTERM)
    until(lambda: small.now(run).state is State.STOPPING, "being stopped, until somebody insists")
    begin = time.monotonic()
    now = control.stop(run)
    assert now.status.final
    assert time.monotonic() - begin < 50
    assert not small.now(run).engine_alive
