"""A rank lives as long as its unit is heard of, whoever keeps it."""

from __future__ import annotations

import time

from tests.process.house import House, until
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.keeper.lease import renew
from vllm_studio_tui.runs import control, read


def renewed(house: House, run: read.RunView, seconds: float, words: str = "") -> None:
    """Renew its lease for so long."""
    until_then = time.monotonic() + seconds
    while time.monotonic() < until_then:
        renew(run.folder, time.monotonic(), words)
        time.sleep(0.1)


def test_a_rank_whose_unit_is_not_heard_of_ends_and_says_so(house: House) -> None:
    run = house.ready(house.launch(lease=1.5))
    renewed(house, run, 3.0)
    assert house.now(run).state is State.READY
    until(lambda: house.now(run).status.final, "it ends by itself", 10.0)
    now = house.now(run).status
    assert (now.state, now.reason) == (State.FAILED, "unit_lost")
    assert now.title is not None
    assert now.title.startswith("its unit was not heard of for")
    house.check_nothing_is_left()


def test_a_rank_that_nobody_ever_watches_ends_too(house: House) -> None:
    run = house.launch("--hang-load", lease=1.0)
    until(lambda: house.now(run).status.final, "it ends by itself", 10.0)
    assert house.now(run).status.reason == "unit_lost"
    house.check_nothing_is_left()


def test_a_keeper_that_takes_over_counts_on_from_when_the_unit_was_heard_of(house: House) -> None:
    run = house.ready(house.launch(lease=2.0))
    renewed(house, run, 0.5)
    heard = time.monotonic()
    house.kill_keeper(run)
    until(lambda: time.monotonic() - heard > 2.5, "the lease has passed")
    control.settle(house.places)
    until(lambda: house.now(run).status.final, "the new keeper ends it at once", 5.0)
    assert house.now(run).status.reason == "unit_lost"
    house.check_nothing_is_left()


def test_a_stamp_of_another_boot_or_of_nobody_renews_nothing(house: House) -> None:
    run = house.ready(house.launch(lease=1.0))
    renew(run.folder, time.monotonic() + 1e6, "")
    until(lambda: house.now(run).status.final, "it ends by itself", 10.0)
    other = house.ready(house.launch(lease=1.0, recipe="other"))
    (other.folder / "lease").write_text('{"at": [1], "words"')
    until(lambda: house.now(other).status.final, "it ends by itself", 10.0)
    house.check_nothing_is_left()


def test_a_rank_that_nobody_asks_says_what_its_unit_says(house: House) -> None:
    run = house.launch(argv=("sleep", "600"), lease=60.0, headless=True)
    until(lambda: house.now(run).engine_alive, "it runs")
    renew(run.folder, time.monotonic(), "")
    assert house.now(run).status.ready_at is None
    renew(run.folder, time.monotonic(), "works as rank 1 of 2")
    until(lambda: house.now(run).status.stage == "works as rank 1 of 2", "its words", 10.0)
    now = house.now(run).status
    assert now.ready_at is not None
    assert now.state in (State.STARTING, State.LOADING)  # nobody may ask it
    assert control.stop(run).status.reason == "stopped"
    house.check_nothing_is_left()
