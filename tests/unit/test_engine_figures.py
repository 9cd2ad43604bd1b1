"""What engines tell of the making of one answer, as real ones sent it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_studio_tui.inference.deltas import DeltaReader
from vllm_studio_tui.inference.engine_figures import EngineFigures

CAPTURES = Path(__file__).parents[1] / "fixtures" / "sse"


def told(name: str) -> dict[str, float]:
    reader = DeltaReader()
    for line in (CAPTURES / name).read_text().splitlines():
        if line.startswith("data: {"):
            reader.read(json.loads(line[6:]))
    return reader.figures.told(reader.usage.prompt_tokens, reader.usage.cached_tokens)


def test_vllm_tells_queue_prefill_and_decode_of_a_request() -> None:
    found = told("vllm-metrics.txt")
    assert found["queue_seconds"] == pytest.approx(0.000107, abs=1e-6)
    assert found["prefill_seconds"] == pytest.approx(0.12825, abs=1e-5)
    assert (found["cached_tokens"], found["prefill_tokens"]) == (0, 37)
    assert found["prefill_tps"] == pytest.approx(37 / 0.128248, rel=1e-3)
    # Its own tokens_per_second, 21.6, counts the reading of the prompt in.
    assert found["decode_tps"] == pytest.approx(28.83, abs=0.01)


def test_llamacpp_counts_a_picture_among_what_it_read() -> None:
    found = told("llamacpp-picture.txt")  # 35 tokens of words, 54 of a picture of 400x300 (tests/eyes.py)
    assert found["prefill_tokens"] + found["cached_tokens"] == 35 + 54


def test_llamacpp_tells_what_it_read_and_what_it_had_in_its_cache() -> None:
    found = told("llamacpp.txt")
    assert found["prefill_tokens"] + found["cached_tokens"] == 42
    assert found["prefill_tps"] > 0
    assert found["decode_tps"] > 0
    assert "queue_seconds" not in found


def test_an_engine_that_tells_nothing_has_no_figures() -> None:
    assert told("vllm.txt") == {}
    assert told("sglang.txt") == {}


def test_one_token_has_no_speed() -> None:
    figures = EngineFigures()
    figures.timings({"predicted_n": 1, "predicted_per_second": 1e6, "prompt_n": 3, "prompt_ms": 0})
    assert figures.told(3, 0) == {"prefill_tokens": 3, "prefill_seconds": 0.0, "cached_tokens": 0}


ANY: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just(10**400)
)
NAMES = st.sampled_from(
    ["cache_n", "prompt_n", "prompt_ms", "predicted_ms", "predicted_per_second", "prompt_per_second", "draft_n",
     "queue_time_ms", "time_to_first_token_ms", "mean_itl_ms", "generation_time_ms", "speculative_decoding"]
)  # fmt: skip


@given(st.dictionaries(NAMES, ANY), ANY, ANY)
def test_whatever_is_sent_the_figures_are_numbers_within_bounds(
    given_: dict[str, Any], prompt: Any, cached: Any
) -> None:
    figures = EngineFigures()
    figures.timings(given_)
    figures.metrics(given_)
    figures.usage(given_)
    counts = [one if type(one) is int and 0 <= one < 10**12 else None for one in (prompt, cached)]
    assert all(0 <= value <= 1e12 for value in figures.told(*counts).values())
