"""Whatever is launched, asked, stopped and killed, in whatever order: nothing is left, lost or counted twice.

The default run tries a few seeds; `pytest -m slow` tries two hundred. A failure names its seed.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sys
import threading
import time
import urllib.error
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.process.conftest import INDEX
from tests.process.house import House, until, wait_ready
from vllm_studio_tui.domain.errors import LaunchRefused
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.domain.spec import Restart
from vllm_studio_tui.domain.usage import CompletedRequest, UsageQuery
from vllm_studio_tui.kit import process
from vllm_studio_tui.runs import control, read
from vllm_studio_tui.runs.ledger import fold_all
from vllm_studio_tui.services.usage import report
from vllm_studio_tui.simulation.gpus import energy_mj
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.requests import RequestRows
from vllm_studio_tui.store.runs import RunRows

ENERGY = (sys.executable, "-m", "vllm_studio_tui.probes.energy")
FLAGS = (
    (),
    ("--load-seconds", "0.5"),
    ("--ignore-term",),
    ("--grandchildren", "2", "--reparent"),
    ("--crash-at-token", "25"),
    ("--hang-load",),
    ("--simulate-failure", "oom"),
    ("--flood", "2000"),
)


class Stranger(BaseHTTPRequestHandler):
    """Answers as our engine would, under its name, and has counted a million tokens."""

    def log_message(self, *_: object) -> None: ...

    def do_GET(self) -> None:
        counted = "".join(f"vllm:{name}_total 1000000\n" for name in ("prompt_tokens", "generation_tokens"))
        body = {"/metrics": counted, "/v1/models": '{"data": [{"id": "sim"}]}'}.get(self.path, "{}").encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Sequence:
    """One random life of a home."""

    def __init__(self, house: House, seed: int) -> None:
        self.house = house
        self.random = random.Random(seed)
        self.db = Database.open(house.places.database)
        self.requests = RequestRows(self.db)
        self.cut_off = 0

    def step(self) -> None:
        steps = [self.launch] * 4 + [self.ask] * 4
        steps += [self.kill_keeper, self.kill_engine, self.stop, self.force, self.settle, self.term_keeper, self.wait]
        steps += [self.fold, self.kill_both, self.switch, self.stranger, self.stranger]
        self.random.choice(steps)()

    def pick(self) -> read.RunView | None:
        runs = read.live_runs(self.house.places)
        return self.random.choice(runs) if runs else None

    def launch(self) -> None:
        number = self.random.randrange(3)
        rule = self.random.choice([Restart(), Restart("on-failure", delay=0.05, max_delay=0.2)])
        gpus = self.random.choice([(), ("0",), ("0", "1")])
        with contextlib.suppress(LaunchRefused):
            self.house.launch(
                *self.random.choice(FLAGS),
                recipe=f"r{number}",
                restart=rule,
                gpus=gpus,
                energy=(*ENERGY, *gpus) if gpus else (),
            )

    def ask(self) -> None:
        run = self.pick()
        if run is None:
            return
        now = wait_ready(run, 2.0)
        if now.state is not State.READY:
            return
        begin = time.time()
        try:
            prompt, completion = self.house.ask(now, self.random.choice([3, 40]))
        except (OSError, urllib.error.URLError, HTTPException, ValueError):
            self.cut_off += 1  # what the engine had spent on it died with it, unless it was read before
        else:
            self.requests.record(
                CompletedRequest(
                    at=(end := time.time()),
                    total_seconds=end - begin,
                    source="test",
                    finish="stop",
                    run_id=run.run_id,
                    attempt=now.status.attempt,
                    recipe_id=run.recipe_id,
                    model="sim",
                    prompt_tokens=prompt,
                    completion_tokens=completion,
                )
            )

    def kill_keeper(self) -> None:
        run = self.pick()
        if run is not None:
            self.house.kill_keeper(run)

    def kill_engine(self) -> None:
        run = self.pick()
        if run is not None:
            self.house.kill_engine(run)

    def kill_both(self) -> None:
        run = self.pick()
        if run is not None:
            first, second = self.random.sample([self.house.kill_engine, self.house.kill_keeper], 2)
            first(run)
            second(run)

    def term_keeper(self) -> None:
        run = self.pick()
        if run is not None and run.status.keeper_pid is not None:
            process.send(run.status.keeper_pid, run.status.keeper_start, signal.SIGTERM)

    def stop(self) -> None:
        run = self.pick()
        if run is not None:
            control.stop(run)

    def force(self) -> None:
        run = self.pick()
        if run is not None:
            control.stop(run, force=True)

    def switch(self) -> None:
        """Another recipe takes over the port of a run, as soon as that has ended."""
        run = self.pick()
        if run is not None and run.port is not None:
            control.stop(run)
            with contextlib.suppress(LaunchRefused):
                self.house.launch(recipe=f"r{self.random.randrange(3)}", port=run.port)

    def stranger(self) -> None:
        """Somebody else's server takes the port of a run for a moment, if it can; what it counts is nobody's."""
        run = self.pick()
        if run is None or run.port is None:
            return
        server = ThreadingHTTPServer(("127.0.0.1", run.port), Stranger, bind_and_activate=False)
        try:
            server.server_bind()
            server.server_activate()
        except OSError:  # its engine or its keeper has it
            server.server_close()
            return
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        time.sleep(self.random.uniform(0.1, 0.8))
        server.shutdown()
        server.server_close()

    def settle(self) -> None:
        control.settle(self.house.places)

    def wait(self) -> None:
        time.sleep(self.random.uniform(0.0, 0.3))  # a person does nothing for a moment

    def fold(self) -> None:
        fold_all(self.house.places, RunRows(self.db))

    def end(self) -> None:
        """Everything ends, and the books agree with what was spent."""
        places = self.house.places
        control.settle(places)
        for run in read.live_runs(places):
            control.stop(run)
        until(lambda: not read.live_runs(places), "every run has ended")
        until(lambda: not any(one.keeper_alive for one in read.all_runs(places)), "every keeper has gone")
        control.settle(places)
        until(lambda: not any(one.keeper_alive or one.lost for one in read.all_runs(places)), "every end is written")
        self.house.check_nothing_is_left()
        self.fold()
        self.fold()
        totals = report(self.db, UsageQuery()).totals
        spent = [json.loads(path.read_text()) for path in self.house.accounts.glob("*.json")]
        for counted, key, most in (
            (totals.prompt_tokens, "prompt_tokens", 1),
            (totals.completion_tokens, "generation_tokens", 40),
        ):
            self.check_totals(counted, sum(one[key] for one in spent), most, key)
        self.check_energy(totals.energy_wh)
        self.db.close()

    def check_totals(self, counted: int | None, wanted: int, most: int, key: str) -> None:
        """Only an answer that was cut off by the death of its engine can be missing, and nothing is counted twice."""
        assert wanted - most * self.cut_off <= (counted or 0) <= wanted, key

    def check_energy(self, counted: float | None) -> None:
        """What was counted is what the simulated boards spent while a run was on them, each instant once."""
        windows: dict[str, list[tuple[float, float]]] = {}
        for run in read.all_runs(self.house.places):
            lines = [line for line in self.house.ledger(run) if line["kind"] == "energy"]
            seen: dict[str, list[float]] = {}
            for line in lines:
                gpus, at = line["gpus"], line["t"]
                assert isinstance(gpus, dict)
                assert isinstance(at, float)
                for board, value in gpus.items():
                    index = INDEX[board]
                    # A reading is told with the time just after it, which may be later where the machine is busy.
                    assert energy_mj(index, at - 2.0) <= value <= energy_mj(index, at + 0.1)
                    seen.setdefault(board, []).append(value)
            for board, values in seen.items():
                windows.setdefault(board, []).append((min(values), max(values)))
        spent = 0.0
        for parts in windows.values():
            reached = 0.0
            for low, high in sorted(parts):
                spent += max(0.0, high - max(low, reached))
                reached = max(reached, high)
        assert (counted or 0.0) == pytest.approx(spent / 3.6e6, rel=1e-6, abs=2e-5)


def live(tmp_path: Path, seed: int) -> None:
    house = House(tmp_path / "home")
    try:
        sequence = Sequence(house, seed)
        for _ in range(sequence.random.randint(4, 14)):
            sequence.step()
        sequence.end()
    finally:
        house.end()


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.usefixtures("gpus")
def test_a_random_sequence_leaves_nothing_and_counts_everything_once(tmp_path: Path, seed: int) -> None:
    live(tmp_path, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, int(os.environ.get("SEQUENCES", "200")) + 100))
@pytest.mark.usefixtures("gpus")
def test_two_hundred_random_sequences(tmp_path: Path, seed: int) -> None:
    live(tmp_path, seed)
