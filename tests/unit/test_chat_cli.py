"""`vllm-studio chat`."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import pty
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from tests.disks import read_only
from tests.elsewhere import where  # noqa: F401, RUF100
from tests.pictures import picture
from tests.ports import free_port
from tests.unit.scripted_engine import DONE, Engine
from vllm_studio_tui.cli import chat as command
from vllm_studio_tui.cli import chat_input, chat_printing
from vllm_studio_tui.domain.chat import Delta, Ended, Relabel, Timings, TokenUsage, ToolCall
from vllm_studio_tui.domain.errors import NotFound, StoreError, UsageError
from vllm_studio_tui.domain.recipe_reading import parse_recipe
from vllm_studio_tui.domain.run import RunState, State
from vllm_studio_tui.domain.spec import RunSpec
from vllm_studio_tui.inference import client
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.runs import read
from vllm_studio_tui.services.chat.attachments import seeing
from vllm_studio_tui.services.launching import targets
from vllm_studio_tui.services.recipes.recipes import Recipes
from vllm_studio_tui.store.chats import ChatRows
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.messages import MessageRows
from vllm_studio_tui.store.recipes import RecipeRows
from vllm_studio_tui.store.requests import RequestRows

SERVER = ("--base-url", "http://127.0.0.1:9/v1", "--model", "m")
PNG = picture("png")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VLLM_STUDIO_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, where: str) -> Engine:  # noqa: F811, RUF100
    made = Engine(Delta(reasoning="hm"), Delta("Par"), Delta("is.\x1b]0;x\x07"), DONE)
    monkeypatch.setattr(client, "stream_chat", made)
    return made


def run(*words: str, stdin: str | bytes | None = None, server: tuple[str, ...] = SERVER) -> Result:
    app = typer.Typer()
    command.register(app)

    @app.command("other")
    def other() -> None:
        """Makes `chat` a subcommand."""

    return CliRunner().invoke(app, ["chat", *words, *server], input=stdin)


@contextlib.contextmanager
def database() -> Iterator[Database]:
    with contextlib.closing(Database.open(Places.of().database)) as db:
        yield db


def lines(done: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_answer_goes_to_stdout_untouched_and_the_rest_to_stderr(engine: Engine) -> None:
    done = run("Capital of France?", "--system", "Be brief.", "--temperature", "0", "--max-tokens", "9", "--seed", "7")
    assert (done.exit_code, done.stdout) == (0, "Paris.\x1b]0;x\x07\n")
    assert done.stderr.startswith("hm\n[10 + 20 tokens · 40.0 tok/s · first after 0.10 s · 1.00 s]\n[chat ")
    (request,) = engine.asked
    assert [one["role"] for one in request.messages] == ["system", "user"]
    sampling = request.sampling
    assert (sampling.temperature, sampling.max_tokens, sampling.seed, sampling.thinking) == (0.0, 9, 7, None)


def test_prompt_and_pipe_are_asked_together(engine: Engine) -> None:
    assert run("Summarise:", stdin="some text\n").exit_code == 0
    assert run(stdin="only this").exit_code == 0
    assert [one.messages[-1]["content"] for one in engine.asked] == ["Summarise:\n\nsome text", "only this"]


def test_nothing_to_ask_is_wrong_usage(engine: Engine) -> None:
    assert isinstance(run(stdin="  \n").exception, UsageError)
    assert engine.asked == []


def test_json_is_one_object_a_line(engine: Engine) -> None:
    call = ToolCall("c", "time", "{}")
    engine.script = (
        Delta("th"),
        Relabel(),
        Delta("a\ud800"),
        Ended("tool_calls", TokenUsage(1, 2), tool_calls=(call,)),
    )
    found = lines(run("x", "--json"))
    assert [one["event"] for one in found] == ["content", "reasoning", "content", "tool_call", "stats"]
    assert found[1] == {"event": "reasoning", "text": "th", "relabel": True}
    assert found[3] == {"event": "tool_call", "id": "c", "name": "time", "arguments": "{}"}
    assert (found[4]["content"], found[4]["finish"], found[4]["usage"]["total_tokens"]) == ("a?", "tool_calls", 3)


def test_a_chat_goes_on(engine: Engine) -> None:
    assert run("one").exit_code == 0
    assert run("two", "--session", "last").exit_code == 0
    assert [one["content"] for one in engine.asked[1].messages if one["role"] == "user"] == ["one", "two"]
    with database() as db:
        (session,) = ChatRows(db).list()
        assert (session.title, session.messages) == ("one", 4)
    assert isinstance(run("x", "--session", "nonsense").exception, NotFound)


def test_an_answer_that_was_cut_goes_on(engine: Engine) -> None:
    engine.script = (Delta("one, two"), Ended("length", TokenUsage(1, 2)))
    assert run("count").exit_code == 0
    engine.script = (Delta(", three"), DONE)
    done = run("--continue")  # this server is one of which nothing is known
    assert (done.exit_code, done.stdout) == (0, ", three\n")
    assert [one["role"] for one in engine.asked[1].messages] == ["user", "assistant", "user"]
    assert "whole" in str(run("--continue", "--session", "last").exception)
    for words in (["x"], ["--no-save"], ["--system", "x"], ["--file", "x"]):
        assert "asks nothing new" in str(run("--continue", *words).exception)
    assert len(engine.asked) == 2


def test_no_save_keeps_nothing_but_the_count(engine: Engine) -> None:
    done = run("x", "--no-save")
    assert done.stdout.startswith("Paris.")
    assert "[chat" not in done.stderr
    with database() as db:
        assert ChatRows(db).list() == []
        assert [one.completion_tokens for one in RequestRows(db).recent()] == [20]
    assert isinstance(run("x", "--no-save", "--session", "last").exception, UsageError)


@pytest.mark.parametrize("finish", ["failed", "interrupted"])
def test_a_failed_answer_exits_1_and_says_why(engine: Engine, finish: str) -> None:
    engine.script = (Delta("half"), Ended(finish, error="it broke", advice="Mend it."))
    done = run("x")
    assert (done.exit_code, done.stdout) == (1, "half\n")
    assert "error: it broke\n  Mend it." in done.stderr
    found = lines(run("x", "--json"))
    assert found[1] == {"event": "error", "message": "it broke", "advice": "Mend it."}


def test_an_error_before_the_answer_is_an_object_too(engine: Engine) -> None:
    done = run("x", "--json", server=())
    assert isinstance(done.exception, NotFound)
    (found,) = lines(done)
    assert (found["event"], found["message"]) == ("error", "no run is ready")
    assert found["advice"]


def test_thinking_can_be_asked_for_or_not(engine: Engine) -> None:
    run("x", "--thinking")
    run("x", "--no-thinking", "--top-p", "0.5")
    assert [(one.sampling.thinking, one.sampling.top_p) for one in engine.asked] == [(True, None), (False, 0.5)]


def test_the_only_model_of_a_server_is_found(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    found = ["only"]
    monkeypatch.setattr("vllm_studio_tui.inference.request.list_models", lambda base_url, api_key: found)
    assert run("x", server=SERVER[:2]).exit_code == 0
    with database() as db:
        assert [one.model for one in RequestRows(db).recent()] == ["only"]
    found.append("other")
    assert isinstance(run("x", server=SERVER[:2]).exception, UsageError)


# --- images ---------------------------------------------------------------------------------------------


def test_an_image_is_sent_as_it_is(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    assert run("what is it?", "--image", str(tmp_path / "a.png")).exit_code == 0
    text, image = engine.asked[0].messages[0]["content"]
    assert text == {"type": "text", "text": "what is it?"}
    url = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    assert image == {"type": "image_url", "image_url": {"url": url}}


@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "webp", "bmp"])
def test_pictures_are_known_by_their_content_and_sent_as_what_engines_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "picture"
    path.write_bytes(picture(kind))
    url = chat_input.picture(str(path)).image or ""
    assert url.startswith(("data:image/png;base64,", "data:image/jpeg;base64,"))


def test_a_picture_that_is_refused_leaves_no_chat_behind(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    monkeypatch.setattr(seeing, "_asked", lambda target: seeing.Sight(False, "It says so."))
    monkeypatch.setattr(seeing, "_known", {})
    refused = run("what is it?", "--image", str(tmp_path / "a.png"))
    assert "reads no pictures" in str(refused.exception)
    assert "[chat" not in refused.stderr
    with database() as db:
        assert ChatRows(db).list() == []
        assert RequestRows(db).recent() == []
    assert not engine.asked


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"<svg/>")
    (tmp_path / "broken.png").write_bytes(PNG[:30])
    with pytest.raises(UsageError, match="not an image"):
        chat_input.picture(str(tmp_path / "a.png"))
    with pytest.raises(UsageError, match="no picture that can be sent"):
        chat_input.picture(str(tmp_path / "broken.png"))
    with pytest.raises(UsageError, match="cannot be read"):
        chat_input.picture(str(tmp_path / "missing.png"))


def test_files_go_before_the_question_and_are_told(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("print(1)\n")
    (tmp_path / "b c.txt").write_text("two")
    found = run(f'what is @"{tmp_path}/b c.txt"?', "--file", str(tmp_path / "*.py"))
    assert found.exit_code == 0
    assert engine.asked[0].messages[0]["content"] == (
        f'File "a.py":\n```\nprint(1)\n```\n\nFile "b c.txt":\n```\ntwo\n```\n\nwhat is @"{tmp_path}/b c.txt"?'
    )
    assert "[with a.py: 9 B, about 2 tok]" in found.stderr
    with database() as db:
        (chat,) = ChatRows(db).list()
        question = MessageRows(db).tree(chat.id)[0]
    assert [(one.name, one.text) for one in question.files] == [("a.py", "print(1)\n"), ("b c.txt", "two")]
    assert question.content == f'what is @"{tmp_path}/b c.txt"?'


# --- a terminal -----------------------------------------------------------------------------------------


def test_hostile_text_is_harmless_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out, err = Terminal(), Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    printer = chat_printing.Printer()
    call = ToolCall("c", "f\x1b[2J", "\x9b31m")
    for event in (
        Delta(reasoning="\x1b]0;owned\x07"),
        Delta("a\x1b"),
        Delta("[31mb\x9b0m\u202e"),
        Ended("failed", timings=Timings(), tool_calls=(call,), error="\x1b[2J"),
    ):
        printer.show(event)
    assert not {"\x1b", "\x9b", "\x07", "\u202e"} & set(out.getvalue() + err.getvalue())
    assert "a" in out.getvalue()


# --- a real engine, a real interrupt --------------------------------------------------------------------


@pytest.fixture
def served(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a simulated engine that goes on writing for a long time; the parameter: tokens per second."""
    port = free_port()
    pace = getattr(request, "param", "200")
    flags = ["--port", str(port), "--model", "sim", "--answer", "long:100000", "--tokens-per-second", pace]
    argv = [sys.executable, "-m", "vllm_studio_tui.simulation.engine", *flags]
    with (tmp_path / "engine.log").open("wb") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1).close()
                break
            except OSError:
                assert time.monotonic() < deadline, (tmp_path / "engine.log").read_text()
                time.sleep(0.02)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.kill()
        process.wait()


def test_an_interrupt_keeps_the_partial_and_exits_130(served: str) -> None:
    argv = [sys.executable, "-m", "vllm_studio_tui", "chat", "Go on", "--base-url", served]
    process = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        first = process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130, errors.decode()
    assert b"stopped" in errors
    assert b"Traceback" not in errors
    with database() as db:
        (session,) = ChatRows(db).list()
        question, answer = MessageRows(db).branch(session.id)
        assert (question.content, answer.finish) == ("Go on", "stopped")
        assert answer.content == (first + rest).decode().removesuffix("\n")
        assert [one.finish for one in RequestRows(db).recent()] == ["stopped"]


def test_a_terminal_as_standard_input_is_not_read(served: str) -> None:
    leader, follower = pty.openpty()
    argv = [sys.executable, "-m", "vllm_studio_tui", "chat", "Hi", "--max-tokens", "3", "--base-url", served]
    try:
        done = subprocess.run(argv, stdin=follower, capture_output=True, timeout=60, check=False)
    finally:
        os.close(leader)
        os.close(follower)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.strip()
    assert b"cut at the limit" in done.stderr


def begun(served: str, *options: str, room: int | None = None) -> tuple[subprocess.Popen[bytes], bytes]:
    """A chat whose answer has begun, and the first byte of it; `room`: bytes that it can print before it is read."""
    argv = [sys.executable, "-m", "vllm_studio_tui", "chat", "Go on", "--base-url", served, *options]
    process = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        pipesize=-1 if room is None else room,
        start_new_session=True,
    )
    assert process.stdout is not None
    return process, process.stdout.read(1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_chat_that_is_told_to_end_keeps_what_came(served: str, number: signal.Signals) -> None:
    process, first = begun(served)
    try:
        process.send_signal(number)
        rest, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 128 + number, errors.decode()
    assert b"Traceback" not in errors
    with database() as db:
        (session,) = ChatRows(db).list()
        _, answer = MessageRows(db).branch(session.id)
        assert answer.content == (first + rest).decode().removesuffix("\n")
        assert (answer.finish, answer.error) == (
            "interrupted",
            f"this program was ended while it streamed ({number.name})",
        )
        (request,) = RequestRows(db).recent()
        assert (request.finish, request.estimated) == ("interrupted", True)
        assert request.completion_tokens


def test_a_chat_that_is_killed_is_counted_and_its_end_is_told_truly(served: str) -> None:
    process, _ = begun(served)
    try:
        with database() as db:
            deadline = time.monotonic() + 20
            while not db.row("SELECT 1 FROM chat_messages WHERE role = 'assistant' AND content != ''"):
                assert time.monotonic() < deadline, "nothing was kept"
                time.sleep(0.01)
            assert RequestRows(db).recent() == []
    finally:
        process.kill()
        process.communicate()
    subprocess.run([sys.executable, "-m", "vllm_studio_tui", "chats", "list"], check=True, capture_output=True)
    with database() as db:
        (session,) = ChatRows(db).list()
        _, answer = MessageRows(db).branch(session.id)
        assert (answer.finish, answer.error) == ("interrupted", "this program was ended while it streamed")
        (request,) = RequestRows(db).recent()
        assert (request.finish, request.estimated, request.error) == ("interrupted", True, answer.error)
        assert request.completion_tokens == -(-len(answer.content) // 4)


@pytest.mark.parametrize("served", ["0"], indirect=True)
def test_an_answer_that_was_printed_and_could_not_be_kept_is_said_and_taken_in_later(served: str) -> None:
    with database() as db:
        path = db.path
    process, first = begun(served, "--max-tokens", "3000", room=4096)  # it is over when we have read on
    try:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            rest, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    printed = (first + rest).decode().removesuffix("\n")
    assert process.returncode == 1
    assert b"the answer was printed, but is not kept in the chat yet" in errors
    assert str(path.parent / "unsaved") in errors.decode()
    assert MessageRows(Database.open(path)).tree(ChatRows(Database.open(path)).list()[0].id)[-1].content != printed
    done = subprocess.run([sys.executable, "-m", "vllm_studio_tui", "chats", "list"], check=True, capture_output=True)
    assert b"1 answer that was not saved is in its chat now" in done.stderr
    with database() as db:
        (session,) = ChatRows(db).list()
        _, answer = MessageRows(db).branch(session.id)
        assert (answer.content, answer.finish) == (printed, "length")
        assert [(one.finish, one.completion_tokens) for one in RequestRows(db).recent()] == [("length", 3000)]
    assert not (path.parent / "unsaved").exists()


# --- whom a chat was held with --------------------------------------------------------------------------


def external(recipe_id: str, model: str, base_url: str) -> None:
    made, _ = parse_recipe(
        {"id": recipe_id, "name": recipe_id, "backend": "external", "served_model_name": model, "base_url": base_url}
    )
    with database() as db:
        Recipes(RecipeRows(db)).create(made)


@contextlib.contextmanager
def ready(monkeypatch: pytest.MonkeyPatch, *models: str) -> Iterator[None]:
    """Runs of these models are ready."""
    views = [
        read.RunView(
            Path("/nowhere"), f"{one}-1",
            RunSpec(run_id=f"{one}-1", recipe_id=one, name=one, backend="vllm", model=one, argv=(), host="127.0.0.1",
                    port=1, base_url="http://127.0.0.1:1/v1", created_at=0.0),
            RunState(f"{one}-1", State.READY), True, True, False,
        )
        for one in models
    ]  # fmt: skip

    def find(places: Places, name: str) -> read.RunView:
        found = [one for one in views if name in (one.run_id, one.recipe_id)]
        if not found:
            raise NotFound(f"no run {name}")
        return found[0]

    monkeypatch.setattr(read, "live_runs", lambda places: views)
    monkeypatch.setattr(targets, "find_run", find)
    yield


def settings_of_the_last() -> dict[str, Any]:
    with database() as db:
        return dict(ChatRows(db).list()[0].settings)


def test_a_chat_goes_on_with_its_recipe_while_another_engine_is_ready(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    external("mine", "my-model", "http://127.0.0.1:9/v1")
    assert run("one", "--recipe", "mine", server=()).exit_code == 0
    assert settings_of_the_last() == {"recipe": "mine"}
    with ready(monkeypatch, "fake-1"):
        assert run("two", "--session", "last", server=()).exit_code == 0
    with database() as db:
        assert [one.model for one in RequestRows(db).recent()] == ["my-model", "my-model"]


def test_a_chat_that_knows_only_its_model_finds_the_server_of_it_and_nobody_else(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("one", "--base-url", "http://127.0.0.1:9/v1", "--model", "my-model", server=()).exit_code == 0
    with ready(monkeypatch, "fake-1"):
        done = run("two", "--session", "last", server=())
        assert isinstance(done.exception, NotFound)
        assert "my-model" in done.exception.title
        assert "fake-1" in done.exception.cause
        assert "--recipe" in done.exception.advice
        assert len(engine.asked) == 1
        external("mine", "my-model", "http://127.0.0.1:9/v1")
        assert run("two", "--session", "last", server=()).exit_code == 0
        # Another one is asked when it is named, and from then on.
        assert run("three", "--session", "last", "--recipe", "fake-1", server=()).exit_code == 0
        assert settings_of_the_last() == {"recipe": "fake-1"}
        assert run("four", "--session", "last", server=()).exit_code == 0
    with database() as db:
        asked = sorted(RequestRows(db).recent(), key=lambda one: one.at)
        assert [one.model for one in asked] == ["my-model", "my-model", "fake-1", "fake-1"]


# --- homes that cannot be written -----------------------------------------------------------------------


@pytest.mark.parametrize("where", ["here"], indirect=True)
@pytest.mark.parametrize("made", [True, False])
def test_a_chat_that_keeps_nothing_needs_no_home_that_can_be_written(engine: Engine, home: Path, made: bool) -> None:
    if made:
        assert run("x").exit_code == 0
    with read_only(home):
        done = run("y", "--no-save")
        assert (done.exit_code, done.stdout) == (0, "Paris.\x1b]0;x\x07\n"), done.stderr
        assert f"warning: {home / 'data' / 'studio.db'}" in done.stderr
        refused = run("z").exception
        assert isinstance(refused, StoreError)
        assert str(home) in str(refused)


# --- what shapes the answer -----------------------------------------------------------------------------------


def test_options_shape_the_answer(engine: Engine, tmp_path: Path) -> None:
    schema = tmp_path / "person.json"
    schema.write_text('{"type": "object"}')
    words = ["--preset", "same again", "--set", "min-p=0.1", "--stop", "END", "--stop", "\n\n", "--seed", "7"]
    result = run("hi", *words, "--schema", str(schema), "--logprobs", "2")
    assert result.exit_code == 0, result.output
    sampling = engine.asked[-1].sampling
    assert (sampling.temperature, sampling.seed, sampling.stop) == (0.0, 7, ("END", "\n\n"))
    assert sampling.others == {"min_p": 0.1, "logprobs": 2}
    assert sampling.form is not None and (sampling.form.kind, sampling.form.name) == ("json_schema", "person.json")


def test_what_was_chosen_for_a_chat_holds_for_its_next_question(engine: Engine) -> None:
    with database() as db:
        made = ChatRows(db).create("old", settings={"temperature": 0.5, "stop": ["X"], "top_p": "?"})
    assert run("hi", "--session", made.id, "--temperature", "0.1").exit_code == 0
    sampling = engine.asked[-1].sampling
    assert (sampling.temperature, sampling.stop, sampling.top_p) == (0.1, ("X",), None)


def test_what_is_known_of_an_answer_is_said(engine: Engine) -> None:
    form = {"kind": "json_object", "value": None, "name": "", "valid": False, "problem": "not JSON"}
    likely = {"tokens": [["a", -0.1, [["a", -0.1], ["b", -2.3]]], ["\x1b[2J", None, []]], "cut": True}
    details = {"not_sent": {"top_k": "vLLM takes no top_k"}, "unsure": ["min_p"], "form": form, "logprobs": likely}
    engine.script = (Delta("x"), Ended("stop", details=details))
    result = run("hi", "--form", "json_object")
    assert result.exit_code == 1
    assert "not sent: vLLM takes no top_k\n" in result.stderr
    assert "perhaps not looked at by this server: min_p" in result.stderr
    assert "[NOT valid, any JSON object: not JSON]" in result.stderr
    assert "'a'                  90.5%   instead 'b' 10.0%" in result.stderr
    assert "\x1b" not in result.stderr
    events = [json.loads(line) for line in run("hi", "--json").stdout.splitlines()]
    assert next(one for one in events if one["event"] == "details") == {"event": "details", **details}


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (["--set", "warmth=1"], "is no NAME=VALUE of a parameter"),
        (["--set", "top_k"], "is no NAME=VALUE of a parameter"),
        (["--set", "top_k=x"], "--set top_k: not a whole number"),
        (["--stop", ""], "--stop: not texts"),
        (["--schema", "/no/such/file"], "/no/such/file cannot be read"),
        (["--schema", "{"], "--schema: not JSON"),
        (["--form", "poem"], "is no form"),
        (["--form", "choice="], "texts to choose from"),
        (["--form", "json_object", "--schema", "{}"], "exclude each other"),
        (["--preset", "nothing"], "no preset is called 'nothing'"),
    ],
)
def test_options_that_cannot_be_read_are_refused(engine: Engine, words: list[str], wrong: str) -> None:
    result = run("hi", *words)
    assert isinstance(result.exception, UsageError | NotFound), result.output
    assert wrong in result.exception.title
    assert engine.asked == []
