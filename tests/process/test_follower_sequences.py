"""Whatever befalls a job, its follower and its keeper, in whatever order: it is started once and nothing of it is left.

The default run tries a few seeds; `pytest -m slow` tries two hundred. A failure names its seed.
"""

from __future__ import annotations

import contextlib
import random
import urllib.error
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path

import pytest

from tests.process.cluster import Cluster
from tests.process.house import House, until, wait_ready
from vllm_studio_tui.domain.errors import LaunchRefused
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.domain.spec import Restart, Stop
from vllm_studio_tui.followers.report import read_report
from vllm_studio_tui.runs import control, read


class Sequence:
    """One random life of a home with a cluster."""

    def __init__(self, house: House, cluster: Cluster, seed: int) -> None:
        self.house, self.cluster = house, cluster
        self.random = random.Random(seed)

    def step(self) -> None:
        steps = [self.launch, self.ask] * 3
        steps += [self.kill_keeper, self.kill_follower, self.kill_both, self.settle, self.end_job, self.stop]
        steps += [self.force, self.away, self.full, self.wait]
        self.random.choice(steps)()

    def pick(self) -> read.RunView | None:
        runs = read.live_runs(self.house.places)
        return self.random.choice(runs) if runs else None

    def launch(self) -> None:
        rule = self.random.choice([Restart(), Restart("on-failure", delay=0.05, max_delay=0.2)])
        stop = self.random.choice([Stop(leader_grace=20.0, tree_grace=1.0), Stop(leader_grace=0.3, tree_grace=0.3)])
        if self.random.random() < 0.2:
            (self.cluster.place / "dies").touch()
        with contextlib.suppress(LaunchRefused):
            self.house.launch(follow=self.cluster.place, recipe=f"r{self.random.randrange(2)}", restart=rule, stop=stop)

    def ask(self) -> None:
        run = self.pick()
        if run is not None and (now := wait_ready(run, 2.0)).state is State.READY:
            with contextlib.suppress(OSError, urllib.error.URLError, HTTPException, ValueError):
                self.house.ask(now, 5)

    def kill_keeper(self) -> None:
        if (run := self.pick()) is not None:
            self.house.kill_keeper(run)

    def kill_follower(self) -> None:
        if (run := self.pick()) is not None:
            self.house.kill_engine(run)

    def kill_both(self) -> None:
        if (run := self.pick()) is not None:
            self.house.kill_keeper(run)
            self.house.kill_engine(run)

    def settle(self) -> None:
        control.settle(self.house.places)

    def end_job(self) -> None:
        for engine in list(self.cluster.engines.values())[:1]:
            engine.kill()

    def stop(self) -> None:
        if (run := self.pick()) is not None:
            control.stop(run)

    def force(self) -> None:
        if (run := self.pick()) is not None:
            control.stop(run, force=True)

    def away(self) -> None:
        with self.cluster.away():
            self.random.choice([self.kill_follower, self.stop, self.wait, self.end_job])()

    def full(self) -> None:
        self.cluster.full = not self.cluster.full

    def wait(self) -> None:
        if (run := self.pick()) is not None:
            wait_ready(run, self.random.random())

    def check(self) -> None:
        """End everything; then no engine, process, port or lock is left, and no job was started twice at once."""
        self.cluster.full = False
        control.settle(self.house.places)
        for run in read.all_runs(self.house.places):
            control.stop(run)  # what has ended here may have left its job: it is ended as well
            report = read_report(run.folder)
            assert report is None or not report.going_on, (run.status, report)
        until(lambda: not self.cluster.engines, f"no engine is left: {list(self.cluster.engines)}")
        assert not self.cluster.wrong
        self.house.check_nothing_is_left()


def play(house: House, cluster: Cluster, seed: int) -> None:
    life = Sequence(house, cluster, seed)
    for _ in range(14):
        life.step()
    life.check()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    one = Cluster(tmp_path / "cluster")
    yield one
    one.end()


@pytest.mark.parametrize("seed", range(4))
def test_any_sequence_leaves_nothing(house: House, cluster: Cluster, seed: int) -> None:
    play(house, cluster, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 300))
def test_two_hundred_sequences_leave_nothing(house: House, cluster: Cluster, seed: int) -> None:
    play(house, cluster, seed)
