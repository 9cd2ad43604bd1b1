"""The lock of a run: one keeper has it, and who only looks whether one does is waited for."""

from __future__ import annotations

import fcntl
import threading

import pytest

from tests.process.house import House
from vllm_studio_tui.keeper.files import LOCK
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
