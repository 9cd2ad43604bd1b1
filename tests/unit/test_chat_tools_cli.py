"""`vllm-studio chat --tools`: nothing is called that was not allowed, here and on a studio elsewhere."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from tests.elsewhere import where  # noqa: F401
from tests.process.test_mcp_client import WELL
from tests.unit.scripted_engine import DONE
from tests.unit.tool_box import Rounds, calls
from vllm_studio_tui.cli import chat as command
from vllm_studio_tui.domain.chat import Delta
from vllm_studio_tui.domain.errors import NotFound, StudioError, UsageError
from vllm_studio_tui.inference import client
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.messages import MessageRows
from vllm_studio_tui.studio import Studio

SERVER = ("--base-url", "http://127.0.0.1:9/v1", "--model", "m")
FETCH = ("id-of-the-fetch", "builtin__fetch", '{"url": "http://127.0.0.1:9/"}')
TIME = ("id-of-the-clock", "builtin__time", "{}")


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> Rounds:  # noqa: F811
    monkeypatch.setenv("VLLM_STUDIO_HOME", str(tmp_path))
    made = Rounds([Delta("I look."), *calls(FETCH, TIME)], [Delta("Noon."), DONE])
    monkeypatch.setattr(client, "stream_chat", made)
    return made


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_STUDIO_HOME", str(tmp_path))


def run(*words: str, question: Sequence[str] = ("What time is it?",)) -> Result:
    app = typer.Typer()
    command.register(app)

    @app.command("other")
    def other() -> None:
        """Makes `chat` a subcommand."""

    return CliRunner().invoke(app, ["chat", *question, *words, *SERVER])


def lines(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def kept() -> Sequence[tuple[str, str]]:
    db = Database.open(Places.of().database)
    try:
        (session,) = db.rows("SELECT id FROM chat_sessions")
        return [(one.role, one.content) for one in MessageRows(db).branch(session["id"])]
    finally:
        db.close()


def test_without_allow_nothing_is_called_and_it_says_what_would_be(engine: Rounds) -> None:
    result = run("--tools")
    assert result.exit_code == 0, result.stderr
    assert len(engine.asked) == 1
    assert {one["function"]["name"] for one in engine.asked[0].tools} >= {FETCH[1], TIME[1]}
    assert 'tool call: builtin__fetch({"url": "http://127.0.0.1:9/"})' in result.stderr
    assert "nothing was called, it would be: builtin__fetch, builtin__time" in result.stderr
    assert "--allow builtin__fetch" in result.stderr
    assert kept() == [("user", "What time is it?"), ("assistant", "I look.")]


def test_what_is_allowed_is_called_and_answered(engine: Rounds) -> None:
    result = run("--tools", "--allow", "builtin__*")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == "I look.\nNoon.\n"
    assert "builtin__time [done" in result.stderr
    assert "builtin__fetch [failed" in result.stderr  # it was made, and a private address is not allowed
    assert [role for role, _ in kept()] == ["user", "assistant", "tool", "tool", "assistant"]


def test_what_is_not_among_the_allowed_is_denied(engine: Rounds) -> None:
    result = run("--tools", "--allow", "studio")
    assert "builtin__fetch [denied]" in result.stderr
    assert "builtin__time [done" in result.stderr  # it only reads the clock
    assert "Noon." in result.stdout


@pytest.mark.parametrize("allow", ["all", "builtin", "builtin__fetch"])
def test_a_tool_is_allowed_by_its_name_its_server_or_all(engine: Rounds, allow: str) -> None:
    result = run("--tools", "--allow", allow, "--json")
    found = lines(result)
    names = [one["event"] for one in found]
    assert names[:4] == ["content", "tool_call", "tool_call", "round"]
    assert sorted(names[4:-3]) == ["tool_asked", "tool_began", "tool_began", "tool_result", "tool_result"]
    assert names[-3:] == ["round_began", "content", "stats"]
    results = {one["name"]: one for one in found if one["event"] == "tool_result"}
    assert results[FETCH[1]]["how"] == "failed"
    assert results[FETCH[1]]["is_error"]
    assert results[TIME[1]]["how"] == "done"
    assert (found[-1]["content"], found[-1]["finish"]) == ("Noon.", "stop")


def test_as_json_it_says_what_was_not_called(engine: Rounds) -> None:
    found = lines(run("--tools", "--json", "--no-save"))
    assert [one["event"] for one in found] == ["content", "tool_call", "tool_call", "stats", "not_called"]
    assert found[-1]["tools"] == [FETCH[1], TIME[1]]


def test_allow_without_tools_is_refused() -> None:
    result = run("--allow", "all")
    assert isinstance(result.exception, UsageError)
    assert "--tools" in str(result.exception)


def offered(engine: Rounds) -> set[str]:
    return {one["function"]["name"] for one in engine.asked[0].tools}


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (("--tools", "time"), {"builtin__time"}),
        (("--tools", "time,fetch"), {"builtin__time", "builtin__fetch"}),
        (("--tools", "builtin__time", "--tools", "studio__why"), {"builtin__time", "studio__why"}),
        (("--tools", "builtin"), {"builtin__time", "builtin__fetch"}),
        (("--tools=*__t*",), {"builtin__time"}),
        (("--tools", "well__add"), {"well__add"}),
        (("--tools", "add"), {"well__add"}),
        (("--tools", "well__*,time", "--allow", "add"), {"well__add", "well__wait", "builtin__time"}),
    ],
)
def test_the_tools_that_are_named_are_offered(engine: Rounds, words: Sequence[str], names: set[str]) -> None:
    with Studio.open_sync(Places.of()) as studio:
        studio.tools.add_server("well", {"command": sys.executable, "args": [WELL]}, trust=True)
    result = run(*words, "--no-save")
    assert result.exit_code == 0, (result.stderr, result.exception)
    found = offered(engine)
    assert found >= names
    assert {one.split("__")[0] for one in found} == {one.split("__")[0] for one in names}


@pytest.mark.parametrize("order", [("--tools",), ("--no-save", "--tools")])
def test_a_question_after_tools_is_no_name(engine: Rounds, order: Sequence[str]) -> None:
    result = run(question=(*order, "What time is it?"))
    assert result.exit_code == 0, (result.stderr, result.exception)
    assert engine.asked[0].messages[-1]["content"] == "What time is it?"
    assert len(offered(engine)) > 3


@pytest.mark.parametrize("option", ["--tools", "--allow"])
@pytest.mark.parametrize(
    ("word", "near"),
    [("tmie", "builtin__time"), ("builtin__fetsh", "builtin__fetch"), ("stduio", "studio"), ("\x1b[2J", "mcp tools")],
)
def test_an_unknown_name_is_refused_with_what_is_near(engine: Rounds, option: str, word: str, near: str) -> None:
    result = run(*(() if option == "--tools" else ("--tools",)), f"{option}={word}")
    assert isinstance(result.exception, NotFound)
    assert near in result.exception.advice
    assert not engine.asked
    assert not Places.of().database.exists() or not kept_chats()


def kept_chats() -> Sequence[Any]:
    db = Database.open(Places.of().database)
    try:
        return list(db.rows("SELECT id FROM chat_sessions"))
    finally:
        db.close()


def test_a_named_server_that_cannot_be_used_is_said_and_not_passed_over(engine: Rounds) -> None:
    with Studio.open_sync(Places.of()) as studio:
        studio.tools.add_server("asks", {"command": "touch", "args": [str(Places.of().data / "started")]})
        studio.tools.add_server("gone", {"command": "/no/such/program"}, trust=True)
        studio.tools.add_server("off", {"command": "true", "enabled": False}, trust=True)
        studio.tools.enable_server("off", False)
    for name, words in (("asks", "until you agree"), ("gone", "cannot be started"), ("off", "is off")):
        result = run("--tools", name)
        assert isinstance(result.exception, StudioError), result.stdout
        assert words in str(result.exception)
    assert not (Places.of().data / "started").exists()
    assert not engine.asked
    result = run("--tools")  # all that can be had
    assert "without its tools: asks waits until you agree to it" in result.stderr
    assert "builtin__time" in offered(engine)


def test_a_title_that_two_servers_have_must_be_told_apart(engine: Rounds) -> None:
    with Studio.open_sync(Places.of()) as studio:
        for name in ("well", "fine"):
            studio.tools.add_server(name, {"command": sys.executable, "args": [WELL]}, trust=True)
    result = run("--tools", "add")
    assert isinstance(result.exception, UsageError)
    assert "fine__add, well__add" in result.exception.advice


def test_tools_without_a_name_is_refused(engine: Rounds) -> None:
    assert isinstance(run("--tools=,").exception, UsageError)
    assert not engine.asked


def test_a_call_is_forced_or_forbidden(engine: Rounds) -> None:
    result = run("--tools", "--allow", "all", "--tool-choice", "builtin__time")
    assert result.exit_code == 0, result.stderr
    assert [one.sampling.others.get("tool_choice") for one in engine.asked] == ["builtin__time", None]
    run("--tools", "--allow", "all", "--tool-choice", "none")
    assert engine.asked[-1].sampling.others["tool_choice"] == "none"
    run("--tools", "--tool-choice", "time")
    assert engine.asked[-1].sampling.others["tool_choice"] == "builtin__time"


def test_a_tool_that_there_is_not_cannot_be_forced(engine: Rounds) -> None:
    result = run("--tools", "--tool-choice", "rain")
    assert result.exit_code == 1
    assert "no tool rain is offered" in result.stderr and "builtin__time" in result.stderr
    assert engine.asked == []
    for words, said in (
        (("--tool-choice", "required"), "for --tools"),
        (("--tools", "--tool-choice", "a b"), "no name"),
    ):
        result = run(*words)
        assert isinstance(result.exception, UsageError) and said in str(result.exception)


def test_calls_that_were_not_made_are_made_when_the_chat_goes_on(engine: Rounds) -> None:
    assert run("--tools").exit_code == 0
    refused = run("--continue", question=())
    assert isinstance(refused.exception, UsageError)
    assert "builtin__fetch, builtin__time" in str(refused.exception)
    result = run("--continue", "--tools", "--allow", "builtin__time", question=())
    assert result.exit_code == 0, result.stderr
    assert result.stdout == "Noon.\n"
    assert "builtin__fetch [denied]" in result.stderr
    assert "builtin__time [done" in result.stderr
    assert [role for role, _ in kept()] == ["user", "assistant", "tool", "tool", "assistant"]
    assert len(engine.asked) == 2
