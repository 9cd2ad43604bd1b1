"""kill -9 of keeper and engine in every state and every order: the run is settled and nothing is left."""

from __future__ import annotations

import os
import signal

import pytest

from tests.process.house import House, until
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.domain.spec import Restart, Stop
from vllm_studio_tui.kit import process
from vllm_studio_tui.runs import control, read

ORDERS = [("keeper",), ("engine",), ("keeper", "engine"), ("engine", "keeper")]
STATES = ["starting", "loading", "ready", "unhealthy", "stopping", "backoff"]


def bring(house: House, state: str) -> read.RunView:
    """A run in this state."""
    if state == "starting":
        return house.launch("--load-seconds", "30", "--grandchildren", "1", "--reparent")
    if state == "loading":
        run = house.launch("--load-seconds", "30", "--grandchildren", "1", "--reparent")
        until(lambda: house.now(run).state is State.LOADING, "loading")
        return house.now(run)
    if state == "backoff":
        run = house.ready(house.launch(restart=Restart("on-failure", delay=30.0)))
        house.kill_engine(run)
        until(lambda: house.now(run).state is State.BACKOFF, "backoff")
        return house.now(run)
    if state == "stopping":
        run = house.ready(house.launch("--ignore-term", stop=Stop(leader_grace=60.0, tree_grace=60.0)))
        assert run.status.keeper_pid is not None
        process.send(run.status.keeper_pid, run.status.keeper_start, signal.SIGTERM)
        until(lambda: house.now(run).state is State.STOPPING, "stopping")
        return house.now(run)
    run = house.ready(house.launch("--grandchildren", "1", "--reparent"))
    if state == "unhealthy":
        assert run.status.pid is not None
        os.kill(run.status.pid, signal.SIGSTOP)
        until(lambda: house.now(run).state is State.UNHEALTHY, "unhealthy")
    return house.now(run)


@pytest.mark.parametrize("order", ORDERS, ids="-".join)
@pytest.mark.parametrize("state", STATES)
def test_a_run_survives_or_is_settled(house: House, state: str, order: tuple[str, ...]) -> None:
    run = bring(house, state)
    for victim in order:
        (house.kill_keeper if victim == "keeper" else house.kill_engine)(run)
    control.settle(house.places)
    until(lambda: not house.now(run).lost, "kept again, or its end is written")
    if order == ("keeper",) and state in ("loading", "ready"):
        assert house.now(run).engine_alive, "an engine does not end with its keeper"
    if not house.now(run).status.final:
        control.stop(run)
    ended = house.now(run)
    assert ended.status.final
    assert ended.status.reason
    house.check_nothing_is_left()
