"""Peaks of models: what their engines really held for ten seconds, and nothing that was counted in a moment."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from vllm_studio_tui.domain.engine_metrics import EngineMetrics, WindowSpeeds
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.gpus import GpuReport
from vllm_studio_tui.domain.run import RunState, State
from vllm_studio_tui.domain.sample import Host, Tick
from vllm_studio_tui.domain.spec import RunSpec
from vllm_studio_tui.probes.engine.reader import EngineProbe
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.services.watching import peaks
from vllm_studio_tui.services.watching.peaks import PeakWatch
from vllm_studio_tui.services.watching.snapshot import Snapshot
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.peaks import held_speed, read_peaks


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    one = Database.open(tmp_path / "studio.db")
    yield one
    one.close()


class Run(RunView):
    @property
    def model(self) -> str | None:
        return "m"


def sample(speed: float | None, prompt: float | None = None, *, run_id: str = "r", stale: bool = False) -> Snapshot:
    spec: RunSpec | None = None
    run = Run(Path("/nowhere"), run_id, spec, RunState(run_id, state=State.READY), True, True, False)
    reached = WindowSpeeds(10.0, generation_tokens_per_second=speed, prompt_computed_per_second=prompt)
    engines = {run_id: EngineMetrics(reached=reached if speed is not None else None)}
    return Snapshot(Tick(1.0, GpuReport(1.0), Host(), engines), (run,), (run,), {run_id: 9.0} if stale else {})


def test_the_highest_speeds_are_kept_by_model(db: Database) -> None:
    watch = PeakWatch(lambda: db)
    for speed, prompt in ((100.0, 900.0), (140.0, 400.0), (120.0, 1000.0)):
        watch.look(sample(speed, prompt))
    watch.close()
    assert read_peaks(db) == {"m": {"prefill_tps": 1000.0, "generation_tps": 140.0, "ttft": None}}


def test_what_is_not_known_old_or_impossible_is_no_peak(db: Database) -> None:
    watch = PeakWatch(lambda: db)
    for one in (sample(None), sample(500.0, stale=True), sample(float("inf")), sample(float("nan")), sample(0.0)):
        watch.look(one)
    watch.close()
    assert read_peaks(db) == {}


def test_it_is_written_now_and_then_and_off_the_tick(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    watch = PeakWatch(lambda: db, clock=lambda: now[0])
    watch.look(sample(100.0))
    deadline = time.monotonic() + 5
    while not read_peaks(db):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    watch.look(sample(200.0))
    time.sleep(0.05)
    assert read_peaks(db)["m"]["generation_tps"] == 100.0
    now[0] += peaks.EVERY
    watch.look(sample(200.0))
    watch.close()
    assert read_peaks(db)["m"]["generation_tps"] == 200.0


def test_a_database_that_refuses_harms_nothing_and_is_tried_again(db: Database) -> None:
    broken = [True]

    def opened() -> Database:
        if broken[0]:
            raise StudioError("no room")
        return db

    watch = PeakWatch(opened)
    watch.look(sample(100.0))
    watch.close()
    broken[0] = False
    watch.close()
    assert read_peaks(db)["m"]["generation_tps"] == 100.0


def test_a_second_of_speed_is_no_peak() -> None:
    """A burst counts over the whole of ten seconds, and before these are over there is no peak at all."""
    probe = EngineProbe("vllm")
    reached = []
    for second in range(14):
        tokens = 1000 if second >= 5 else 0  # all of them within one second
        m = probe.observe(f"vllm:num_requests_running 1\nvllm:generation_tokens_total {tokens}", float(second))
        reached.append(m.reached.generation_tokens_per_second if m.reached else None)
    assert reached[:10] == [None] * 10
    assert reached[10:] == [100.0] * 4


def test_an_answer_is_a_peak_where_it_was_as_long_as_one() -> None:
    assert held_speed(500, 50.0) == 50.0
    assert held_speed(499, 50.0) is None
    assert held_speed(100, None) is None
    assert held_speed(100, 0.0) is None
