"""What is under way and what has ended, asked of a running server and of the table."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from tests.unit.serving_socket import serving
from tests.unit.test_request_log import kill
from vllm_studio_tui.cli import keys as keys_command
from vllm_studio_tui.cli import requests as command
from vllm_studio_tui.cli.keys import moment_of
from vllm_studio_tui.domain.chat import Message
from vllm_studio_tui.domain.errors import NotFound, StudioError, UsageError
from vllm_studio_tui.domain.requests import LiveRequest, RequestQuery
from vllm_studio_tui.domain.usage import CompletedRequest
from vllm_studio_tui.kit.paths import Places, machine_id
from vllm_studio_tui.services.serving.client import NotServing, ServeClient
from vllm_studio_tui.services.serving.request_log import RequestLog
from vllm_studio_tui.services.serving.requests import Requests
from vllm_studio_tui.store.chats import ChatRows
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.messages import MessageRows
from vllm_studio_tui.store.requests import RequestRows

AT = 1_800_000_000.0
LIVE = {
    "id": "r1", "at": "2026-11-26T14:31:58.000Z", "key": "opencode", "source": "proxy", "model": "qwen3-32b",
    "recipe": "qwen", "run_id": "run", "endpoint": "/v1/messages", "phase": "streaming", "stage": None,
    "progress": None, "position": None, "age": 34.0, "queued": 0.0, "load": 0.0, "ttft": 0.171,
    "completion_tokens": 1710, "tokens_per_second": 51.3, "client": "127.0.0.1:51544", "streamed": True,
}  # fmt: skip


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    monkeypatch.setenv("VLLM_STUDIO_HOME", str(tmp_path))
    return Places.of()


@pytest.fixture
def db(places: Places) -> Iterator[Database]:
    opened = Database.open(places.database)
    yield opened
    opened.close()


@pytest.fixture
def requests(places: Places, db: Database) -> Requests:
    return Requests(places, lambda: db)


def ended(db: Database, name: str, **values: Any) -> None:
    RequestRows(db).record(replace(CompletedRequest(AT, "proxy", "stop", id=name, model="m"), **values))


def chat_under_way(db: Database, text: str) -> None:
    session = ChatRows(db).create("t", model="m").id
    rows = MessageRows(db)
    answer = rows.append(Message("", session, "assistant", text, finish="streaming"))
    RequestRows(db).begin(
        CompletedRequest(time.time() - 5, "chat", "streaming", id="c1", model="m", message_id=answer.id)
    )


# --- the running server ---------------------------------------------------------------------------------


def test_nobody_serves(places: Places, requests: Requests) -> None:
    with pytest.raises(NotServing, match="nothing serves"):
        ServeClient(places).live()
    now = requests.live()
    assert (now.requests, now.serving, now.error) == ((), False, None)


def test_what_a_killed_server_had_under_way_has_ended(places: Places, db: Database, requests: Requests) -> None:
    log = RequestLog(places, db)
    log.begin(CompletedRequest(AT, "proxy", "streaming", id="cut", model="m", completion_tokens=7))
    assert requests.live().requests == ()
    assert requests.ended(RequestQuery()) == []  # it lives
    kill(log)
    requests.live()
    [row] = requests.ended(RequestQuery())
    assert (row.id, row.finish, row.completion_tokens) == ("cut", "interrupted", 7)


def test_what_a_server_has_under_way_and_chats_of_this_home_the_oldest_first(
    places: Places, db: Database, requests: Requests
) -> None:
    chat_under_way(db, "x" * 41)
    with serving(places) as told:
        told.documents["/requests/live"] = {
            "requests": [LIVE, {"id": "r2", "phase": "queued", "age": 1}],
            "queue": [{"model": "q"}],
        }
        now = requests.live()
    assert (now.serving, now.url, now.error, now.queue) == (True, "http://127.0.0.1:8080", None, ({"model": "q"},))
    first, second, third = now.requests
    assert {name: value for name, value in first.to_json().items() if name in LIVE and name != "at"} == {
        name: value for name, value in LIVE.items() if name != "at"
    }
    assert (second.source, second.phase, second.completion_tokens, second.served) == ("chat", "streaming", 11, False)
    assert 4 < (second.age or 0) < 60
    assert (third.id, third.waits, third.completion_tokens) == ("r2", True, None)


def test_a_request_is_cancelled_by_its_id(places: Places, requests: Requests) -> None:
    with serving(places) as told:
        told.documents["/requests/a%2Fb/cancel"] = {"cancelled": True}
        requests.cancel("a/b")
        assert told.asked == ["POST /requests/a%2Fb/cancel"]
        with pytest.raises(NotFound, match="no such request"):
            requests.cancel("gone")


@pytest.mark.parametrize(
    "raw",
    [
        b"garbage", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n[1,2]", b"HTTP/1.1 200 OK\r\n\r\nnot json",
        b"HTTP/1.1 500 X\r\n\r\n", b'HTTP/1.1 403 X\r\n\r\n{"error": 5}', b"HTTP/1.1 200 OK\r\n\r\n" + b"[" * 100_000,
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", b"HTTP/9.9 abc\r\n\r\n", b"\r\n" * 10,
    ],
)  # fmt: skip
def test_any_answer_is_a_document_or_an_error_in_words(places: Places, requests: Requests, raw: bytes) -> None:
    with serving(places) as told:
        told.raw = raw
        with pytest.raises(StudioError):
            ServeClient(places).live()
        now = requests.live()
        assert now.serving
        assert now.error is not None and now.error.title


def test_a_server_that_does_not_answer_costs_no_more_than_the_deadline(places: Places) -> None:
    with serving(places) as told:
        told.raw = b""
        with pytest.raises(StudioError, match="does not answer"):
            ServeClient(places, timeout=0.1).live()


def test_a_home_with_a_long_name_has_a_socket_too(tmp_path: Path) -> None:
    places = Places.under(tmp_path / ("x" * 120))
    with serving(places) as told:
        told.documents["/requests/live"] = {"requests": []}
        assert ServeClient(places).live() == {"requests": []}


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from([*LIVE, "eta"]), inner, max_size=8),
    )
)
def test_whatever_is_told_of_a_request_is_read(data: object) -> None:
    found = LiveRequest.of_json(data, now=AT)
    if found is not None:
        assert found.id
        json.dumps(found.to_json(), allow_nan=False)


# --- the table ------------------------------------------------------------------------------------------


def test_requests_are_found_by_key_model_and_page(db: Database, requests: Requests) -> None:
    ended(db, "a", key_name="web", model="qwen3-32b", at=AT)
    ended(db, "b", key_name="ci-bot", model="gemma", requested_model="Gemma-3", at=AT + 1)
    ended(db, "c", source="chat", model="qwen3-32b", recipe_id="big", at=AT + 2)
    RequestRows(db).begin(CompletedRequest(AT + 3, "chat", "streaming", id="d", model="qwen3-32b"))

    def found(**query: Any) -> str:
        return "".join(one.id for one in requests.ended(RequestQuery(**query)))

    assert found() == "cba"
    assert found(limit=2) == "cb"
    assert found(before=(AT + 1, "b")) == "a"
    assert [found(key=one) for one in ("web", "*-bot", "chat", "[!w]*", "web%")] == ["a", "b", "c", "cb", ""]
    assert [found(model=one) for one in ("qwen*", "Gemma-3", "big", "nobody")] == ["ca", "b", "c", ""]
    assert found(key="chat", model="qwen*") == "c"


def test_requests_of_a_time_are_those_that_were_under_way_in_it(db: Database, requests: Requests) -> None:
    ended(db, "a", at=AT + 10, total_seconds=10.0, run_id="one", key_name="chat")
    ended(db, "b", at=AT + 30, total_seconds=25.0, run_id="one", source="chat")  # began before, ended after
    ended(db, "c", at=AT + 21, total_seconds=0.5, run_id="two")
    ended(db, "d", at=AT + 40, run_id="one", total_seconds=None)  # nobody knows how long it took

    def found(**query: Any) -> str:
        return "".join(one.id for one in requests.ended(RequestQuery(**query)))

    assert found(since=AT + 11, until=AT + 20) == "b"
    assert found(since=AT + 10, until=AT + 25) == "bca"
    assert found(since=AT + 10, until=AT + 25, run_id="one") == "ba"
    assert (found(since=AT + 31), found(until=AT + 4)) == ("d", "a")
    asked = RequestRows(db).asked_by("one", AT + 10, AT + 25)
    assert sorted((one.name, one.number, one.has_key) for one in asked) == [("chat", 1, False), ("chat", 1, True)]


def test_a_tally_counts_ends(db: Database, requests: Requests) -> None:
    for number, finish in enumerate(["stop", "stop", "cancelled", "refused"]):
        ended(db, str(number), finish=finish, at=AT + number)
    assert requests.tally(AT + 1) == {"stop": 1, "cancelled": 1, "refused": 1}


def test_a_chat_whose_program_died_is_not_under_way(db: Database, requests: Requests) -> None:
    chat_under_way(db, "x")
    assert len(requests.live().requests) == 1
    with db.write() as tables:
        tables.execute("UPDATE requests SET owner = ?", (f"{machine_id()}:another boot:1:1",))
    assert requests.live().requests == ()


# --- commands -------------------------------------------------------------------------------------------


def run(*words: str) -> Result:
    app = typer.Typer()
    command.register(app)
    keys_command.register(app)
    return CliRunner().invoke(app, list(words))


def document(*words: str) -> Any:
    done = run(*words, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_the_command_finds_requests_of_a_time(db: Database) -> None:
    now = time.time()
    ended(db, "old", at=now - 7200, total_seconds=60.0)
    ended(db, "long", at=now - 60, total_seconds=4000.0)
    ended(db, "new", at=now - 30, total_seconds=2.0)

    def found(*words: str) -> list[str]:
        return [one["id"] for one in document("requests", *words)["requests"]]

    assert found("--since", "1h") == ["new", "long"]
    assert found("--since", "3h", "--until", "1h") == ["long", "old"]
    assert run("requests", "--since", "10s").stdout == "No request.\n"
    for words in (("--since", "soon"), ("--since", "1h", "--until", "2h")):
        assert isinstance(run("requests", *words).exception, UsageError)
    assert isinstance(run("requests", "--run", "nobody").exception, NotFound)


def test_a_key_is_printed_once_and_alone(db: Database) -> None:
    done = run("keys", "add", "web", "--scope", "inference", "--scope", "read", "--model", "qwen*", "--rpm", "60")
    secret = done.stdout.strip()
    assert done.stdout == f"{secret}\n"
    assert secret.startswith("vs-")
    assert "not shown again" in done.stderr
    assert secret not in done.stderr
    made = document("keys", "add", "ci", "--may-launch", "--expires", "30d", "--loading", "503")
    assert made["key"].startswith(made["prefix"])
    assert (made["name"], made["scopes"], made["may_launch"], made["loading"]) == ("ci", ["inference"], True, "503")
    listed = document("keys", "list")["keys"]
    assert [(one["name"], one["models"], one["tokens_today"]) for one in listed] == [
        ("web", ["qwen*"], 0),
        ("ci", [], 0),
    ]
    shown = run("keys", "list").stdout
    assert secret not in shown
    assert f"{secret[:11]}****" in shown
    assert isinstance(run("keys", "delete", "web").exception, UsageError)
    assert run("keys", "delete", "web", "--yes").stdout == "deleted web\n"
    assert document("keys", "delete", "ci", "--yes")["deleted"]["name"] == "ci"
    assert document("keys", "list") == {"keys": []}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("12h", 43_200), ("30d", 30 * 86_400), ("1y", 365 * 86_400), ("1970-01-02", 2 * 86_400),
     ("1970-01-02T00:00Z", 86_400), ("1970-01-01T02:00+01:00", 3600)],
)  # fmt: skip
def test_a_time_is_a_span_a_day_or_a_moment(text: str, seconds: float) -> None:
    assert moment_of(text, now=0.0) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-3d", "30", "2030-13-01", "9999-12-31", "30 d", "\x1b[31m"])
def test_other_words_are_no_time(text: str) -> None:
    with pytest.raises(UsageError, match="is no time"):
        moment_of(text, now=0.0)


def test_requests_are_listed_for_people_and_programs(db: Database) -> None:
    assert "vllm-studio serve" in run("requests").stdout
    ended(
        db, "a", key_name="web", prompt_tokens=7, completion_tokens=5, queued_seconds=0.5, load_seconds=2.0, ttft=2.6,
        total_seconds=4.0, tokens_per_second=50.0, status=200, endpoint="/v1/chat/completions",
    )  # fmt: skip
    ended(db, "b", finish="refused", status=403, error="this key may not launch\x1b[31m", model=None, at=AT - 1)
    first, second = document("requests")["requests"]
    wanted = {
        "id": "a", "at": "2027-01-15T08:00:00.000Z", "source": "proxy", "key": "web", "model": "m", "recipe": None,
        "run_id": None, "endpoint": "/v1/chat/completions", "status": 200, "prompt_tokens": 7, "completion_tokens": 5,
        "queued": 0.5, "load": 2.0, "ttft": 2.6, "total": 4.0, "tokens_per_second": 50.0,
    }  # fmt: skip
    assert {name: first[name] for name in wanted} == wanted
    assert (second["finish"], second["status"], second["completion_tokens"]) == ("refused", 403, None)
    shown = run("requests").stdout
    assert "403 refused: this key may not launch" in shown
    assert "\x1b" not in shown
    assert [one["id"] for one in document("requests", "--key", "web")["requests"]] == ["a"]
    assert run("requests", "--model", "nobody").stdout == "No request.\n"


def test_live_requests_are_listed_with_and_without_a_server(db: Database, places: Places) -> None:
    done = run("requests", "--live")
    assert (done.stdout, done.stderr) == (
        "Nothing is under way.\n",
        "Nothing serves from this home: vllm-studio serve\n",
    )
    chat_under_way(db, "x" * 40)
    assert document("requests", "--live")["serving"] is None
    with serving(places) as told:
        loading = {"id": "r2", "phase": "loading", "stage": "weights 13/30", "progress": 0.43, "position": 0, "age": 2}
        told.documents["/requests/live"] = {"requests": [LIVE, loading], "queue": []}
        live = document("requests", "--live")
        assert live["serving"] == {"url": "http://127.0.0.1:8080"}
        assert [one["id"] for one in live["requests"]] == ["r1", "c1", "r2"]
        assert [one["id"] for one in document("requests", "--live", "--key", "open*")["requests"]] == ["r1"]
        shown = run("requests", "--live").stdout
        assert "loading, weights 13/30, 43%" in shown
        told.raw = b"garbage"
        done = run("requests", "--live")
        assert "warning: vllm-studio serve cannot be asked" in done.stderr
        assert "c1" in done.stdout


def test_a_request_is_cancelled_by_how_its_id_begins_and_nothing_else_is(db: Database, places: Places) -> None:
    missing = run("requests", "cancel", "r1").exception
    assert isinstance(missing, NotFound)
    assert "Nothing serves" in missing.cause
    chat_under_way(db, "x")
    with serving(places) as told:
        others = [{**LIVE, "id": "abc-1"}, {**LIVE, "id": "abc-2"}, {**LIVE, "id": "abc"}]
        told.documents["/requests/live"] = {"requests": [LIVE, *others], "queue": []}
        for name in ("r1", "abc", "abc-1"):
            told.documents[f"/requests/{name}/cancel"] = {"success": True}
        assert run("requests", "cancel", "r").stdout == "cancelled r1, the request of opencode for qwen\n"
        assert document("requests", "cancel", "abc")["cancelled"]["id"] == "abc", "an id comes before a beginning"
        several = run("requests", "cancel", "abc-").exception
        assert isinstance(several, UsageError)
        assert several.cause == "abc-1, abc-2"
        chat = run("requests", "cancel", "c1").exception
        assert isinstance(chat, UsageError)
        assert chat.cause == "A chat asks it."
        assert isinstance(run("requests", "cancel", "").exception, NotFound)
        gone = run("requests", "cancel", "abc-2").exception
        assert isinstance(gone, StudioError)
        told.raw = b"garbage"
        assert "cannot be asked" in str(run("requests", "cancel", "r1").exception)


def test_requests_of_two_recipes_with_one_name_are_told_apart(db: Database, places: Places) -> None:
    ended(db, "a", recipe_id="one", requested_model="shared", model="/models/x")
    ended(db, "b", requested_model="shared", model="/models/x")
    lines = run("requests").stdout.splitlines()[1:]
    assert sorted(line.split()[3] for line in lines) == ["one", "shared"]
    with serving(places) as told:
        told.documents["/requests/live"] = {"requests": [LIVE, {**LIVE, "id": "r2", "recipe": "other"}], "queue": []}
        lines = run("requests", "--live").stdout.splitlines()[1:]
    assert [line.split()[2] for line in lines] == ["qwen", "other"]
