"""Comparing benchmarks, and how many users an engine carries: noise is called noise, and a change a change."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

from vllm_studio_tui.domain.bench import BenchPlan, BenchRequest, BenchResult, BenchStep, percentiles
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.services.bench.comparing import compare, student
from vllm_studio_tui.services.bench.folder import result_document
from vllm_studio_tui.services.bench.limits import limit_of
from vllm_studio_tui.services.bench.search import Loads, broken
from vllm_studio_tui.services.simulated_home.benchmarks import write_benchmarks
from vllm_studio_tui.store.benchmarks import BenchmarkRows
from vllm_studio_tui.studio import Studio

PLAN = BenchPlan(concurrency=(8,), ttft_limit=0.5)


def made(
    name: str, slower: float = 1.0, *, seed: int = 0, version: str = "1", repeats: int = 1
) -> tuple[BenchResult, list[BenchRequest]]:
    drawn = random.Random(f"{name} {seed}")
    requests = []
    for number in range(200):
        tpot, ttft = 0.02 * slower * drawn.lognormvariate(0, 0.03), 0.2 * slower * drawn.lognormvariate(0, 0.15)
        requests.append(BenchRequest(0, 0, number * 0.1, ttft, ttft, ttft + 99 * tpot, 512, 100))
    count = 10 if repeats == 1 else repeats
    speeds = tuple(400 / slower * drawn.gauss(1, 0.01) for _ in range(count))
    step = BenchStep(
        8,
        requests=200,
        duration=30,
        output_tokens_per_second=sum(speeds) / len(speeds),
        user_speed=50 / slower,
        ttft=percentiles([one.ttft or 0 for one in requests]),
        tpot=percentiles([one.tpot or 0 for one in requests]),
        values={"output_tokens_per_second": speeds},
    )
    result = BenchResult(
        name, float(seed), recipe_id="r", revision=3, engine="vllm", engine_version=version, plan=PLAN, steps=(step,)
    )
    return result, requests


def test_two_of_the_same_are_noise_and_a_real_change_is_not() -> None:
    wrong = 0
    for seed in range(40):
        a, b = made("a", seed=seed), made("b", seed=seed)
        (row,) = compare(a[0], b[0], a[1], b[1]).rows
        wrong += not row.changes["output_tokens_per_second"].noise
        wrong += not row.changes["ttft_p95"].noise
    assert wrong <= 8  # one in twenty of 80 is 4
    a, b = made("a"), made("b", 1.05)
    found = compare(a[0], b[0], a[1], b[1])
    main = found.rows[0].main
    assert (main.noise, main.better) == (False, False)
    assert main.spread is not None
    assert main.spread[0] < -0.04 < main.spread[1] < 0
    assert found.rows[0].changes["user_speed"].better is False
    assert "Worse beyond the noise" in found.verdict
    assert json.dumps(found.to_json())


def test_a_slower_upgrade_is_told_only_where_nothing_else_changed() -> None:
    a, b = made("a", version="1"), made("b", 1.05, version="2")
    told = compare(a[0], b[0], a[1], b[1]).regression
    assert told is not None
    assert "vllm 2 is" in told
    same = made("c", 1.0, version="2")
    assert compare(a[0], same[0], a[1], same[1]).regression is None  # noise
    for other in (
        replace(b[0], revision=4),
        replace(b[0], gpus=("other",)),
        replace(b[0], engine_version="1"),
        replace(b[0], plan=replace(PLAN, output_tokens=1)),
    ):
        assert compare(a[0], other, a[1], b[1]).regression is None


def test_a_step_that_only_one_has_stands_alone() -> None:
    a, b = made("a"), made("b")
    more = replace(b[0], steps=(*b[0].steps, BenchStep(16, output_tokens_per_second=1.0)))
    rows = compare(a[0], more, a[1], b[1]).rows
    assert [(one.load, one.before is None, one.changes == {}) for one in rows] == [(8, False, False), (16, True, True)]


def test_too_little_is_said_to_be_too_little() -> None:
    step = BenchStep(1, requests=1, output_tokens_per_second=5.0)
    a, b = (BenchResult(one, 0, plan=PLAN, steps=(step,)) for one in "ab")
    assert "Too little" in compare(a, b).verdict


def test_the_reach_shrinks_with_the_degrees_of_freedom() -> None:
    assert student(1) == 12.706
    assert student(10.9) == 2.228
    assert student(30) == pytest.approx(2.042, abs=0.005)
    assert student(float("inf")) == 1.96


def carries(most: int) -> list[int]:
    """Search the limit of an engine that carries so many users; return the steps that were measured."""
    loads = Loads(BenchPlan(search=True, ttft_limit=0.5).checked())
    asked: list[int] = []
    last: BenchStep | None = None
    while (load := loads.next(last)) is not None:
        users = round(load)
        asked.append(users)
        ttft = 0.1 if users <= most else 0.9
        last = BenchStep(users, requests=10, ttft=percentiles([ttft] * 10))
        assert len(asked) < 40
    return asked


@pytest.mark.parametrize("most", [1, 2, 3, 7, 13, 64, 100, 1000])
def test_the_limit_is_found_by_doubling_and_bisecting(most: int) -> None:
    asked = carries(most)
    good = max((one for one in asked if one <= most), default=0)
    bad = min(one for one in asked if one > most)
    assert bad - good <= max(1, 0.06 * good)
    assert len(asked) <= 16


def test_a_search_ends_where_not_even_one_user_is_carried() -> None:
    assert carries(0) == [1]


@pytest.mark.parametrize(
    ("step", "why"),
    [
        (BenchStep(1, requests=5, errors=1), "errors"),
        (BenchStep(1, requests=5, saturated=True), "saturation"),
        (BenchStep(1, requests=0), "saturation"),
        (BenchStep(1, requests=1, ttft=percentiles([0.6])), "ttft"),
        (BenchStep(1, requests=1, ttft=percentiles([0.4]), tpot=percentiles([0.05])), "speed"),
        (BenchStep(1, requests=1, ttft=percentiles([0.4]), tpot=percentiles([0.03])), ""),
    ],
)
def test_what_ends_it_is_named(step: BenchStep, why: str) -> None:
    assert broken(step, 0.5, 0.04) == why


def test_the_simulated_home_has_two_that_can_be_compared(tmp_path: Path) -> None:
    with Studio.open_sync(Places.under(tmp_path)) as studio:
        write_benchmarks(studio.db, 1e9)
        write_benchmarks(studio.db, 1e9)  # again is the same
        new, old = studio.bench.list()
        assert (new.revision, old.revision, len(new.steps)) == (3, 2, 7)
        found = studio.bench.compare(old.id, new.id)
        assert found.rows[5].main.better is True
        assert found.rows[0].main.noise
        limit = studio.bench.limit(old.id)
        assert (limit.users, limit.next_users, limit.binds) == (64, 128, "ttft")
        assert "64 users at 25 tok/s a user" in limit.words
        assert limit_of(new, speed=40).binds == "speed"
        assert studio.bench.list("nobody") == []
        assert studio.bench.get("simulated-3").id == new.id


def test_rows_that_something_else_wrote_raise_nothing(tmp_path: Path) -> None:
    with Studio.open_sync(Places.under(tmp_path)) as studio:
        BenchmarkRows(studio.db).put(result_document(made("a")[0]), {(0, 0): {"sent": [1.0, "x"], "ttft": [None]}})
        with studio.db.write() as tables:
            tables.execute("UPDATE benchmarks SET data = '[1'")
            tables.execute('UPDATE benchmark_requests SET data = \'{"sent": [{}, 1e999], "error": [5]}\'')
        assert studio.bench.list() == []
        BenchmarkRows(studio.db).put(result_document(made("b")[0]) | {"steps": [None, 7], "plan": "x"}, {})
        assert studio.bench.get("b").steps == (BenchStep.of_json(None),) * 2
        studio.bench.compare("b", "b")
