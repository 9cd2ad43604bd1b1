"""A chat that went on since it was taken in: what is new comes in, what was done with it here stays."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.test_chat_imports import CHATGPT, LMSTUDIO, node, said
from vllm_studio_tui.domain.chat import Message
from vllm_studio_tui.domain.chat_imports import GrownChat, ImportedChats
from vllm_studio_tui.services.chat.saved_chats import Chats
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.marks import MessageMarks
from vllm_studio_tui.store.messages import MessageRows


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    opened = Database.open(tmp_path / "studio.db")
    yield opened
    opened.close()


@pytest.fixture
def chats(db: Database) -> Chats:
    return Chats(db)


def taken_in(chats: Chats, document: Any, *, dry_run: bool = False) -> ImportedChats:
    raw = document if isinstance(document, bytes) else json.dumps(document).encode()
    return chats.import_(raw, "file", dry_run=dry_run)


def grown(found: ImportedChats) -> GrownChat:
    assert (found.taken, found.known) == ((), ())
    (one,) = found.grown
    return one


def chatgpt(*more: dict[str, Any], **changed: Any) -> dict[str, Any]:
    """The chat of ChatGPT, with further nodes; the last is where it is read up to."""
    document: dict[str, Any] = copy.deepcopy(CHATGPT)
    document["mapping"].update({one["id"]: one for one in more})
    if more:
        document["current_node"] = more[-1]["id"]
    return {**document, "update_time": 1800000000, **changed}


MORE = (node("q2", "second", "user", "And this?"), node("a2", "q2", "assistant", "A frog.", model_slug="o4"))


def test_only_what_is_new_comes_in(chats: Chats) -> None:
    (first,) = taken_in(chats, [CHATGPT]).taken
    before = chats.tree(first.id)
    now = grown(taken_in(chats, [chatgpt(*MORE)]))
    assert (now.session.id, now.added, now.longer) == (first.id, 2, 0)
    assert chats.tree(first.id)[: len(before)] == before
    assert said(chats.branch(first.id))[-2:] == [("user", "And this?"), ("assistant", "A frog.")]
    assert now.session.updated_at > first.updated_at
    assert [one.id for one in taken_in(chats, [chatgpt(*MORE)]).known] == [first.id]
    # An older export of it has nothing new.
    assert [one.id for one in taken_in(chats, [CHATGPT]).known] == [first.id]
    assert len(chats.list()) == 1


def test_another_answer_there_is_another_branch_here(chats: Chats) -> None:
    (first,) = taken_in(chats, [CHATGPT]).taken
    other = node("third", "q", "assistant", "A kite.", model_slug="o4")
    assert grown(taken_in(chats, [chatgpt(other)])).added == 1
    assert said(chats.branch(first.id))[-1] == ("assistant", "A kite.")
    assert len({one.content for one in chats.tree(first.id)} & {"A plane.", "A kite.", "A bird."}) == 3


def test_what_was_done_here_stays(chats: Chats, db: Database) -> None:
    (first,) = taken_in(chats, [CHATGPT]).taken
    chats.rename(first.id, "Mine")
    chats.set_tags(first.id, ["kept"])
    rows = MessageRows(db)
    mine = rows.append(Message("", first.id, "user", "My own question", rows.leaf(first.id)))
    MessageMarks(db).bookmark(chats.tree(first.id)[0].id, True)
    now = grown(taken_in(chats, [chatgpt(*MORE, title="Theirs")])).session
    assert (now.title, now.tags, now.leaf_id) == ("Mine", ("kept",), mine.id)
    assert said(chats.branch(first.id))[-1] == ("user", "My own question")
    assert "A frog." in {one.content for one in chats.tree(first.id)}
    assert chats.tree(first.id)[0].bookmarked_at


def test_what_was_taken_away_here_does_not_come_back(chats: Chats, db: Database) -> None:
    (first,) = taken_in(chats, [CHATGPT]).taken
    removed = MessageMarks(db).remove(next(one.id for one in chats.tree(first.id) if one.content == "A bird."))
    found = taken_in(chats, [chatgpt(*MORE)])
    assert [one.id for one in found.known] == [first.id]
    assert "left out: 2 × new message below one that was taken away here" in found.notes
    assert not {"A bird.", "A frog."} & {one.content for one in chats.tree(first.id)}
    MessageMarks(db).bring_back(removed)
    assert "A bird." in {one.content for one in chats.tree(first.id)}


def test_an_answer_that_was_cut_when_it_came_in_is_completed_unless_it_went_on_here(chats: Chats, db: Database) -> None:
    cut = node("a2", "q2", "assistant", "A fr", model_slug="o4", finish_details={"type": "interrupted"})
    (first,) = taken_in(chats, [chatgpt(MORE[0], cut)]).taken
    now = grown(taken_in(chats, [chatgpt(*MORE)]))
    assert (now.added, now.longer) == (0, 1)
    answer = chats.branch(first.id)[-1]
    assert (answer.content, answer.finish) == ("A frog.", "stop")
    longer = node("a2", "q2", "assistant", "A frog. Or a toad.", model_slug="o4")
    MessageRows(db).finish(Message(answer.id, first.id, "assistant", "A frog that I wrote on.", finish="stop"))
    assert taken_in(chats, [chatgpt(MORE[0], longer)]).known
    assert chats.branch(first.id)[-1].content == "A frog that I wrote on."


def test_a_look_beforehand_says_the_same_and_keeps_nothing(chats: Chats) -> None:
    seen = taken_in(chats, [CHATGPT], dry_run=True)
    assert [(one.title, one.messages) for one in seen.taken] == [("Birds", 5)]
    assert seen.form == "ChatGPT"
    assert chats.list() == []
    (first,) = taken_in(chats, [CHATGPT]).taken
    before = chats.tree(first.id)
    assert grown(taken_in(chats, [chatgpt(*MORE)], dry_run=True)).added == 2
    assert chats.tree(first.id) == before
    assert chats.get(first.id) == first
    assert grown(taken_in(chats, [chatgpt(*MORE)])).added == 2


def _lmstudio(chats: Chats) -> tuple[Any, Any]:
    later = copy.deepcopy(LMSTUDIO)
    answer = {"type": "singleStep", "role": "assistant", "content": [{"type": "text", "text": "Welcome"}]}
    later["messages"].append({"currentlySelected": 0, "versions": [answer]})
    later["messages"][1]["versions"].insert(0, {**answer, "content": [{"type": "text", "text": "A kite."}]})
    later["messages"][1]["currentlySelected"] = 2
    return LMSTUDIO, later


def _ours(chats: Chats) -> tuple[Any, Any]:
    made = chats.create("x")
    chats.put_message(made.id, {"role": "user", "content": "one"})
    chats.put_message(made.id, {"role": "assistant", "content": "two"})
    earlier = chats.export(made.id)
    chats.put_message(made.id, {"role": "user", "content": "three"})
    chats.put_message(made.id, {"role": "assistant", "content": "four"})
    later = chats.export(made.id)
    chats.purge(made.id)
    return earlier, later


def _list(chats: Chats) -> tuple[Any, Any]:
    whole = [{"role": role, "content": f"{role} {number}"} for number in range(2) for role in ("user", "assistant")]
    return whole[:2], whole


def _markdown(chats: Chats) -> tuple[Any, Any]:
    text = "# A talk\n\n## User\n\none\n\n## Assistant\n\ntwo\n\n## User\n\nthree\n\n## Assistant\n\nfour\n"
    return text[: text.index("## User\n\nthree")].encode(), text.encode()


def _original(chats: Chats) -> tuple[Any, Any]:
    call = {"id": "t", "name": "look", "arguments": "{}", "result": {"content": "blue"}}
    messages = [
        {"id": "1", "role": "user", "content": "sky?"},
        {"id": "2", "role": "assistant", "content": "", "tool_calls": [call]},
        {"id": "3", "role": "assistant", "content": "Blue."},
        {"id": "4", "role": "user", "content": "And at night?"},
    ]
    return {"id": "s", "title": "x", "messages": messages[:3]}, {"id": "s", "title": "x", "messages": messages}


@pytest.mark.parametrize("made", [_lmstudio, _ours, _list, _markdown, _original])
def test_of_every_form_only_what_is_new_comes_in(chats: Chats, made: Callable[[Chats], tuple[Any, Any]]) -> None:
    earlier, later = made(chats)
    (first,) = taken_in(chats, earlier).taken
    before = chats.tree(first.id)
    now = grown(taken_in(chats, later))
    assert now.session.id == first.id
    assert 1 <= now.added <= 3
    assert chats.tree(first.id)[: len(before)] == before
    assert [one.id for one in chats.list()] == [first.id]
    # As if the later one had been taken in alone.
    merged = chats.tree(first.id), said(chats.branch(first.id))
    chats.purge(first.id)
    (whole,) = taken_in(chats, later).taken
    assert sorted(said(chats.tree(whole.id))) == sorted(said(merged[0]))
    assert said(chats.branch(whole.id)) == merged[1]


def test_chats_that_only_begin_alike_are_two(chats: Chats) -> None:
    hello, other = {"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Good day."}
    assert taken_in(chats, [hello, {"role": "assistant", "content": "Hi"}, {"role": "user", "content": "x"}]).taken
    assert taken_in(chats, [hello, other]).taken
    assert taken_in(chats, [hello]).taken
    assert taken_in(chats, [hello, {"role": "assistant", "content": "Yo"}]).taken
    assert len(chats.list()) == 4


def test_one_in_the_trash_comes_in_anew(chats: Chats) -> None:
    (first,) = taken_in(chats, [CHATGPT]).taken
    chats.trash(first.id)
    (again,) = taken_in(chats, [chatgpt(*MORE)]).taken
    assert again.id != first.id
