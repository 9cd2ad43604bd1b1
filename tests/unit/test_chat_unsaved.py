"""Answers that the database does not take: kept in memory, shown, tried again, written to a file, taken in later."""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import os
import signal
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.disks import fill, small_disk
from tests.unit.scripted_engine import DONE, TARGET, Engine, contents, kept, read, until
from vllm_studio_tui.domain.chat import Delta, Ended, Timings, TokenUsage
from vllm_studio_tui.domain.errors import NotSaved
from vllm_studio_tui.domain.tools import ChatEvent
from vllm_studio_tui.kit.event_bus import Bus
from vllm_studio_tui.kit.paths import machine_id
from vllm_studio_tui.services.chat.chat import ChatService
from vllm_studio_tui.services.chat.events import AnswerSaved
from vllm_studio_tui.services.chat.finished_answers import settle
from vllm_studio_tui.store import recovery
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.messages import MessageRows
from vllm_studio_tui.store.requests import RequestRows

LONG = "word " * 600


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    opened = Database.open(tmp_path / "studio.db", busy_timeout=0.05)
    yield opened
    opened.close()


@contextlib.contextmanager
def another_writer(db: Database) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(db.path, isolation_level=None)) as other:
        yield other


async def last_error(service: ChatService, session: str) -> tuple[list[ChatEvent], NotSaved]:
    events: list[ChatEvent] = []
    with pytest.raises(NotSaved) as raised:
        async for event in service.send(session, "x", TARGET):
            events.append(event)  # noqa: PERF401, RUF100
    return events, raised.value


def files(db: Database) -> list[Path]:
    return sorted((db.path.parent / "unsaved").glob("*.json"))


async def test_an_answer_whose_end_finds_the_database_locked_is_whole_and_saved_when_it_is_free(db: Database) -> None:
    bus, told = Bus(), list[AnswerSaved]()
    bus.subscribe(AnswerSaved, told.append)
    with another_writer(db) as other:

        async def lock() -> None:
            other.execute("BEGIN IMMEDIATE")

        service = ChatService(db, bus, Engine(Delta(LONG[:100]), lock, Delta(LONG[100:]), DONE))
        session = service.new_session("x")
        events, error = await last_error(service, session)
        assert events[-1] == DONE
        assert error.title == "the answer is not saved yet: the database is in use"
        assert error.path == str(files(db)[0])
        # The database still has the shorter text, but nobody is shown it, nor does the next question build on it.
        assert MessageRows(db).tree(session)[-1].content != LONG
        assert (service.tree(session)[-1].content, service.tree(session)[-1].unsaved) == (
            LONG,
            "the database is in use",
        )
        assert told == []
        other.execute("ROLLBACK")
        await until(lambda: bool(told), "it is saved")
    assert told == [AnswerSaved(session, kept(db, session).id)]
    assert contents(db, session)[-1] == ("assistant", LONG, "stop")
    assert service.tree(session)[-1].unsaved is None
    assert [(one.finish, one.completion_tokens) for one in RequestRows(db).recent()] == [("stop", 20)]
    assert files(db) == []
    assert service.close() == []


async def test_an_answer_that_a_full_disk_refuses_is_saved_when_there_is_room(db: Database) -> None:
    def pages(most: int) -> None:
        db.row(f"PRAGMA max_page_count = {most}")

    async def full() -> None:
        (count,) = db.row("PRAGMA page_count") or (0,)
        pages(count)

    service = ChatService(db, stream=Engine(full, Delta("x" * 200_000), DONE))
    session = service.new_session("x")
    _, error = await last_error(service, session)
    assert error.title == "the answer is not saved yet: the disk is full"
    assert len(service.tree(session)[-1].content) == 200_000
    pages(1_000_000)
    await until(lambda: len(kept(db, session).content) == 200_000, "it is saved")
    service.close()


async def test_the_next_question_builds_on_the_whole_answer(db: Database) -> None:
    with another_writer(db) as other:

        async def lock() -> None:
            other.execute("BEGIN IMMEDIATE")

        engine = Engine(Delta("all of it"), lock, DONE)
        service = ChatService(db, stream=engine)
        session = service.new_session("x")
        service.unsaved._first_pause = 60  # it is not tried again meanwhile
        await last_error(service, session)
        other.execute("ROLLBACK")
    engine.script = (DONE,)
    await read(service.send(session, "and then?", TARGET))
    assert [one["content"] for one in engine.asked[1].messages] == ["x", "all of it", "and then?"]
    assert service.close() == []
    assert contents(db, session)[1] == ("assistant", "all of it", "stop")


async def test_a_full_disk_puts_the_file_elsewhere_and_says_where(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    with small_disk(tmp_path / "disk") as disk:
        folders = [disk / "unsaved", elsewhere]
        with contextlib.closing(Database.open(disk / "studio.db")) as db:

            async def full() -> None:
                fill(disk)

            service = ChatService(db, stream=Engine(full, Delta(LONG * 20), DONE), folders=folders)
            session = service.new_session("x")
            _, error = await last_error(service, session)
            assert error.title == "the answer is not saved yet: the disk is full"
            (file,) = service.close()
            assert (file.parent, str(file)) == (elsewhere, error.path)
            assert (file.stat().st_mode & 0o777, elsewhere.stat().st_mode & 0o777) == (0o600, 0o700)
        (disk / "filler").unlink()
        forge_owner(file)
        with contextlib.closing(Database.open(disk / "studio.db")) as db:
            assert settle(db, folders) == 1
            assert contents(db, session)[-1] == ("assistant", LONG * 20, "stop")


def forge_owner(file: Path) -> None:
    """As if the process that wrote it was gone."""
    document = json.loads(file.read_text())
    document["owner"] = f"{machine_id()}:an earlier boot:1:1"
    file.write_text(json.dumps(document))


async def test_nowhere_to_write_is_said(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(recovery, "write_atomic", refuse)
    with another_writer(db) as other:

        async def lock() -> None:
            other.execute("BEGIN IMMEDIATE")

        service = ChatService(db, stream=Engine(Delta("a"), lock, Delta("b"), DONE))
        session = service.new_session("x")
        _, error = await last_error(service, session)
        assert error.path is None
        assert "copy it before you leave" in error.advice
        assert service.close() == []
        assert service.tree(session)[-1].content == "ab"


async def test_recovered_twice_is_recovered_once(db: Database) -> None:
    with another_writer(db) as other:

        async def lock() -> None:
            other.execute("BEGIN IMMEDIATE")

        service = ChatService(db, stream=Engine(Delta("all"), lock, Delta(" of it"), DONE))
        session = service.new_session("x")
        await last_error(service, session)
        (file,) = service.close()
        assert settle(db, [file.parent]) == 0, "its process lives"
        forge_owner(file)
        assert settle(db, [file.parent]) == 0, "the database is still locked"
        other.execute("ROLLBACK")
    again = file.read_bytes()
    assert settle(db, [file.parent]) == 1
    assert not file.exists()
    file.parent.mkdir()
    file.write_bytes(again)
    assert settle(db, [file.parent]) == 1
    assert contents(db, session) == [("user", "x", None), ("assistant", "all of it", "stop")]
    assert len(RequestRows(db).recent()) == 1


async def test_an_answer_is_recovered_into_a_database_that_has_lost_its_chat(db: Database, tmp_path: Path) -> None:
    with another_writer(db) as other:

        async def lock() -> None:
            other.execute("BEGIN IMMEDIATE")

        service = ChatService(db, stream=Engine(Delta("answer"), lock, DONE))
        session = service.new_session("x")
        await last_error(service, session)
        (file,) = service.close()
        forge_owner(file)
    with contextlib.closing(Database.open(tmp_path / "new" / "studio.db")) as new:
        assert settle(new, [file.parent]) == 1
        assert contents(new, session) == [("user", "x", None), ("assistant", "answer", "stop")]
        assert service.sessions.get(session).title == "x"


async def test_an_answer_that_was_written_on_since_stays_and_the_recovered_one_stands_beside_it(db: Database) -> None:
    with another_writer(db) as other:

        async def lock() -> None:
            other.execute("BEGIN IMMEDIATE")

        service = ChatService(db, stream=Engine(Delta("one"), lock, DONE))
        session = service.new_session("x")
        await last_error(service, session)
        (file,) = service.close()
        forge_owner(file)
        other.execute("ROLLBACK")
    MessageRows(db).finish(replace(kept(db, session), content="another", finish="stop"))
    for _ in range(2):
        content = file.read_bytes()
        assert settle(db, [file.parent]) == 1
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content)
    assert [one.content for one in MessageRows(db).tree(session)] == ["x", "another", "one"]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"format": "other"}', '{"format": "vllm-studio-unsaved"}', "[" * 9999]
)
def test_a_damaged_recovery_file_is_left_and_harms_nobody(db: Database, text: str) -> None:
    folder = db.path.parent / "unsaved"
    folder.mkdir(mode=0o700)
    (folder / "a.json").write_text(text)
    assert settle(db, [folder]) == 0
    assert (folder / "a.json").read_text() == text


def test_a_folder_that_others_can_write_is_not_read(db: Database, tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o777)
    assert list(recovery._files([folder])) == []
    (folder / "a.json").write_text("{}")
    assert list(recovery._files([folder])) == []
    (tmp_path / "link").symlink_to(tmp_path)
    assert list(recovery._files([tmp_path / "link"])) == []


async def test_the_first_token_is_kept_at_once(db: Database) -> None:
    hold = asyncio.Event()
    service = ChatService(db, stream=Engine(Delta("first"), hold.wait, DONE), checkpoint_seconds=3600)
    session = service.new_session("x")
    reading = asyncio.create_task(read(service.send(session, "x", TARGET)))
    await until(lambda: contents(db, session)[-1:] == [("assistant", "first", "streaming")], "the first token")
    hold.set()
    await reading


def _die_with_a_locked_database(path: Path, told: Any) -> None:
    async def turn() -> None:
        db = Database.open(path)
        with another_writer(db) as other:

            async def lock() -> None:
                other.execute("BEGIN IMMEDIATE")

            engine = Engine(Delta("said before "), lock, Delta("said after"), asyncio.Event().wait)
            service = ChatService(db, stream=engine, checkpoint_seconds=0.01)
            session = service.new_session("x")
            told.send(session)
            await read(service.send(session, "x", TARGET))

    asyncio.run(turn())


async def test_killed_while_the_database_is_locked_loses_no_more_than_a_checkpoint(db: Database) -> None:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_die_with_a_locked_database, args=(db.path, theirs))
    process.start()
    try:
        assert await asyncio.to_thread(ours.poll, 60)
        session = ours.recv()
        await until(lambda: any("said after" in file.read_text() for file in files(db)), "it is written down")
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join(30)
    finally:
        process.kill()
    assert ChatService(db).settle_interrupted() == 1
    answer = kept(db, session)
    assert (answer.content, answer.finish) == ("said before said after", "interrupted")
    assert answer.error == "this program was ended while it streamed"
    (request,) = RequestRows(db).recent()
    assert (request.finish, request.estimated, request.completion_tokens) == ("interrupted", True, 6)


async def test_what_a_face_says_of_its_end_is_the_end_of_what_it_streams(db: Database) -> None:
    engine = Engine(Delta("half"), asyncio.Event().wait)
    service = ChatService(db, stream=engine)
    session = service.new_session("x")
    reading = asyncio.create_task(read(service.send(session, "x", TARGET)))
    await until(lambda: engine.given == 1, "the first piece to be taken")
    reason = "this program was ended while it streamed (SIGTERM)"
    service.interrupt(reason)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert (kept(db, session).finish, kept(db, session).error) == ("interrupted", reason)


async def test_tokens_are_estimated_where_the_engine_told_none_and_only_there(db: Database) -> None:
    service = ChatService(db, stream=Engine(Delta("x" * 41), Ended("interrupted", error="cut", timings=Timings(0.1))))
    session = service.new_session("x")
    await read(service.send(session, "x", TARGET))
    (request,) = RequestRows(db).recent()
    assert (request.completion_tokens, request.estimated) == (11, True)
    assert kept(db, session).usage.completion_tokens is None
    service = ChatService(db, stream=Engine(Delta("x" * 41), Ended("stop", TokenUsage(1, 3))))
    await read(service.send(session, "x", TARGET))
    assert [one.completion_tokens for one in RequestRows(db).recent() if not one.estimated] == [3]
