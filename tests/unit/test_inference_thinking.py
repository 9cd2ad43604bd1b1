"""Thinking is told from answer, however the text was cut and whoever wrote it."""

from __future__ import annotations

import gc
import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_studio_tui.domain.chat import Delta
from vllm_studio_tui.inference.thinking import PAIRS, ThinkingSplitter, split_thinking, strip_thinking


def split(pieces: list[str], *, opened: bool = False) -> tuple[str, str]:
    """Thinking and answer as a chat would hold them."""
    splitter = ThinkingSplitter(opened=opened)
    reasoning: list[str] = []  # lists, so that what is timed below is the splitter's work and not ours
    content: list[str] = []
    for events in [*(splitter.feed(piece) for piece in pieces), splitter.close()]:
        for event in events:
            if isinstance(event, Delta):
                reasoning.append(event.reasoning)
                content.append(event.content)
            else:
                reasoning, content = ["".join(reasoning + content).strip()], []
    return "".join(reasoning), "".join(content)


@pytest.mark.parametrize("opener", [one for one in PAIRS if "channel" not in one])
def test_every_family_of_tags_is_told_from_the_answer(opener: str) -> None:
    assert split([f"{opener}\nhm, 2+2\n{PAIRS[opener]}\n\nFour."]) == ("hm, 2+2", "Four.")


def test_harmony_channels_are_told_apart() -> None:
    text = "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>Four.<|return|>"
    assert split([text]) == ("hm", "Four.")


def test_gemma_channels_are_told_apart() -> None:
    assert split(["<|channel>thought\nhm<channel|>Four."]) == ("hm", "Four.")


def test_a_block_opened_in_the_prompt_is_known_or_found_out() -> None:
    assert split(["hm\n</think>\n\nFour."], opened=True) == ("hm", "Four.")
    assert split(["hm\n</think>\n\nFour."]) == ("hm", "Four.")


def test_thinking_that_is_never_closed_stays_thinking() -> None:
    assert split(["<think>hm"]) == ("hm", "")
    assert split(["hm"], opened=True) == ("hm", "")


def test_an_empty_pair_is_nothing() -> None:
    assert split(["<think>\n\n</think>\n\nFour."]) == ("", "Four.")


def test_several_blocks_before_the_answer_are_all_thinking() -> None:
    assert split(["<think>a</think>\n<think>b</think>\nFour."]) == ("ab", "Four.")


def test_tags_later_in_an_answer_are_text() -> None:
    text = "Use <think> and </think> as tags."
    assert split(["<think>hm</think>" + text]) == ("hm", text)


def test_tags_in_a_code_fence_are_text() -> None:
    text = "Look:\n```\nhm</think>\n```\nDone."
    assert split([text]) == ("", text)


def test_box_markers_go_and_their_content_stays() -> None:
    assert split(["<|begin_of_box|>42<|end_of_box|>"]) == ("", "42")


def test_an_answer_without_thinking_is_untouched() -> None:
    text = "\n  a < b and c[0] ◁ d\n"
    assert split([text]) == ("", text)


TOKENS = st.sampled_from(
    [*PAIRS, *PAIRS.values(), "hm", " ", "\n", "\n\n", "Four.", "<", "</", "[", "```", "```py\n", "◁", "<|end_of_box|>"]
)


@given(st.lists(TOKENS, max_size=12), st.data(), st.booleans())
def test_any_cutting_gives_the_same_thinking_and_answer(tokens: list[str], data: st.DataObject, opened: bool) -> None:
    text = "".join(tokens)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=20)))
    places = [0, *cuts, len(text)]
    pieces = [text[begin:end] for begin, end in itertools.pairwise(places)]
    assert split(pieces, opened=opened) == split([text], opened=opened)
    assert split(list(text), opened=opened) == split([text], opened=opened)


@given(st.text())
def test_any_text_is_split_without_a_fault(text: str) -> None:
    split([text])
    strip_thinking(text)


def test_thinking_is_not_sent_back_but_code_to_show_is() -> None:
    assert strip_thinking("<think>hm</think>Four.") == "Four."
    assert strip_thinking("<think>hm") == ""
    kept = strip_thinking("<think>hm\n```html\n<p>x</p>\n```\n```python\nno\n```\n</think>Four.")
    assert "<p>x</p>" in kept
    assert "no" not in kept
    assert kept.endswith("Four.")


@pytest.mark.parametrize(
    ("text", "thinking", "answer"),
    [
        ("plain", "", "plain"),
        ("<think>a</think>b", "a", "b"),
        ("<think>a</think>\n\nb\n<think>c</think>\nd", "a\n\nc", "b\n\nd"),
        ("<think>```\nx\n```</think>b", "```\nx\n```", "b"),
        ("<think>never closed", "never closed", ""),
        ("a</think>b", "a", "b"),
        ("the <think> tag is not closed here", "", "the <think> tag is not closed here"),
        ("see\n```\n<think>x</think>\n```\n", "", "see\n```\n<think>x</think>\n```\n"),
        ("[THINK]a[/THINK]b", "a", "b"),
    ],
)
def test_a_whole_text_is_split(text: str, thinking: str, answer: str) -> None:
    assert split_thinking(text) == (thinking, answer)


@pytest.mark.parametrize("piece", ["<think>", "</think>", "```x\n", "<think></think>", "[THINK]<think>"])
def test_splitting_a_whole_text_takes_time_by_its_length(piece: str) -> None:
    split_thinking(piece * 200_000)  # a second or so; by its square it would take hours


@pytest.mark.parametrize("before", ["", "<think>hm", "Four. "])
def test_blanks_and_lines_without_an_end_cost_what_their_length_does(before: str) -> None:
    def cost(count: int) -> float:
        pieces = [before, *(["\n "] * count), "Two", *(["x"] * count)]
        gc.disable()  # what it takes depends on all else that this process holds
        begin = time.process_time()
        reasoning, content = split(pieces)
        took = time.process_time() - begin
        gc.enable()
        assert reasoning + content == "".join(pieces).removeprefix("<think>")
        return took

    small, large = (min(cost(count) for _ in range(3)) for count in (10_000, 80_000))
    assert large < 24 * small + 0.5, "eight times the length; were each piece to copy all before it, 64 times the cost"
