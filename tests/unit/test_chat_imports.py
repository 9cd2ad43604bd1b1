"""Chats of other programs: what they hold comes in once, and whatever is in a file does no harm."""

from __future__ import annotations

import io
import json
import sqlite3
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vllm_studio_tui.domain.chat import Message
from vllm_studio_tui.domain.chat_imports import ImportedChats
from vllm_studio_tui.domain.errors import StoreError
from vllm_studio_tui.services.chat.saved_chats import Chats
from vllm_studio_tui.store.database import Database


@pytest.fixture
def chats(tmp_path: Path) -> Iterator[Chats]:
    db = Database.open(tmp_path / "studio.db")
    yield Chats(db)
    db.close()


def node(name: str, parent: str | None, role: str = "", said: Any = "", **more: Any) -> dict[str, Any]:
    """A node of ChatGPT's tree."""
    if not role:
        return {"id": name, "message": None, "parent": parent, "children": []}
    content = said if isinstance(said, dict) else {"content_type": "text", "parts": [said]}
    message = {
        "id": name,
        "author": {"role": role, "name": more.pop("called", None)},
        "create_time": 1700000000.5,
        "content": content,
        "recipient": more.pop("to", "all"),
        "metadata": more,
    }
    return {"id": name, "message": message, "parent": parent, "children": []}


THOUGHTS = {"content_type": "thoughts", "thoughts": [{"summary": "Birds", "content": "What flies?"}]}
PICTURED = {
    "content_type": "multimodal_text",
    "parts": [{"content_type": "image_asset_pointer", "asset_pointer": "sediment://file_1"}, "What is this?"],
}
NODES = [
    node("root", None),
    node("hidden", "root", "system", "be nice", is_visually_hidden_from_conversation=True),
    node("q", "hidden", "user", PICTURED),
    node("first", "q", "assistant", "A plane.", model_slug="gpt-4o"),
    node("thoughts", "q", "assistant", THOUGHTS),
    node("recap", "thoughts", "assistant", {"content_type": "reasoning_recap", "content": "8 s"}),
    node("call", "recap", "assistant", {"content_type": "code", "text": "look()"}, to="python", model_slug="o4"),
    node("result", "call", "tool", {"content_type": "execution_output", "text": "wings"}, called="python"),
    node("second", "result", "assistant", "A bird.", model_slug="o4", finish_details={"type": "max_tokens"}),
]
CHATGPT = {
    "title": "Birds",
    "create_time": 1700000000.5,
    "update_time": 1700000100,
    "current_node": "second",
    "conversation_id": "c",
    "mapping": {one["id"]: one for one in NODES},
}


def taken_in(chats: Chats, document: Any, name: str = "conversations.json") -> ImportedChats:
    return chats.import_(document if isinstance(document, bytes) else json.dumps(document).encode(), name)


def said(found: list[Message]) -> list[tuple[str, str]]:
    return [(one.role, one.content) for one in found]


def test_a_chat_of_chatgpt_keeps_its_tree_thoughts_and_tools(chats: Chats) -> None:
    found = taken_in(chats, [CHATGPT])
    (session,) = found.taken
    assert (session.title, session.model, session.created_at) == ("Birds", "o4", "2023-11-14T22:13:20.500Z")
    question, call, result, answer = chats.branch(session.id)
    assert said([question, answer]) == [("user", "What is this?"), ("assistant", "A bird.")]
    assert (call.tool_calls[0].name, call.tool_calls[0].arguments, call.reasoning) == (
        "python",
        '{"code": "look()"}',
        "What flies?",
    )
    assert (result.role, result.content, result.tool_call_id) == ("tool", "wings", call.tool_calls[0].id)
    assert (answer.finish, answer.model) == ("length", "o4")
    assert [one.content for one in chats.tree(session.id) if one.parent_id == question.id] == ["A plane.", ""]
    assert found.notes == ("left out: 1 × picture (the file names it, but does not hold it)",)


def test_the_same_chats_come_in_once(chats: Chats) -> None:
    (first,) = taken_in(chats, [CHATGPT]).taken
    chats.rename(first.id, "Mine")
    again = taken_in(chats, CHATGPT)
    assert ([one.id for one in again.known], again.taken) == ([first.id], ())
    chats.trash(first.id)
    assert len(taken_in(chats, CHATGPT).taken) == 1


def zipped(files: dict[str, Any]) -> bytes:
    kept = io.BytesIO()
    with zipfile.ZipFile(kept, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in files.items():
            archive.writestr(name, value if isinstance(value, str) else json.dumps(value))
    return kept.getvalue()


def test_an_archive_gives_its_conversations_alone(chats: Chats) -> None:
    files = {"user.json": {"email": "me"}, "chat.html": "<html>", "x/conversations.json": [CHATGPT, {"mapping": {}}]}
    found = taken_in(chats, zipped(files), "export.zip")
    assert [one.title for one in found.taken] == ["Birds"]
    assert "left out: 1 × chat without messages" in found.notes
    with pytest.raises(StoreError, match="there are no chats"):
        taken_in(chats, zipped({"user.json": "[", "a.txt": "x"}), "export.zip")


def oterm(tmp_path: Path, *, wal: bool = False) -> bytes:
    """A store as oterm makes it."""
    path = tmp_path / "store.db"
    with sqlite3.connect(path) as db:
        if wal:
            db.execute("PRAGMA journal_mode = WAL")
        db.executescript(
            """CREATE TABLE "chat" ("id" INTEGER, "name" TEXT, "model" TEXT NOT NULL, "system" TEXT, "format" TEXT,
                "parameters" TEXT DEFAULT "{}", "keep_alive" INTEGER DEFAULT 5, "tools" TEXT DEFAULT "[]",
                "type" TEXT DEFAULT "chat", PRIMARY KEY("id" AUTOINCREMENT));
            CREATE TABLE "message" ("id" INTEGER, "chat_id" INTEGER NOT NULL, "author" TEXT NOT NULL,
                "text" TEXT NOT NULL, "images" TEXT DEFAULT "[]", PRIMARY KEY("id" AUTOINCREMENT)
                FOREIGN KEY("chat_id") REFERENCES "chat"("id") ON DELETE CASCADE);
            INSERT INTO chat (name, model, system, parameters) VALUES
                ('Birds', 'llama3', 'Be brief.', '{"temperature": 0.2, "num_predict": 64, "mirostat": 1}'),
                ('Empty', 'llama3', NULL, '{');
            INSERT INTO message (chat_id, author, text, images) VALUES
                (1, 'user', 'What is this?', '["iVBORw0KGgo=", "????"]'),
                (1, 'assistant', '<think>wings</think>A bird.', '[]'), (1, 'ghost', 'boo', '[]');"""
        )
    db.close()
    return path.read_bytes()


@pytest.mark.parametrize("wal", [False, True])
def test_a_store_of_oterm_comes_in_with_settings_pictures_and_thinking(chats: Chats, tmp_path: Path, wal: bool) -> None:
    raw = oterm(tmp_path, wal=wal)
    found = taken_in(chats, raw, "store.db")
    (session,) = found.taken
    assert (session.title, session.model) == ("Birds", "llama3")
    assert session.settings == {"temperature": 0.2, "max_tokens": 64, "system": "Be brief."}
    question, answer = chats.branch(session.id)
    assert question.images == ("data:image/png;base64,iVBORw0KGgo=",)
    assert (answer.content, answer.reasoning) == ("A bird.", "wings")
    assert found.notes == (
        "left out: 1 × empty chat",
        "left out: 1 × message of an unknown role",
        "left out: 1 × picture of an unknown kind",
    )
    assert len(taken_in(chats, raw, "store.db").known) == 1


def test_the_originals_database_comes_in_with_tools_tokens_and_times(chats: Chats, tmp_path: Path) -> None:
    path = tmp_path / "chats.db"
    calls = json.dumps([{"id": "c1", "function": {"name": "look", "arguments": "{}"}, "result": {"content": "sky"}}])
    with sqlite3.connect(path) as db:
        db.executescript(
            """CREATE TABLE chat_sessions (id TEXT, title TEXT, model TEXT, parent_id TEXT, created_at TEXT,
                updated_at TEXT);
            CREATE TABLE chat_messages (id TEXT, session_id TEXT, role TEXT, content TEXT, model TEXT, tool_calls TEXT,
                request_prompt_tokens INTEGER, request_tools_tokens INTEGER, request_total_input_tokens INTEGER,
                request_completion_tokens INTEGER, created_at TEXT);
            INSERT INTO chat_sessions VALUES ('s', 'Sky', 'm', NULL, '2025-01-01T10:00:00', '2025-01-01T10:05:00');
            INSERT INTO chat_messages VALUES
                ('a', 's', 'user', 'Look', NULL, NULL, NULL, NULL, NULL, NULL, '2025-01-01T10:00:00');"""
        )
        values = ("b", "s", "assistant", "<think>hm</think>Blue.", "m", calls, 10, 5, 15, 7, "2025-01-01T10:01:00")
        db.execute("INSERT INTO chat_messages VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
    db.close()
    (session,) = taken_in(chats, path.read_bytes(), "chats.db").taken
    assert (session.title, session.created_at) == ("Sky", "2025-01-01T10:00:00.000Z")
    question, answer, result = chats.branch(session.id)
    assert (question.content, answer.content, answer.reasoning) == ("Look", "Blue.", "hm")
    assert (answer.usage.prompt_tokens, answer.usage.tools_tokens, answer.usage.completion_tokens) == (15, 5, 7)
    assert (result.role, result.content, result.tool_call_id) == ("tool", "sky", "c1")


def test_other_databases_are_refused_with_a_reason(chats: Chats, tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE birds (name TEXT)")
    db.close()
    with pytest.raises(StoreError, match="no database of chats") as told:
        taken_in(chats, path.read_bytes(), "other.db")
    assert "birds" in str(told.value.cause)
    with sqlite3.connect(tmp_path / "studio.db") as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    with pytest.raises(StoreError, match="database of a studio"):
        taken_in(chats, (tmp_path / "studio.db").read_bytes(), "studio.db")


def test_a_table_that_never_ends_is_given_up(chats: Chats, tmp_path: Path) -> None:
    path = tmp_path / "bomb.db"
    with sqlite3.connect(path) as db:
        db.executescript(
            """CREATE TABLE message (chat_id, author, text);
            CREATE TABLE chat (id, n AS (1));
            INSERT INTO chat (id) VALUES (1);
            PRAGMA writable_schema = ON;
            UPDATE sqlite_master SET sql = 'CREATE VIEW chat AS WITH RECURSIVE r(id) AS (SELECT 1 UNION ALL'
                || ' SELECT id + 1 FROM r) SELECT * FROM r WHERE id < 0', rootpage = 0 WHERE name = 'chat';"""
        )
    db.close()
    with pytest.raises(StoreError):
        taken_in(chats, path.read_bytes(), "bomb.db")


def block(kind: str, **more: Any) -> dict[str, Any]:
    return {"type": "contentBlock", "content": [{"type": kind, **more}]}


LMSTUDIO: dict[str, Any] = {
    "name": "Birds",
    "createdAt": 1700000000000,
    "perChatPredictionConfig": {"fields": [{"key": "llm.prediction.systemPrompt", "value": "Be brief."}]},
    "lastUsedModel": {"identifier": "qwen3"},
    "messages": [
        {
            "currentlySelected": 0,
            "versions": [
                {"type": "singleStep", "role": "user", "content": [{"type": "text", "text": "What is this?"}]},
                {"type": "singleStep", "role": "user", "content": [{"type": "text", "text": "What?"}]},
            ],
        },
        {
            "currentlySelected": 1,
            "versions": [
                {"type": "multiStep", "role": "assistant", "steps": [block("text", text="A plane.")]},
                {
                    "type": "multiStep",
                    "role": "assistant",
                    "steps": [
                        {**block("text", text="Wings."), "style": {"type": "thinking", "title": "Thought"}},
                        block("toolCallRequest", callId=7, name="look", parameters={"at": "sky"}),
                        block("toolCallResult", callId=7, name="look", content="feathers"),
                        {"type": "debugInfoBlock", "debugInfo": "x"},
                        {
                            **block("text", text="A bird."),
                            "genInfo": {
                                "identifier": "qwen3",
                                "stats": {
                                    "tokensPerSecond": 20.5,
                                    "timeToFirstTokenSec": 0.25,
                                    "totalTimeSec": 2.0,
                                    "promptTokensCount": 12,
                                    "predictedTokensCount": 40,
                                    "stopReason": "userStopped",
                                },
                            },
                        },
                    ],
                },
            ],
        },
        {"currentlySelected": 0, "versions": [{"type": "singleStep", "role": "user", "content": "Thanks"}]},
    ],
}


def test_a_conversation_of_lm_studio_comes_in_with_versions_steps_and_figures(chats: Chats) -> None:
    (session,) = taken_in(chats, LMSTUDIO, "1.conversation.json").taken
    assert (session.title, session.model, session.settings) == ("Birds", "qwen3", {"system": "Be brief."})
    question, call, result, answer, thanks = chats.branch(session.id)
    assert (question.content, thanks.content) == ("What is this?", "Thanks")
    assert (call.reasoning, call.tool_calls[0].name, json.loads(call.tool_calls[0].arguments)) == (
        *("Wings.", "look"),
        {"at": "sky"},
    )
    assert (result.content, result.tool_call_id) == ("feathers", call.tool_calls[0].id)
    assert (answer.content, answer.finish, answer.usage.completion_tokens) == ("A bird.", "stopped", 40)
    assert (answer.timings.ttft, answer.timings.total, answer.timings.tokens_per_second) == (0.25, 2.0, 20.5)
    beside = {one.content for one in chats.tree(session.id)} - {one.content for one in chats.branch(session.id)}
    assert beside == {"What?", "A plane."}


# --- whatever it is, it does no harm --------------------------------------------------------------------

NAMES = (
    *("mapping", "message", "parent", "children", "content", "parts", "content_type", "author", "role", "recipient"),
    *("metadata", "thoughts", "text", "versions", "steps", "currentlySelected", "messages", "type", "callId", "name"),
    *("genInfo", "stats", "createdAt", "current_node", "create_time", "session", "tool_calls", "id", "parent_id"),
)
WORDS = ("assistant", "user", "tool", "text", "contentBlock", "toolCallRequest", "toolCallResult", "thoughts", "a", "b")
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=6),
    max_leaves=30,
)


def harmless(chats: Chats, raw: bytes) -> None:
    try:
        found = chats.import_(raw, "file")
    except StoreError:
        return
    for one in (*found.taken, *found.known):
        chats.branch(one.id)


def changed(data: st.DataObject, value: Any) -> Any:
    """A document with some of its parts replaced by anything."""
    if data.draw(st.integers(0, 11)) == 0:
        return data.draw(anything)
    if isinstance(value, dict):
        return {name: changed(data, one) for name, one in value.items()}
    return [changed(data, one) for one in value] if isinstance(value, list) else value


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.data(), st.sampled_from([CHATGPT, LMSTUDIO]))
def test_a_spoilt_document_is_read_or_refused(chats: Chats, data: st.DataObject, document: dict[str, Any]) -> None:
    harmless(chats, json.dumps([changed(data, document)]).encode())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(anything)
def test_any_document_is_read_or_refused(chats: Chats, document: Any) -> None:
    harmless(chats, json.dumps(document).encode())


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_spoilt_bytes_of_archives_and_databases_are_read_or_refused(
    chats: Chats, data: st.DataObject, tmp_path: Path
) -> None:
    store = tmp_path / "store.db"
    raw = bytearray(data.draw(st.sampled_from([store.read_bytes() if store.exists() else oterm(tmp_path), ARCHIVE])))
    for at, value in data.draw(st.lists(st.tuples(st.integers(4, len(raw) - 1), st.integers(0, 255)), max_size=8)):
        raw[at] = value
    harmless(chats, bytes(raw[: data.draw(st.integers(4, len(raw)))]))


ARCHIVE = zipped({"conversations.json": [CHATGPT]})


def test_deep_nests_are_refused(chats: Chats) -> None:
    for depth in (500, 900, 5000):
        deep = "[" * depth + "]" * depth
        harmless(
            chats,
            f'[{{"mapping": {{"a": {{"message": {{"author": {{"role": "user"}}, '
            f'"content": {{"text": {deep}}}}}}}}}}}]'.encode(),
        )


# --- what real files have ---------------------------------------------------------------------------------

CITED = "A swan\ue200cite\ue202turn0search1\ue201 swims.\ue200image_group\ue202{}\ue201"
REFERENCES = [{"matched_text": "\ue200cite\ue202turn0search1\ue201", "alt": " ([birds](https://birds.example))"}]
PAGE = {"content_type": "tether_quote", "title": "Swans", "url": "https://birds.example", "text": "They swim."}
SPOKEN = {
    "content_type": "multimodal_text",
    "parts": [
        {"content_type": "audio_transcription", "text": "What swims?", "direction": "in"},
        {"content_type": "real_time_user_audio_video_asset_pointer", "audio_asset_pointer": {}},
    ],
}
CANVAS = '{"name": "swans", "type": "document", "content": "# Swans"}'
REAL = [
    node("client-created-root", None),
    node("context", "client-created-root", "user", {"content_type": "user_editable_context", "user_profile": "x"}),
    node("q", "context", "user", SPOKEN),
    node("search", "q", "assistant", {"content_type": "code", "language": "unknown", "text": "search()"}, to="web"),
    node("found", "search", "tool", PAGE, called="web"),
    node("cited", "found", "assistant", CITED, content_references=REFERENCES),
    node("q2", "cited", "user", "Write it down, as code too."),
    node("canvas", "q2", "assistant", {"content_type": "code", "text": CANVAS}, to="canmore.create_textdoc"),
    node("made", "canvas", "tool", "", called="canmore.create_textdoc"),
    node("code", "made", "assistant", {"content_type": "code", "language": "python", "text": "swim()\n"}),
    node("error", "code", "tool", {"content_type": "system_error", "name": "ToolError", "text": "it sank"}),
]


def test_texts_of_chatgpt_come_in_as_they_are_shown_there(chats: Chats) -> None:
    document = {"title": "Swans", "current_node": "error", "id": "s", "mapping": {one["id"]: one for one in REAL}}
    found = taken_in(chats, [document])
    branch = chats.branch(found.taken[0].id)
    assert said(branch) == [
        ("user", "What swims?"),
        ("assistant", ""),
        ("tool", "Swans\nhttps://birds.example\nThey swim."),
        ("assistant", "A swan ([birds](https://birds.example)) swims."),
        ("user", "Write it down, as code too."),
        ("assistant", ""),
        ("tool", "(the file does not hold the result)"),
        ("assistant", "```python\nswim()\n```"),
        ("tool", "it sank"),
    ]
    # What a tool was given is always an object: templates take nothing else.
    assert json.loads(branch[1].tool_calls[0].arguments) == {"code": "search()"}
    assert branch[5].tool_calls[0].arguments == CANVAS
    assert found.notes == ("left out: 1 × sound (the file names it, but does not hold it)",)


def test_lm_studio_names_files_models_and_figures_in_places_of_their_own(chats: Chats) -> None:
    document = {
        "name": "Sheet",
        "createdAt": 0,
        "messages": [
            {
                "currentlySelected": 0,
                "versions": [
                    {
                        "type": "singleStep",
                        "role": "user",
                        "content": [
                            {"type": "text", "text": "Describe"},
                            {"type": "file", "fileIdentifier": "1784921393420 - 4.png", "fileType": "image"},
                        ],
                    }
                ],
            },
            {
                "currentlySelected": 0,
                "versions": [
                    {
                        "type": "multiStep",
                        "role": "assistant",
                        "senderInfo": {"senderName": "qwen3"},
                        "steps": [
                            block("text", text="A sheet."),
                            {"type": "genInfo", "genInfo": {"stats": {"predictedTokensCount": 3}}},
                        ],
                    }
                ],
            },
        ],
    }
    found = taken_in(chats, document, "1.conversation.json")
    question, answer = chats.branch(found.taken[0].id)
    assert [(one.name, one.media_type) for one in question.files] == [("4.png", "image/png")]
    assert (answer.model, answer.usage.completion_tokens) == ("qwen3", 3)
    assert found.notes == ("left out: 1 × picture (the conversation names it, but does not hold it)",)
    # Without a moment of its beginning it is known by its text.
    other = json.loads(json.dumps(document).replace("Describe", "Explain"))
    assert len(taken_in(chats, other, "2.conversation.json").taken) == 1
