"""What is said of a real engine that gets slow is what made it slow, with the numbers that it and its clients counted.

vLLM 0.32 on a processor with a model of 135 million parameters. `vllm-kv` has a cache of 3072 tokens and eight seats:
two people at first, from second 91 on eight with answers of 400 tokens, which it does not hold; from second 250 on
three with prompts of 1700 tokens, of which one fits. `vllm-queue` has two seats: one person, from second 80 on eight.
`vllm-prefill` reads prompts in chunks of 2048 tokens: three people, from second 80 on one more with prompts of 4000.
`vllm-whole` reads each prompt in one step, on a machine that others keep busy: the same, from second 70 on.
"""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.real_scenes import BEGIN, real_scene, scrapes, told
from vllm_studio_tui.domain.why import Why
from vllm_studio_tui.probes.engine.reader import EngineProbe
from vllm_studio_tui.services.watching.why.explain import explain
from vllm_studio_tui.services.watching.why.scene import EngineFacts

SEATS = {"vllm-kv": 8, "vllm-queue": 2, "vllm-prefill": 8, "vllm-whole": 8}


def why_at(name: str, second: float, later: float = 5.0) -> Why:
    facts = EngineFacts(seats=SEATS[name], kv_tokens=told(name)[-1][1].kv_tokens_total)
    return explain(real_scene(name, second, facts, later=later), "run-1", "smol")


@pytest.mark.parametrize(
    ("name", "second", "rule"),
    [
        ("vllm-kv", 60, "not-slow"), ("vllm-kv", 105, "kv-full"), ("vllm-kv", 140, "kv-preempt"),
        ("vllm-kv", 180, "kv-preempt"), ("vllm-kv", 200, "kv-preempt"), ("vllm-kv", 320, "kv-full"),
        ("vllm-kv", 350, "kv-full"), ("vllm-queue", 60, "not-slow"), ("vllm-queue", 90, "queue"),
        ("vllm-queue", 120, "queue"), ("vllm-queue", 160, "queue"), ("vllm-prefill", 60, "not-slow"),
        ("vllm-prefill", 100, "prefill-first"), ("vllm-prefill", 130, "prefill-first"),
        ("vllm-prefill", 160, "prefill-first"),
    ],
)  # fmt: skip
def test_what_made_a_real_engine_slow_is_named(name: str, second: float, rule: str) -> None:
    why = why_at(name, second)
    assert why.rule == rule, (why.title, why.sentences, why.also)


def test_requests_that_lost_their_place_are_those_that_the_engine_counted() -> None:
    why = why_at("vllm-kv", 225)
    lost = int(next(one for one in why.sentences if "lost" in one).split(" requests lost")[0].rpartition(" ")[2])
    counted = [m.preemptions_total for at, m in told("vllm-kv") if at <= 230][-1]
    assert counted is not None and abs(lost - counted) <= 1


def test_the_cache_was_as_full_as_the_fullest_scrape_says_and_not_as_the_mean_of_a_column() -> None:
    most = max(m.kv_cache_usage or 0.0 for at, m in told("vllm-kv") if 90 <= at <= 200)
    assert most == 1.0
    assert why_at("vllm-kv", 200).sentences[0].startswith("KV 100%")


def test_a_prompt_that_has_no_room_beside_another_is_told_with_the_tokens_that_are_held() -> None:
    assert why_at("vllm-kv", 340).sentences[0] == (
        "KV 61% with 1 request under way: 1870 of 3072 tokens: one more does not fit."
    )


def test_a_queue_is_told_with_the_places_that_there_are_and_those_who_wait() -> None:
    why = why_at("vllm-queue", 150)
    assert why.sentences[0].startswith("All 2 places are taken")
    assert why.sentences[1].startswith("6 requests waited")  # eight clients, two of them served
    assert why.since == pytest.approx(BEGIN + 80, abs=20)
    # Its clients got 35.4 tokens a second together, before 13.0 with half a second between two questions.
    assert why.figures["out"].now == pytest.approx(35.4, rel=0.1)
    assert why.figures["out"].before == pytest.approx(14.0, rel=0.1)


def test_a_step_that_reads_a_whole_prompt_is_named_when_it_is_over() -> None:
    """While it lasts the engine tells nothing new, and no rule guesses: half a minute without a token."""
    meanwhile, afterwards = why_at("vllm-whole", 95), why_at("vllm-whole", 95, later=60.0)
    assert (meanwhile.rule, meanwhile.slow) == ("unexplained", True)
    assert afterwards.rule == "prefill-first", (afterwards.title, afterwards.sentences)
    assert why_at("vllm-whole", 140).rule == "prefill-first"


def test_answers_that_stand_behind_prompts_are_told_with_what_clients_got() -> None:
    why = why_at("vllm-prefill", 130)
    # Clients got 67.5 tokens a second together in the first 80 s, the slow start in it, then 11.1.
    assert why.figures["out"].before == pytest.approx(75, rel=0.12)
    assert why.figures["out"].now == pytest.approx(11.1, rel=0.15)
    assert why.changes == {}  # chunks are offered where it has GPUs


@given(seed=st.integers(0, 10**9), name=st.sampled_from(sorted(SEATS)))
@settings(max_examples=60, deadline=None)
def test_no_part_of_a_real_answer_makes_the_reader_raise(seed: int, name: str) -> None:
    """Bytes are lost, changed and doubled, and scrapes come out of order."""
    draw, probe = random.Random(seed), EngineProbe("vllm", window=60.0)
    at = 0.0
    for _ in range(4):
        text = bytearray(draw.choice(scrapes(name))[1].encode())
        for _ in range(draw.randrange(12)):
            place = draw.randrange(len(text))
            match draw.randrange(3):
                case 0:
                    del text[place : place + draw.randrange(200)]
                case 1:
                    text[place] = draw.randrange(256)
                case _:
                    text[place:place] = text[place : place + draw.randrange(200)]
            text = text or bytearray(b"\n")
        at += draw.uniform(-1.0, 5.0)
        metrics = probe.observe(bytes(text), at)
        assert metrics.kv_cache_usage is None or 0 <= metrics.kv_cache_usage <= 1
        assert all(value is None or value >= 0 for value in (metrics.running, metrics.waiting, metrics.preemptions))
