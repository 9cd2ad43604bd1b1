"""From a branch of messages to what an engine is asked with; titles."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vllm_studio_tui.domain.chat import (
    Message,
    ToolCall,
)
from vllm_studio_tui.services.chat.request import request_messages, title_of


def branch(*messages: tuple[str, str] | Message) -> list[Message]:
    return [one if isinstance(one, Message) else Message("", "", one[0], one[1]) for one in messages]


def test_calls_without_results_and_results_without_calls_stay_behind() -> None:
    calls = (ToolCall("a", "f", '{"x": 1}'), ToolCall("b", "g", "{broken"), ToolCall("lost", "h", ""))
    made = request_messages(
        branch(
            ("user", "q"),
            Message("", "", "assistant", "", tool_calls=calls),
            Message("", "", "tool", "1", tool_call_id="a"),
            Message("", "", "tool", "2", tool_call_id="b"),
            Message("", "", "tool", "3", tool_call_id="unknown"),
        )
    )
    assert [one["role"] for one in made] == ["user", "assistant", "tool", "tool"]
    functions = {one["id"]: one["function"] for one in made[1]["tool_calls"]}
    assert functions == {
        "a": {"name": "f", "arguments": '{"x": 1}'},
        "b": {"name": "g", "arguments": '{"unreadable": "{broken"}'},
    }


def test_a_failed_answer_leaves_no_trace_and_questions_in_a_row_become_one() -> None:
    picture = Message("", "", "user", "look", images=("data:image/png;,",))
    made = request_messages(branch(("user", "one"), ("assistant", ""), ("user", "two"), ("assistant", "yes"), picture))
    assert made[0] == {"role": "user", "content": "one\n\ntwo"}
    made = request_messages(branch(("user", "one"), picture))
    (message,) = made
    assert [part["type"] for part in message["content"]] == ["text", "text", "image_url"]


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("Hello", "Hello"),
        ("  two\n\nlines ", "two lines"),
        ("", "New chat"),
        ("word " * 30, "word word word word word word word word word word word…"),
        ("x" * 100, "x" * 59 + "…"),
    ],
)
def test_a_title_is_the_first_words(text: str, title: str) -> None:
    assert title_of(text) == title


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200))
def test_a_title_is_one_short_line(text: str) -> None:
    title = title_of(text)
    assert 0 < len(title) <= 60
    assert title == " ".join(title.split())
