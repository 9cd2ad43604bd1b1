"""The simulated world agrees with itself: tokens, cache, GPUs, power, counters and log lines come from one traffic."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vllm_studio_tui.backends import registry
from vllm_studio_tui.keeper.explanation import explain
from vllm_studio_tui.kit import prometheus
from vllm_studio_tui.probes.engine.reader import EngineProbe
from vllm_studio_tui.simulation import exposition, gpus, holders, loading_log, marks, nvml, serving_log
from vllm_studio_tui.simulation.holders import Holder
from vllm_studio_tui.simulation.kinds import EPOCH, GIB
from vllm_studio_tui.simulation.loading_log import Start
from vllm_studio_tui.simulation.models import Layout, model_of
from vllm_studio_tui.simulation.traffic import DAY, Traffic

NOON = EPOCH + 200 * DAY + time.timezone + 13 * 3600
MODELS = ("Qwen/Qwen3-32B", "deepseek-ai/DeepSeek-R1-Distill-Llama-70B", "google/gemma-3-12b-it", "someone/new-14b")
MOMENTS = st.floats(60.0, 20 * DAY)


def traffic(model: str = MODELS[0], ready: float = NOON) -> Traffic:
    known = model_of(model)
    return Traffic(Layout(known, 2 if known.weights > 50 else 1), model, ready)


@pytest.fixture
def held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Holder]:
    """An engine that holds GPU 0 and 1 of four, and has begun to load at noon."""
    monkeypatch.setenv("VLLM_STUDIO_HOME", str(tmp_path))
    monkeypatch.setenv(marks.GPUS, "4")
    holder = Holder("qwen3-32b", MODELS[0], (0, 1), NOON, 97.6, run="r", ended=NOON + 40 * DAY, pid=7)
    holders.save(holder)
    gpus.HOLDERS.forget()
    yield holder
    gpus.HOLDERS.forget()


def test_a_busy_hour_shows_the_figures_that_the_screens_were_drawn_with() -> None:
    flow = traffic().at(NOON + 3000.0)
    assert flow.burst == 0
    assert flow.output == pytest.approx(1842, rel=0.08)
    assert flow.running == pytest.approx(36, rel=0.1)
    assert flow.itl == pytest.approx(0.0194, rel=0.05)
    assert flow.kv_tokens / traffic().layout.tokens == pytest.approx(0.61, abs=0.06)
    assert traffic().layout.tokens == pytest.approx(309_000, rel=0.01)
    assert 2 * 112 + traffic().power(NOON + 3000.0) + traffic().power(NOON + 3000.0, 1) == pytest.approx(817, rel=0.08)


@given(st.sampled_from(MODELS), MOMENTS, st.floats(0.1, 3600.0))
def test_counters_only_grow_and_by_the_rate_that_is_shown(model: str, after: float, seconds: float) -> None:
    one = traffic(model)
    before, later = one.until(NOON + after), one.until(NOON + after + seconds)
    for name in ("output", "prompt", "cached", "requests", "running", "burst_requests", "preemptions"):
        assert getattr(later, name) >= getattr(before, name), name
    step = min(seconds, 0.5)
    middle = one.at(NOON + after + step / 2)
    gain = one.until(NOON + after + step).output - before.output
    assert gain / step == pytest.approx(middle.output, rel=0.05)


@given(st.sampled_from(MODELS), MOMENTS)
def test_what_flows_can_be(model: str, after: float) -> None:
    one = traffic(model)
    flow = one.at(NOON + after)
    assert 0 < flow.kv_tokens <= one.layout.tokens
    assert 0 < flow.output <= one.layout.model.peak * 1.2
    assert flow.running > 0
    assert 0 <= flow.cached <= flow.prompt
    assert 0 < flow.load <= 1
    assert 0 < one.power(NOON + after) < gpus.POWER_LIMIT - 112


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.floats(-600.0, 45 * DAY))
def test_gpus_do_what_their_engine_does(held: Holder, after: float) -> None:
    at = NOON + after
    flow, here = held.served.at(at), held.here(at)
    for index in (0, 1):
        busy = gpus.utilization(index, at)
        assert (busy > 10) == (here and flow.output > 0)
        assert gpus.POWER_IDLE - 5 < gpus.power_w(index, at) < gpus.POWER_LIMIT
        assert (gpus.power_w(index, at) > 150) <= here
        assert (gpus.sm_clock(index, at) > 1000) == here
        assert gpus.memory_used(index, at) - gpus.DRIVER_BYTES == sum(size for _, size in gpus.processes(index, at))
        assert gpus.memory_used(index, at) < gpus.MEMORY_TOTAL - gpus.MEMORY_RESERVED
        assert (held.pid in dict(gpus.processes(index, at))) == (held.memory(at) > 0)
    assert (gpus.utilization(2, at), gpus.processes(2, at)) == (0, [])


def test_energy_is_the_integral_of_the_power_of_idling_loading_and_serving(held: Holder) -> None:
    begin, end, steps = held.began - 300.0, held.ready + 5400.0, 8_000
    width = (end - begin) / steps
    for index in (0, 1, 2):
        joules = sum(gpus.power_w(index, begin + (n + 0.5) * width) for n in range(steps)) * width
        counted = gpus.energy_mj(index, end) - gpus.energy_mj(index, begin)
        assert counted == pytest.approx(joules * 1000, rel=1e-3)


def test_somebody_elses_process_has_a_name_and_no_run(held: Holder) -> None:
    nvml.nvmlInit()
    handle = nvml.nvmlDeviceGetHandleByIndex(gpus.STRANGER_GPU)
    assert [one.pid for one in nvml.nvmlDeviceGetComputeRunningProcesses(handle)] == [gpus.STRANGER]
    assert gpus.invented_processes()[gpus.STRANGER][0] == "alice"
    assert gpus.memory_used(gpus.STRANGER_GPU, NOON) == gpus.STRANGER_BYTES + gpus.DRIVER_BYTES


@pytest.mark.parametrize("style", ["vllm", "sglang"])
def test_metrics_log_and_traffic_tell_the_same(style: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one = traffic()
    counters, probe, begin = exposition.Counters(None, one), EngineProbe(style, window=60.0), NOON + 4000.0
    for second in range(62):
        monkeypatch.setattr(exposition, "time", SimpleNamespace(time=lambda at=begin + second: at))
        seen = probe.observe(counters.expose(style, "m"), begin + second)
    flow = one.at(begin + 61)
    assert seen.generation_tokens_per_second == pytest.approx(flow.output, rel=0.01)
    assert (seen.running, seen.waiting) == (round(flow.running), round(flow.waiting))
    assert seen.kv_cache_usage == pytest.approx(flow.kv_tokens / one.layout.tokens)
    assert seen.prefix_cache_hit_rate == pytest.approx(flow.cached / flow.prompt, abs=0.02)
    assert seen.ttft.p50 == pytest.approx(0.121, abs=0.03)
    assert seen.itl.mean == pytest.approx(flow.itl, rel=0.05)
    lines = [line for at, line in serving_log.served(style, one, 7, begin, begin + 61) if "throughput" in line]
    assert len(lines) == 6
    found = re.search(r"(?:generation throughput:|gen throughput \(token/s\):) ([\d.]+)", lines[-1])
    assert found is not None
    assert float(found[1]) == pytest.approx(flow.output, rel=0.03)
    running = re.search(r"(?:Running: |#running-req: )(\d+)", lines[-1])
    assert running is not None
    assert int(running[1]) == pytest.approx(flow.running, abs=2)


def test_what_is_logged_in_two_looks_is_what_is_logged_in_one() -> None:
    one, begin = traffic(), NOON + 500.0
    whole = [line for _, line in serving_log.served("vllm", one, 7, begin, begin + 90.0)]
    pieces = [begin + step for step in (0.0, 7.3, 20.0, 55.5, 90.0)]
    halves = [
        line for a, b in itertools.pairwise(pieces) for _, line in serving_log.served("vllm", one, 7, a, b)
    ]  # fmt: skip
    assert halves == whole
    assert sum("POST /v1/chat/completions" in line for line in whole) == int(one.until(begin + 90.0).requests) - int(
        one.until(begin).requests
    )


def test_metrics_have_the_names_and_types_of_the_real_engine() -> None:
    text = exposition.Counters(None, traffic()).expose("vllm", "m")
    real = (Path(__file__).parents[1] / "fixtures/metrics/vllm.txt").read_text()
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", real, re.MULTILINE))
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE):
        assert types.get(name) == kind, name
    for name in ("vllm:time_to_first_token_seconds", "vllm:inter_token_latency_seconds"):
        edges = [edge for edge, _ in prometheus.buckets(prometheus.parse(text, {f"{name}_bucket"}), name)]
        theirs = [edge for edge, _ in prometheus.buckets(prometheus.parse(real, {f"{name}_bucket"}), name)]
        assert edges == theirs


def start(model: str, context: int, ranks: int = 2, **more: float) -> Start:
    return Start(Layout(model_of(model), ranks), model, "m", 8000, 7, context, NOON, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("style", ["vllm", "sglang"])
def test_the_log_of_a_start_has_every_stage_and_the_memory_of_its_gpus(style: str) -> None:
    one = start(MODELS[0], 32768)
    printed = list(loading_log.lines(style, one))
    assert [at for at, _ in printed] == sorted(at for at, _ in printed)
    stages = {
        stage.name
        for _, line in printed
        for stage in registry.backend(style).stages
        if re.search(stage.pattern, line)
    }  # fmt: skip
    assert {"config", "weights", "kv_cache", "graphs"} <= stages
    text = "\n".join(line for _, line in printed)
    assert "Traceback" not in text
    assert "rror" not in text
    assert time.strftime("%m-%d", time.localtime(NOON)) in text
    if style == "vllm":
        took = float(re.findall(r"Model loading took ([\d.]+) GiB", text)[0])
        cache = float(re.findall(r"Available KV cache memory: ([\d.]+) GiB", text)[0])
        graphs = float(re.findall(r"took ([\d.]+) GiB", text)[-1])
        held = Holder("m", MODELS[0], (0, 1), NOON, 97.6).memory(NOON + 200) / GIB
        assert took + cache + graphs < held < took + cache + graphs + 3
        assert f"KV cache size: {one.layout.tokens:,} tokens" in text


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (start("meta-llama/Llama-3.3-70B-Instruct", 131072), "kv_cache_too_small"),
        (start("meta-llama/Llama-3.3-70B-Instruct", 16384, 1), "out_of_memory"),
        (start(MODELS[0], 8192, others=40.0), "gpu_memory_taken"),
    ],
)
def test_a_start_that_cannot_fit_fails_where_a_real_one_does(made: Start, reason: str) -> None:
    lines = [line for _, line in loading_log.lines("vllm", made)]
    assert not any("startup complete" in line for line in lines)
    found = explain(lines, registry.backend("vllm").failures, served=False)
    assert found is not None
    assert found.row, found
    assert found.reason == reason


def test_the_fix_of_a_context_that_does_not_fit_makes_it_fit() -> None:
    one = start("meta-llama/Llama-3.3-70B-Instruct", 131072)
    assert one.failure == "cache"
    assert start("meta-llama/Llama-3.3-70B-Instruct", one.layout.tokens).failure is None


def test_an_engine_that_was_killed_lets_go_of_its_gpus(held: Holder, tmp_path: Path) -> None:
    holders.save(Holder("gone", MODELS[2], (2,), time.time() - 600, 50.0, pid=2**22 + 9, start=1))
    gpus.HOLDERS.forget()
    (gone,) = (one for one in gpus.HOLDERS.all() if one.name == "gone")
    assert gone.ended is not None
    assert gpus.utilization(2, gone.ended + 1) == 0
    assert gpus.energy_mj(2, gone.ended) > gpus.energy_mj(2, gone.ended - 1)
