"""What is said below an answer of its details, which may come from a file of somebody else."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from vllm_studio_tui.domain.chat import Message, TokenUsage
from vllm_studio_tui.tui.document import figures
from vllm_studio_tui.tui.document.figures import remarks
from vllm_studio_tui.tui.sheets.tokens import Token, tokens_of

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.integers(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["kind", "valid", "problem", "tokens", "cut", "name"]), inner, max_size=4)
    ),
)


@given(st.dictionaries(st.sampled_from(["form", "not_sent", "unsure", "logprobs", "engine"]), ANYTHING, max_size=5))
def test_no_details_raise(details: dict[str, Any]) -> None:
    for colour, text in remarks(details):
        assert colour in ("ok", "warn", "err") and text
    for one in tokens_of(Message("a", "s", "assistant", "", details=details)):
        assert one.style


def test_what_is_said() -> None:
    form = {"kind": "json_schema", "name": "a\x1b[2Jb", "valid": True, "problem": ""}
    assert remarks({"form": form}) == [("ok", "valid, JSON by a schema: a\N{REPLACEMENT CHARACTER}[2Jb")]
    assert remarks({"form": {**form, "name": "", "valid": None, "problem": "why"}})[0][1].endswith("(why)")
    many = {str(number): f"no {number}" for number in range(6)}
    assert remarks({"not_sent": many}) == [("warn", "not sent: no 0; no 1; no 2; no 3 and 2 more")]
    assert remarks({}) == []


def test_tokens_are_read_as_they_were_kept() -> None:
    kept = {"tokens": [["a", 0.0, [["a", 0.0], ["b", None]]], ["c", -9.0, []], "x", [1, 2, 3]], "cut": False}
    found = tokens_of(Message("a", "s", "assistant", "", details={"logprobs": kept}))
    assert found == [Token("a", 1.0, (("a", 1.0), ("b", None))), Token("c", found[1].share)]
    assert [one.style for one in found] == ["dim", "warn underline"]


def answer(usage: TokenUsage | None = None, **details: Any) -> Message:
    return Message("", "", "assistant", "yes", usage=usage or TokenUsage(), details=details)


def test_what_of_the_prompt_was_cached_is_told_of_how_many() -> None:
    assert figures.parts(answer(TokenUsage(1340, 20, cached_tokens=1200))) == ["20 tok", "cached 1200 of 1340"]
    # llama.cpp tells it beside the usage.
    assert figures.parts(answer(engine={"cached_tokens": 12, "prefill_tokens": 8})) == ["cached 12 of 20"]
    assert figures.cached(answer(TokenUsage(1340, 20, cached_tokens=0))) == (0, 1340)  # known, and nothing to say
    assert figures.parts(answer(TokenUsage(1340, 20, cached_tokens=0)), detail=True) == ["20 tok", "prompt 1340"]
    assert figures.cached(answer(TokenUsage(1340, 20))) is None


def test_the_share_of_energy_is_marked_as_an_estimate_and_preemptions_are_its_own_only_when_alone() -> None:
    alone = answer(during={"energy_joules": 300.0, "gpus": 2, "preemptions": 2, "alone": True})
    assert figures.parts(alone) == ["~83 mWh", "preempted twice"]
    beside = answer(during={"energy_joules": None, "gpus": 2, "preemptions": 1, "alone": False})
    assert figures.parts(beside) == ["1 preemption meanwhile"]
    strange: list[Any] = [{}, {"energy_joules": float("nan"), "preemptions": -3}, [], "x", {"energy_joules": "many"}]
    for nothing in strange:
        assert figures.parts(answer(during=nothing)) == []
