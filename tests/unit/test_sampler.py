"""One sample of everything: runs, engines, GPUs, host; and the history that charts are drawn from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.house import House, until
from vllm_studio_tui.domain.engine_metrics import EngineMetrics, Percentiles
from vllm_studio_tui.domain.gpus import Gpu, GpuReport
from vllm_studio_tui.domain.run import RunState, State
from vllm_studio_tui.domain.sample import Host, Tick
from vllm_studio_tui.domain.series import TotalSeries
from vllm_studio_tui.kit.event_bus import Bus
from vllm_studio_tui.runs import control
from vllm_studio_tui.runs.run_cache import RunWatch
from vllm_studio_tui.services.launching.fixes import fixes
from vllm_studio_tui.services.watching.history import History
from vllm_studio_tui.services.watching.sampler import Sampler
from vllm_studio_tui.services.watching.snapshot import Snapshot, first_look


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path / "home")
    yield made
    made.end()


class Gpus:
    """Stands in for the GPU worker."""

    waiting = False

    def __init__(self, report: GpuReport) -> None:
        self.report = report
        self.asked = 0
        self.closed = False

    def read_now(self, processes: bool = True) -> GpuReport:
        self.asked += 1
        return self.report

    def close(self) -> None:
        self.closed = True


def test_a_ready_engine_is_measured_and_a_dead_one_is_not(house: House) -> None:
    (table := house.places.config / "metrics.yaml").parent.mkdir(mode=0o700, exist_ok=True)
    table.write_text("own:\n  names: [gone, 'vllm:num_requests_running']\n  scale: 2\nwrong: 5\n")
    table.chmod(0o600)
    run = house.ready(house.launch())
    gpus = Gpus(GpuReport(1.0, error="No NVIDIA driver"))
    sampler = Sampler(house.places, Bus(), gpus=gpus)  # type: ignore[arg-type]
    try:
        until(lambda: run.run_id in sampler.sample().tick.engines, "the engine's metrics")
        shown = sampler.sample()
        assert [one.run_id for one in shown.runs] == [run.run_id]
        assert shown.tick.engines[run.run_id].running == 0
        assert [(one.metric.name, one.value) for one in shown.tick.engines[run.run_id].custom] == [("own", 0.0)]
        assert gpus.asked == 1  # a driver that is not there is not asked at every tick
        assert [one.run_id for one in first_look(house.places).runs] == [run.run_id]
        control.stop(run)
        assert sampler.sample().tick.engines == {}
    finally:
        sampler.close()
    assert gpus.closed


def test_snapshots_come_by_themselves_and_at_once_when_asked_for(house: House) -> None:
    bus, found = Bus(), list[Snapshot]()
    bus.subscribe(Snapshot, found.append)
    sampler = Sampler(house.places, bus, every=30.0, gpus=Gpus(GpuReport(1.0, error="none")))  # type: ignore[arg-type]
    sampler.start()
    until(lambda: len(found) == 1, "the first one")
    sampler.wake()
    until(lambda: len(found) == 2, "one that was asked for")
    sampler.close()
    assert sampler.latest is found[-1]


def test_the_pace_can_be_set_and_charts_know_of_it(house: House) -> None:
    bus, found = Bus(), list[Snapshot]()
    bus.subscribe(Snapshot, found.append)
    gpus = Gpus(GpuReport(1.0, (Gpu(0, "GPU-0", "H100", 100, 50),)))
    sampler = Sampler(house.places, bus, every=3600.0, gpus=gpus)  # type: ignore[arg-type]
    sampler.start()
    until(lambda: len(found) == 1, "the first one")
    sampler.set_pace(0.2)
    until(lambda: len(found) >= 4, "more, without being asked")
    sampler.close()
    history = History(10.0)
    for at in range(1000, 1061, 10):
        history.record(tick(float(at), 5.0))
    assert None not in history.over("run/run/out", 12, 60, 1060)


def test_ended_runs_are_read_once_until_they_change(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    run = house.ready(house.launch())
    control.stop(run)
    until(lambda: not house.now(run).keeper_alive, "the keeper has gone")
    watch = RunWatch(house.places)
    assert [one.state for one in watch.look()] == [State.EXITED]
    read: list[Path] = []
    monkeypatch.setattr("vllm_studio_tui.runs.run_cache.view", lambda folder: read.append(folder))
    watch.look()
    assert read == []
    (run.folder / "dismissed").touch()
    with pytest.raises(AttributeError):
        watch.look()  # it is looked at again, and our stand-in gives nothing
    assert read == [run.folder]


def tick(at: float, out: float | None) -> Tick:
    gpu = Gpu(0, "GPU-0", "H100", 100, 50, utilization=40, power_draw=300.0)
    engine = EngineMetrics(generation_tokens_per_second=out, running=2, ttft=Percentiles(0.1, 0.2, 0.3, 5))
    return Tick(at, GpuReport(at, (gpu,)), Host(10.0, memory_total=10, memory_used=5), {"run": engine})


def test_history_keeps_what_was_sampled_by_name() -> None:
    history = History()
    for second in range(100):
        history.record(tick(1000.0 + second, float(second)))
    assert history.over("run/run/out", 10, 10.0, 1099.0)[-1] == 99.0
    assert history.over("gpu/GPU-0/util", 2, 10.0, 1099.0) == [40.0, 40.0]
    assert history.over("gpu/GPU-0/memory", 1, 10.0, 1099.0) == [0.5]
    assert history.over(TotalSeries.POWER, 1, 10.0, 1099.0) == [300.0]
    assert history.over("run/run/ttft", 1, 10.0, 1099.0) == [0.2]
    assert history.peak(TotalSeries.OUTPUT) == 99.0
    assert history.over("nothing", 3, 10.0, 1099.0) == [None] * 3
    assert "run/run/kv" not in history


def test_of_an_engine_that_does_not_answer_nothing_old_is_drawn_as_new() -> None:
    history = History()
    for second in range(20):
        history.record(tick(1000.0 + second, 50.0), silent=() if second < 10 else {"run": 3.5})
    assert history.over("run/run/out", 2, 20.0, 1019.0) == [50.0, None]
    assert history.over("run/run/ttft", 2, 20.0, 1019.0) == [0.2, None]
    assert history.over(TotalSeries.OUTPUT, 2, 20.0, 1019.0) == [50.0, None]
    assert history.over("gpu/GPU-0/util", 2, 20.0, 1019.0) == [40.0, 40.0]


def test_a_chart_moves_by_whole_columns() -> None:
    history = History()
    for second in range(600):
        history.record(tick(1200.0 + second, float(second % 17)))
    first = history.over("run/run/out", 30, 300.0, 1790.0)
    assert history.over("run/run/out", 30, 300.0, 1786.0) == first
    assert history.over("run/run/out", 30, 300.0, 1800.0)[:-1] == first[1:]


def test_long_spans_come_from_the_coarse_ring() -> None:
    history = History()
    for step in range(400):
        history.record(tick(step * 30.0, 100.0))
    day = history.over("run/run/out", 10, 10_800.0, 400 * 30.0)
    assert [value for value in day if value is not None][-1] == 100.0


def state(reason: str, *evidence: str, advice: str = "") -> RunState:
    return RunState("r", State.FAILED, reason=reason, evidence=list(evidence), advice=advice)


def test_fixes_answer_what_went_wrong() -> None:
    from tests.functional.stage import recipe

    one = recipe("a", max_model_len=131072, gpu_memory_utilization=0.9, port=8000, tool_call_parser="odd",
                 extra_args={"bad_flag": 1, "good": 2})  # fmt: skip
    small = fixes(state("kv_cache_too_small", "the estimated maximum model length is 18416"), one)
    assert small[0].label == "max_model_len 18416"
    assert dict(small[0].changes) == {"max_model_len": 18416}
    assert [dict(fix.changes) for fix in small[1:3]] == [{"kv_cache_dtype": "fp8"}, {"gpu_memory_utilization": 0.95}]
    assert dict(fixes(state("port_in_use"), one)[0].changes) == {"port": None}
    assert dict(fixes(state("unknown_parser"), one)[0].changes) == {"tool_call_parser": None}
    flags = fixes(state("unknown_flag", "error: unrecognized arguments: --bad-flag 1"), one)
    assert dict(flags[0].changes) == {"extra_args": {"good": 2}}
    assert dict(fixes(state("out_of_memory"), one)[0].changes) == {"gpu_memory_utilization": 0.8}
    assert fixes(state("remote_code_needed"), one) == []  # nobody's code is trusted by a key
    assert fixes(state("gone_fishing"), one) == []
