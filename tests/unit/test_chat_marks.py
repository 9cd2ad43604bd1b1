"""Messages that are taken away and come back, bookmarks, pins and tags."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from vllm_studio_tui.domain.chat import Attachment, Message
from vllm_studio_tui.domain.errors import NotFound, UsageError
from vllm_studio_tui.services.chat.saved_chats import Chats
from vllm_studio_tui.store.conversion import now
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.messages import MessageRows


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    opened = Database.open(tmp_path / "studio.db")
    yield opened
    opened.close()


@pytest.fixture
def chats(db: Database) -> Chats:
    return Chats(db)


def fill(db: Database, session: str, **parents: str | None) -> None:
    for index, (name, parent) in enumerate(parents.items()):
        role = "assistant" if name.startswith("a") else "user"
        finish = "stop" if role == "assistant" else None
        message = Message(f"{session}-{name}", session, role, f"text of {name} number {index}", finish=finish)
        MessageRows(db).append(replace(message, parent_id=f"{session}-{parent}" if parent else None))


def shown(chats: Chats, session: str) -> list[str]:
    return [one.id.rpartition("-")[2] for one in chats.branch(session)]


def test_a_message_goes_with_all_below_it_and_comes_back(db: Database, chats: Chats) -> None:
    one = chats.create("one").id
    fill(db, one, q1=None, a1="q1", q2="a1", a2="q2")
    removed = chats.marks.remove(f"{one}-q2")
    assert (removed.count, removed.leaf_id, removed.first) == (2, f"{one}-a1", "text of q2 number 2")
    assert shown(chats, one) == ["q1", "a1"]
    assert [message.id for message in chats.tree(one)] == [f"{one}-q1", f"{one}-a1"]
    assert chats.get(one).messages == 2
    assert chats.list()[0].messages == 2
    assert chats.find_text("number", limit=9)[0].message_id == f"{one}-a1"
    assert "number 3" not in str(chats.export(one)) + chats.markdown(one)
    assert [message.content for message in chats.branch(chats.fork(one).id)] == [
        "text of q1 number 0",
        "text of a1 number 1",
    ]
    last = chats.marks.last_removed()
    assert last is not None
    assert chats.marks.bring_back(last) == 2
    assert shown(chats, one) == ["q1", "a1", "q2", "a2"]
    assert chats.marks.last_removed() is None


def test_beside_a_removed_answer_the_one_before_it_is_shown_else_the_one_after(db: Database, chats: Chats) -> None:
    one = chats.create("one").id
    fill(db, one, q1=None, a1="q1", a2="q1", q3="a2", a3="q3", a4="q1")
    chats.set_leaf(one, f"{one}-a4")
    chats.marks.remove(f"{one}-a4")
    assert shown(chats, one) == ["q1", "a2", "q3", "a3"]
    chats.set_leaf(one, f"{one}-a1")
    chats.marks.remove(f"{one}-a1")
    assert shown(chats, one) == ["q1", "a2", "q3", "a3"]
    chats.marks.remove(f"{one}-a2")
    assert shown(chats, one) == ["q1"]


def test_what_went_apart_comes_back_apart_the_last_first(db: Database, chats: Chats) -> None:
    one, two = chats.create("one").id, chats.create("two").id
    for session in (one, two):
        fill(db, session, q1=None, a1="q1", q2="a1")
    for name in (f"{one}-q2", f"{two}-q2", f"{one}-a1"):
        chats.marks.remove(name)
    assert shown(chats, one) == ["q1"]
    for back in (["q1", "a1"], ["q1", "a1"], ["q1", "a1", "q2"]):
        last = chats.marks.last_removed()
        assert last is not None
        chats.marks.bring_back(last)
        assert shown(chats, one) == back
    assert shown(chats, two) == ["q1", "a1", "q2"]


def test_the_whole_of_a_chat_can_go_and_what_is_written_cannot(db: Database, chats: Chats) -> None:
    one = chats.create("one").id
    fill(db, one, q1=None, a1="q1")
    chats.marks.remove(f"{one}-q1")
    assert shown(chats, one) == []
    assert chats.get(one).messages == 0
    two = chats.create("two").id
    fill(db, two, q1=None)
    MessageRows(db).append(Message("w", two, "assistant", "", f"{two}-q1", finish="streaming"))
    with pytest.raises(UsageError, match="being written"):
        chats.marks.remove(f"{two}-q1")
    with pytest.raises(NotFound):
        chats.marks.remove("nothing")
    three = chats.create("three").id
    fill(db, three, q1=None, a1="q1")
    with db.write() as tables:
        call = {"message_id": f"{three}-a1", "call_id": "c", "session_id": three, "round": 1, "name": "x"}
        tables.table("tool_calls").insert({**call, "arguments": "{}", "state": "waiting", "asked_at": 1.0})
    with pytest.raises(UsageError, match="waits for its tools"):
        chats.marks.remove(f"{three}-q1")


def test_a_mark_that_is_set_while_an_answer_is_written_stays(db: Database, chats: Chats) -> None:
    one, rows = chats.create("one").id, MessageRows(db)
    fill(db, one, q1=None)
    begun = rows.append(Message("w", one, "assistant", "", f"{one}-q1", finish="streaming"))
    assert chats.marks.bookmark("w")
    rows.finish(replace(begun, content="done", finish="stop"))
    assert rows.get("w").bookmarked_at is not None
    assert [message.content for message in chats.marks.bookmarks(one)] == ["done"]
    assert not chats.marks.bookmark("w")
    assert chats.marks.bookmarks() == []


def test_bookmarks_of_what_is_gone_are_not_told(db: Database, chats: Chats) -> None:
    one = chats.create("one").id
    fill(db, one, q1=None, a1="q1")
    chats.marks.bookmark(f"{one}-a1", True)
    chats.marks.bookmark(f"{one}-q1", True)
    chats.marks.remove(f"{one}-a1")
    assert [message.id for message in chats.marks.bookmarks()] == [f"{one}-q1"]
    chats.trash(one)
    assert chats.marks.bookmarks() == []
    assert chats.marks.last_removed() is None, "the chat comes first"


def test_files_details_and_marks_are_kept_and_go_into_files_and_out(db: Database, chats: Chats) -> None:
    one, rows = chats.create("one").id, MessageRows(db)
    files = (
        Attachment("log.txt", "text/plain", 12, "the text", 3, "/var/log.txt", True),
        Attachment("b.png", "image/png"),
    )
    told = rows.append(
        Message(
            "m",
            one,
            "user",
            "look",
            files=files,
            details={"engine": {"queue": 0.1}},
            images=("data:image/png;base64,AA==",),
        )
    )
    chats.marks.bookmark("m")
    chats.set_tags(one, ["#Night shift", "night  SHIFT", "a"])
    read = rows.get("m")
    assert (read.files, dict(read.details), read.images) == (files, {"engine": {"queue": 0.1}}, told.images)
    (back,) = chats.import_(json.dumps(chats.export(one)).encode(), "file").taken
    (again,) = chats.tree(back.id)
    assert (again.files, dict(again.details), again.images) == (files, {"engine": {"queue": 0.1}}, told.images)
    assert again.bookmarked_at is not None
    assert chats.get(back.id).tags == ("a", "night shift")


def test_pinned_chats_come_first_where_that_is_asked_and_tags_are_found(db: Database, chats: Chats) -> None:
    first = chats.create("one")
    while now() == first.updated_at:  # of chats of one millisecond any may be the last
        pass
    ids = [first.id, *(chats.create(name).id for name in ("two", "three"))]
    chats.pin(ids[0], True)
    assert chats.list(pinned_first=True)[0].id == ids[0]
    assert chats.find("last").id != ids[0]
    chats.pin(ids[0], False)
    assert chats.get(ids[0]).pinned_at is None
    chats.set_tags(ids[1], ["x", "Work"])
    chats.set_tags(ids[2], ["work", "it's"])
    assert chats.tags() == [("work", 2), ("it's", 1), ("x", 1)]
    assert {one.id for one in chats.list(tag="#WORK")} == set(ids[1:])
    assert chats.count(tag="wor") == 0
    assert [one.id for one in chats.list(search="it's")] == [ids[2]]
    with pytest.raises(UsageError, match="too many"):
        chats.set_tags(ids[0], [f"t{number}" for number in range(21)])


def test_broken_tags_in_the_database_are_none(db: Database, chats: Chats) -> None:
    one = chats.create("one").id
    with db.write() as tables:
        tables.execute("UPDATE chat_sessions SET tags = '{broken' WHERE id = ?", (one,))
    assert chats.list(tag="x") == []
    assert chats.tags() == []
    assert chats.get(one).tags == ()
