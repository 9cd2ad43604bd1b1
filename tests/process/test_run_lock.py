"""The lock of a run: one keeper has it; who only looks whether one does, and what it writes, is waited for."""

from __future__ import annotations

import fcntl
import json
import threading
import time

import pytest

from tests.process.house import House, until
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.keeper.files import LEDGER, LOCK
from vllm_studio_tui.runs import control


def test_a_reader_that_was_interrupted_while_it_looked_keeps_no_run_from_its_new_keeper(house: House) -> None:
    run = house.ready(house.launch())
    house.kill_keeper(run)
    with (run.folder / LOCK).open("rb") as look:
        fcntl.flock(look, fcntl.LOCK_SH)
        settling = threading.Thread(target=control.settle, args=(house.places,))
        settling.start()
        settling.join(1.0)
        assert settling.is_alive(), "it waits for the reader"
    settling.join(30)
    assert house.now(run).keeper_alive
    with (run.folder / LOCK).open("rb") as look, pytest.raises(BlockingIOError):
        fcntl.flock(look, fcntl.LOCK_SH | fcntl.LOCK_NB)
    assert not control.start_keeper(run.folder, adopt=True), "it has one"
    control.stop(run)
    house.check_nothing_is_left()


def test_an_end_is_told_when_all_of_it_is_written_but_not_waited_for_without_end(house: House) -> None:
    run = house.ready(house.launch())
    house.kill_keeper(run)
    house.kill_engine(run)
    until(lambda: not house.now(run).engine_alive, "engine gone")
    ledger = (run.folder / LEDGER).read_bytes()

    def ended(seconds_ago: float) -> None:
        line = {
            "seq": 10**6,
            "t": time.time() - seconds_ago,
            "attempt": 1,
            "kind": "move",
            "to": "failed",
            "title": "it broke",
        }
        (run.folder / LEDGER).write_bytes(ledger + json.dumps(line, separators=(",", ":")).encode() + b"\n")

    with (run.folder / LOCK).open("rb") as keeper:
        fcntl.flock(keeper, fcntl.LOCK_EX)
        ended(0.0)
        now = house.now(run)
        assert (now.live, now.engine_alive, now.state) == (True, False, State.UNHEALTHY), "its state comes in a moment"
        ended(60.0)
        assert (house.now(run).state, house.now(run).status.title) == (State.FAILED, "it broke")
        ended(0.0)
    assert (house.now(run).state, house.now(run).status.title) == (State.FAILED, "it broke"), "its keeper is gone"
