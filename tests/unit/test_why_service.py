"""Why a run is slow, asked of what was really sampled: history, GPUs, the ledger of requests."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.engine_scenes import Engine
from tests.ports import free_port
from tests.process.house import House
from vllm_studio_tui.domain.engine_metrics import EngineMetrics, Percentiles
from vllm_studio_tui.domain.gpus import Gpu, GpuReport
from vllm_studio_tui.domain.requests import RequestQuery
from vllm_studio_tui.domain.sample import Host, Tick
from vllm_studio_tui.domain.usage import CompletedRequest
from vllm_studio_tui.runs.find import find_run
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.services.watching.history import History
from vllm_studio_tui.services.watching.snapshot import Snapshot
from vllm_studio_tui.services.watching.timeline import Timeline
from vllm_studio_tui.services.watching.why.present import look_once
from vllm_studio_tui.services.watching.why.service import WhyService
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.requests import RequestRows


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunView]:
    house = House(tmp_path / "home")
    yield house.ready(house.launch())
    house.end()


def ticks(engine: Engine, run_id: str, end: float, gpu: str) -> Iterator[Tick]:
    """Return what a sampler would have seen of a scene, a tick a second, the last one at `end`."""
    lines, count = engine.lines, engine.seconds
    for second in range(count):

        def value(name: str, second: int = second) -> float | None:
            return lines[name][second]

        metrics = EngineMetrics(
            running=int(value("running") or 0), waiting=int(value("waiting") or 0),
            generation_tokens_per_second=value("out"), prompt_tokens_per_second=value("prompt"),
            prompt_computed_per_second=value("prefill"), prompt_cached_per_second=value("cached"),
            kv_cache_usage=value("kv"), prefix_cache_hit_rate=value("hits"), tokens_per_step=value("step"),
            ttft=Percentiles(p95=value("ttft")), itl=Percentiles(p95=value("itl")),
            queue=Percentiles(p95=value("queue")), kv_tokens_total=engine.machine.cache,
        )  # fmt: skip
        card = Gpu(
            0, gpu, "H100", 80 * 2**30, 70 * 2**30, utilization=int(value("gpu") or 0), power_draw=value("power"),
            power_limit=700.0, temperature=int(value("temperature") or 0), sm_clock=int(value("clock") or 0),
        )  # fmt: skip
        at = end - (count - 1 - second)
        yield Tick(at, GpuReport(at, (card,)), Host(value("host_cpu")), {run_id: metrics}, {run_id: value("cpu") or 0})


def test_a_run_is_explained_from_its_samples_and_requests(run: RunView, tmp_path: Path) -> None:
    engine, now = Engine(), time.time()
    engine.run(400, seats=12, rate=1.2)
    engine.run(120, rate=2.6)
    history, last = History(), None
    for last in ticks(engine, run.run_id, now, "GPU-0"):
        history.record(last)
    assert last is not None
    db = Database.open(tmp_path / "studio.db")
    rows = RequestRows(db)
    for place in range(12):
        key = "ci-bot" if place else "me"
        rows.record(
            CompletedRequest(
                at=now - 20, source="proxy", run_id=run.run_id, key_name=key, prompt_tokens=900, finish="stop",
                queued_seconds=14.0,
            )
        )  # fmt: skip
    service = WhyService(
        Timeline(lambda: history), lambda: Snapshot(last, (run,), (run,)), lambda name: run, lambda: db
    )
    why = service.slow(run.run_id)
    assert why is not None
    listed = rows.ended(RequestQuery(run_id=run.run_id, since=math.floor(why.since), until=math.ceil(why.until)))
    assert len(listed) == why.requests == 12  # what it counts is what the list shows of that time
    assert (why.key, why.key_limit) == ("ci-bot", 6)
    db.close()
    assert why is not None
    assert why.rule == "queue", (why.title, why.sentences)
    assert why.asked == "ci-bot" and why.requests == 12
    assert any("11 of the 12 came from ci-bot" in one for one in why.sentences), why.sentences
    assert now - 200 < why.since < now - 60, "it began about two minutes ago"


def test_nothing_is_known_before_anything_was_sampled(run: RunView, tmp_path: Path) -> None:
    db = Database.open(tmp_path / "studio.db")
    service = WhyService(Timeline(lambda: None), lambda: None, lambda name: run, lambda: db)
    why = service.slow(run.run_id)
    db.close()
    assert why is not None and why.rule == "unknown" and not why.slow


def test_a_run_that_is_not_there_has_no_reason(tmp_path: Path) -> None:
    house = House(tmp_path / "home")
    service = WhyService(Timeline(lambda: None), lambda: None, lambda name: find_run(house.places, name), lambda: None)  # type: ignore[arg-type,return-value]
    assert service.slow("no-such-run") is None


def test_a_command_that_samples_nothing_explains_the_last_that_was_kept(run: RunView, tmp_path: Path) -> None:
    engine, now, looked = Engine(), time.time(), []
    engine.run(400, seats=12, rate=1.2)
    engine.run(120, rate=2.6)
    history = History()
    for last in ticks(engine, run.run_id, now - 70, "GPU-0"):
        history.record(last)

    def look(one: RunView) -> Snapshot:
        looked.append(one.run_id)
        return Snapshot(last, (run,), (run,))

    db = Database.open(tmp_path / "studio.db")
    service = WhyService(Timeline(lambda: history), lambda: None, lambda name: run, lambda: db, look)
    why = service.slow(run.run_id)
    then = service.slow(run.run_id, now - 400)
    db.close()
    assert why is not None and then is not None
    assert why.rule == "queue", (why.title, why.sentences)
    assert now - 85 < why.at < now - 60, "it says of which moment it speaks"
    assert not then.slow and abs(then.at - (now - 400)) < 6, "a moment that was named stays"
    assert looked == [run.run_id, run.run_id]


def test_one_look_has_what_the_engine_tells_and_bears_with_one_that_does_not(run: RunView, tmp_path: Path) -> None:
    places = House(tmp_path / "other").places
    seen = look_once(places, run, lambda: GpuReport(0.0))
    engine = seen.engine(run.run_id)
    assert engine is not None and engine.running == 0
    assert run.spec is not None
    away = replace(run, spec=replace(run.spec, base_url=f"http://127.0.0.1:{free_port()}/v1"))
    silent = look_once(places, away, lambda: GpuReport(0.0)).engine(run.run_id)
    assert silent is not None and silent.error and "No metrics from" in silent.error


def test_an_engine_that_tells_nothing_of_itself_is_told_as_that(run: RunView, tmp_path: Path) -> None:
    told = Snapshot(
        Tick(time.time(), GpuReport(0.0), Host(), {run.run_id: EngineMetrics(error="it has no metrics endpoint")}),
        (run,), (run,),
    )  # fmt: skip
    db = Database.open(tmp_path / "studio.db")
    why = WhyService(Timeline(lambda: None), lambda: told, lambda name: run, lambda: db).slow(run.run_id)
    db.close()
    assert why is not None and why.rule == "unknown"
    assert why.sentences == ("The engine tells nothing of itself: it has no metrics endpoint.",)
