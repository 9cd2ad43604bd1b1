"""Going on in a chat: the next question, another answer, an edited question, a cut answer, a tool."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from tests.unit.scripted_engine import DONE, TARGET, Engine, contents, kept, read
from vllm_studio_tui.domain.chat import (
    Delta,
    Ended,
    Message,
    Sampling,
    Target,
    TokenUsage,
    ToolCall,
)
from vllm_studio_tui.domain.errors import UsageError
from vllm_studio_tui.services.chat.chat import ChatService
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.requests import RequestRows


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    opened = Database.open(tmp_path / "studio.db")
    yield opened
    opened.close()


async def test_a_second_question_is_asked_with_what_came_before_but_without_thinking(db: Database) -> None:
    engine = Engine(Delta("<think>secret</think>one"), DONE)
    service = ChatService(db, stream=engine)
    session = service.new_session("first", settings={"system": "Be brief."})
    await read(service.send(session, "first", TARGET))
    await read(service.send(session, "second", TARGET, images=["data:image/png;base64,AA=="]))
    assert list(engine.asked[1].messages) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "one"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "second"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
            ],
        },
    ]


async def test_another_answer_stands_beside_the_first(db: Database) -> None:
    engine = Engine(Delta("an answer"), DONE)
    service = ChatService(db, stream=engine)
    session = service.new_session("x")
    await read(service.send(session, "x", TARGET))
    first = kept(db, session)
    await read(service.regenerate(session, first.id, TARGET))
    second = kept(db, session)
    assert [one.id for one in service.messages.siblings(first.id)] == [first.id, second.id]
    assert engine.asked[0].messages == engine.asked[1].messages
    assert len(service.messages.tree(session)) == 3


async def test_an_edited_question_leaves_the_first_where_it_was(db: Database) -> None:
    engine = Engine(Delta("answer"), DONE)
    service = ChatService(db, stream=engine)
    session = service.new_session("x")
    await read(service.send(session, "frist", TARGET))
    question = service.messages.branch(session)[0]
    await read(service.edit(session, question.id, "first", TARGET))
    assert contents(db, session) == [("user", "first", None), ("assistant", "answer", "stop")]
    assert [one.content for one in service.messages.siblings(question.id)] == ["frist", "first"]
    with pytest.raises(UsageError, match="question"):
        await read(service.edit(session, kept(db, session).id, "x", TARGET))


async def test_a_cut_answer_is_written_on(db: Database) -> None:
    engine = Engine(Delta("one, two"), Ended("length", TokenUsage(5, 4)))
    service = ChatService(db, stream=engine)
    session = service.new_session("x")
    await read(service.send(session, "count", TARGET))
    answer = kept(db, session)
    engine.script = (Delta(", three"), Ended("stop", TokenUsage(9, 3)))
    await read(service.continue_answer(session, answer.id, TARGET, sampling=Sampling(extra={"top_k": 5})))
    now = kept(db, session)
    assert (now.id, now.content, now.finish) == (answer.id, "one, two, three", "stop")
    assert now.usage == TokenUsage(9, 7)
    assert engine.asked[1].messages[-1] == {"role": "assistant", "content": "one, two"}
    assert engine.asked[1].sampling.extra == {
        "top_k": 5,
        "continue_final_message": True,
        "add_generation_prompt": False,
    }
    assert sorted(one.completion_tokens or 0 for one in RequestRows(db).recent()) == [3, 4]


async def test_stopping_while_an_answer_is_written_on_keeps_both_parts(db: Database) -> None:
    engine = Engine(Delta("one"), Ended("length"))
    service = ChatService(db, stream=engine)
    session = service.new_session("x")
    await read(service.send(session, "count", TARGET))
    engine.script = (Delta(", two"), Delta(", three"), DONE)
    async with aclosing(service.continue_answer(session, kept(db, session).id, TARGET)) as events:
        await anext(events)
    assert contents(db, session)[-1] == ("assistant", "one, two", "stopped")


async def test_what_cannot_be_written_on_is_refused_and_left_alone(db: Database) -> None:
    engine = Engine(Delta("one"), Ended("length"))
    service = ChatService(db, stream=engine)
    session = service.new_session("x")
    await read(service.send(session, "x", TARGET))
    answer = kept(db, session)
    with pytest.raises(UsageError, match="cannot write on"):
        await read(service.continue_answer(session, answer.id, Target("u", "m", backend="transformers")))
    with pytest.raises(UsageError, match="no text"):
        await read(service.continue_answer(session, answer.parent_id or "", TARGET))
    assert kept(db, session) == answer
    assert len(engine.asked) == 1


async def test_a_tools_result_is_answered(db: Database) -> None:
    call = ToolCall("c", "time", "{}")
    engine = Engine(Ended("tool_calls", tool_calls=(call,)))
    service = ChatService(db, stream=engine)
    session = service.new_session("x")
    await read(service.send(session, "what time?", TARGET))
    asking = kept(db, session)
    assert asking.tool_calls == (call,)
    result = service.messages.append(Message("", session, "tool", "noon", asking.id, tool_call_id="c"))
    engine.script = (Delta("It is noon."), DONE)
    await read(service.answer(session, result.id, TARGET))
    assert [one["role"] for one in engine.asked[1].messages] == ["user", "assistant", "tool"]
    assert contents(db, session)[-1] == ("assistant", "It is noon.", "stop")
