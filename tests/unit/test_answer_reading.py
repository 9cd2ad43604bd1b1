"""Answers that pass by: what is passed on byte for byte, what is left out, what is known of them at the end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vllm_studio_tui.kit import sse_tap
from vllm_studio_tui.kit.sse_tap import SseTap
from vllm_studio_tui.services.serving.answer_reading import READERS, AnswerReader, ChatReader

CAPTURES = Path(__file__).parents[1] / "fixtures" / "sse"
NAMES = sorted(one.name for one in CAPTURES.glob("*.txt"))

READ = {"input_tokens": 7, "cache_read_input_tokens": 3, "output_tokens": 0}
SPENT = {"input_tokens": 5, "output_tokens": 2, "output_tokens_details": {"reasoning_tokens": 1}}


def events(*parts: tuple[str, dict[str, Any]]) -> bytes:
    return b"".join(
        b"event: %b\ndata: %b\n\n" % (kind.encode(), json.dumps({"type": kind} | data).encode()) for kind, data in parts
    )


MESSAGES = events(
    ("message_start", {"message": {"id": "msg_1", "model": "m", "usage": READ}}),
    ("content_block_start", {"index": 0, "content_block": {"type": "text", "text": ""}}),
    ("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": "Hi"}}),
    ("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": ' {"usage":{}}'}}),
    ("content_block_stop", {"index": 0}),
    ("message_delta", {"delta": {"stop_reason": "max_tokens"}, "usage": {"output_tokens": 2}}),
    ("message_stop", {}),
)
RESPONSES = events(
    ("response.created", {"response": {"id": "resp_1", "model": "m", "status": "in_progress"}}),
    ("response.output_text.delta", {"delta": "Hi"}),
    ("response.output_text.delta", {"delta": " you"}),
    ("response.completed", {"response": {"id": "resp_1", "status": "completed", "usage": SPENT}}),
)


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    """Return the bytes in pieces of these sizes, again and again."""
    pieces, at, turn = [], 0, 0
    while at < len(data):
        pieces.append(data[at : at + sizes[turn % len(sizes)]])
        at, turn = at + sizes[turn % len(sizes)], turn + 1
    return pieces


def run(data: bytes, reader: AnswerReader, sizes: list[int], *, selective: bool = False) -> bytes:
    tap = SseTap(reader.event, selective=selective)
    return b"".join([*(tap.feed(piece) for piece in cut(data, sizes)), tap.close()])


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=25)
@given(st.lists(st.integers(1, 700), min_size=1, max_size=5), st.booleans())
def test_what_real_engines_sent_passes_whole_however_it_is_cut(name: str, sizes: list[int], crlf: bool) -> None:
    data = (CAPTURES / name).read_bytes()
    if crlf:
        data = data.replace(b"\n", b"\r\n")
    whole = ChatReader()
    whole_passed = run(data, whole, [len(data) or 1])
    reader = ChatReader()
    assert run(data, reader, sizes) == whole_passed == data
    for one in ("usage", "finish", "id", "model", "tokens", "steps", "started"):
        assert getattr(reader, one) == getattr(whole, one), one


def test_the_figures_of_real_engines_are_read() -> None:
    seen = {}
    for name in ("llamacpp.txt", "vllm.txt", "sglang.txt", "transformers.txt", "llamacpp-no-usage-option.txt"):
        reader = ChatReader()
        run((CAPTURES / name).read_bytes(), reader, [100])
        seen[name] = (reader.usage.prompt_tokens, reader.tokens, reader.finish, bool(reader.id), reader.estimated)
    assert seen == {
        "llamacpp.txt": (42, 8, "stop", True, False),
        "vllm.txt": (42, 8, "stop", True, False),
        "sglang.txt": (32, 6, "length", True, False),
        "transformers.txt": (42, 8, "stop", True, False),
        "llamacpp-no-usage-option.txt": (42, 8, "stop", True, False),
    }


def test_without_usage_tokens_are_counted_by_events_and_called_an_estimate() -> None:
    reader = ChatReader()
    run((CAPTURES / "vllm-no-usage-option.txt").read_bytes(), reader, [64])
    assert (reader.tokens, reader.estimated, reader.usage.prompt_tokens) == (7, True, None)


@pytest.mark.parametrize("name", ["llamacpp.txt", "vllm.txt", "sglang.txt"])
@settings(max_examples=25)
@given(sizes=st.lists(st.integers(1, 700), min_size=1, max_size=5))
def test_a_usage_that_the_client_did_not_ask_for_is_left_out_and_nothing_else(name: str, sizes: list[int]) -> None:
    data = (CAPTURES / name).read_bytes()
    reader = ChatReader(hide_usage=True)
    passed = run(data, reader, sizes, selective=True)
    events = data.split(b"\n\n")
    assert passed == b"\n\n".join(one for one in events if b'"choices":[]' not in one)
    assert len(passed) < len(data)
    assert reader.usage.completion_tokens in (6, 8)


@given(st.lists(st.integers(1, 200), min_size=1, max_size=5))
def test_anthropics_and_responses_streams_tell_their_tokens(sizes: list[int]) -> None:
    messages = READERS["messages"]()
    assert run(MESSAGES, messages, sizes) == MESSAGES
    assert (messages.id, messages.finish, messages.tokens, messages.steps) == ("msg_1", "length", 2, 2)
    assert (messages.usage.prompt_tokens, messages.usage.cached_tokens) == (10, 3)
    responses = READERS["responses"]()
    assert run(RESPONSES, responses, sizes) == RESPONSES
    assert (responses.id, responses.finish, responses.tokens, responses.steps) == ("resp_1", "stop", 2, 2)
    assert responses.usage.reasoning_tokens == 1


OTHERS = sorted((*CAPTURES.glob("messages/*.txt"), *CAPTURES.glob("responses/*.txt")))


@pytest.mark.parametrize("path", OTHERS, ids=lambda path: f"{path.parent.name}-{path.stem}")
@settings(max_examples=25)
@given(sizes=st.lists(st.integers(1, 700), min_size=1, max_size=5))
def test_what_real_engines_sent_in_the_other_protocols_is_read_however_it_is_cut(path: Path, sizes: list[int]) -> None:
    data = path.read_bytes()
    reader = READERS[path.parent.name]()
    assert run(data, reader, sizes) == data
    assert (reader.usage.prompt_tokens, reader.tokens, reader.estimated, reader.error) == (33, 5, False, None)
    # llama.cpp and transformers call an answer of Responses that is cut off complete.
    assert reader.finish == ("stop" if path.parent.name == "responses" and path.stem != "vllm" else "length")
    assert reader.id
    assert 1 <= reader.steps <= 5


@given(st.binary(max_size=400) | st.sampled_from([MESSAGES, RESPONSES]), st.lists(st.integers(1, 90), min_size=1),
       st.sampled_from(sorted(READERS)))  # fmt: skip
def test_no_bytes_make_a_reader_raise(data: bytes, sizes: list[int], protocol: str) -> None:
    reader = READERS[protocol]()
    assert run(data, reader, sizes) == data
    reader.body(data)


@pytest.mark.parametrize(
    "chunk",
    ['{"choices":{}}', '{"choices":[1]}', '{"usage":{"completion_tokens":"x"}}', '{"usage":[]}', '{"error":"boom"}',
     '{"choices":[{"delta":[]}]}', '{"timings":{"predicted_n":-1}}', '{"id":7,"model":[]}', '[]', 'null', '{',
     '{"type":"message_start","message":[]}', '{"type":"message_delta","delta":1,"usage":2}',
     '{"type":7}', '{"type":"error"}', '{"response":{"usage":{"input_tokens_details":3}}}'],
)  # fmt: skip
def test_strange_chunks_are_no_reason_to_stop(chunk: str) -> None:
    for make in READERS.values():
        reader = make()
        assert run(f"data: {chunk}\n\n".encode(), reader, [7]).endswith(b"\n\n")
        reader.body(chunk.encode())


def test_an_event_without_end_is_passed_on_and_heard_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse_tap, "MAX_EVENT", 1000)
    for selective in (False, True):
        heard: list[bytes] = []
        tap = SseTap(lambda event, heard=heard: heard.append(event) is None, selective=selective)  # type: ignore[misc]
        endless = [b"data: " + b"x" * 400 for _ in range(5)]
        assert b"".join([*(tap.feed(one) for one in endless), tap.close()]) == b"".join(endless)
        assert heard == []


def test_what_came_of_a_message_is_counted_where_its_end_did_not_come() -> None:
    reader = READERS["messages"]()
    run(MESSAGES.partition(b"event: content_block_stop")[0], reader, [50])
    assert (reader.tokens, reader.estimated, reader.usage.prompt_tokens) == (2, True, 10)


@pytest.mark.parametrize("shape", ['{"error":{"message":"no"}}', '{"type":"error","error":{"message":"no"}}'])
def test_an_error_is_known_in_the_shape_of_either_api(shape: str) -> None:
    for make in READERS.values():
        reader = make()
        reader.body(shape.encode())
        assert reader.error == "no"


def test_an_error_inside_of_a_stream_is_known() -> None:
    reader = ChatReader()
    run(
        b'data: {"choices":[{"delta":{"content":"a"}}]}\n\ndata: {"error": {"message": "out of memory"}}\n\n',
        reader,
        [9],
    )
    assert reader.error == "out of memory"


def test_an_error_in_the_middle_of_a_response_is_noted() -> None:
    begun = events(("response.output_text.delta", {"delta": "Hi"}))
    reader = READERS["responses"](hide_usage=False)
    told = begun + events(("error", {"code": "server_error", "message": "the engine gave up"}))
    assert run(told, reader, [7]) == told
    assert reader.error == "the engine gave up"
