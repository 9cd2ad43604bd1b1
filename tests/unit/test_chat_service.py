"""The chat service: a question is kept before it is asked, an answer while it comes, and nothing is lost."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.scripted_engine import DONE, TARGET, Engine, contents, kept, read, until
from vllm_studio_tui.domain.chat import (
    Delta,
    Ended,
    Message,
    Relabel,
    Sampling,
)
from vllm_studio_tui.domain.errors import EngineUnreachable, NotFound, StoreError
from vllm_studio_tui.kit.event_bus import Bus
from vllm_studio_tui.services.chat.answer import Answer
from vllm_studio_tui.services.chat.chat import ChatService
from vllm_studio_tui.services.chat.events import AnswerProgressed, AnswerStarted
from vllm_studio_tui.services.chat.finished_answers import ending_of
from vllm_studio_tui.services.chat.turn import Turn
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.messages import MessageRows
from vllm_studio_tui.store.peaks import PeakRows
from vllm_studio_tui.store.requests import RequestRows


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    opened = Database.open(tmp_path / "studio.db")
    yield opened
    opened.close()


async def test_a_turn_is_kept_with_its_figures_and_counted(db: Database) -> None:
    engine = Engine(Delta(reasoning="hm "), Delta("Par"), Delta("is."), DONE)
    service = ChatService(db, stream=engine)
    session = service.new_session()
    events = await read(service.send(session, "Capital of France?", TARGET, sampling=Sampling(temperature=0.0)))
    assert events == [Delta(reasoning="hm "), Delta("Par"), Delta("is."), DONE]
    assert contents(db, session) == [("user", "Capital of France?", None), ("assistant", "Paris.", "stop")]
    answer = kept(db, session)
    assert (answer.reasoning, answer.model, answer.usage, answer.timings) == ("hm ", "m", DONE.usage, DONE.timings)
    (request,) = RequestRows(db).recent()
    assert (request.run_id, request.attempt, request.recipe_id, request.source) == ("run-1", 2, "rec", "chat")
    assert (request.session_id, request.message_id, request.model) == (session, answer.id, "m")
    assert (request.prompt_tokens, request.completion_tokens, request.ttft, request.finish) == (10, 20, 0.1, "stop")
    # Half a second of it is no peak of the model's speed.
    assert PeakRows(db).all() == {"m": {"prefill_tps": None, "generation_tps": None, "ttft": 0.1}}
    assert engine.asked[0].sampling.temperature == 0.0
    one = service.sessions.get(session)
    assert (one.title, one.model, one.messages) == ("Capital of France?", "m", 2)
    assert engine.closed == 1


async def test_the_question_is_kept_before_it_is_asked(db: Database) -> None:
    seen: list[list[tuple[str, str, str | None]]] = []

    async def look() -> None:
        seen.append(contents(db, session))

    service = ChatService(db, stream=Engine(look, DONE))
    session = service.new_session("Hello")
    await read(service.send(session, "Hello", TARGET))
    assert seen == [[("user", "Hello", None), ("assistant", "", "streaming")]]


async def test_a_question_that_cannot_be_kept_is_not_asked(db: Database) -> None:
    engine = Engine(DONE)
    service = ChatService(db, stream=engine)
    with pytest.raises(NotFound):
        await read(service.send("no such chat", "x", TARGET))
    assert engine.asked == []
    assert RequestRows(db).recent() == []


async def test_an_answer_is_checkpointed_while_it_comes(db: Database) -> None:
    go_on = asyncio.Event()
    service = ChatService(
        db, stream=Engine(Delta("first "), Delta("second"), go_on.wait, DONE), checkpoint_seconds=0.01
    )
    session = service.new_session("x")
    reading = asyncio.create_task(read(service.send(session, "x", TARGET)))
    await until(
        lambda: contents(db, session)[-1:] == [("assistant", "first second", "streaming")], "the text in the database"
    )
    go_on.set()
    await reading
    assert contents(db, session)[-1] == ("assistant", "first second", "stop")


async def test_content_that_was_thinking_moves(db: Database) -> None:
    service = ChatService(db, stream=Engine(Delta("thought"), Relabel(), Delta("said"), DONE))
    session = service.new_session("x")
    await read(service.send(session, "x", TARGET))
    assert (kept(db, session).content, kept(db, session).reasoning) == ("said", "thought")


def test_the_speed_of_a_stopped_answer_is_that_up_to_its_end_however_late_it_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr("vllm_studio_tui.services.chat.answer.time", SimpleNamespace(monotonic=lambda: now))
    turn = Turn(TARGET, message=Message("1", "s1", "assistant", ""), answer=Answer(began=99.0))
    for number in range(30):
        turn.answer.add(Delta(content=f"word{number} ", tokens=1))
    now = 102.0
    ended = turn.answer.cut("stopped")
    now = 107.0
    message = ending_of(turn, ended, count=True).message
    assert message is not None
    assert (message.timings.ttft, message.timings.total, message.timings.tokens_per_second) == (1.0, 3.0, 15.0)


async def test_closing_stops_the_engine_and_keeps_the_partial(db: Database) -> None:
    bus, told = Bus(), list[AnswerProgressed]()
    bus.subscribe(AnswerProgressed, told.append)
    engine = Engine(Delta("half"), Delta(" more"), DONE)
    service = ChatService(db, bus, engine)
    session = service.new_session("x")
    async with aclosing(service.send(session, "x", TARGET)) as events:
        assert await anext(events) == Delta("half")
    assert contents(db, session)[-1] == ("assistant", "half", "stopped")
    assert engine.closed == 1
    (request,) = RequestRows(db).recent()
    assert (request.finish, request.completion_tokens, request.estimated) == ("stopped", 1, True)
    last = told[-1].event
    assert isinstance(last, Ended)
    assert last.finish == "stopped"
    assert last.timings.total is not None


async def test_cancelling_the_reader_keeps_the_partial(db: Database) -> None:
    engine = Engine(Delta("half"), asyncio.Event().wait, DONE)
    service = ChatService(db, stream=engine)
    session = service.new_session("x")
    reading = asyncio.create_task(read(service.send(session, "x", TARGET)))
    await until(lambda: engine.given == 1, "the first piece to be taken")
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert contents(db, session)[-1] == ("assistant", "half", "stopped")
    assert engine.closed == 1


async def test_cancelling_while_the_question_is_being_kept_leaves_no_open_answer(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(DONE)
    service = ChatService(db, stream=engine)
    session = service.new_session("x")
    started = asyncio.Event()
    loop = asyncio.get_running_loop()
    append = MessageRows.append

    def slow(rows: MessageRows, message: Message) -> Message:
        loop.call_soon_threadsafe(started.set)
        time.sleep(0.05)
        return append(rows, message)

    monkeypatch.setattr(MessageRows, "append", slow)
    reading = asyncio.create_task(read(service.send(session, "x", TARGET)))
    await started.wait()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert contents(db, session) == [("user", "x", None), ("assistant", "", "stopped")]
    assert engine.asked == []
    assert RequestRows(db).recent() == []


@pytest.mark.parametrize(
    ("script", "finish", "content"),
    [
        ((Delta("half"), Ended("interrupted", error="cut")), "interrupted", "half"),
        ((Ended("failed", error="no"),), "failed", ""),
        ((Delta("half"),), "interrupted", "half"),
        ((Delta("half"), EngineUnreachable("gone", cause="refused")), "failed", "half"),
        ((Delta("all"), Ended("a word of its own")), "stop", "all"),
    ],
)
async def test_every_end_is_kept_and_told(db: Database, script: Any, finish: str, content: str) -> None:
    service = ChatService(db, stream=Engine(*script))
    session = service.new_session("x")
    *_, last = await read(service.send(session, "x", TARGET))
    assert isinstance(last, Ended)
    assert contents(db, session)[-1] == ("assistant", content, finish)
    assert RequestRows(db).recent()[0].finish == finish
    if finish != "stop":
        assert kept(db, session).error
        assert PeakRows(db).all() == {}


async def test_a_fault_of_ours_keeps_what_came(db: Database) -> None:
    service = ChatService(db, stream=Engine(Delta("half"), RuntimeError("a bug")))
    session = service.new_session("x")
    with pytest.raises(RuntimeError, match="a bug"):
        await read(service.send(session, "x", TARGET))
    assert contents(db, session)[-1] == ("assistant", "half", "interrupted")


async def test_a_disk_that_fills_up_meanwhile_is_told_after_the_answer(db: Database) -> None:
    async def fill() -> None:
        pages = db.row("PRAGMA page_count")
        assert pages is not None
        db.row(f"PRAGMA max_page_count = {pages[0]}")

    service = ChatService(db, stream=Engine(fill, Delta("x" * 200_000), DONE))
    session = service.new_session("x")
    events = service.send(session, "x", TARGET)
    assert await anext(events) == Delta("x" * 200_000)
    assert await anext(events) == DONE
    with pytest.raises(StoreError, match="full"):
        await anext(events)
    assert contents(db, session)[0] == ("user", "x", None)


async def test_a_temporary_turn_keeps_nothing_but_its_count(db: Database) -> None:
    engine = Engine(Delta("hi"), DONE)
    service = ChatService(db, stream=engine)
    history = [Message("", "", "user", "before"), Message("", "", "assistant", "yes")]
    events = await read(service.send(None, "now", TARGET, system="Be kind.", temporary=True, history=history))
    assert events == [Delta("hi"), DONE]
    assert [one["content"] for one in engine.asked[0].messages] == ["Be kind.", "before", "yes", "now"]
    assert service.sessions.list() == []
    (row,) = db.rows("SELECT COUNT(*) FROM chat_messages")
    assert row[0] == 0
    (request,) = RequestRows(db).recent()
    assert (request.session_id, request.completion_tokens) == (None, 20)


async def test_everything_goes_to_the_bus(db: Database) -> None:
    bus, told = Bus(), list[Any]()
    bus.subscribe(object, told.append)
    service = ChatService(db, bus, Engine(Delta("hi"), DONE))
    session = service.new_session("x")
    await read(service.send(session, "x", TARGET))
    answer = kept(db, session)
    assert told == [
        AnswerStarted(session, answer.id, TARGET.run_id),
        AnswerProgressed(session, answer.id, Delta("hi")),
        AnswerProgressed(session, answer.id, DONE),
    ]


# --- programs that die ----------------------------------------------------------------------------------


def _die_within_an_answer(path: Path, told: Any) -> None:
    async def turn() -> None:
        service = ChatService(
            Database.open(path), stream=Engine(Delta("last words"), asyncio.Event().wait), checkpoint_seconds=0.01
        )
        session = service.new_session("x")
        told.send(session)
        await read(service.send(session, "x", TARGET))

    asyncio.run(turn())


async def test_an_answer_of_a_program_that_died_is_interrupted_and_that_of_a_living_one_is_not(
    db: Database,
) -> None:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_die_within_an_answer, args=(db.path, theirs))
    process.start()
    try:
        assert await asyncio.to_thread(ours.poll, 60)
        session = ours.recv()
        await until(lambda: contents(db, session)[-1:] == [("assistant", "last words", "streaming")], "its last words")
        assert ChatService(db).settle_interrupted() == 0
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join(30)
    finally:
        process.kill()
    # The first turn of the next program finds it.
    after = ChatService(db, stream=Engine(DONE))
    await read(after.send(after.new_session("z"), "z", TARGET))
    assert contents(db, session)[-1] == ("assistant", "last words", "interrupted")


async def test_two_chats_stream_at_once(db: Database) -> None:
    gate = asyncio.Event()

    def engine(words: Sequence[str]) -> Engine:
        return Engine(*(Delta(word) for word in words), gate.wait, DONE)

    services = [ChatService(db, stream=engine(words), checkpoint_seconds=0.01) for words in (["a", "b"], ["c", "d"])]
    sessions = [service.new_session("x") for service in services]
    reading = [
        asyncio.create_task(read(service.send(session, "x", TARGET)))
        for service, session in zip(services, sessions, strict=True)
    ]
    await until(lambda: all(contents(db, one)[-1:] != [] for one in sessions), "both to begin")
    gate.set()
    await asyncio.gather(*reading)
    assert [contents(db, session)[-1][1] for session in sessions] == ["ab", "cd"]
