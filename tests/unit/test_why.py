"""What is said of a slow engine is what made it slow: scenes of an engine that runs step by step."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine_scenes import Engine, Machine
from vllm_studio_tui.domain.why import Why
from vllm_studio_tui.services.watching.why.explain import explain
from vllm_studio_tui.services.watching.why.scene import AskedFor, EngineFacts, Scene
from vllm_studio_tui.services.watching.why.values import UNITS

#: Seconds of a column, and how long each scene was as it always is.
STEP, USUAL = 5, 420


@dataclass(frozen=True)
class Case:
    """A scene: how it was for twelve minutes, what changed, and which rule it is."""

    rule: str
    change: Mapping[str, Any]
    usual: Mapping[str, Any] = field(default_factory=dict)
    seconds: int = 150
    facts: Mapping[str, Any] = field(default_factory=dict)
    slow: bool = True


SCENES: Mapping[str, Case] = {
    "the cache is too small for the answers": Case("kv-preempt", {"rate": 3.0, "answer": 700}, {"cache": 24_000}),
    "the cache is full of long prompts": Case(
        "kv-full", {"prompt": 7000, "answer": 400, "cached": 0.95, "rate": 1.0}, {"cache": 30_000}
    ),
    # As vLLM was seen to do it, see test_why_real: the cache is full to 60 % at most, and the next prompt does not fit.
    "one long prompt fits into the cache at a time": Case(
        "kv-full", {"prompt": 2000, "answer": 60, "cached": 0.0, "rate": 1.2},
        {"cache": 3600, "seats": 8, "prompt": 100, "answer": 60, "rate": 0.8},
    ),
    "two seats for eight people": Case(
        "queue", {"rate": 1.6}, {"seats": 2, "prompt": 100, "answer": 120, "cached": 0.0, "rate": 0.3},
    ),
    "every seat is taken": Case("queue", {"rate": 2.6}, {"seats": 12, "rate": 1.2}),
    "a flood of prompts": Case("prefill-first", {"prompt": 5200, "cached": 0.0, "rate": 1.4, "answer": 120}),
    "prompts no longer begin alike": Case(
        "cache-cold", {"cached": 0.0}, {"prompt": 3000, "cached": 0.92, "rate": 1.6, "answer": 150}
    ),
    "one person sends long prompts": Case(
        "long-prompts", {"prompt": 14_000, "cached": 0.0}, {"rate": 0.12, "prompt": 700, "answer": 100}, 240
    ),
    "more people": Case("more-users", {"rate": 2.8}, {"token": 0.001, "rate": 1.2}),
    "the power limit is lowered": Case("power-cap", {"power_limit": 260.0}),
    "the fan stands": Case("thermal", {"fan": 0.36}, seconds=240),
    "the power supply brakes": Case("hardware-slowdown", {"slow": 0.4}),
    "the server's own work": Case("cpu-bound", {"host": 0.045}),
    "a build runs on the host": Case("host-crowded", {"host": 0.028, "host_cpu": 99.0}),
    "it hangs": Case("stalled", {"stuck": True}, seconds=60),
    "it sleeps": Case("asleep", {"stuck": True}, seconds=60, facts={"sleep": "weights_offloaded"}),
    "nothing is asked": Case("idle", {"rate": 0.0}, slow=False, seconds=200),
    "one person, as always": Case("few-users", {}, {"rate": 0.15}, slow=False),
    "as always": Case("not-slow", {}, slow=False),
    "one rank has it all": Case(
        "ranks-uneven", {"rate": 3.2}, {"seats": 14, "rate": 1.2}, facts={"imbalance": 2.0, "ranks": 2, "seats": 28}
    ),
    "the bus is full": Case("pcie", {"host": 0.02, "pcie": 27e9}),
    "somebody computes on the same GPU": Case("gpu-shared", {"read": 0.05}, facts={"others": (("alice", 48.0),)}),
    "a full cache at the power limit": Case(
        "kv-preempt", {"rate": 3.0, "answer": 700, "power_limit": 380.0}, {"cache": 24_000},
    ),
    "a flood of prompts at the power limit": Case(
        "prefill-first", {"prompt": 5200, "cached": 0.0, "rate": 1.4, "answer": 120, "power_limit": 600.0},
    ),
}  # fmt: skip


@cache
def warm(usual: tuple[tuple[str, Any], ...]) -> Engine:
    engine = Engine()
    engine.run(USUAL, **dict(usual))
    return engine


def play(case: Case, *, after: int = 0) -> Engine:
    """Return an engine after a scene, and so many seconds as they were before."""
    usual = warm(tuple(case.usual.items()))
    engine = copy.deepcopy(usual)
    engine.run(case.seconds, **case.change)
    engine.machine, engine.load = copy.deepcopy(usual.machine), copy.deepcopy(usual.load)
    engine.run(after)
    return engine


@cache
def ended(name: str) -> Why:
    """Return what is said of the end of a scene."""
    return seen(SCENES[name])


def seen(case: Case, engine: Engine | None = None, *, at: int | None = None) -> Why:
    """Return what is said of a scene: of its end, or of a second since the beginning."""
    engine = engine or play(case)
    machine = replace(warm(tuple(case.usual.items())).machine, **_of_machine(case.change))
    facts = EngineFacts(
        machine.seats, machine.batched, machine.cache, "fp8", gpus=1, power_limit=machine.power_limit, link=32e9
    )
    end = engine.seconds if at is None else at
    scene = Scene(engine.columns(STEP), 1000.0, STEP, end // STEP - 1, replace(facts, **case.facts))
    return explain(
        scene, "run-1", "qwen", asked=asked(engine, end - 60, end), asked_before=asked(engine, 0, USUAL - 20)
    )


def _of_machine(change: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in change.items() if name in Machine.__dataclass_fields__}


def asked(engine: Engine, since: float, until: float) -> AskedFor:
    """Return what is on record of the requests of a time, as the ledger would have it."""
    came = [(one, key) for one, key in engine.came if since <= one.at < until]
    if not came:
        return AskedFor()
    key, most = Counter(key for _, key in came).most_common(1)[0]
    waits = [one.started - one.at for one, _ in came if one.started is not None]
    return AskedFor(
        len(came), sum(one.asked for one, _ in came) / len(came), longest=max(waits, default=None), busiest=key,
        busiest_share=most / len(came),
    )  # fmt: skip


@pytest.mark.parametrize("name", SCENES)
def test_what_made_it_slow_is_named(name: str) -> None:
    case, why = SCENES[name], ended(name)
    assert why.rule == case.rule, (why.title, why.sentences, why.also)
    assert why.slow is case.slow


SMALL = "the cache is too small for the answers"
PREEMPTS = SCENES[SMALL]


def test_a_moment_that_is_over_is_explained_as_well_as_one_that_is_now() -> None:
    engine = play(replace(PREEMPTS, change={"rate": 2.0, "answer": 500}, seconds=90), after=420)
    began = USUAL
    then, later = (seen(PREEMPTS, engine, at=at) for at in (began + 60, engine.seconds))
    assert then.rule == "kv-preempt" and then.slow
    assert abs(then.since - (1000 + began)) < 30, "the slow time begins where the load did"
    assert not later.slow, later.title


def test_what_is_compared_with_lies_before_the_slow_time() -> None:
    why = ended(SMALL)
    assert why.against is not None
    assert why.against[1] <= why.since
    assert why.figures["out"].before == pytest.approx(352, rel=0.15)  # 1.6 requests a second of 220 tokens


def test_who_asked_most_is_named_with_a_share() -> None:
    case = replace(SCENES["a flood of prompts"], change={**SCENES["a flood of prompts"].change, "key": "ci-bot"})
    why = seen(case)
    assert why.asked == "ci-bot"
    assert any("came from ci-bot" in one for one in why.sentences), why.sentences


def test_a_change_of_the_recipe_is_offered_where_one_would_help() -> None:
    assert ended(SMALL).changes == {"kv_cache_dtype": "fp8"}
    assert ended("every seat is taken").changes == {"max_num_seqs": 24}
    assert not ended("the fan stands").changes


def test_what_is_fine_is_said_so_that_nobody_looks_there() -> None:
    assert "clocks as before" in ended(SMALL).not_it
    assert not any("clocks" in one for one in ended("the fan stands").not_it)


@given(
    st.dictionaries(
        st.sampled_from(sorted(UNITS)),
        st.lists(st.none() | st.floats(allow_nan=True, allow_infinity=True), max_size=80),
        max_size=12,
    ),
    st.integers(-3, 90),
)
@settings(max_examples=200, deadline=None)
def test_any_values_are_taken(lines: dict[str, list[float | None]], at: int) -> None:
    why = explain(Scene(lines, 0.0, STEP, at), "run-1", "name")
    assert why.title and why.to_json()["rule"] == why.rule


def test_who_asks_nothing_waits_for_nothing_however_busy_the_machine_is() -> None:
    case = replace(SCENES["nothing is asked"], change={"rate": 0.0, "host_cpu": 100.0}, facts={"gpus": 0})
    why = seen(case)
    assert (why.rule, why.slow) == ("idle", False), (why.title, why.sentences)
