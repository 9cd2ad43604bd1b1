"""Going on where a chat was cut off: in the text, in a round of calls, or below."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.scripted_engine import DONE, TARGET, Engine, contents, kept, read, until
from tests.unit.test_tool_loop import NOON, PARIS, ROME, SAID
from tests.unit.tool_box import Box, Rounds, calls
from vllm_studio_tui.domain.chat import Delta, Ended, Message, Sampling, Timings, TokenUsage, ToolCall
from vllm_studio_tui.domain.errors import NotFound, UsageError
from vllm_studio_tui.domain.tools import (
    CallAsked,
    CallEnded,
    ChatEvent,
    Decision,
    RoundBegan,
    RoundEnded,
    ToolChoice,
    ToolResult,
)
from vllm_studio_tui.kit.paths import machine_id
from vllm_studio_tui.services.chat.chat import ChatService
from vllm_studio_tui.services.chat.going_on import GO_ON, WayOn, way_on
from vllm_studio_tui.services.chat.reopening import plan, reopen
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.marks import MessageMarks
from vllm_studio_tui.store.messages import MessageRows
from vllm_studio_tui.store.tool_calls import ToolCallRows


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    opened = Database.open(tmp_path / "studio.db")
    yield opened
    opened.close()


async def stopped_at_a_call(db: Database, box: Box, *wanted: tuple[str, str, str], over: int = 0) -> str:
    """Ask, and stop when so many calls are over and one waits for the person; return the chat."""
    service = ChatService(db, stream=Rounds(calls(*wanted), SAID))
    session, ended, asked = service.new_session("x"), 0, 0
    async with aclosing(service.send(session, "weather?", TARGET, tools=box)) as events:
        async for event in events:
            ended += isinstance(event, CallEnded)
            asked += isinstance(event, CallAsked)
            if asked and ended >= over:
                break
    return session


async def decided(
    service: ChatService, events: AsyncGenerator[ChatEvent, None], decision: Decision = Decision.ONCE
) -> list[ChatEvent]:
    found: list[ChatEvent] = []
    async with aclosing(events):
        async for event in events:
            found.append(event)
            if isinstance(event, CallAsked):
                assert service.decide(event.call.id, decision)
    return found


async def test_a_call_that_waited_is_asked_about_again_and_made_once(db: Database) -> None:
    box = Box()
    session = await stopped_at_a_call(db, box, PARIS)
    assert box.made == []
    engine = Rounds(SAID)
    service = ChatService(db, stream=engine)
    events = await decided(service, service.go_on(session, None, TARGET, tools=box))
    assert [type(one).__name__ for one in events] == [
        *("RoundEnded", "CallAsked", "CallBegan", "CallEnded", "RoundBegan", "Delta", "Ended")
    ]
    assert box.made == [("weather", {"city": "Paris"})]
    result = "weather of {'city': 'Paris'}"
    assert contents(db, session) == [
        ("user", "weather?", None),
        ("assistant", "", "tool_calls"),
        ("tool", result, None),
        ("assistant", "It is warm.", "stop"),
    ]
    assert [one["role"] for one in engine.asked[0].messages] == ["user", "assistant", "tool"]
    assert engine.asked[0].messages[-1]["content"] == result
    (row,) = ToolCallRows(db).of_answer(MessageRows(db).branch(session)[1].id)
    assert (row["state"], row["decided"], row["owner"]) == ("done", "once", None)
    began = next(one for one in events if isinstance(one, RoundBegan))
    assert (began.number, began.message_id) == (2, kept(db, session).id)
    with pytest.raises(UsageError, match="whole"):
        await read(service.go_on(session, None, TARGET, tools=box))


async def test_what_was_made_before_is_not_made_again(db: Database) -> None:
    box = Box()
    session = await stopped_at_a_call(db, box, NOON, PARIS, over=1)
    assert box.made == [("clock", {})]
    service = ChatService(db, stream=Rounds(SAID))
    events = await decided(service, service.go_on(session, None, TARGET, tools=box))
    assert box.made == [("clock", {}), ("weather", {"city": "Paris"})]
    (ended,) = [one for one in events if isinstance(one, RoundEnded)]
    assert [call.id for call in ended.ended.tool_calls] == [PARIS[0]]
    assert [one[0] for one in contents(db, session)] == ["user", "assistant", "tool", "tool", "assistant"]
    assert [one[2] for one in contents(db, session)][2:4] == [None, None]


async def test_what_was_being_made_is_never_made_again_and_is_answered_as_it_is(db: Database) -> None:
    begun = asyncio.Event()

    async def slow(_: Mapping[str, Any]) -> ToolResult:
        begun.set()
        await asyncio.sleep(600)
        return ToolResult("never")

    service, box = ChatService(db, stream=Rounds(calls(NOON), SAID)), Box(clock=slow)
    session = service.new_session("x")
    task = asyncio.create_task(read(service.send(session, "x", TARGET, tools=box)))
    await begun.wait()
    task.cancel()
    await asyncio.wait([task])
    engine = Rounds(SAID)
    service = ChatService(db, stream=engine)
    events = await read(service.go_on(session, None, TARGET, tools=box))
    assert len(box.made) == 1
    assert [type(one).__name__ for one in events] == ["RoundBegan", "Delta", "Ended"]
    assert "not known" in engine.asked[0].messages[-1]["content"]
    assert contents(db, session)[-1] == ("assistant", "It is warm.", "stop")


async def test_what_the_person_denied_stays_denied(db: Database) -> None:
    box = Box()
    service = ChatService(db, stream=Rounds(calls(PARIS, ROME), SAID))
    session = service.new_session("x")
    async with aclosing(service.send(session, "x", TARGET, tools=box)) as events:
        async for event in events:
            if isinstance(event, CallAsked) and event.call.id == PARIS[0]:
                service.decide(PARIS[0], Decision.DENY)
            if isinstance(event, CallEnded):
                break
    service = ChatService(db, stream=Rounds(SAID))
    events_then = await decided(service, service.go_on(session, None, TARGET, tools=box))
    assert [one.call.id for one in events_then if isinstance(one, CallAsked)] == [ROME[0]]
    assert box.made == [("weather", {"city": "Rome"})]


async def test_a_call_of_a_program_that_was_killed_is_asked_about_again(db: Database) -> None:
    box = Box()
    service = ChatService(db, stream=Rounds(calls(PARIS), SAID))
    session = service.new_session("x")
    task = asyncio.create_task(read(service.send(session, "x", TARGET, tools=box)))
    await until(lambda: PARIS[0] in service._loop.decisions, "the call that waits")
    for table in ("tool_calls", "chat_messages"):
        gone = f"{machine_id()}:another boot:1:1"
        db._connection.execute(f"UPDATE {table} SET owner = ? WHERE owner IS NOT NULL", (gone,))  # noqa: S608
    service.settle_interrupted()
    task.cancel()
    await asyncio.wait([task])
    assert kept(db, session).finish == "interrupted"
    service = ChatService(db, stream=Rounds(SAID))
    await decided(service, service.go_on(session, None, TARGET, tools=box))
    assert len(box.made) == 1
    assert contents(db, session)[-1][1] == "It is warm."


async def test_it_may_be_stopped_again_and_gone_on_with_again(db: Database) -> None:
    box = Box()
    session = await stopped_at_a_call(db, box, PARIS)
    for _ in range(3):
        service = ChatService(db, stream=Rounds(SAID))
        async with aclosing(service.go_on(session, None, TARGET, tools=box)) as events:
            async for event in events:
                if isinstance(event, CallAsked):
                    break
        assert kept(db, session).finish == "stopped"
    service = ChatService(db, stream=Rounds(SAID))
    await decided(service, service.go_on(session, None, TARGET, tools=box), Decision.DENY)
    assert box.made == []
    assert [one[0] for one in contents(db, session)] == ["user", "assistant", "tool", "assistant"]


async def test_two_that_go_on_at_once_make_a_call_once(db: Database) -> None:
    session = await stopped_at_a_call(db, Box(), PARIS)
    what = plan(MessageRows(db).branch(session), Box())
    assert [one.call.id for one in reopen(db, what)] == [PARIS[0]]
    assert reopen(db, what) == []


async def test_calls_that_nobody_was_to_make_are_made_where_the_chat_goes_on(db: Database) -> None:
    wanted = ToolCall("call_0", "weather", '{"city": "Paris"}')
    engine, box = Rounds([Ended("tool_calls", tool_calls=(wanted, replace(wanted, id="")))], SAID), Box()
    service = ChatService(db, stream=engine)
    session = service.new_session("x")
    await read(service.send(session, "x", TARGET))
    assert kept(db, session).finish == "tool_calls"
    for nothing in (None, ToolChoice(call=False)):
        with pytest.raises(UsageError, match="weather") as refused:
            await read(service.go_on(session, None, TARGET, tools=nothing))
        assert "--allow" in refused.value.advice
    assert len(engine.asked) == 1
    events = await decided(service, service.go_on(session, None, TARGET, tools=box))
    assert box.made == [("weather", {"city": "Paris"})]  # the second is the same
    assert [one.how for one in events if isinstance(one, CallEnded)] == ["done", "repeated"]
    branch = MessageRows(db).branch(session)
    assert [one.role for one in branch] == ["user", "assistant", "tool", "tool", "assistant"]
    assert [one.tool_call_id for one in branch[2:4]] == [call.id for call in branch[1].tool_calls]
    assert len({call.id for call in branch[1].tool_calls} - {""}) == 2


async def test_a_call_whose_result_was_taken_away_is_not_made_again(db: Database) -> None:
    box = Box()
    service = ChatService(db, stream=Rounds(calls(NOON), SAID))
    session = service.new_session("x")
    await read(service.send(session, "x", TARGET, tools=box))
    MessageMarks(db).remove(MessageRows(db).branch(session)[2].id)
    with pytest.raises(UsageError, match="taken away"):
        await read(service.go_on(session, None, TARGET, tools=box))
    assert len(box.made) == 1


async def test_results_without_an_answer_are_answered_also_without_tools(db: Database) -> None:
    box = Box()
    service = ChatService(db, stream=Rounds(calls(NOON), SAID))
    session = service.new_session("x")
    await read(service.send(session, "x", TARGET, tools=box))
    MessageMarks(db).remove(kept(db, session).id)
    await read(service.go_on(session, None, TARGET))
    assert [one[0] for one in contents(db, session)] == ["user", "assistant", "tool", "assistant"]
    assert len(box.made) == 1


async def test_text_is_written_on_and_may_call_tools_then(db: Database) -> None:
    engine, box = Rounds([Delta("Let me"), Ended("length")], [Delta(" look."), *calls(NOON)], SAID), Box()
    service = ChatService(db, stream=engine)
    session = service.new_session("x")
    await read(service.send(session, "x", TARGET, tools=box))
    await read(service.go_on(session, None, TARGET, tools=box, sampling=Sampling(extra={"top_k": 5})))
    assert contents(db, session)[1:] == [
        ("assistant", "Let me look.", "tool_calls"),
        ("tool", "clock of {}", None),
        ("assistant", "It is warm.", "stop"),
    ]
    assert engine.asked[1].sampling.extra["continue_final_message"] is True
    assert engine.asked[1].messages[-1] == {"role": "assistant", "content": "Let me"}
    assert engine.asked[2].sampling.extra == {"top_k": 5}  # the next answer is one of its own


async def test_llamacpp_writes_on_without_thinking_first(db: Database) -> None:
    engine = Engine(Delta("one"), Ended("length"))
    service, here = ChatService(db, stream=engine), replace(TARGET, backend="llamacpp")
    session = service.new_session("x")
    await read(service.send(session, "x", here))
    given = Sampling(extra={"chat_template_kwargs": {"enable_thinking": True, "style": "short"}})
    await read(service.go_on(session, None, here, sampling=given))
    asked = engine.asked[1].sampling.extra
    assert asked["chat_template_kwargs"] == {"enable_thinking": False, "style": "short"}


async def test_an_engine_that_cannot_write_on_is_asked_to_below(db: Database) -> None:
    engine = Engine(Delta("one, two"), Ended("length"))
    service = ChatService(db, stream=engine)
    session = service.new_session("x")
    await read(service.send(session, "count", TARGET))
    engine.script = (Delta(", three"), DONE)
    await read(service.go_on(session, None, replace(TARGET, backend="transformers")))
    assert contents(db, session)[1:] == [
        ("assistant", "one, two", "length"),
        ("user", GO_ON, None),
        ("assistant", ", three", "stop"),
    ]


async def test_an_answer_that_had_said_nothing_is_written_again_beside(db: Database) -> None:
    engine = Engine(Delta(reasoning="hm"), Ended("length"))
    service = ChatService(db, stream=engine)
    session = service.new_session("x")
    await read(service.send(session, "count", TARGET))
    first = kept(db, session)
    engine.script = (Delta("one"), DONE)
    await read(service.go_on(session, first.id, TARGET))
    assert contents(db, session)[1:] == [("assistant", "one", "stop")]
    assert len(service.messages.siblings(first.id)) == 2


async def test_there_must_be_something_to_go_on_with(db: Database) -> None:
    engine = Engine(Delta("one"), DONE)
    service = ChatService(db, stream=engine)
    session, other = service.new_session("x"), service.new_session("y")
    with pytest.raises(UsageError, match="whole"):
        await read(service.go_on(session, None, TARGET))
    await read(service.send(session, "count", TARGET))
    with pytest.raises(UsageError, match="whole"):
        await read(service.go_on(session, None, TARGET))
    with pytest.raises(NotFound):
        await read(service.go_on(other, kept(db, session).id, TARGET))
    with pytest.raises(NotFound):
        await read(service.go_on("none", None, TARGET))
    assert len(engine.asked) == 1


def _assistant(finish: str, content: str = "x", tool_calls: Sequence[ToolCall] = ()) -> Message:
    return Message("a", "s", "assistant", content, finish=finish, tool_calls=tuple(tool_calls))


@pytest.mark.parametrize(
    ("last", "writes_on", "way"),
    [
        (_assistant("stopped"), True, WayOn.TEXT),
        (_assistant("interrupted"), False, WayOn.QUESTION),
        (_assistant("failed", ""), True, WayOn.AGAIN),
        (_assistant("stop"), True, None),
        (_assistant("streaming"), True, None),
        (Message("q", "s", "user", "x"), True, WayOn.ANSWER),
        (_assistant("tool_calls", "", [ToolCall("c", "n", "{}")]), True, WayOn.CALLS),
    ],
)
def test_how_a_chat_goes_on_is_seen_in_its_last_message(last: Message, writes_on: bool, way: WayOn | None) -> None:
    assert way_on([last], writes_on=writes_on) is way
    assert way_on([], writes_on=writes_on) is None


def test_a_round_that_is_being_made_is_left_alone() -> None:
    answer = _assistant("tool_calls", "", [ToolCall("c", "n", "{}")])
    result = Message("r", "s", "tool", "", "a", tool_call_id="c", finish="streaming")
    assert way_on([answer, result], writes_on=True) is None


async def test_figures_of_an_answer_that_went_on_are_of_both_its_parts(db: Database) -> None:
    first = Ended("length", TokenUsage(10, 100), Timings(0.5, 1.0, 4.5, 25.0))
    second = Ended("stop", TokenUsage(110, 60), Timings(1.0, None, 3.0, 30.0))
    service = ChatService(db, stream=Rounds([Delta(content="one"), first], [Delta(content=" two"), second]))
    session = service.new_session("x")
    await read(service.send(session, "count", TARGET))
    await read(service.go_on(session, None, TARGET))
    answer = kept(db, session)
    assert answer.content == "one two"
    assert answer.usage.completion_tokens == 160
    assert (answer.timings.ttft, answer.timings.thinking, answer.timings.total) == (0.5, 1.0, 7.5)
    assert answer.timings.tokens_per_second == pytest.approx(160 / 7.0)
