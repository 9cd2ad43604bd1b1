"""The request lab: the request of an answer, sent again as somebody changed it, the prompt an engine makes of it."""

from __future__ import annotations

import base64
import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from tests.elsewhere import where  # noqa: F401, RUF100
from tests.ports import free_port
from tests.unit.scripted_engine import DONE, Engine, read
from vllm_studio_tui.cli import lab as command
from vllm_studio_tui.domain.chat import ChatRequest, Delta, Sampling, Target
from vllm_studio_tui.domain.errors import EngineUnreachable, NotFound, StudioError, UsageError
from vllm_studio_tui.domain.request_lab import PromptToken, read_request, request_text, with_pictures
from vllm_studio_tui.domain.usage import CompletedRequest
from vllm_studio_tui.inference import client
from vllm_studio_tui.inference.rendering import render_prompt
from vllm_studio_tui.inference.request import body
from vllm_studio_tui.kit.text_diff import diff_texts
from vllm_studio_tui.services.chat.chat import ChatService
from vllm_studio_tui.services.chat.request_lab import RequestLab, wire_body
from vllm_studio_tui.services.launching import targets
from vllm_studio_tui.store.database import Database

TARGET = Target("http://127.0.0.1:1/v1", "m", "secret-key", backend="vllm", recipe_id="rec")


class Launcher:
    def __init__(self) -> None:
        self.up = True

    def target(self, **named: Any) -> Target:
        if not self.up or named.get("recipe") == "gone":
            raise NotFound("no run is ready")
        return TARGET

    def target_of_chat(self, session: Any) -> Target:
        return self.target()


class Ground:
    def __init__(self, db: Database) -> None:
        self.engine = Engine(Delta(reasoning="hm"), Delta("Paris."), DONE)
        self.chat = ChatService(db, None, self.engine)
        self.launcher = Launcher()
        launcher: Any = self.launcher
        self.counted: list[CompletedRequest] = []
        self.lab = RequestLab(self.chat, launcher, lambda name: {}, self.counted.append, self.engine)


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    with contextlib.closing(Database.open(tmp_path / "studio.db")) as db:
        yield Ground(db)


async def asked(ground: Ground, *questions: str, **settings: Any) -> str:
    session = ground.chat.new_session("q", settings=settings)
    for text in questions:
        await read(ground.chat.send(session, text, TARGET))
    return session


async def test_the_request_of_an_answer_is_as_it_was_sent_without_the_key(ground: Ground) -> None:
    session = await asked(ground, "one", "two", system="Be brief.", temperature=0.5, thinking=False)
    found = ground.lab.last(session)
    assert [one["content"] for one in found.body["messages"]] == ["Be brief.", "one", "Paris.", "two"]
    assert list(found.body["messages"]) == list(ground.engine.asked[-1].messages)
    assert (found.body["model"], found.body["stream"], found.body["temperature"]) == ("m", True, 0.5)
    assert found.body["chat_template_kwargs"] == {"enable_thinking": False, "thinking": False}
    assert "secret-key" not in request_text(found.body)
    assert (found.answer, found.thinking, found.target, found.notes) == ("Paris.", "hm", TARGET, ())
    first = ground.chat.messages.branch(session)[1]
    assert [one["content"] for one in ground.lab.last(session, first.id).body["messages"]] == ["Be brief.", "one"]


async def test_of_a_side_it_is_what_was_set_for_that_side(ground: Ground) -> None:
    session = ground.chat.new_session("q", settings={"temperature": 0.5})
    question = (await asked_once(ground, session)).parent_id
    assert question is not None
    details = {"side": {"name": "rec,seed=7,temperature=0", "recipe": "rec"}}
    await read(ground.chat.answer(session, question, TARGET, details=details))
    assert {name: ground.lab.last(session).body.get(name) for name in ("seed", "temperature")} == {
        "seed": 7,
        "temperature": 0.0,
    }


async def asked_once(ground: Ground, session: str) -> Any:
    await read(ground.chat.send(session, "q", TARGET))
    return ground.chat.messages.branch(session)[-1]


async def test_where_nobody_answers_now_the_request_is_shown_all_the_same(ground: Ground) -> None:
    session = await asked(ground, "one")
    ground.launcher.up = False
    found = ground.lab.last(session)
    assert (found.target, found.body["model"]) == (None, "m")
    assert "no run is ready" in found.notes[0]
    with pytest.raises(UsageError):
        ground.lab.last(ground.chat.new_session("empty"))
    with pytest.raises(NotFound):
        ground.lab.last("nothing")


async def test_a_changed_request_is_sent_word_for_word_counted_and_not_kept(ground: Ground) -> None:
    session = await asked(ground, "one")
    messages = [{"role": "user", "content": "other", "name": "x"}]
    changed = {"messages": messages, "model": "another", "min_p": 0.1, "n_probs": 3, "stream": False, "strange": [1]}
    events = await read(ground.lab.replay(TARGET, changed))
    assert events[-1] == DONE
    sent = ground.engine.asked[-1]
    assert list(sent.messages) == messages
    assert wire_body(Target("http://x/v1", "another", backend="transformers"), sent) == {**changed, "stream": True}
    assert [(one.source, one.model, one.completion_tokens) for one in ground.counted] == [("lab", "another", 20)]
    assert len(ground.chat.tree(session)) == 2


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=8).filter(lambda name: name not in ("messages", "model", "stream")), JSON))
def test_whatever_stands_in_a_request_is_what_is_sent(rest: dict[str, Any]) -> None:
    raw = {"messages": [{"role": "user", "content": "x"}], **rest}
    assert read_request(request_text(raw)) == raw
    sent = body(TARGET, ChatRequest(tuple(raw["messages"]), Sampling(), raw=raw))
    assert sent.keys() == {"model", "messages", "stream", "extra_body"}
    assert sent["extra_body"] == rest


@given(st.text())
def test_what_is_no_request_is_said_and_never_raises_otherwise(text: str) -> None:
    with contextlib.suppress(UsageError):
        read_request(text)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", "[" * 100_000, '{"messages": []}', '{"messages": ["x"]}', '{"messages": [{}], "model": 3}', "NaN"],
)
def test_what_is_wrong_with_a_request_is_said_with_what_to_do(text: str) -> None:
    with pytest.raises(UsageError) as found:
        read_request(text)
    assert found.value.advice


@given(st.text(max_size=200), st.text(max_size=200))
def test_a_difference_holds_both_texts(old: str, new: str) -> None:
    pieces = diff_texts(old, new)
    assert "".join("".join(text.split()) for sign, text in pieces if sign != "+") == "".join(old.split())
    assert "".join("".join(text.split()) for sign, text in pieces if sign != "-") == "".join(new.split())


# --- what a template makes of it ------------------------------------------------------------------------


@contextlib.contextmanager
def server(answers: dict[str, Any], status: int = 200) -> Iterator[tuple[str, list[tuple[str, Any, str]]]]:
    """An engine that answers each path so; what it was asked, with the key."""
    heard: list[tuple[str, Any, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            heard.append((self.path, sent, self.headers.get("Authorization", "")))
            told = answers.get(self.path, b"")
            raw = told if isinstance(told, bytes) else json.dumps(told).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_: Any) -> None:
            return

    made = ThreadingHTTPServer(("127.0.0.1", free_port()), Handler)
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{made.server_port}/v1", heard
    finally:
        made.shutdown()
        thread.join()
        made.server_close()


BODY = {"model": "m", "messages": [{"role": "user", "content": "hé"}], "temperature": 0.5, "tools": [{"a": 1}]}


def test_an_engine_with_a_call_for_templates_tells_prompt_and_pieces() -> None:
    """As llama.cpp's server answers: a piece is a text, or the bytes of a part of a character."""
    tokens = [
        {"id": 1, "piece": "<|im_start|>"},
        {"id": 40303, "piece": [32, 240, 159, 152]},
        {"id": 218, "piece": [128]},
    ]
    with server({"/apply-template": {"prompt": "<|im_start|> 😀"}, "/tokenize": {"tokens": tokens}}) as (url, heard):
        found = render_prompt(Target(url, "m", "k", backend="llamacpp"), BODY)
    assert found.text == "<|im_start|> 😀"
    assert found.tokens == (
        PromptToken(1, "<|im_start|>"), PromptToken(40303, " \\xf0\\x9f\\x98"), PromptToken(218, "\\x80"),
    )  # fmt: skip
    assert heard[0] == ("/apply-template", {"messages": BODY["messages"], "tools": BODY["tools"]}, "Bearer k")
    assert heard[1][1] == {"content": "<|im_start|> 😀", "add_special": False, "with_pieces": True}


def test_an_engine_that_makes_tokens_of_messages_tells_them_and_their_text() -> None:
    """As vLLM answers, with a vocabulary of bytes."""
    answers = {
        "/tokenize": {"tokens": [1, 2, 3], "token_strs": ["<s>", "h\u00c3\u00a9", "\u0120you\u010a"], "count": 3},
        "/detokenize": {"prompt": "<s>hé you\n"},
    }
    with server(answers) as (url, heard):
        found = render_prompt(Target(url, "m", backend="vllm"), BODY)
    assert (found.text, "".join(one.text or "" for one in found.tokens)) == ("<s>hé you\n", "<s>hé you\n")
    assert heard[0][1] == {
        "model": "m",
        "messages": BODY["messages"],
        "tools": BODY["tools"],
        "return_token_strs": True,
    }
    with server({"/tokenize": {"tokens": [5], "token_strs": ["\u2581h\u00e9"]}, "/detokenize": {}}) as (url, _):
        found = render_prompt(Target(url, "m", backend="external"), BODY)
    assert (found.text, found.tokens) == (None, (PromptToken(5, " hé"),))
    with server({"/tokenize": {"tokens": [5], "token_strs": None}, "/detokenize": {"prompt": "x"}}) as (url, _):
        assert render_prompt(Target(url, "m", backend="sglang"), BODY).tokens == (PromptToken(5, None),)


@pytest.mark.parametrize(
    "told",
    [
        b"",
        b"\xff",
        b"[]",
        b"[" * 100_000,
        {"tokens": "x"},
        {"tokens": [True]},
        {"tokens": [{"id": None}]},
        {"tokens": [1.5]},
    ],
)
@pytest.mark.parametrize("backend", ["vllm", "llamacpp"])
def test_whatever_an_engine_answers_is_an_error_that_says_so(told: Any, backend: str) -> None:
    answers = {"/tokenize": told, "/apply-template": {"prompt": "x"} if backend == "llamacpp" else told}
    with server(answers) as (url, _), pytest.raises(EngineUnreachable) as found:
        render_prompt(Target(url, "m", backend=backend), BODY)
    assert found.value.cause
    assert found.value.advice


def test_a_refusal_is_told_without_the_key_and_an_engine_without_the_call_is_named() -> None:
    with (
        server({"/tokenize": {"error": {"message": "bad key sk-a-longer-key-123"}}}, 401) as (url, _),
        pytest.raises(EngineUnreachable) as found,
    ):
        render_prompt(Target(url, "m", "sk-a-longer-key-123", backend="vllm"), BODY)
    assert "it answered 401: bad key" in found.value.cause
    assert "sk-a-longer-key-123" not in found.value.cause
    with pytest.raises(EngineUnreachable):
        render_prompt(Target(f"http://127.0.0.1:{free_port()}/v1", "m", backend="vllm"), BODY)
    with pytest.raises(UsageError, match="has no call"):
        render_prompt(Target("http://127.0.0.1:1/v1", "m", backend="transformers"), BODY)


# --- the commands ---------------------------------------------------------------------------------------


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> Engine:  # noqa: F811, RUF100
    monkeypatch.setenv("VLLM_STUDIO_HOME", str(tmp_path))
    made = Engine(Delta("Paris. It is."), DONE)
    monkeypatch.setattr(client, "stream_chat", made)
    monkeypatch.setattr(targets.Targets, "target", lambda self, **named: TARGET)
    from vllm_studio_tui.kit.paths import Places

    with contextlib.closing(Database.open(Places.of().database)) as db:
        import asyncio

        chat = ChatService(db, None, made)
        asyncio.run(read(chat.send(chat.new_session("q"), "Capital?", TARGET)))
    return made


def run(*words: str, stdin: str | None = None) -> Result:
    app = typer.Typer()
    command.register(app)

    @app.command("other")
    def other() -> None:
        """Makes `lab` a subcommand."""

    return CliRunner().invoke(app, ["lab", *words], input=stdin)


def test_a_request_is_shown_changed_and_sent_again(engine: Engine, tmp_path: Path) -> None:
    shown = run("show")
    assert shown.exit_code == 0, shown.exception
    request = json.loads(shown.stdout)
    assert request["messages"] == [{"role": "user", "content": "Capital?"}]
    assert json.loads(run("show", "--json").stdout)["answer"] == "Paris. It is."
    engine.script = (Delta("Rome. It is."), DONE)
    request["messages"][0]["content"] = "Another?"
    path = tmp_path / "r.json"
    path.write_text(json.dumps({**request, "top_k": 3}))
    again = run("replay", "--file", str(path), "--diff")
    assert again.exit_code == 0, again.exception
    assert again.stdout == "Rome. It is.\n\n- Paris.\n+ Rome.\n  It is.\n"
    assert engine.asked[-1].raw is not None
    assert engine.asked[-1].raw["top_k"] == 3
    assert run("replay", "-f", "-", stdin=json.dumps(request)).stdout == "Rome. It is.\n"
    assert isinstance(run("replay", "-f", str(tmp_path / "none")).exception, UsageError)
    assert isinstance(run("replay", "-f", "-", stdin="{").exception, UsageError)
    assert isinstance(run("show", "nothing").exception, StudioError)


def test_an_engine_that_is_not_there_cannot_show_its_prompt(engine: Engine) -> None:
    assert isinstance(run("prompt").exception, EngineUnreachable)


@given(st.lists(st.binary(min_size=150, max_size=400), max_size=4), st.text(max_size=30))
def test_pictures_are_named_where_a_person_reads_and_edits_and_come_back_whole(raws: list[bytes], words: str) -> None:
    urls = [f"data:image/png;base64,{base64.b64encode(raw).decode()}" for raw in raws]
    parts = [{"type": "image_url", "image_url": {"url": one}} for one in (*urls, *urls[:1])]
    body = {"model": "m", "messages": [{"role": "user", "content": [*parts, {"type": "text", "text": words}]}]}
    pictures: dict[str, str] = {}
    shown = request_text(body, pictures)
    assert len(pictures) == len(set(urls))
    assert not any(one in shown for one in urls)
    assert request_text(body, pictures) == shown  # each keeps its name
    assert read_request(with_pictures(shown, pictures)) == body
