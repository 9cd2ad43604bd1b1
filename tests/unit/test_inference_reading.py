"""Reading streams: any cutting of the bytes gives the whole, and nothing that is sent makes a reader raise."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_studio_tui.inference.deltas import DeltaReader
from vllm_studio_tui.inference.sse import EventSplitter

CAPTURES = sorted((Path(__file__).parents[1] / "fixtures" / "sse").glob("*.txt"))


def events(raw: bytes, cuts: list[int] | None = None) -> list[str]:
    splitter = EventSplitter()
    found: list[str] = []
    places = [0, *sorted(min(cut, len(raw)) for cut in cuts or []), len(raw)]
    for begin, end in itertools.pairwise(places):
        found += splitter.feed(raw[begin:end])
    return found + list(splitter.close())


def answer(payloads: list[str]) -> tuple[str, str, DeltaReader]:
    reader = DeltaReader()
    pairs = [reader.read(json.loads(one)) for one in payloads if one != "[DONE]"]
    return "".join(one for one, _ in pairs), "".join(one for _, one in pairs), reader


@given(st.data())
def test_any_cutting_of_a_stream_gives_the_same_events(data: st.DataObject) -> None:
    raw = data.draw(st.sampled_from(CAPTURES)).read_bytes()[:6000]
    cuts = data.draw(st.lists(st.integers(0, len(raw)), max_size=40))
    assert events(raw, cuts) == events(raw)


@given(st.lists(st.sampled_from([b"data: x", b"data:", b"\n", b"\r", b"\r\n", b": ping", b"\xc3", b"\xa9", b"y"])))
def test_any_line_ends_and_split_characters_give_the_same_events(parts: list[bytes]) -> None:
    raw = b"".join(parts)
    assert events(raw, list(range(len(raw)))) == events(raw)


@given(st.binary(max_size=500), st.lists(st.integers(0, 500), max_size=10))
def test_arbitrary_bytes_are_read_without_a_fault(raw: bytes, cuts: list[int]) -> None:
    for payload in events(raw, cuts):
        assert isinstance(payload, str)


KEYS = [
    "choices",
    "delta",
    "content",
    "usage",
    "error",
    "tool_calls",
    "index",
    "function",
    "timings",
    "model",
    "reasoning",
    "arguments",
    "name",
    "id",
    "finish_reason",
    "prompt_tokens",
    "message",
    "text",
]
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(KEYS),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(st.lists(JSON, max_size=5))
def test_arbitrary_json_is_read_without_a_fault(chunks: list[Any]) -> None:
    reader = DeltaReader()
    for chunk in chunks:
        reasoning, content = reader.read(chunk)
        assert isinstance(reasoning, str)
        assert isinstance(content, str)
    assert isinstance(reader.calls, tuple)


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.stem)
def test_the_streams_of_real_engines_are_understood(path: Path) -> None:
    reasoning, content, reader = answer(events(path.read_bytes()))
    assert content.strip() or reasoning.strip() or reader.calls
    if path.stem == "transformers-tool-named":
        assert reader.finish is None, "that engine was ended within its stream"
        return
    assert reader.finish in ("stop", "length", "tool_calls")
    assert reader.model
    if "no-usage" not in path.stem:
        assert reader.usage.prompt_tokens
        assert reader.usage.completion_tokens
    if path.stem in ("vllm-tool-required", "vllm-tool-named"):
        assert [call.name for call in reader.calls] == ["get_weather"]
        assert reader.calls[0].id


def test_parallel_calls_interleave_and_late_fragments_need_no_id() -> None:
    reader = DeltaReader()
    for fragment in (
        {"index": 0, "id": "a", "function": {"name": "f", "arguments": ""}},
        {"index": 1, "id": "b", "function": {"name": "g", "arguments": '{"y"'}},
        {"index": 0, "function": {"arguments": '{"x": 1}'}},
        {"index": 1, "function": {"arguments": ": 2}"}},
    ):
        reader.read({"choices": [{"delta": {"tool_calls": [fragment]}}]})
    assert [(one.id, one.name, one.arguments) for one in reader.calls] == [
        ("a", "f", '{"x": 1}'),
        ("b", "g", '{"y": 2}'),
    ]


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content", "reasoning_text", "thinking"])
def test_thinking_is_found_under_every_name_and_once(name: str) -> None:
    reader = DeltaReader()
    delta = {name: "hm", "content": None, "reasoning_content": "hm" if name != "thinking" else None}
    assert reader.read({"choices": [{"delta": delta}]}) == ("hm", "")


def test_usage_may_come_with_choices_and_several_times() -> None:
    reader = DeltaReader()
    reader.read({"choices": [{"delta": {"content": "a"}}], "usage": {"prompt_tokens": 1, "completion_tokens": 1}})
    details = {"prompt_tokens_details": {"cached_tokens": 3}, "completion_tokens_details": None, "reasoning_tokens": 2}
    reader.read({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 7, **details}})
    usage = reader.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens, usage.reasoning_tokens) == (5, 7, 3, 2)


@pytest.mark.parametrize("error", [{"message": "boom", "code": 500}, "boom", {"error": "x"}, ["boom"]])
def test_an_error_in_any_shape_is_said(error: Any) -> None:
    reader = DeltaReader()
    reader.read({"error": error})
    assert reader.error
