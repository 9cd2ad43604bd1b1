"""The bytes of pictures are kept once, by their hash, and as long as a message shows them."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.pictures import picture
from tests.unit.scripted_engine import DONE, TARGET, Engine
from vllm_studio_tui.domain.chat import Delta, Message
from vllm_studio_tui.domain.errors import StoreError
from vllm_studio_tui.services.chat.attachments.seeing import Sight
from vllm_studio_tui.services.chat.chat import ChatService
from vllm_studio_tui.store import database, schema
from vllm_studio_tui.store.chat_files import put_message, to_json_document
from vllm_studio_tui.store.chats import ChatRows
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.importing_chats import import_chats
from vllm_studio_tui.store.messages import MessageRows


def url(raw: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(raw).decode()}"


RED, BLUE = url(picture(colour="red")), url(picture("jpeg", colour="blue"), "image/jpeg")


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    with contextlib.closing(Database.open(tmp_path / "studio.db")) as opened:
        yield opened


def kept(db: Database) -> dict[str, bytes]:
    return {row["hash"]: row["data"] for row in db.rows("SELECT hash, data FROM chat_pictures")}


def say(db: Database, session: str, *images: str) -> Message:
    return MessageRows(db).append(Message("", session, "user", "look", images=images))


def test_a_picture_is_kept_once_however_often_it_is_shown(db: Database) -> None:
    chats = ChatRows(db)
    one, two = chats.create().id, chats.create().id
    first, second = say(db, one, RED, BLUE, RED), say(db, two, RED)
    assert (first.images, second.images) == ((RED, BLUE, RED), (RED,))
    fork = chats.fork(one)
    assert MessageRows(db).tree(fork.id)[0].images == (RED, BLUE, RED)
    raws = (picture(colour="red"), picture("jpeg", colour="blue"))
    assert kept(db) == {hashlib.sha256(raw).hexdigest(): raw for raw in raws}
    assert all("base64" not in row[0] for row in db.rows("SELECT images FROM chat_messages"))


def test_what_no_message_shows_any_more_goes_with_the_last_of_them(db: Database) -> None:
    chats = ChatRows(db)
    one, two = chats.create().id, chats.create().id
    say(db, one, RED, BLUE)
    say(db, two, RED)
    fork = chats.fork(two).id
    chats.trash(one)
    assert len(kept(db)) == 2  # it may come back
    chats.restore(one)
    assert MessageRows(db).tree(one)[0].images == (RED, BLUE)
    chats.purge(one)
    assert len(kept(db)) == 1
    chats.purge(two)
    assert MessageRows(db).tree(fork)[0].images == (RED,)
    chats.purge(fork)
    assert kept(db) == {}


def test_a_message_that_is_replaced_leaves_none_behind(db: Database) -> None:
    session = ChatRows(db).create().id
    asked = say(db, session, RED)
    given = {"id": asked.id, "role": "user", "content": [{"type": "image_url", "image_url": {"url": BLUE}}]}
    assert put_message(db, session, given, lambda text: ("", text)).images == (BLUE,)
    assert list(kept(db).values()) == [picture("jpeg", colour="blue")]
    assert MessageRows(db).finish(replace(asked, images=()))
    assert kept(db) == {}


def test_a_chat_goes_out_and_comes_in_with_its_pictures(db: Database) -> None:
    session = ChatRows(db).create("t").id
    say(db, session, RED, BLUE)
    document = to_json_document(db, session)
    assert document["messages"][0]["images"] == [RED, BLUE]
    ChatRows(db).purge(session)
    assert kept(db) == {}
    (come,) = import_chats(db, json.dumps(document).encode(), "x.json").taken
    assert MessageRows(db).tree(come.id)[0].images == (RED, BLUE)


def test_a_name_of_another_chats_picture_gives_nobody_that_picture(db: Database) -> None:
    session = ChatRows(db).create().id
    say(db, session, RED)
    (name,) = json.loads(db.rows("SELECT images FROM chat_messages")[0][0])
    assert name.startswith("kept:image/png;sha256,")
    assert say(db, session, name, BLUE).images == (BLUE,)


def test_a_picture_whose_bytes_are_gone_is_no_error(db: Database) -> None:
    session = ChatRows(db).create().id
    say(db, session, RED, BLUE)
    with db.write() as tables:
        tables.execute("DELETE FROM chat_pictures WHERE length(data) = ?", (len(picture(colour="red")),))
    assert MessageRows(db).tree(session)[0].images == ("data:image/png;base64,", BLUE)


TEXTS = st.one_of(
    st.text(max_size=40),
    st.binary(min_size=1, max_size=40).map(url),
    st.binary(max_size=9).map(lambda raw: f"data:image/png;base64,{base64.b64encode(raw).decode().rstrip('=')}"),
    st.sampled_from(["data:image/png;base64,", "data:image/png;base64,AA\n==", "https://a/b.png", "data:text/html,x"]),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.lists(st.lists(TEXTS, max_size=4), max_size=4))
def test_any_pictures_come_back_as_they_were_and_go_with_their_chat(db: Database, given: list[list[str]]) -> None:
    session = ChatRows(db).create().id
    for images in given:
        assert say(db, session, *images).images == tuple(images)
    assert [list(one.images) for one in MessageRows(db).tree(session)] == given
    ChatRows(db).purge(session)
    assert kept(db) == {}


# --- databases of before, and full disks ----------------------------------------------------------------


def before(path: Path, images: list[str | None]) -> None:
    """A database as the version before this table left it, with a message for each text of `images`."""
    with contextlib.closing(Database.open(path)) as db:
        session = ChatRows(db).create("old").id
        for _ in images:
            say(db, session)
    with contextlib.closing(sqlite3.connect(path)) as old:
        old.execute("DROP TABLE chat_pictures")
        old.execute("DROP INDEX chat_messages_with_pictures")
        for later in schema.EMPTY[schema.EMPTY.index(schema.CHAT_PICTURES[-1]) + 1 :]:
            if made := re.match(r"CREATE (TABLE|INDEX) (\w+)", later):
                old.execute(f"DROP {made[1]} IF EXISTS {made[2]}")
        old.execute("DELETE FROM _sqlite_migrations WHERE name >= '0010'")
        for at, text in enumerate(images, 1):
            old.execute("UPDATE chat_messages SET images = ? WHERE seq = ?", (text, at))
        old.commit()


OLD = [json.dumps([RED, "https://a/b.png"]), None, "[broken", json.dumps([BLUE, RED, "data:image/png,x"]), "{}"]
READ = [(RED, "https://a/b.png"), (), (), (BLUE, RED, "data:image/png,x"), ()]


@pytest.mark.parametrize("only_read", [False, True])
def test_a_database_of_before_has_its_pictures_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, only_read: bool
) -> None:
    path = tmp_path / "studio.db"
    before(path, OLD)
    if only_read:
        monkeypatch.setattr(database, "_unwritable", lambda path: "it is read-only")
    raw = path.read_bytes()
    with contextlib.closing(Database.open(path)) as db:
        assert db.read_only is only_read
        (session,) = ChatRows(db).list()
        assert [one.images for one in MessageRows(db).tree(session.id)] == READ
        assert set(kept(db).values()) == {picture(colour="red"), picture("jpeg", colour="blue")}
        assert database.applied(db._connection) == list(schema.MIGRATIONS)
    if only_read:
        assert path.read_bytes() == raw
    else:
        assert path.with_name("studio.db.backup-9").exists()


async def test_on_a_full_disk_the_question_is_refused_whole_and_can_be_asked_again(db: Database) -> None:
    engine = Engine(Delta("ok"), DONE)
    service = ChatService(db, stream=engine, folders=[], sight_of=lambda target: Sight(True))
    session = service.new_session()
    large = url(bytes(range(256)) * 4000)
    (pages,) = db._connection.execute("PRAGMA page_count").fetchone()
    db._connection.execute(f"PRAGMA max_page_count = {pages + 20}")
    with pytest.raises(StoreError, match="full"):
        async for _ in service.send(session, "look", TARGET, images=[large]):
            pass
    assert (service.tree(session), kept(db), engine.asked) == ([], {}, [])
    db._connection.execute(f"PRAGMA max_page_count = {pages + 10_000}")
    async for _ in service.send(session, "look", TARGET, images=[large]):
        pass
    assert [one.images for one in service.tree(session)] == [(large,), ()]
