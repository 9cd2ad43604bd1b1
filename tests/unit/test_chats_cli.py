"""`vllm-studio chats`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from tests.elsewhere import where  # noqa: F401, RUF100
from vllm_studio_tui.cli import chats as command
from vllm_studio_tui.domain.chat import Message, Timings, TokenUsage
from vllm_studio_tui.domain.errors import NotFound, StudioError, UsageError
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.store.chats import ChatRows
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.messages import MessageRows

pytestmark = pytest.mark.usefixtures("where")


@pytest.fixture
def db(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    monkeypatch.setenv("VLLM_STUDIO_HOME", str(tmp_path))
    opened = Database.open(Places.of().database)
    yield opened
    opened.close()


def run(*words: str, stdin: str | bytes | None = None) -> Result:
    app = typer.Typer()
    command.register(app)
    return CliRunner().invoke(app, ["chats", *words], input=stdin)


def document(*words: str) -> Any:
    done = run(*words, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def talk(db: Database, title: str = "Greetings") -> str:
    session = ChatRows(db).create(title, model="m").id
    rows = MessageRows(db)
    question = rows.append(Message("", session, "user", "Hello there"))
    rows.append(Message("", session, "assistant", "Beside", question.id, finish="stop"))
    rows.append(
        Message(
            "",
            session,
            "assistant",
            "General",
            question.id,
            reasoning="a film",
            model="m",
            finish="length",
            usage=TokenUsage(3, 4),
            timings=Timings(0.1, None, 0.5, 8.0),
        )
    )
    return session


def test_the_list_has_the_promised_keys(db: Database) -> None:
    session = talk(db)
    (one,) = document("list")["sessions"]
    assert {"id", "title", "model", "created_at", "updated_at", "messages"} <= set(one)
    assert (one["id"], one["title"], one["model"], one["messages"]) == (session, "Greetings", "m", 3)
    assert one["created_at"].endswith("Z")
    assert document("list", "--search", "nothing")["sessions"] == []
    assert session in run("list").stdout


def test_an_empty_list_says_what_to_do(db: Database) -> None:
    assert "vllm-studio chat" in run("list").stdout
    assert document("list") == {"sessions": [], "total": 0}


def test_a_long_list_says_how_to_see_the_rest(db: Database) -> None:
    for number in range(3):
        ChatRows(db).create(f"chat {number}")
    done = run("list", "--limit", "2")
    assert "1 more: --offset 2" in done.stderr
    assert len(document("list", "--limit", "0")["sessions"]) == 3


def test_showing_a_chat_gives_the_branch_with_figures(db: Database) -> None:
    session = talk(db)
    found = document("show", session[:6])
    question, answer = found["messages"]
    assert found["session"]["id"] == session
    assert {"id", "parent_id", "role", "content", "reasoning", "model", "finish", "usage", "stats"} <= set(answer)
    assert (answer["parent_id"], answer["content"], answer["finish"]) == (question["id"], "General", "length")
    assert (answer["usage"]["total_tokens"], answer["usage"]["cached_tokens"]) == (7, None)
    assert answer["stats"] == {"ttft": 0.1, "thinking": None, "total": 0.5, "tokens_per_second": 8.0}
    assert [one["content"] for one in document("show", "last", "--tree")["messages"]] == [
        "Hello there",
        "Beside",
        "General",
    ]
    shown = run("show", "last", "--thinking").stdout
    assert "Assistant (m, length):" in shown
    assert "  | a film" in shown


def test_an_answer_of_a_dead_program_is_shown_as_interrupted(db: Database) -> None:
    session = ChatRows(db).create().id
    MessageRows(db).append(Message("", session, "assistant", "half", finish="streaming"))
    with db.write() as tables:
        tables.execute("UPDATE chat_messages SET owner = 'dead'")
    assert document("show", session)["messages"][0]["finish"] == "interrupted"


def test_search_shows_where_the_words_stand(db: Database) -> None:
    session = talk(db)
    (hit,) = document("search", "hello", "the")["hits"]
    assert (hit["session"], hit["snippet"], hit["marks"]) == (session, "Hello there", [[0, 5], [6, 11]])
    assert "You: Hello there" in run("search", "hello").stdout
    assert "Nothing found." in run("search", "goodbye").stdout


@pytest.mark.parametrize("ending", ["json", "md"])
def test_an_exported_chat_is_imported_again(db: Database, tmp_path: Path, ending: str) -> None:
    session = talk(db)
    target = tmp_path / f"chat.{ending}"
    assert run("export", session, "-o", str(target)).exit_code == 0
    assert target.stat().st_mode & 0o777 == 0o600
    (taken,) = document("import", str(target))["imported"]
    assert taken["id"] != session
    assert [one["content"] for one in document("show", taken["id"])["messages"]] == ["Hello there", "General"]


def test_all_chats_go_through_a_pipe(db: Database) -> None:
    talk(db, "one")
    talk(db, "two")
    exported = run("export", "--all").stdout
    done = run("import", "-", stdin=exported)
    assert done.exit_code == 0, done.output
    assert sorted(one["title"] for one in document("list")["sessions"]) == ["one", "one", "two", "two"]


def test_a_bad_file_is_named_and_the_good_ones_are_taken(db: Database, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text('[{"role": "user", "content": "hi"}]')
    bad.write_text("{")
    done = run("import", str(bad), str(good), str(tmp_path / "missing"), "--json")
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert len(found["imported"]) == 1
    assert [Path(one["file"]).name for one in found["failed"]] == ["bad.json", "missing"]
    assert "bad.json" in done.stderr


def test_export_wants_one_chat_or_all(db: Database) -> None:
    session = talk(db)
    for words in (["export"], ["export", session, "--all"], ["export", session, "--format", "pdf"]):
        assert isinstance(run(*words).exception, UsageError), words
    assert isinstance(run("export", session, "-o", "/nowhere/x.json").exception, StudioError)
    assert run("export", session, "--format", "markdown").stdout.startswith("<!-- vllm-studio:")


def test_a_fork_is_a_chat_of_its_own(db: Database) -> None:
    session = talk(db)
    first = document("show", session)["messages"][0]["id"]
    fork = document("fork", session, "--message", first)["session"]
    assert (fork["title"], fork["parent_id"], fork["messages"]) == ("Greetings (fork)", session, 1)


def test_deleting_goes_to_the_trash_and_back(db: Database) -> None:
    session = talk(db)
    assert isinstance(run("delete", session).exception, UsageError)  # nobody to ask
    assert ChatRows(db).count() == 1
    done = run("delete", session, "--yes")
    assert f"chats restore {session}" in done.stderr
    assert document("list")["sessions"] == []
    assert [one["id"] for one in document("list", "--trash")["sessions"]] == [session]
    assert run("restore", session).exit_code == 0
    assert document("list")["total"] == 1
    assert run("delete", session, "--yes", "--purge").exit_code == 0
    assert isinstance(run("show", session).exception, NotFound)


def test_nothing_is_deleted_when_one_name_is_wrong(db: Database) -> None:
    session = talk(db)
    assert isinstance(run("delete", session, "nonsense", "--yes").exception, NotFound)
    assert ChatRows(db).get(session).deleted_at is None


def test_a_chat_gets_another_title(db: Database) -> None:
    session = talk(db)
    assert run("rename", session, "Other").exit_code == 0
    assert ChatRows(db).get(session).title == "Other"


def test_an_export_does_not_write_over_a_file_unasked(db: Database, tmp_path: Path) -> None:
    session = talk(db)
    target = tmp_path / "a.json"
    target.write_text("mine")
    refused = run("export", session, "-o", str(target)).exception
    assert isinstance(refused, StudioError)
    assert (str(target) in refused.title, "--force" in refused.advice, target.read_text()) == (True, True, "mine")
    assert run("export", session, "-o", str(target), "--force").exit_code == 0
    assert target.read_text() != "mine"


def test_an_import_says_what_is_here_already_and_what_was_left_out(db: Database, tmp_path: Path) -> None:
    file = tmp_path / "1.conversation.json"
    place = {"versions": [{"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "video"}]}]}
    file.write_text(json.dumps({"name": "Birds", "messages": [place]}))
    first = document("import", str(file))
    (one,) = first["imported"]
    assert (one["title"], first["known"], first["failed"]) == ("Birds", [], [])
    assert first["notes"] == ["1.conversation.json: left out: 1 × piece of the kind video"]
    done = run("import", str(file))
    assert f"here already {one['id']}  Birds" in done.stdout
    assert "left out: 1 × piece of the kind video" in done.stderr
    (tmp_path / "1.conversation.json-wal").write_text("x")
    assert "end the program that has it open" in run("import", str(file)).stderr
