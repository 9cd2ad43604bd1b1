"""Chats as pages, lines to fine-tune with, and requests: whatever they hold, nothing of it is run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vllm_studio_tui.domain.chat import Attachment, Message, Session, Target, ToolCall
from vllm_studio_tui.domain.chat_exports import FORMS, form_of, form_of_file
from vllm_studio_tui.domain.errors import UsageError
from vllm_studio_tui.services.chat.export_html import as_html
from vllm_studio_tui.services.chat.export_request import as_curl, as_python
from vllm_studio_tui.services.chat.exports import asked_last, finetune_line
from vllm_studio_tui.services.chat.saved_chats import Chats
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.messages import MessageRows

SESSION = Session("s1", "Birds", "small", settings={"system": "Be brief.", "temperature": 0.5, "thinking": False})
PICTURE = "data:image/png;base64,AA=="
SECRET = "sk-very-secret-9"
HOSTILE = "</pre><script>alert(1)</script>\n\n[x](javascript:alert(1)) ![y](http://spy.example/p.png)\x1b[31m\ud800\nJSON\n'''"


def branch(text: str = "What is a **bird**?", answer: str = "An animal.") -> list[Message]:
    return [
        Message("1", "s1", "user", text, images=(PICTURE,)),
        Message("2", "s1", "assistant", answer, "1", reasoning="hm", model="small", finish="stop"),
    ]


class Page(HTMLParser):
    """The tags of a page, and what is loaded or followed by it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            assert not name.startswith("on"), (tag, name)
            if name in ("src", "srcset", "data", "action"):
                self.loaded.append(value or "")
            if name == "href":
                self.links.append(value or "")

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_page_shows_the_chat_and_forbids_all_else() -> None:
    messages = branch()
    file = Attachment("notes.txt", size=3, text="<b>abc")
    messages.append(
        Message("3", "s1", "assistant", "", "2", tool_calls=(ToolCall("c", "look<", '{"a": "<i>"}'),), files=(file,))
    )
    messages.append(Message("4", "s1", "tool", "<u>4", "3", tool_call_id="c", details={"call": {"name": "look<"}}))
    text = as_html(SESSION, messages)
    page = Page(text)
    assert page.loaded == [PICTURE]
    for words in ("Birds", "Be brief.", "An animal.", "hm", "<b>abc", '{"a": "<i>"}', "Result of look<", "<u>4"):
        assert words in page.text
    assert "default-src &#x27;none&#x27;" in text
    assert not page.tags & {"b", "i", "u", "script"}


def test_hostile_text_of_a_page_stays_text() -> None:
    bad = replace(SESSION, title=HOSTILE, model=HOSTILE, settings={"system": HOSTILE})
    one = Message(
        "1", "s1", HOSTILE, HOSTILE, model=HOSTILE, error=HOSTILE, images=('data:image/png;base64,"><script>',)
    )
    answer = replace(branch()[1], content=HOSTILE, reasoning=HOSTILE, model=HOSTILE)
    page = Page(as_html(bad, [one, answer]))
    assert "script" not in page.tags
    assert page.loaded == []
    assert all(not link.startswith("javascript") for link in page.links)
    assert "\x1b" not in page.text


@settings(max_examples=150, deadline=None)
@given(st.text() | st.text(alphabet="<>&\"'`[]()!#*\n /=javscript:"))
def test_any_text_makes_a_page_that_runs_and_loads_nothing(text: str) -> None:
    messages = [Message("1", "s1", "user", text), Message("2", "s1", "assistant", text, "1", reasoning=text)]
    page = Page(as_html(replace(SESSION, title=text), messages))
    assert page.loaded == []
    assert not page.tags & {"script", "iframe", "img", "object", "embed", "form", "svg", "base"}
    assert all(link.split(":")[0].lower() not in ("javascript", "vbscript", "data", "file") for link in page.links)


def test_a_line_to_finetune_with_ends_with_a_whole_answer() -> None:
    cut = [
        *branch(),
        Message("3", "s1", "user", "And?", "2"),
        Message("4", "s1", "assistant", "So", "3", finish="stopped"),
    ]
    line = finetune_line(SESSION, cut)
    assert line.count("\n") == 1
    roles = json.loads(line)["messages"]
    assert [one["role"] for one in roles] == ["system", "user", "assistant"]
    assert roles[1]["content"][1] == {"type": "image_url", "image_url": {"url": PICTURE}}
    assert "hm" not in line
    with pytest.raises(UsageError, match="no whole answer"):
        finetune_line(SESSION, cut[:1])


def test_the_last_request_is_what_the_last_answer_came_from() -> None:
    messages = [*branch(), Message("3", "s1", "user", "And?", "2")]
    assert [one.id for one in asked_last(messages)] == ["1", "2", "3"]
    assert [one.id for one in asked_last([*messages, Message("4", "s1", "assistant", "", "3")])] == ["1", "2", "3"]
    assert [one.id for one in asked_last(branch())] == ["1"]
    for nothing in ([], [Message("1", "s1", "assistant", "Hi")]):
        with pytest.raises(UsageError, match="nothing was asked"):
            asked_last(nothing)


@pytest.fixture
def asked() -> Iterator[tuple[str, list[tuple[dict[str, Any], str]]]]:
    """A server that keeps what it is asked: the bodies and how the asker showed who it is."""
    found: list[tuple[dict[str, Any], str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            found.append((body, self.headers.get("Authorization", "")))
            answer = {"id": "a", "object": "chat.completion", "created": 1, "model": "m"}
            message = {"role": "assistant", "content": "Tweet."}
            data = json.dumps(
                {**answer, "choices": [{"index": 0, "finish_reason": "stop", "message": message}]}
            ).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", found
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("user", [None, "me and 'you'"])
@pytest.mark.parametrize("form", ["curl", "python"])
def test_an_exported_request_asks_the_same_and_holds_no_key(
    form: str, user: str | None, asked: tuple[str, list[tuple[dict[str, Any], str]]], tmp_path: Path
) -> None:
    url, found = asked
    target = Target(url, "small", SECRET, "vllm", user=user)
    text = (as_curl if form == "curl" else as_python)(SESSION, branch(text="Say 'hi'\n$(id) `id` " + HOSTILE), target)
    assert SECRET not in text
    file = tmp_path / "request"
    file.write_text(text)
    command = ["sh", str(file)] if form == "curl" else [sys.executable, str(file)]
    environment = {**os.environ, "OPENAI_API_KEY": "mine", "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "Tweet." in done.stdout
    ((body, authorization),) = found
    system, question = body["messages"]
    assert system == {"role": "system", "content": "Be brief."}
    assert question["content"][0]["text"] == "Say 'hi'\n$(id) `id` " + HOSTILE.replace("\ud800", "?")
    assert question["content"][1]["image_url"]["url"] == PICTURE
    assert (body["model"], body["temperature"]) == ("small", 0.5)
    assert body["chat_template_kwargs"]["enable_thinking"] is False
    assert authorization.startswith("Bearer mine" if user is None else "Basic ")


def test_a_request_says_what_is_not_known() -> None:
    messages = [
        *branch()[:1],
        Message("2", "s1", "assistant", "", "1", tool_calls=(ToolCall("c", "look", "{}"),)),
        Message("3", "s1", "tool", "sky", "2", tool_call_id="c"),
        Message("4", "s1", "assistant", "Blue.", "3"),
    ]
    for text in (as_curl(SESSION, messages, None), as_python(SESSION, messages, None)):
        assert "the address is a guess" in text
        assert "Tools were offered too" in text
        assert "look" in text


def test_every_form_is_written_of_a_kept_chat(tmp_path: Path) -> None:
    db = Database.open(tmp_path / "studio.db")
    chats = Chats(db)
    session = chats.create("Birds", model="small")
    question = MessageRows(db).append(Message("", session.id, "user", "What is a bird?"))
    MessageRows(db).append(Message("", session.id, "assistant", "An animal.", question.id, finish="stop"))
    for form in FORMS:
        text = chats.written(session.id, form.name)
        assert "What is a bird?" in text
        assert ("An animal." in text) is not form.asks
        assert form_of_file(f"a/chat{form.suffix}").name == form.name
    assert form_of("md").name == "markdown"
    with pytest.raises(UsageError, match="no format pdf"):
        form_of("pdf")
    db.close()
