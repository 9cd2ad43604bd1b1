"""Runs that run elsewhere: a follower in place of the engine, and a cluster that this test plays with real engines."""

from __future__ import annotations

import socket
import threading
import time
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.process.cluster import Cluster
from tests.process.house import House, until
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.domain.spec import Restart, Stop
from vllm_studio_tui.followers.report import read_report
from vllm_studio_tui.runs import control, read

FAR = Stop(leader_grace=20.0, tree_grace=1.0)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    one = Cluster(tmp_path / "cluster")
    try:
        yield one
    finally:
        one.end()


def launch(house: House, cluster: Cluster, **more: Any) -> read.RunView:
    return house.launch(follow=cluster.place, stop=more.pop("stop", FAR), **more)


def kill_follower(house: House, run: read.RunView) -> None:
    house.kill_engine(run)


def test_a_job_waits_gets_ready_answers_through_its_port_here_and_is_counted(house: House, cluster: Cluster) -> None:
    cluster.full = True
    run = launch(house, cluster)
    until(lambda: house.now(run).status.stage == "waiting in the cluster: Resources", "why it waits")
    now = house.now(run)
    assert (now.state, now.status.job_state, now.status.handle) == (
        State.STARTING,
        "PENDING",
        f"cluster:{run.run_id}.0",
    )
    with pytest.raises(urllib.error.URLError):
        house.ask(run)  # refused, as by an engine that loads
    cluster.full = False
    run = house.ready(run)
    assert run.status.stage is None
    until(lambda: [one["where"] for one in house.now(run).status.parts] == ["n1"], "where its parts are")
    spent = house.ask(run)
    ended = control.stop(run)
    assert (ended.state, ended.status.reason) == (State.EXITED, "stopped")
    values = [line["values"] for line in house.ledger(run) if line["kind"] == "counters"]
    assert values[-1] == {"prompt_tokens": spent[0], "generation_tokens": spent[1], "requests": 1}
    assert not cluster.engines
    log = run.log.read_text()
    assert f"[vllm-studio] submitted as cluster:{run.run_id}.0" in log
    assert "Application startup complete" in log
    house.check_nothing_is_left()


def test_a_port_that_somebody_took_meanwhile_is_said_and_the_job_goes_on(house: House, cluster: Cluster) -> None:
    cluster.full = True
    run = launch(house, cluster)
    until(lambda: house.now(run).status.handle is not None, "it was submitted")
    thief = socket.socket()  # the port is bound and not listened on yet: a program that insists can have it
    thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    thief.bind(("127.0.0.1", run.spec.port if run.spec else 0))
    thief.listen()
    cluster.full = False
    words = f"port {run.spec.port if run.spec else 0} of this machine cannot be led to it"
    until(lambda: (house.now(run).status.trouble or "").startswith(words), "what is wrong is said")
    thief.close()
    run = house.ready(run)
    until(lambda: house.now(run).status.trouble is None, "it is well again")  # its keeper reads that every other second
    control.stop(run)
    assert not cluster.engines
    house.check_nothing_is_left()


def test_what_the_system_refuses_fails_with_its_words(house: House, cluster: Cluster) -> None:
    (cluster.place / "refuses").touch()
    run = launch(house, cluster)
    until(lambda: house.now(run).status.final, "it has failed")
    now = house.now(run).status
    assert (now.state, now.reason, now.title, now.advice) == (
        State.FAILED, "refused", "no such partition", "Name another.",
    )  # fmt: skip
    house.check_nothing_is_left()


def test_a_job_that_ends_by_itself_fails_with_the_cause_that_its_system_gives(house: House, cluster: Cluster) -> None:
    run = house.ready(launch(house, cluster))
    cluster.engines[f"{run.run_id}.0"].kill()
    until(lambda: house.now(run).status.final, "it has failed")
    now = house.now(run).status
    assert (now.state, now.reason, now.title) == (State.FAILED, "node_fail", "node n1 failed")
    house.check_nothing_is_left()


def test_a_job_that_failed_is_submitted_again_by_the_policy_of_its_recipe(house: House, cluster: Cluster) -> None:
    run = house.ready(launch(house, cluster, restart=Restart("on-failure", delay=0.2)))
    cluster.engines[f"{run.run_id}.0"].kill()
    until(lambda: house.now(run).state is State.BACKOFF, "it will be started again")
    until(lambda: house.now(run).state is State.READY, "ready again")
    assert cluster.started == [f"{run.run_id}.0", f"{run.run_id}.1"]
    control.stop(house.now(run))
    house.check_nothing_is_left()


@pytest.mark.parametrize("killed", ["follower", "keeper", "both"])
def test_a_job_whose_follower_or_keeper_is_killed_goes_on_and_is_found_again(
    house: House, cluster: Cluster, killed: str
) -> None:
    run = house.ready(launch(house, cluster))
    pid = run.status.pid
    if killed != "follower":
        house.kill_keeper(run)
    if killed != "keeper":
        kill_follower(house, run)
        until(lambda: house.now(run).status.pid != pid, "its follower is gone")
    if killed == "both":
        now = house.now(run)
        assert (now.live, now.status.reason) == (True, "keeper_lost")
        assert f"cluster:{run.run_id}.0 may go on" in (now.status.title or "")
    control.settle(house.places)
    until(lambda: house.now(run).state is State.READY and house.now(run).keeper_alive, "followed again")
    house.ask(run)
    assert cluster.started == [f"{run.run_id}.0"]
    assert house.now(run).status.restarts == (0 if killed == "keeper" else 1)
    control.stop(house.now(run))
    assert not cluster.engines
    house.check_nothing_is_left()


def test_a_follower_that_dies_between_submission_and_note_submits_no_second_job(house: House, cluster: Cluster) -> None:
    (cluster.place / "dies").touch()
    run = launch(house, cluster)
    until(lambda: house.now(run).state is State.READY, "ready all the same")
    assert cluster.started == [f"{run.run_id}.0"]
    control.stop(house.now(run))
    house.check_nothing_is_left()


def test_a_system_that_does_not_answer_is_told_and_ends_nothing(house: House, cluster: Cluster) -> None:
    run = house.ready(launch(house, cluster))
    with cluster.away():
        until(lambda: house.now(run).status.trouble == "the cluster does not answer", "what is wrong")
        assert house.now(run).state is State.READY
        house.ask(run)
    until(lambda: house.now(run).status.trouble is None, "it answers again")
    control.stop(house.now(run))
    house.check_nothing_is_left()


def test_a_run_that_waits_is_stopped_at_once_and_nothing_starts_later(house: House, cluster: Cluster) -> None:
    cluster.full = True
    run = launch(house, cluster)
    until(lambda: house.now(run).status.handle is not None, "submitted")
    ended = control.stop(run)
    assert (ended.state, ended.status.reason) == (State.EXITED, "stopped")
    assert cluster.started == []
    house.check_nothing_is_left()


def test_a_stop_that_the_system_does_not_hear_is_told_and_done_when_it_answers(house: House, cluster: Cluster) -> None:
    run = house.ready(launch(house, cluster, stop=Stop(leader_grace=0.5, tree_grace=0.2)))
    with cluster.away():
        ended = control.stop(run)
        assert ended.state is State.EXITED
        assert "may go on: the cluster does not answer" in (ended.status.title or "")
        assert cluster.engines
        report = read_report(run.folder)
        assert report is not None
        assert report.going_on
    again = control.stop(house.now(run))
    assert again.status.title == f"stopped; cluster:{run.run_id}.0 has ended"
    assert not cluster.engines
    house.check_nothing_is_left()


def test_force_tells_the_system_to_kill(house: House, cluster: Cluster) -> None:
    cluster.ending = False
    run = house.ready(launch(house, cluster))
    stopping = threading.Thread(target=control.stop, args=(run,), kwargs={"force": True})
    stopping.start()
    until(lambda: (cluster.place / f"{run.run_id}.0.kill").exists(), "it is told to kill")
    cluster.ending = True
    stopping.join()
    now = house.now(run).status
    assert (now.state, now.title) == (State.EXITED, "stopped")
    house.check_nothing_is_left()


def test_a_time_to_get_ready_begins_when_the_job_runs(house: House, cluster: Cluster) -> None:
    cluster.full = True
    run = launch(house, cluster, deadline=1.5)
    began = time.monotonic()
    until(lambda: time.monotonic() - began > 3.0, "longer than a start may take")
    assert house.now(run).state is State.STARTING
    control.stop(run)
    house.check_nothing_is_left()
