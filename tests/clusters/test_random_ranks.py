"""Whatever is launched, killed, cut off and stopped on two hosts, in any order: nothing is left, and no state lies.

`python -m pytest -m nodes tests/clusters/test_random_ranks.py` tries a few; `SEQUENCES=200` tries that many, by
`WORKERS` at once, each with a home of its own. A cut is for all. A failure names its seed: `FIRST=SEED SEQUENCES=1`.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clusters import hosts as clusters
from tests.clusters.hosts import VARIABLE, Hosts
from tests.clusters.test_ranks import Here, until
from vllm_studio_tui.domain.errors import LaunchRefused
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.kit import process
from vllm_studio_tui.runs import control, read

SEQUENCES, FIRST, WORKERS = (int(os.environ.get(name, usual)) for name, usual in
                             (("SEQUENCES", 4), ("FIRST", 0), ("WORKERS", 2)))  # fmt: skip
pytestmark = [pytest.mark.nodes, pytest.mark.timeout(300 + 60 * SEQUENCES)]
LEASE = 6.0
#: Seconds in which everything has ended: a lease, the grace of an engine, and a busy machine.
OVER = 90.0


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    with clusters.running(tmp_path_factory.mktemp("hosts")) as hosts:
        yield hosts


class Sequence:
    """One random life of a unit."""

    def __init__(self, here: Here, seed: int, network: threading.Lock) -> None:
        self.here, self.hosts, self.seed, self.network = here, here.hosts, seed, network
        self.random = random.Random(seed)
        self.did: list[str] = []
        self.run: read.RunView | None = None

    def live(self) -> int:
        """Do what its seed says; return how many steps."""
        self.launch()
        for _ in range(self.random.randint(2, 5)):
            steps = [self.launch, self.ready, self.ready, self.ask, self.kill_rank, self.kill_rank, self.kill_keeper]
            steps += [self.kill_follower, self.kill_unit, self.cut, self.cut, self.heal, self.stop, self.force]
            step = self.random.choice(steps)
            self.did.append(step.__name__)
            step()
            self.check_ranks()
        self.end()
        return len(self.did)

    # --- steps ------------------------------------------------------------------------------------------

    def launch(self) -> None:
        if self.run is not None and not self.here.now(self.run).status.final:
            return
        with contextlib.suppress(LaunchRefused):
            self.run = self.here.launch(restart={"policy": self.random.choice(["never", "on-failure"]), "delay": 0.2})

    def ready(self) -> None:
        if self.run is not None:
            read.wait_for(self.run.folder, frozenset({State.READY}), 20.0)

    def ask(self) -> None:
        if self.run is not None and self.here.now(self.run).state is State.READY:
            with contextlib.suppress(OSError, ValueError):
                self.here.ask(self.run)

    def kill_rank(self) -> None:
        self._kill(self.hosts[self.random.choice("ab")].engines())

    def kill_keeper(self) -> None:
        self._kill(self.hosts[self.random.choice("ab")].keepers())

    def _kill(self, found: list[process.Stat]) -> None:
        """Kill one of its own: others live there too."""
        own = [one for one in found if self._own(one.pid)]
        for one in own[:1]:
            process.send(one.pid, one.start, 9)

    def kill_follower(self) -> None:
        if self.run is not None:
            state = self.here.now(self.run).status
            if state.pid is not None:
                process.send(state.pid, state.pid_start, 9)

    def kill_unit(self) -> None:
        """Kill the keeper here; somebody looks at its runs later, as any command does."""
        if self.run is not None:
            self.here.kill_keeper(self.run)
            time.sleep(self.random.choice([0.0, 1.0]))
            control.settle(self.here.places)

    def cut(self) -> None:
        with self.network:
            self.hosts[self.random.choice("ab")].cut()
        time.sleep(self.random.choice([0.5, 2.0, LEASE + 2.0]))

    def heal(self) -> None:
        with self.network:
            for host in self.hosts.of.values():
                host.heal()

    def stop(self) -> None:
        if self.run is not None:
            control.stop(self.run)

    def force(self) -> None:
        if self.run is not None:
            control.stop(self.run, force=True)

    # --- what must hold ---------------------------------------------------------------------------------

    @property
    def _mark(self) -> str:
        """What the ids of its ranks' runs begin with, on whatever host."""
        return f"{self.here.recipe}.r"

    def _own(self, pid: int) -> bool:
        mark = process.environment_value(pid, VARIABLE) or ""
        return mark.startswith(self._mark) or f"/{self._mark}" in clusters._line(pid)

    def check_ranks(self) -> None:
        """No rank was started twice."""
        for host in self.hosts.of.values():
            marks = [process.environment_value(one.pid, VARIABLE) or "" for one in host.engines()]
            own = [mark for mark in marks if mark.startswith(self._mark)]
            assert len(own) == len(set(own)), f"twice on {host.name}: {own}"

    def end(self) -> None:
        """Stop it, with the network whole; then nothing of it is anywhere, and every state says how it ended."""
        self.heal()
        control.settle(self.here.places)
        for run in read.all_runs(self.here.places):
            if not run.status.final:
                ended = control.stop(run)
                assert ended.status.final, ended.status
        until(lambda: not self.left(), lambda: f"left: {self.left()}", OVER)
        for run in read.all_runs(self.here.places):
            assert run.status.final, run.status
            assert run.status.title, run.status
        for host in self.hosts.of.values():
            for run_id, state in host.states().items():
                if run_id.startswith(self._mark):
                    assert state["state"] in ("exited", "failed"), (host.name, state)
                    assert state["reason"], (host.name, state)

    def left(self) -> list[str]:
        """What lives of it, on the hosts and here."""
        hosts = [(host.name, one.pid) for host in self.hosts.of.values() for one in host.processes()]
        found = [f"{name}: {clusters._line(pid)}" for name, pid in hosts if self._own(pid)]
        here = str(self.here.places.runs)
        return found + [line for one in process.all_processes() if here in (line := clusters._line(one.pid))]


def test_random_sequences_leave_nothing_on_any_host(
    pair: Hosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{pair.root}/bin:{os.environ['PATH']}")
    monkeypatch.delenv("VLLM_STUDIO_HOME", raising=False)
    seeds = iter(range(FIRST, FIRST + SEQUENCES))
    network, turn = threading.Lock(), threading.Lock()
    failed: list[str] = []
    done: list[int] = []

    def work() -> None:
        while True:
            with turn:
                seed = next(seeds, None)
            if seed is None:
                return
            here = Here(pair, tmp_path / f"s{seed}", LEASE, recipe=f"m{seed}")
            one = Sequence(here, seed, network)
            try:
                done.append(one.live())
                shutil.rmtree(tmp_path / f"s{seed}", ignore_errors=True)
            except BaseException as error:  # noqa: BLE001 - told below, with its seed
                told = here.told(one.run) if one.run is not None else ""
                failed.append(f"seed {seed}, {one.did}: {error!r}\n{traceback.format_exc()}\n{told}")
                here.end()
            told_at = Path(os.environ.get("VLLM_STUDIO_TEST_REPORT", str(tmp_path))) / "sequences.txt"
            with told_at.open("a") as said:
                wrong = any(words.startswith(f"seed {seed},") for words in failed)
                said.write(f"{seed} {'FAILED' if wrong else 'ok'} {' '.join(one.did)}\n")

    workers = [threading.Thread(target=work) for _ in range(WORKERS)]
    for one in workers:
        one.start()
    for one in workers:
        one.join()
    assert not failed, "\n\n".join(failed)
    assert len(done) == SEQUENCES
