"""Runs that run elsewhere: a follower in place of the engine, and a cluster that this test plays with real engines."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import threading
import time
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ports import free_port
from tests.process.house import House, until
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.domain.spec import Restart, Stop
from vllm_studio_tui.followers.report import read_report
from vllm_studio_tui.runs import control, read

FAR = Stop(leader_grace=20.0, tree_grace=1.0)


class Cluster:
    """Runs the jobs of its directory one after the other, as a scheduler does, outside of every keeper."""

    def __init__(self, place: Path) -> None:
        self.place = place
        place.mkdir()
        self.engines: dict[str, subprocess.Popen[bytes]] = {}
        self.started: list[str] = []
        self.full = False
        self.ending = True
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.wait(0.02):
            for order in self.place.glob("*.order"):
                self._serve(order.stem)

    def _serve(self, name: str) -> None:
        engine = self.engines.get(name)
        if engine is None and (self.place / f"{name}.stop").exists():
            self.tell(name, phase="ended", state="CANCELLED", stopped=True)
        elif engine is None and not self.full:
            port = free_port()
            log = (self.place / f"{name}.log").open("ab")
            argv = [sys.executable, "-m", "vllm_studio_tui.simulation.engine", "--port", str(port), "--model", "sim"]
            self.engines[name] = subprocess.Popen(argv, stdout=log, stderr=log)
            self.started.append(name)
            rank = {"name": "rank 0", "where": "n1", "state": "RUNNING"}
            self.tell(name, phase="running", state="RUNNING", address=["127.0.0.1", port], parts=[rank])
        elif engine is not None and self.ending:
            for suffix, number in (("stop", signal.SIGTERM), ("kill", signal.SIGKILL)):
                if (self.place / f"{name}.{suffix}").exists():
                    engine.send_signal(number)
            if engine.poll() is not None:
                del self.engines[name]
                (self.place / f"{name}.order").unlink()
                told = (self.place / f"{name}.stop").exists()
                cause = None if told else {"reason": "node_fail", "title": "node n1 failed", "advice": "Launch again."}
                self.tell(name, phase="ended", state="CANCELLED" if told else "NODE_FAIL", cause=cause, stopped=told)

    def tell(self, name: str, **values: Any) -> None:
        new = self.place / f"{name}.new"
        new.write_text(json.dumps(values))
        new.rename(self.place / f"{name}.status")

    def again(self, name: str) -> None:
        """Forget what was told of a job, so that one of the same name can be submitted."""
        for suffix in ("status", "stop", "kill"):
            (self.place / f"{name}.{suffix}").unlink(missing_ok=True)

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        (self.place / "down").touch()
        try:
            yield
        finally:
            (self.place / "down").unlink()

    def end(self) -> None:
        self._over.set()
        self._thread.join()
        for one in self.engines.values():
            one.kill()
            one.wait()


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
    assert (now.state, now.status.job_state, now.status.handle) == (State.STARTING, "PENDING", f"cluster:{run.run_id}")
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
    assert f"[vllm-studio] submitted as cluster:{run.run_id}" in log
    assert "Application startup complete" in log
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
    cluster.engines[run.run_id].kill()
    until(lambda: house.now(run).status.final, "it has failed")
    now = house.now(run).status
    assert (now.state, now.reason, now.title) == (State.FAILED, "node_fail", "node n1 failed")
    house.check_nothing_is_left()


def test_a_job_that_failed_is_submitted_again_by_the_policy_of_its_recipe(house: House, cluster: Cluster) -> None:
    run = house.ready(launch(house, cluster, restart=Restart("on-failure", delay=0.2)))
    cluster.engines[run.run_id].kill()
    until(lambda: house.now(run).state is State.BACKOFF, "it will be started again")
    cluster.again(run.run_id)
    until(lambda: house.now(run).state is State.READY, "ready again")
    assert cluster.started == [run.run_id, run.run_id]
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
        assert f"cluster:{run.run_id} may go on" in (now.status.title or "")
    control.settle(house.places)
    until(lambda: house.now(run).state is State.READY and house.now(run).keeper_alive, "followed again")
    house.ask(run)
    assert cluster.started == [run.run_id]
    assert house.now(run).status.restarts == (0 if killed == "keeper" else 1)
    control.stop(house.now(run))
    assert not cluster.engines
    house.check_nothing_is_left()


def test_a_follower_that_dies_between_submission_and_note_submits_no_second_job(house: House, cluster: Cluster) -> None:
    (cluster.place / "dies").touch()
    run = launch(house, cluster)
    until(lambda: house.now(run).state is State.READY, "ready all the same")
    assert cluster.started == [run.run_id]
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
    assert again.status.title == f"stopped; cluster:{run.run_id} has ended"
    assert not cluster.engines
    house.check_nothing_is_left()


def test_force_tells_the_system_to_kill(house: House, cluster: Cluster) -> None:
    cluster.ending = False
    run = house.ready(launch(house, cluster))
    stopping = threading.Thread(target=control.stop, args=(run,), kwargs={"force": True})
    stopping.start()
    until(lambda: (cluster.place / f"{run.run_id}.kill").exists(), "it is told to kill")
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
