"""Chats as files: what goes out comes in again, and nothing that comes in is trusted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from vllm_studio_tui.domain.chat import Message, Timings, TokenUsage, ToolCall, total_usage
from vllm_studio_tui.domain.errors import StoreError
from vllm_studio_tui.inference.thinking import split_thinking
from vllm_studio_tui.store.chat_files import to_json_document, to_markdown
from vllm_studio_tui.store.chats import ChatRows
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.importing_chats import import_chats
from vllm_studio_tui.store.markdown import parse_markdown, render_markdown
from vllm_studio_tui.store.messages import MessageRows


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    opened = Database.open(tmp_path / "studio.db")
    yield opened
    opened.close()


def talk(db: Database) -> str:
    """A chat with two answers to one question, the first of them shown."""
    session = ChatRows(db).create("About tests", model="m", settings={"system": "Be brief."})
    rows = MessageRows(db)
    question = rows.append(Message("", session.id, "user", "Why?", images=("data:image/png;base64,AA==",)))
    shown = rows.append(
        Message(
            "",
            session.id,
            "assistant",
            "Because.\n",
            question.id,
            reasoning="Let me think.",
            model="m",
            tool_calls=(ToolCall("c", "look", "{}"),),
            finish="stop",
            usage=TokenUsage(5, 7, 2),
            timings=Timings(0.1, 0.2, 0.5, 30.0),
        )
    )
    rows.append(Message("", session.id, "assistant", "Why not?", question.id, finish="interrupted", error="cut"))
    ChatRows(db).set_leaf(session.id, shown.id)
    return session.id


def without_ids(document: dict[str, Any]) -> list[dict[str, Any]]:
    places = {one["id"]: index for index, one in enumerate(document["messages"])}
    return [
        {**{key: value for key, value in one.items() if key != "id"}, "parent_id": places.get(one["parent_id"])}
        for one in document["messages"]
    ]


def test_json_holds_everything_and_comes_back(db: Database) -> None:
    document = to_json_document(db, talk(db))
    assert document["session_usage"] == {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
    (copy,) = import_chats(db, json.dumps(document).encode(), "x.json").taken
    again = to_json_document(db, copy.id)
    assert copy.id != document["session"]["id"]
    assert without_ids(again) == without_ids(document)
    assert (copy.title, copy.model, copy.settings) == ("About tests", "m", {"system": "Be brief."})
    assert [one.content for one in MessageRows(db).branch(copy.id)] == ["Why?", "Because.\n"]


def test_markdown_holds_the_shown_branch_and_comes_back(db: Database) -> None:
    text = to_markdown(db, talk(db))
    assert "# About tests" in text
    assert "## Assistant" in text
    assert "Why not?" not in text
    assert "base64" not in text
    (copy,) = import_chats(db, text.encode(), "x.md").taken
    question, answer = MessageRows(db).branch(copy.id)
    assert (question.role, question.content) == ("user", "Why?")
    assert (answer.content, answer.reasoning, answer.finish) == ("Because.\n", "Let me think.", "stop")
    assert answer.usage == TokenUsage(5, 7, 2)
    assert answer.tool_calls == (ToolCall("c", "look", "{}"),)
    assert (copy.title, copy.settings) == ("About tests", {"system": "Be brief."})


lines = st.lists(
    st.one_of(
        st.text(max_size=20),
        st.sampled_from(
            ["## User", "", "<!-- vllm-studio: {} -->", '\\<!-- vllm-studio: {"role":"user"} -->', "-->", "```"]
        ),
    ),
    max_size=6,
).map("\n".join)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["user", "assistant", "tool"]), lines, lines), max_size=4), lines)
@example([("user", "\n", ""), ("assistant", '<!-- vllm-studio: {"piece":"content"} -->', "x\n")], "a --> b")
def test_any_text_survives_markdown(messages: list[tuple[str, str, str]], title: str) -> None:
    given_ = [
        {"role": role, "content": content, "reasoning": reasoning, "model": "a --> b"}
        for role, content, reasoning in messages
    ]
    empty = dict.fromkeys(("finish", "error", "usage", "stats", "tool_calls", "tool_call_id", "created_at"))
    text = render_markdown({"title": title}, [{**empty, **one} for one in given_])
    found = parse_markdown(text, "x.md")
    assert found["title"] == title
    assert found["messages"] == given_


def test_markdown_from_elsewhere_is_cut_at_its_headings(db: Database) -> None:
    (chat,) = import_chats(db, b"# My talk\n\n## User\nHello\n\n## Assistant:\n\nHi\n# Not a head\n", "talk.md").taken
    assert chat.title == "My talk"
    assert [(one.role, one.content) for one in MessageRows(db).branch(chat.id)] == [
        ("user", "Hello"),
        ("assistant", "Hi\n# Not a head"),
    ]


def test_a_plain_list_of_openai_messages_becomes_a_chat(db: Database) -> None:
    parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": "data:image/png;,"}}]
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    given_ = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": [*parts, {"type": "image_url", "image_url": {"url": "http://elsewhere/x.png"}}]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "result"},
    ]
    (chat,) = import_chats(db, json.dumps(given_).encode(), "list.json").taken
    system, user, assistant, tool = MessageRows(db).branch(chat.id)
    assert (system.content, user.content, user.images) == ("Be kind.", "What is this?", ("data:image/png;,",))
    assert assistant.tool_calls == (ToolCall("c", "f", "{}"),)
    assert (tool.role, tool.tool_call_id, tool.parent_id) == ("tool", "c", assistant.id)


def test_an_import_is_kept_as_a_whole_or_not_at_all(db: Database) -> None:
    good = {"messages": [{"role": "user", "content": "x"}]}
    bad = {"messages": [{"role": "user", "content": "x"}, {"role": "god", "content": "y"}]}
    with pytest.raises(StoreError, match="message 1"):
        import_chats(db, json.dumps({"chats": [good, bad]}).encode(), "x.json")
    assert ChatRows(db).list() == []
    assert len(import_chats(db, json.dumps({"chats": [good, good]}).encode(), "x.json").taken) == 2


def test_parents_that_make_no_tree_become_one(db: Database) -> None:
    given_ = [
        {"id": "a", "parent_id": "b", "role": "user", "content": "1"},
        {"id": "b", "parent_id": "a", "role": "user", "content": "2"},
        {"id": "c", "parent_id": "missing", "role": "user", "content": "3"},
        {"id": "a", "parent_id": "c", "role": "user", "content": "4"},
    ]
    (chat,) = import_chats(db, json.dumps({"messages": given_}).encode(), "x.json").taken
    assert [one.content for one in MessageRows(db).branch(chat.id)] == ["1", "2", "3", "4"]


KEYS = (
    *("messages", "session", "chats", "role", "content", "usage", "stats", "tool_calls", "id", "parent_id"),
    *("title", "settings", "leaf_id", "images", "finish", "ttft", "prompt_tokens", "created_at"),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(KEYS),
            inner | st.sampled_from(["user", "assistant", "stop", "streaming"]),
            max_size=5,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=json_values)
def test_no_document_does_harm(db: Database, values: Any) -> None:
    message = values if isinstance(values, dict) else {"content": values}
    for document in (values, {"messages": [{**message, "role": "assistant"}]}):
        before = ChatRows(db).count()
        try:
            taken = import_chats(db, json.dumps(document).encode(), "x.json").taken
        except StoreError:
            taken = ()
        assert ChatRows(db).count() == before + len(taken)
        for one in taken:
            to_json_document(db, one.id)
            to_markdown(db, one.id)


@pytest.mark.parametrize("raw", [b"", b"\xff\xfe", b"{", b"[" * 100_000, b"nothing", b'{"messages": {}}'])
def test_a_file_that_is_no_chat_is_refused_in_words(db: Database, raw: bytes) -> None:
    with pytest.raises(StoreError, match=r"x\.json"):
        import_chats(db, raw, "x.json")
    assert ChatRows(db).list() == []


#: As the system that this one re-imagines exports a chat.
ORIGINAL = {
    "title": "Weather",
    "session_id": "0f8c",
    "model": "GLM-4.7",
    "created_at": "2025-11-02 08:15:00",
    "updated_at": "2025-11-02 08:16:40",
    "messages": [
        {"id": "1", "role": "user", "content": "Rain in Oslo?", "created_at": "2025-11-02 08:15:01"},
        {
            "id": "2",
            "role": "assistant",
            "content": "<think>I must look.</think>\n\nLet me look.",
            "model": "GLM-4.7",
            "tool_calls": [
                {
                    "id": "call_ab",
                    "type": "function",
                    "function": {"name": "exa__search", "arguments": '{"query": "Oslo rain"}'},
                    "result": {"content": "4 mm\nuntil noon", "isError": False},
                },
                {
                    "type": "function",
                    "function": {"name": "builtin__fetch", "arguments": {"url": "https://example.org"}},
                    "result": {"output": None, "error": "timed out"},
                },
            ],
            "request_prompt_tokens": 900,
            "request_tools_tokens": 100,
            "request_total_input_tokens": 1000,
            "request_completion_tokens": 42,
            "created_at": "2025-11-02T08:15:05",
        },
        {
            "id": "3",
            "role": "assistant",
            "content": "4 mm.\n<think>Was that all?</think>\nUntil noon.\n\n```html\n<think>code</think>\n```\n",
            "usage": {"prompt_tokens": 1100, "completion_tokens": 9, "total_tokens": 1109},
            "timestamp": 1762071400000,
        },
    ],
    "session_usage": {"prompt_tokens": 2100, "completion_tokens": 51, "total_tokens": 2151},
}


def test_a_chat_of_the_original_keeps_tool_results_tokens_times_and_thinking(db: Database) -> None:
    (session,) = import_chats(db, json.dumps(ORIGINAL).encode(), "x.json", split_thinking).taken
    assert (session.title, session.model) == ("Weather", "GLM-4.7")
    assert (session.created_at, session.updated_at) == ("2025-11-02T08:15:00.000Z", "2025-11-02T08:16:40.000Z")
    question, calls, rain, failed, answer = MessageRows(db).branch(session.id)
    assert (question.content, question.created_at) == ("Rain in Oslo?", "2025-11-02T08:15:01.000Z")
    assert (calls.reasoning, calls.content, calls.model) == ("I must look.", "Let me look.", "GLM-4.7")
    assert [(call.name, call.arguments) for call in calls.tool_calls] == [
        ("exa__search", '{"query": "Oslo rain"}'),
        ("builtin__fetch", '{"url": "https://example.org"}'),
    ]
    assert calls.usage == TokenUsage(1000, 42, tools_tokens=100)
    assert (rain.role, rain.tool_call_id, rain.content) == ("tool", "call_ab", "4 mm\nuntil noon")
    assert (failed.role, failed.tool_call_id, failed.content) == ("tool", calls.tool_calls[1].id, "Error: timed out")
    assert calls.tool_calls[1].id
    assert answer.reasoning == "Was that all?"
    assert answer.content == "4 mm.\n\nUntil noon.\n\n```html\n<think>code</think>\n```"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (1100, 9)
    assert answer.created_at == "2025-11-02T08:16:40.000Z"
    assert total_usage(MessageRows(db).branch(session.id)) == ORIGINAL["session_usage"]


def test_a_list_of_chats_of_the_original_and_results_as_messages_are_taken_once(db: Database) -> None:
    with_message = json.loads(json.dumps(ORIGINAL))
    with_message["messages"].insert(2, {"role": "tool", "tool_call_id": "call_ab", "content": "4 mm"})
    taken = import_chats(
        db, json.dumps({"sessions": [ORIGINAL, with_message]}).encode(), "x.json", split_thinking
    ).taken
    assert [one.messages for one in taken] == [5, 5]


def test_a_text_of_ours_that_speaks_of_tags_is_left_alone(db: Database) -> None:
    session = ChatRows(db).create("tags").id
    MessageRows(db).append(Message("", session, "assistant", "<think> is a tag"))
    for raw in (json.dumps(to_json_document(db, session)), to_markdown(db, session)):
        (copy,) = import_chats(db, raw.encode(), "x", split_thinking).taken
        (message,) = MessageRows(db).branch(copy.id)
        assert (message.reasoning, message.content) == ("", "<think> is a tag")
        assert copy.created_at == ChatRows(db).get(session).created_at or not raw.startswith("{")
