"""Values of benchmarks: plans are checked, what is kept comes back, figures mean what they are defined as."""

from __future__ import annotations

import json

import pytest

from vllm_studio_tui.domain.bench import (
    SUMMARY,
    BenchPlan,
    BenchRequest,
    BenchResult,
    BenchStep,
    latency_json,
    percentiles,
)
from vllm_studio_tui.domain.errors import UsageError


def test_percentiles_are_interpolated_as_numpy_does_it() -> None:
    found = percentiles([3.0, 1.0, 2.0, 4.0])
    assert (found.p50, found.mean, found.count) == (2.5, 2.5, 4)
    assert found.p95 == pytest.approx(3.85)
    assert found.p99 == pytest.approx(3.97)
    assert latency_json(percentiles([])) == {"mean": None, "p50": None, "p95": None, "p99": None, "count": 0}


def test_tpot_leaves_the_first_token_out() -> None:
    one = BenchRequest(0, 0, 0.0, ttft=0.5, e2e=2.5, output_tokens=101)
    assert one.tpot == pytest.approx(0.02)
    assert BenchRequest(0, 0, 0.0, ttft=0.5, e2e=2.5, output_tokens=1).tpot is None


@pytest.mark.parametrize(
    ("limits", "good"),
    [((None, None), True), ((0.6, None), True), ((0.4, None), False), ((0.6, 0.03), True), ((0.6, 0.01), False)],
)
def test_a_request_is_good_that_meets_all_limits(limits: tuple[float | None, float | None], good: bool) -> None:
    assert BenchRequest(0, 0, 0.0, ttft=0.5, e2e=2.5, output_tokens=101).good(limits) is good
    assert not BenchRequest(0, 0, 0.0, error="refused").good(limits)


def test_a_speed_is_another_way_to_say_the_time_for_a_token() -> None:
    assert BenchPlan(speed_limit=25).limits == (None, 0.04)
    assert BenchPlan(speed_limit=25, tpot_limit=0.02).limits == (None, 0.02)


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (BenchPlan(arrivals="often"), "often"),
        (BenchPlan(arrivals="poisson"), "--rate"),
        (BenchPlan(concurrency=()), "--concurrency"),
        (BenchPlan(concurrency=(0,)), "users"),
        (BenchPlan(search=True), "--goodput"),
        (BenchPlan(duration=float("nan")), "duration"),
        (BenchPlan(prompt_tokens=8, shared_prefix=9), "prefix"),
        (BenchPlan(concurrency=tuple(range(1, 100))), "steps"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused_with_what_to_do(plan: BenchPlan, words: str) -> None:
    with pytest.raises(UsageError) as told:
        plan.checked()
    assert words in str(told.value)


def test_a_count_of_requests_takes_the_place_of_the_duration() -> None:
    plan = BenchPlan(requests=8).checked()
    assert (plan.requests, plan.duration) == (8, None)
    assert BenchPlan(duration=None).checked().duration == 30.0


def test_plans_and_steps_come_back_as_they_were_kept() -> None:
    plan = BenchPlan(concurrency=(1, 8), rate=(2.5,), prompts_file="p.txt", tpot_limit=0.04, repeats=3, seed=-1)
    assert BenchPlan.of_json(json.loads(json.dumps(plan.to_json()))) == plan
    step = BenchStep(8, None, 10, 1, 5.0, 1.0, 2.0, 3.0, ttft=percentiles([1.0]), values={"a": (1.0, 2.0)}, kv=0.5)
    again = BenchStep.of_json(json.loads(json.dumps(step.to_json())))
    assert (again.concurrency, again.ttft.p50, again.values, again.kv) == (8, 1.0, {"a": (1.0, 2.0)}, 0.5)


@pytest.mark.parametrize("raw", [None, [], "x", {"ttft": 7, "values": [1], "requests": 1e400}, {"concurrency": "many"}])
def test_what_was_damaged_is_unknown_and_never_raises(raw: object) -> None:
    assert BenchStep.of_json(raw).requests == 0
    assert BenchPlan.of_json(raw).prompt_tokens == 512


def test_the_keys_of_a_result_are_the_contract() -> None:
    steps = (BenchStep(1, output_tokens_per_second=5.0), BenchStep(8, output_tokens_per_second=20.0))
    document = BenchResult("b1", 0.0, steps=steps).to_json()
    assert set(SUMMARY) <= set(document)
    assert document["concurrency"] == 8
    assert all(set(document[one]) == {"mean", "p50", "p95", "p99", "count"} for one in ("ttft", "itl", "tpot", "e2e"))
    assert json.dumps(document)
