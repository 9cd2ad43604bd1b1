"""Chats and their messages: a tree in order, forks, trash, leases, search."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vllm_studio_tui.domain.chat import Message, Session, Timings, TokenUsage, ToolCall
from vllm_studio_tui.domain.errors import NotFound, UsageError
from vllm_studio_tui.kit.paths import boot_id, machine_id
from vllm_studio_tui.store.chats import ChatRows
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.messages import FOREIGN_LEASE, MessageRows, lease
from vllm_studio_tui.store.search import search


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    opened = Database.open(tmp_path / "studio.db")
    yield opened
    opened.close()


def say(db: Database, session: Session | str, role: str, content: str, parent: str | None = None, **more: str) -> str:
    session_id = session if isinstance(session, str) else session.id
    return MessageRows(db).append(Message("", session_id, role, content, parent, finish=more.get("finish"))).id


def test_a_message_comes_back_as_it_was_kept(db: Database) -> None:
    session = ChatRows(db).create("Title", model="m", settings={"system": "Be kind."})
    first = say(db, session, "user", "hello")
    kept = MessageRows(db).append(
        Message(
            "",
            session.id,
            "assistant",
            "line\r\n\x1b[31mred\x00",
            first,
            reasoning="hm",
            model="m",
            tool_calls=(ToolCall("1", "f", '{"a":'),),
            images=("data:image/png;base64,AA==",),
            finish="tool_calls",
            usage=TokenUsage(10, 20, 5, 8, 3),
            timings=Timings(0.1, 0.2, 3.0, 12.5),
        )
    )
    found = MessageRows(db).get(kept.id)
    assert found == kept
    assert found.content == "line\r\n\x1b[31mred\x00"
    assert (found.usage, found.timings) == (TokenUsage(10, 20, 5, 8, 3), Timings(0.1, 0.2, 3.0, 12.5))
    assert found.tool_calls == (ToolCall("1", "f", '{"a":'),)
    row = db.row("SELECT request_prompt_tokens, request_total_input_tokens FROM chat_messages WHERE id = ?", (kept.id,))
    assert row is not None
    assert tuple(row) == (7, 10)
    one = ChatRows(db).get(session.id)
    assert (one.messages, one.leaf_id, one.settings) == (2, kept.id, {"system": "Be kind."})


def test_messages_of_one_moment_keep_their_order(db: Database) -> None:
    session = ChatRows(db).create()
    parent: str | None = None
    for number in range(30):
        message = Message("", session.id, "user", str(number), parent, created_at="2026-01-01T00:00:00Z")
        parent = MessageRows(db).append(message).id
    assert [one.content for one in MessageRows(db).branch(session.id)] == [str(number) for number in range(30)]
    assert [one.content for one in MessageRows(db).tree(session.id)] == [str(number) for number in range(30)]


def test_halves_of_surrogate_pairs_can_be_kept(db: Database) -> None:
    session = ChatRows(db).create("\udfff")
    one = MessageRows(db).append(Message("", session.id, "user", "\ud83d\ude00 and \ud800"))
    assert one.content == "\U0001f600 and \ufffd"


def test_a_branch_goes_from_the_first_message_to_the_leaf(db: Database) -> None:
    rows, messages = ChatRows(db), MessageRows(db)
    session = rows.create()
    question = say(db, session, "user", "question")
    one = say(db, session, "assistant", "answer 1", question)
    two = say(db, session, "assistant", "answer 2", question)
    assert [message.content for message in messages.branch(session.id)] == ["question", "answer 2"]
    assert [message.content for message in messages.branch(session.id, one)] == ["question", "answer 1"]
    assert [message.id for message in messages.siblings(one)] == [one, two]
    rows.set_leaf(session.id, one)
    assert [message.content for message in messages.branch(session.id)] == ["question", "answer 1"]
    with pytest.raises(NotFound):
        rows.set_leaf(rows.create().id, one)
    with pytest.raises(NotFound):
        say(db, rows.create(), "user", "child of another chat", one)


def test_a_ring_of_parents_ends(db: Database) -> None:
    session = ChatRows(db).create()
    one = say(db, session, "user", "a")
    two = say(db, session, "user", "b", one)
    with db.write() as tables:
        tables.execute("UPDATE chat_messages SET parent_id = ? WHERE id = ?", (two, one))
    assert len(MessageRows(db).branch(session.id)) == 2


def test_a_fork_copies_the_branch_up_to_the_message(db: Database) -> None:
    rows, messages = ChatRows(db), MessageRows(db)
    session = rows.create("Talk", model="m", settings={"system": "s"})
    question = say(db, session, "user", "question")
    answer = say(db, session, "assistant", "answer", question, finish="stop")
    say(db, session, "user", "later", answer)
    fork = rows.fork(session.id, answer)
    assert (fork.title, fork.parent_id, fork.model, fork.settings) == ("Talk (fork)", session.id, "m", {"system": "s"})
    copies = messages.branch(fork.id)
    assert [one.content for one in copies] == ["question", "answer"]
    assert {one.id for one in copies}.isdisjoint({question, answer})
    original = messages.get(question)
    assert (copies[0].created_at, copies[1].finish) == (original.created_at, "stop")
    assert rows.get(session.id).messages == 3
    with pytest.raises(NotFound):
        rows.fork(fork.id, answer)


def test_a_fork_of_an_answer_that_is_being_streamed_is_not_streamed_itself(db: Database) -> None:
    session = ChatRows(db).create()
    streaming = say(db, session, "assistant", "par", finish="streaming")
    fork = ChatRows(db).fork(session.id)
    assert [one.finish for one in MessageRows(db).branch(fork.id)] == ["interrupted"]
    assert MessageRows(db).get(streaming).finish == "streaming"


def test_the_list_shows_the_chat_used_last_first_and_no_trash(db: Database) -> None:
    rows = ChatRows(db)
    made = [rows.create(title, model=model) for title, model in (("Cats", "m-1"), ("100% dogs", "m-2"), ("Fish", None))]
    with db.write() as tables:
        for number, one in enumerate(made):
            tables.execute("UPDATE chat_sessions SET updated_at = ? WHERE id = ?", (f"2026-01-0{number + 1}", one.id))
    assert [one.title for one in rows.list()] == ["Fish", "100% dogs", "Cats"]
    assert [one.title for one in rows.list(limit=1, offset=1)] == ["100% dogs"]
    assert [one.title for one in rows.list(search="0% do")] == ["100% dogs"]
    assert [one.title for one in rows.list(search="m-1 cat")] == ["Cats"]
    assert rows.list(search="%_") == []
    rows.rename(made[0].id, "Tigers")
    assert [one.title for one in rows.list()] == ["Fish", "100% dogs", "Tigers"]
    say(db, made[0], "user", "news")
    assert rows.list()[0].title == "Tigers"
    assert rows.trash(made[0].id)
    assert not rows.trash(made[0].id)
    assert [one.title for one in rows.list()] == ["Fish", "100% dogs"]
    assert [one.title for one in rows.list(trash=True)] == ["Tigers"]
    assert getattr(rows.last_trashed(), "title", "") == "Tigers"
    assert (rows.count(), rows.count(trash=True), rows.count(search="dogs")) == (2, 1, 1)
    assert rows.restore(made[0].id)
    assert not rows.restore(made[0].id)
    assert rows.count() == 3


def test_a_purged_chat_takes_its_messages_along(db: Database) -> None:
    session = ChatRows(db).create()
    say(db, session, "user", "unmistakable")
    ChatRows(db).purge(session.id)
    with pytest.raises(NotFound):
        ChatRows(db).get(session.id)
    assert MessageRows(db).tree(session.id) == []
    assert search(db, "unmistakable") == []
    with db.write() as tables:  # the index agrees with the table
        tables.execute("INSERT INTO chat_search (chat_search, rank) VALUES ('integrity-check', 1)")


def test_a_chat_is_found_by_the_beginning_of_its_id(db: Database) -> None:
    rows = ChatRows(db)
    with pytest.raises(NotFound, match="no chat yet"):
        rows.find("last")
    one, two = rows.create("one"), rows.create("two")
    with db.write() as tables:
        tables.execute("UPDATE chat_sessions SET id = 'abc1', updated_at = '2026-01-02' WHERE id = ?", (one.id,))
        tables.execute("UPDATE chat_sessions SET id = 'abc2', updated_at = '2026-01-01' WHERE id = ?", (two.id,))
    assert rows.find("abc1").title == "one"
    assert rows.find("last").title == "one"
    with pytest.raises(UsageError, match="several"):
        rows.find("ab")
    for nothing in ("x", "%", "", "\ud800"):
        with pytest.raises(NotFound):
            rows.find(nothing)


# --- answers that are being streamed --------------------------------------------------------------------


def test_a_checkpoint_keeps_what_came_but_never_over_the_end(db: Database) -> None:
    messages = MessageRows(db)
    session = ChatRows(db).create()
    streaming = messages.append(Message("", session.id, "assistant", "", finish="streaming"))
    assert messages.checkpoint(streaming.id, "half", "thought")
    assert (messages.get(streaming.id).content, messages.get(streaming.id).reasoning) == ("half", "thought")
    assert messages.finish(replace(streaming, content="half and half", finish="stop"))
    assert not messages.checkpoint(streaming.id, "half", "")
    assert messages.get(streaming.id).content == "half and half"
    ChatRows(db).purge(session.id)
    assert not messages.finish(streaming)


def test_only_answers_of_dead_programs_are_settled(db: Database) -> None:
    messages = MessageRows(db)
    session = ChatRows(db).create()
    host, boot = machine_id(), boot_id()
    at = time.time()
    owners = {
        "ours": (lease(), at),
        "dead": (f"{host}:{boot}:999999999:1", at),
        "number used again": (f"{host}:{boot}:{lease().split(':')[2]}:1", at),
        "before the reboot": (f"{host}:other-boot:1:1", at),
        "nobody": (None, at),
        "torn": ("x:y", at),
        "other host": ("elsewhere:b:1:1", at - 60),
        "other host, long ago": ("elsewhere:b:1:1", at - FOREIGN_LEASE - 1),
    }
    ids = {}
    for name, (owner, touched) in owners.items():
        ids[name] = say(db, session, "assistant", name, finish="streaming")
        with db.write() as tables:
            tables.execute(
                "UPDATE chat_messages SET owner = ?, touched_at = ? WHERE id = ?", (owner, touched, ids[name])
            )
    assert messages.settle_interrupted(at=at) == 6
    living = {name for name in owners if messages.get(ids[name]).finish == "streaming"}
    assert living == {"ours", "other host"}
    assert messages.get(ids["dead"]).content == "dead"
    assert messages.settle_interrupted(at=at) == 0


# --- search ---------------------------------------------------------------------------------------------


def test_search_finds_all_words_and_the_beginning_of_the_last(db: Database) -> None:
    session = ChatRows(db).create("Zoo")
    say(db, session, "user", "The quick brown fox jumps over the lazy dog")
    say(db, session, "user", "A brown bear")
    say(db, session, "user", "Grüße aus CAFÉ")
    assert [hit.snippet for hit in search(db, "brown")] == [
        "A brown bear",
        "The quick brown fox jumps over the lazy dog",
    ]
    (hit,) = search(db, "lazy bro")
    assert (hit.title, hit.role, hit.session_id) == ("Zoo", "user", session.id)
    assert [hit.snippet[start:end] for start, end in hit.marks] == ["brown", "lazy"]
    assert search(db, "bro ") == []
    assert [hit.snippet for hit in search(db, "a")] == ["A brown bear"]
    assert len(search(db, "cafe gruße")) == 1
    assert len(search(db, "brown", limit=1)) == 1
    assert search(db, "brown", limit=1, offset=1)[0].snippet.startswith("The quick")


def test_search_knows_an_answer_when_it_is_over(db: Database) -> None:
    messages = MessageRows(db)
    session = ChatRows(db).create()
    answer = messages.append(Message("", session.id, "assistant", "", finish="streaming"))
    messages.checkpoint(answer.id, "photosynthesis begins", "")
    assert search(db, "photosynthesis") == []
    messages.finish(replace(answer, content="photosynthesis begins and ends", finish="length"))
    assert len(search(db, "photosynthesis")) == 1
    messages.reopen(answer.id)
    assert search(db, "photosynthesis") == []
    messages.finish(replace(answer, content="chlorophyll", finish="stop"))
    assert (len(search(db, "photosynthesis")), len(search(db, "chlorophyll"))) == (0, 1)
    with db.write() as tables:
        tables.execute("INSERT INTO chat_search (chat_search, rank) VALUES ('integrity-check', 1)")


def test_search_passes_over_the_trash(db: Database) -> None:
    session = ChatRows(db).create()
    say(db, session, "user", "hidden treasure")
    ChatRows(db).trash(session.id)
    assert search(db, "treasure") == []
    ChatRows(db).restore(session.id)
    assert len(search(db, "treasure")) == 1


def test_search_finds_words_in_scripts_without_blanks(db: Database) -> None:
    session = ChatRows(db).create()
    say(db, session, "user", "東京の天気はどうですか")
    (hit,) = search(db, "天気")
    assert [hit.snippet[start:end] for start, end in hit.marks] == ["天気"]
    assert search(db, "大阪") == []


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(codec=None), max_size=40))
def test_no_search_text_is_a_command(db: Database, text: str) -> None:
    search(db, text)


@pytest.mark.parametrize("text", ['"', "a AND", "NEAR(", "content:x", "-x", "a*b", "x\0y", '"" OR 1', "(", "^a", "💥"])
def test_operators_of_the_query_language_are_plain_words(db: Database, text: str) -> None:
    session = ChatRows(db).create()
    say(db, session, "user", f"before {text} after")
    search(db, text)
