"""Rounds of tool calls: decided, on record before they are made, answered once, kept in the tree."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from tests.unit.scripted_engine import DONE, TARGET, contents, read, until
from tests.unit.tool_box import CLOCK, WEATHER, Box, Rounds, calls
from vllm_studio_tui.domain.chat import Delta, Ended, Sampling, StreamEvent, ToolCall
from vllm_studio_tui.domain.tools import (
    MAX_RESULT,
    MAX_ROUNDS,
    CallAsked,
    CallBegan,
    CallEnded,
    ChatEvent,
    Decision,
    RoundBegan,
    RoundEnded,
    ToolChoice,
    ToolResult,
)
from vllm_studio_tui.kit.paths import Places, machine_id
from vllm_studio_tui.services.chat.chat import ChatService
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.messages import MessageRows
from vllm_studio_tui.store.requests import RequestRows
from vllm_studio_tui.store.tool_calls import ToolCallRows
from vllm_studio_tui.studio import Studio

PARIS = ("id-of-the-first-call", "weather", '{"city": "Paris"}')
ROME = ("id-of-the-second-call", "weather", '{"city": "Rome"}')
NOON = ("id-of-the-clock", "clock", "{}")
SAID: list[StreamEvent] = [Delta("It is warm."), DONE]


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    opened = Database.open(tmp_path / "studio.db")
    yield opened
    opened.close()


async def ask(
    service: ChatService,
    box: Box,
    decide: Decision | None = Decision.ONCE,
    *,
    arguments: Mapping[str, Any] | None = None,
    session: str | None = None,
    sampling: Sampling | None = None,
) -> tuple[str, list[ChatEvent]]:
    """Ask, and decide every call alike."""
    session = session or service.new_session("weather?")
    events: list[ChatEvent] = []
    async for event in service.send(session, "weather?", TARGET, tools=box, sampling=sampling):
        events.append(event)
        if isinstance(event, CallAsked) and decide is not None:
            assert service.decide(event.call.id, decide, arguments)
    return session, events


async def test_a_call_is_made_and_answered_and_all_of_it_is_in_the_tree(db: Database) -> None:
    engine, box = Rounds([Delta("Let me look."), *calls(PARIS)], SAID), Box()
    service = ChatService(db, stream=engine)
    session, events = await ask(service, box)
    assert [type(one) for one in events] == [
        Delta,
        RoundEnded,
        CallAsked,
        CallBegan,
        CallEnded,
        RoundBegan,
        Delta,
        Ended,
    ]
    assert events[-1] == DONE
    assert box.made == [("weather", {"city": "Paris"})]
    result = "weather of {'city': 'Paris'}"
    assert contents(db, session) == [
        ("user", "weather?", None),
        ("assistant", "Let me look.", "tool_calls"),
        ("tool", result, None),
        ("assistant", "It is warm.", "stop"),
    ]
    asked, called, ended = events[2], events[3], events[4]
    assert isinstance(asked, CallAsked) and asked.tool == WEATHER and asked.number == 1
    assert isinstance(called, CallBegan) and called.call.arguments == PARIS[2]
    assert isinstance(ended, CallEnded) and (ended.how, ended.result.text) == ("done", result)
    branch = MessageRows(db).branch(session)
    assert [asked.message_id, ended.message_id] == [branch[1].id, branch[2].id]
    further = events[5]
    assert isinstance(further, RoundBegan) and (further.number, further.message_id) == (2, branch[3].id)
    assert branch[2].details["call"]["how"] == "done" and branch[2].details["call"]["decided"] == "once"
    (row,) = ToolCallRows(db).of_answer(branch[1].id)
    assert (row["state"], row["decided"], row["name"], row["owner"]) == ("done", "once", "weather", None)
    assert [one["role"] for one in engine.asked[1].messages] == ["user", "assistant", "tool"]
    assert engine.asked[0].tools == (WEATHER.to_openai(), CLOCK.to_openai())
    assert len(RequestRows(db).recent()) == 2


async def test_a_call_is_on_record_before_it_is_made(db: Database) -> None:
    seen: list[Any] = []

    def look(_: Mapping[str, Any]) -> ToolResult:
        seen.extend((row["state"], row["owner"] is not None) for row in db.rows("SELECT state, owner FROM tool_calls"))
        return ToolResult("x")

    await ask(ChatService(db, stream=Rounds(calls(NOON), SAID)), Box(clock=look))
    assert seen == [("running", True)]


async def test_what_is_denied_is_not_made_and_the_model_is_told(db: Database) -> None:
    engine, box = Rounds(calls(PARIS), SAID), Box()
    _, events = await ask(ChatService(db, stream=engine), box, Decision.DENY)
    assert box.made == []
    assert [one.how for one in events if isinstance(one, CallEnded)] == ["denied"]
    assert "did not allow" in engine.asked[1].messages[-1]["content"]
    assert db.row("SELECT state, decided FROM tool_calls")[:] == ("denied", "deny")  # type: ignore[index]


async def test_nobody_is_asked_for_what_only_reads(db: Database) -> None:
    _, events = await ask(ChatService(db, stream=Rounds(calls(NOON), SAID)), box := Box(), None)
    assert box.made == [("clock", {})]
    assert not [one for one in events if isinstance(one, CallAsked)]


async def test_changed_arguments_are_what_is_made_and_the_model_is_told(db: Database) -> None:
    engine, box = Rounds(calls(PARIS), SAID), Box()
    session, _ = await ask(ChatService(db, stream=engine), box, arguments={"city": "Oslo"})
    assert box.made == [("weather", {"city": "Oslo"})]
    assert '{"city": "Oslo"}' in engine.asked[1].messages[-1]["content"]
    assert json.loads(db.row("SELECT arguments FROM tool_calls")[0]) == {"city": "Oslo"}  # type: ignore[index]
    assert MessageRows(db).branch(session)[2].details["call"]["arguments"] == '{"city": "Oslo"}'


async def test_calls_of_one_answer_are_made_beside_each_other_and_told_in_their_order(db: Database) -> None:
    first_may_end = asyncio.Event()

    async def answer(arguments: Mapping[str, Any]) -> ToolResult:
        if arguments["city"] == "Paris":
            await first_may_end.wait()
        else:
            first_may_end.set()
        return ToolResult(arguments["city"])

    engine = Rounds(calls(PARIS, ROME), SAID)
    session, events = await ask(ChatService(db, stream=engine), Box(weather=answer))
    ended = [one.result.text for one in events if isinstance(one, CallEnded)]
    assert ended == ["Rome", "Paris"]
    results = [one for one in engine.asked[1].messages if one["role"] == "tool"]
    assert [(one["tool_call_id"], one["content"]) for one in results] == [(PARIS[0], "Paris"), (ROME[0], "Rome")]
    branch = MessageRows(db).branch(session)
    assert [one.role for one in branch] == ["user", "assistant", "tool", "tool", "assistant"]


async def test_an_identical_call_is_answered_from_the_first_result(db: Database) -> None:
    again = ("another-id-altogether", "weather", '{ "city":"Paris" }')
    engine, box = Rounds(calls(PARIS, again), calls(("and-a-third-id", *PARIS[1:]), ROME), SAID), Box()
    _, events = await ask(ChatService(db, stream=engine), box)
    assert [one[1]["city"] for one in box.made] == ["Paris", "Rome"]
    assert [one.how for one in events if isinstance(one, CallEnded)] == ["done", "repeated", "repeated", "done"]
    assert len([one for one in events if isinstance(one, CallAsked)]) == 2
    assert engine.asked[2].messages[-2]["content"] == engine.asked[1].messages[-1]["content"]


async def test_a_model_that_only_repeats_itself_gets_no_tools_any_more(db: Database) -> None:
    engine, box = Rounds(calls(NOON), calls(("the-same-again", *NOON[1:])), SAID), Box()
    _, events = await ask(ChatService(db, stream=engine), box)
    assert len(box.made) == 1
    assert [bool(one.tools) for one in engine.asked] == [True, True, False]
    end = events[-1]
    assert isinstance(end, Ended) and "repeated" in (end.advice or "")


async def test_there_are_no_more_than_so_many_rounds(db: Database) -> None:
    class Endless(Rounds):
        async def __call__(self, target: Any, request: Any) -> AsyncGenerator[Any, None]:
            self.asked.append(request)
            number = len(self.asked)
            if request.tools:
                yield Ended("tool_calls", tool_calls=(ToolCall(f"a-call-{number:09}", "clock", f'{{"n": {number}}}'),))
            else:
                for event in SAID:
                    yield event

    engine, box = Endless(), Box()
    _, events = await ask(ChatService(db, stream=engine), box)
    assert len(box.made) == MAX_ROUNDS
    assert len([one for one in events if isinstance(one, RoundEnded)]) == MAX_ROUNDS
    end = events[-1]
    assert isinstance(end, Ended) and end.finish == "stop" and "rounds" in (end.advice or "")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (("x" * 20, "rain", "{}"), "There is no tool rain. There are: weather, clock."),
        (("x" * 20, "weather", '{"city": "Par'), "not a JSON object"),
        (("x" * 20, "weather", "[1]"), "not a JSON object"),
        (("x" * 20, "weather", "[" * 100_000), "not a JSON object"),
    ],
)
async def test_a_call_that_cannot_be_made_is_told_to_the_model(db: Database, call: Any, words: str) -> None:
    engine, box = Rounds(calls(call), SAID), Box()
    _, events = await ask(ChatService(db, stream=engine), box)
    assert box.made == []
    assert words in engine.asked[1].messages[-1]["content"]
    assert [one.how for one in events if isinstance(one, CallEnded)] == ["failed"]


async def test_a_tool_that_breaks_is_a_result_too(db: Database) -> None:
    def broken(_: Mapping[str, Any]) -> ToolResult:
        raise RuntimeError("on fire")

    engine = Rounds(calls(NOON), SAID)
    _, events = await ask(ChatService(db, stream=engine), Box(clock=broken))
    (ended,) = [one for one in events if isinstance(one, CallEnded)]
    assert (ended.how, ended.result.is_error) == ("failed", True)
    assert "on fire" in ended.result.text


async def test_a_large_result_is_cut_and_told(db: Database) -> None:
    engine = Rounds(calls(NOON), SAID)
    _, events = await ask(ChatService(db, stream=engine), Box(clock=lambda _: ToolResult("ä" * MAX_RESULT)))
    (ended,) = [one for one in events if isinstance(one, CallEnded)]
    assert ended.result.size == 2 * MAX_RESULT
    assert len(ended.result.text.encode()) <= MAX_RESULT
    assert ended.result.text.endswith(f"[cut: {MAX_RESULT} of {2 * MAX_RESULT} bytes]")


async def test_what_is_allowed_for_the_chat_lets_waiting_calls_go_on(db: Database) -> None:
    service, box = ChatService(db, stream=Rounds(calls(PARIS, ROME), SAID)), Box()
    session = service.new_session("x")
    events: list[ChatEvent] = []
    async for event in service.send(session, "x", TARGET, tools=box):
        events.append(event)
        if isinstance(event, CallAsked) and event.call.id == ROME[0]:
            service.decide(ROME[0], Decision.CHAT)
    assert len(box.made) == 2
    assert len([one for one in events if isinstance(one, CallAsked)]) == 2


@pytest.mark.parametrize(("decision", "elsewhere"), [(Decision.CHAT, 1), (Decision.ALWAYS, 0)])
async def test_what_is_allowed_for_longer_is_kept(
    db: Database, tmp_path: Path, decision: Decision, elsewhere: int
) -> None:
    consents, box = Studio(Places.under(tmp_path)).tools, Box()
    service = ChatService(db, stream=Rounds(calls(PARIS), SAID), consents=consents)
    session, _ = await ask(service, box, decision)
    (kept,) = consents.consents()
    assert (kept.tool, kept.session_id) == ("weather", session if decision is Decision.CHAT else None)
    for where, asked in ((session, 0), (None, elsewhere)):
        service = ChatService(db, stream=Rounds(calls(ROME), SAID), consents=consents)
        _, events = await ask(service, box, session=where)
        assert len([one for one in events if isinstance(one, CallAsked)]) == asked


async def test_calls_may_be_told_and_not_made(db: Database, tmp_path: Path) -> None:
    engine = Rounds([Ended("tool_calls", tool_calls=(ToolCall("x" * 20, "builtin__time", "{}"),))], SAID)
    tools = Studio(Places.under(tmp_path)).tools
    service = ChatService(db, stream=engine, open_tools=lambda choice: tools.open(choice.names))
    session = service.new_session("x")
    (ended,) = await read(service.send(session, "x", TARGET, tools=ToolChoice(call=False)))
    assert isinstance(ended, Ended)
    assert ended.finish == "tool_calls"
    assert [one[0] for one in contents(db, session)] == ["user", "assistant"]
    assert db.row("SELECT COUNT(*) FROM tool_calls")[0] == 0  # type: ignore[index]


async def test_a_studio_opens_its_own_tools_by_their_names(db: Database, tmp_path: Path) -> None:
    engine = Rounds([Ended("tool_calls", tool_calls=(ToolCall("x" * 20, "builtin__time", "{}"),))], SAID)
    tools = Studio(Places.under(tmp_path)).tools
    service = ChatService(db, stream=engine, open_tools=lambda choice: tools.open(choice.names))
    session = service.new_session("x")
    await read(service.send(session, "x", TARGET, tools=ToolChoice(("builtin",))))
    offered = [one["function"]["name"] for one in engine.asked[0].tools]
    assert offered and all(one.startswith("builtin__") for one in offered)
    assert "There is no tool" not in engine.asked[1].messages[-1]["content"]


async def test_ids_that_came_twice_or_not_at_all_are_made_unique(db: Database) -> None:
    engine = Rounds(
        calls(("call_0", "clock", '{"n": 1}'), ("", "clock", '{"n": 2}')), calls(("call_0", "clock", "{}")), SAID
    )
    session, _ = await ask(ChatService(db, stream=engine), Box())
    ids = [call.id for one in MessageRows(db).branch(session) for call in one.tool_calls]
    assert len(set(ids)) == 3
    assert all(len(one) == 9 and one.isalnum() for one in ids)
    assert {one.tool_call_id for one in MessageRows(db).branch(session) if one.role == "tool"} == set(ids)


async def test_stopping_while_a_call_waits_makes_nothing_and_leaves_a_whole_tree(db: Database) -> None:
    service, box = ChatService(db, stream=Rounds(calls(PARIS), SAID)), Box()
    session = service.new_session("x")
    async with aclosing(service.send(session, "x", TARGET, tools=box)) as events:
        async for event in events:
            if isinstance(event, CallAsked):
                break
    assert box.made == []
    assert contents(db, session)[-1] == ("tool", "This call was not made: the person stopped it.", "stopped")
    assert db.row("SELECT state, owner FROM tool_calls")[:] == ("denied", None)  # type: ignore[index]
    assert not service.decide(PARIS[0], Decision.ONCE)
    again = Rounds(SAID)
    result = MessageRows(db).branch(session)[-1]
    await read(ChatService(db, stream=again).regenerate(session, result.id, TARGET))
    assert [one["role"] for one in again.asked[0].messages] == ["user", "assistant", "tool"]
    assert [one[0] for one in contents(db, session)] == ["user", "assistant", "tool", "assistant"]


async def test_stopping_at_the_end_of_a_round_makes_nothing(db: Database) -> None:
    service, box = ChatService(db, stream=Rounds(calls(NOON), SAID)), Box()
    session = service.new_session("x")
    async with aclosing(service.send(session, "x", TARGET, tools=box)) as events:
        async for event in events:
            if isinstance(event, RoundEnded):
                break
    assert box.made == []
    assert contents(db, session)[-1][2] == "stopped"


async def test_a_call_that_is_stopped_while_it_is_made_is_unknown(db: Database) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def slow(_: Mapping[str, Any]) -> ToolResult:
        begun.set()
        try:
            await asyncio.sleep(600)
        finally:
            ended.set()
        return ToolResult("never")

    service = ChatService(db, stream=Rounds(calls(NOON), SAID))
    session = service.new_session("x")
    task = asyncio.create_task(read(service.send(session, "x", TARGET, tools=Box(clock=slow))))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
    assert "not known" in contents(db, session)[-1][1]
    assert db.row("SELECT state FROM tool_calls")[0] == "unknown"  # type: ignore[index]


async def test_a_temporary_chat_has_rounds_and_keeps_nothing(db: Database) -> None:
    engine, box = Rounds([Delta("look"), *calls(PARIS)], SAID), Box()
    service = ChatService(db, stream=engine)
    async for event in service.send(None, "weather?", TARGET, tools=box, temporary=True):
        if isinstance(event, CallAsked):
            service.decide(event.call.id, Decision.CHAT)
    assert [one["role"] for one in engine.asked[1].messages] == ["user", "assistant", "tool"]
    assert len(box.made) == 1
    for table in ("chat_messages", "tool_calls", "chat_sessions"):
        assert db.row(f"SELECT COUNT(*) FROM {table}")[0] == 0  # type: ignore[index]  # noqa: S608
    assert len(RequestRows(db).recent()) == 2


async def test_an_answer_that_cannot_be_kept_has_its_calls_not_made(db: Database, tmp_path: Path) -> None:
    from vllm_studio_tui.domain.errors import NotSaved

    box = Box()
    service = ChatService(db, stream=Rounds(calls(NOON), SAID), folders=[tmp_path / "unsaved"])
    session = service.new_session("x")
    db._connection.execute(
        "CREATE TEMP TRIGGER full BEFORE INSERT ON tool_calls BEGIN SELECT RAISE(ABORT, 'no room'); END"
    )
    with pytest.raises(NotSaved):
        await read(service.send(session, "x", TARGET, tools=box))
    assert box.made == []
    await until(lambda: not service.unsaved.reasons(), "the answer in the database")
    assert contents(db, session)[-1][:2] == ("assistant", "")
    assert db.row("SELECT COUNT(*) FROM tool_calls")[0] == 0  # type: ignore[index]


def test_calls_of_a_program_that_is_gone_are_closed_and_not_made_again(db: Database) -> None:
    async def ask_and_stay() -> str:
        service = ChatService(db, stream=Rounds(calls(PARIS, NOON), SAID))
        session = service.new_session("x")
        clock = asyncio.Event()

        async def slow(_: Mapping[str, Any]) -> ToolResult:
            clock.set()
            await asyncio.sleep(600)
            return ToolResult("never")

        task = asyncio.create_task(read(service.send(session, "x", TARGET, tools=Box(clock=slow))))
        await clock.wait()
        await until(lambda: PARIS[0] in service._loop.decisions, "the call that waits")
        gone = f"{machine_id()}:another boot:1:1"
        # What a kill leaves: rows of a process that is not there.
        for table in ("tool_calls", "chat_messages"):
            db._connection.execute(f"UPDATE {table} SET owner = ? WHERE owner IS NOT NULL", (gone,))  # noqa: S608
        assert service.settle_interrupted() == 0
        task.cancel()
        await asyncio.wait([task])
        return session

    session = asyncio.run(ask_and_stay())
    branch = MessageRows(db).branch(session)
    assert [one.finish for one in branch[2:]] == ["interrupted", "interrupted"]
    assert ["not known" in one.content for one in branch[2:]] == [False, True]
    states = {row[0]: row[1] for row in db.rows("SELECT call_id, state FROM tool_calls")}
    assert states == {PARIS[0]: "denied", NOON[0]: "unknown"}
    assert not ToolCallRows(db).start(branch[1].id, PARIS[0], "once", "{}")


def test_the_end_of_an_answer_leaves_marks_alone(db: Database) -> None:
    rows = MessageRows(db)
    service = ChatService(db)
    session = service.new_session("x")
    from vllm_studio_tui.domain.chat import Message

    one = rows.append(Message("", session, "assistant", "", finish="streaming"))
    db._connection.execute(
        "UPDATE chat_messages SET bookmarked_at = 'now', deleted_at = 'then' WHERE id = ?", (one.id,)
    )
    rows.finish(one)
    kept = rows.get(one.id)
    assert (kept.bookmarked_at, kept.deleted_at) == ("now", "then")


async def test_a_pattern_allows_calls_with_arguments_like_it_and_no_others(db: Database, tmp_path: Path) -> None:
    consents, box = Studio(Places.under(tmp_path)).tools, Box()
    parma = ("id-of-a-third-call", "weather", '{"city": "Parma"}')
    service = ChatService(db, stream=Rounds(calls(PARIS, ROME, parma), SAID), consents=consents)
    session, asked = service.new_session("x"), []
    async for event in service.send(session, "x", TARGET, tools=box):
        if isinstance(event, CallAsked):
            asked.append(event.call.id)
            if len(asked) == 3:
                assert service.decide(PARIS[0], Decision.ALWAYS, None, {"city": "Pa*"})
        if isinstance(event, CallEnded) and event.call.id == parma[0]:
            assert service.decide(ROME[0], Decision.DENY), "it is not like the pattern"
    assert sorted(one[1]["city"] for one in box.made) == ["Paris", "Parma"]
    (kept,) = consents.consents()
    assert (kept.tool, kept.session_id, kept.pattern) == ("weather", None, {"city": "Pa*"})
    decided = {row[0]: row[1] for row in db.rows("SELECT call_id, decided FROM tool_calls")}
    assert decided == {PARIS[0]: "always", ROME[0]: "deny", parma[0]: "once"}
    service = ChatService(db, stream=Rounds(calls(PARIS, ROME), SAID), consents=consents)
    _, events = await ask(service, box, Decision.DENY)
    assert [one.call.id for one in events if isinstance(one, CallAsked)] == [ROME[0]]


async def test_a_pattern_holds_for_a_question_of_which_nothing_is_kept(db: Database) -> None:
    service, box = ChatService(db, stream=Rounds(calls(PARIS), calls(ROME), SAID)), Box()
    asked = 0
    async for event in service.send(None, "x", TARGET, tools=box, temporary=True):
        if isinstance(event, CallAsked):
            asked += 1
            service.decide(event.call.id, Decision.ALWAYS, None, {"city": "*"})
    assert (asked, len(box.made)) == (1, 2)
