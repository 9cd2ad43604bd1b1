"""A run directory that is deleted under a living keeper is put back, and the run is seen and stopped as before."""

from __future__ import annotations

import shutil

import pytest

from tests.process.house import House, until
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.domain.spec import Restart
from vllm_studio_tui.keeper.files import LOCK, SPEC
from vllm_studio_tui.runs import control, read


def test_a_deleted_directory_is_put_back_with_what_was_in_it(house: House) -> None:
    run = house.ready(house.launch("--grandchildren", "1", restart=Restart("on-failure", delay=0.05)))
    spent = house.ask(run)
    until(lambda: any(line["kind"] == "counters" for line in house.ledger(run)), "counted")
    until(lambda: any(line.get("values", {}).get("requests") == 1 for line in house.ledger(run)), "counted")  # type: ignore[attr-defined]
    before = [line["seq"] for line in house.ledger(run)]
    log = house.now(run).log.read_bytes()
    with house.standing(run):  # else it may put back the first file before the last one is gone
        shutil.rmtree(house.root / "state")
        assert not read.all_runs(house.places)
    until(lambda: [one.state for one in read.live_runs(house.places)] == [State.READY], "seen again")
    (again,) = read.live_runs(house.places)
    assert (again.run_id, again.spec, again.status.pid) == (run.run_id, run.spec, run.status.pid)
    assert again.keeper_alive
    until(lambda: again.log.exists() and again.log.read_bytes().startswith(log), "its log is there")
    assert [line["seq"] for line in house.ledger(again)][: len(before)] == before
    house.kill_engine(again)
    until(lambda: house.now(again).status.restarts == 1 and house.now(again).state is State.READY, "the policy acts")
    assert control.stop(again).state is State.EXITED
    totals = [line["values"] for line in house.ledger(again) if line["kind"] == "counters" and line["attempt"] == 1]
    assert totals[-1]["generation_tokens"] == spent[1]  # type: ignore[index]
    house.check_nothing_is_left()


@pytest.mark.parametrize("name", [LOCK, SPEC])
def test_a_deleted_file_of_it_is_put_back_too(house: House, name: str) -> None:
    run = house.ready(house.launch())
    (run.folder / name).unlink()
    until(lambda: (run.folder / name).exists() and read.lock_held(run.folder), "put back, and held")
    assert house.now(run).spec == run.spec
    control.stop(run)
    house.check_nothing_is_left()
