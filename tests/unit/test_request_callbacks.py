"""Who is told of requests that have ended: in batches, and never so that a request, or another who is told, waits."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.ports import free_port
from tests.unit.http_ground import answer, serving, until
from vllm_studio_tui.config.settings import Settings, load_settings
from vllm_studio_tui.domain.errors import SettingsError, StudioError
from vllm_studio_tui.domain.usage import CompletedRequest
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.services.serving import callbacks as callbacks_module
from vllm_studio_tui.services.serving.batches import BatchThread
from vllm_studio_tui.services.serving.callbacks import RequestCallbacks, request_callbacks
from vllm_studio_tui.services.serving.request_record import FIELDS
from vllm_studio_tui.services.serving.webhook import NotDelivered, Webhook, webhook_address

PLUG_INS = str(Path(__file__).parents[1] / "fixtures" / "example_plug_ins")
SECRET = "not-to-be-seen-anywhere"


def ended(name: str = "r", **more: Any) -> CompletedRequest:
    return CompletedRequest(at=1.0, source="proxy", finish="stop", id=name, **more)


def wait(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.005)


def receiver(take: Callable[[list[dict[str, Any]]], object], **options: Any) -> BatchThread:
    return BatchThread("the receiver", lambda: take, **{"gather": 0.01, **options})


# --- batches --------------------------------------------------------------------------------------------


def test_what_others_are_told_says_nothing_of_the_text() -> None:
    got: list[list[dict[str, Any]]] = []
    told = receiver(got.append)
    told.put(ended(error="the prompt 'xyz' is too long", prompt_tokens=7, key_name="me"))
    wait(lambda: got, "it is told")
    (record,) = got[0]
    assert set(record) == set(FIELDS)
    assert (record["id"], record["prompt_tokens"], record["key_name"]) == ("r", 7, "me")
    assert record["completion_tokens"] is None
    assert record["at"] == "1970-01-01T00:00:01.000Z"
    assert "xyz" not in json.dumps(record)


def test_requests_come_in_batches_in_their_order_each_once() -> None:
    got: list[list[dict[str, Any]]] = []
    began = threading.Event()

    def take(batch: list[dict[str, Any]]) -> None:
        began.wait(10)
        got.append(batch)

    told = receiver(take, batch=10)
    for number in range(95):
        told.put(ended(str(number)))
    began.set()
    told.finish()
    assert told.join(10) == 0
    assert [one["id"] for batch in got for one in batch] == [str(number) for number in range(95)]
    assert max(len(batch) for batch in got) == 10
    assert told.health()["delivered"] == 95


def test_one_that_raises_is_said_once_with_its_name_and_gets_what_comes_after(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Odd(BaseException):
        def __str__(self) -> str:
            raise ValueError

    got: list[str] = []

    def take(batch: list[dict[str, Any]]) -> None:
        got.append(batch[0]["id"])
        if len(got) < 4:
            raise (SystemExit, RuntimeError, Odd)[len(got) - 1]("no")

    told = receiver(take)
    for number in range(4):
        told.put(ended(str(number)))
        wait(lambda: told.health()["failed"] + told.health()["delivered"] == number + 1, "it is told")  # noqa: B023
    assert [one.getMessage() for one in caplog.records] == [
        "the receiver raises SystemExit: no; it is not said again, see /health"
    ]
    assert told.health() == {
        "name": "the receiver", "delivered": 1, "failed": 3, "dropped": 0, "waiting": 0, "error": None
    }  # fmt: skip


def test_one_that_hangs_is_said_once_drops_what_is_too_much_and_holds_up_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for_ever = threading.Event()
    got: list[dict[str, Any]] = []
    hanging = receiver(lambda _: for_ever.wait(60), most=50, patience=0.05, batch=1)
    other = receiver(got.extend)
    told = RequestCallbacks([hanging, other])
    told.put(ended())
    wait(lambda: hanging.health()["error"], "it is seen")
    began = time.perf_counter()
    for number in range(2000):
        told.put(ended(str(number)))
    took = time.perf_counter() - began
    wait(lambda: len(got) == 2001, "the other one got all")
    health = hanging.health()
    assert (health["waiting"], health["dropped"]) == (51, 1950)
    assert health["error"] == "has not come back for 0.05 seconds"
    assert took < 20, "putting 2000 takes no time that a request would feel"
    began = time.perf_counter()
    told.close(0.1)
    assert time.perf_counter() - began < 30
    said = [one.getMessage() for one in caplog.records]
    assert said == [
        "the receiver has not come back for 0.05 seconds; it is not said again, see /health",
        "the receiver did not take the last 51 requests in time",
    ]
    for_ever.set()


def test_one_that_cannot_be_made_is_tried_again() -> None:
    tries: list[int] = []
    got: list[dict[str, Any]] = []

    def make() -> Callable[[list[dict[str, Any]]], object]:
        tries.append(1)
        if len(tries) == 1:
            raise OSError("no disk")
        return got.extend

    told = BatchThread("x", make, gather=0.01)
    told.put(ended("1"))
    wait(lambda: told.health()["failed"], "it was tried")
    told.put(ended("2"))
    wait(lambda: got, "it was tried again")
    assert [one["id"] for one in got] == ["2"]


def test_what_waits_is_handed_over_at_the_end_without_gathering() -> None:
    got: list[dict[str, Any]] = []
    told = RequestCallbacks([receiver(got.extend, gather=600)])
    told.put(ended())
    told.close(10)
    assert len(got) == 1


# --- plug-ins -------------------------------------------------------------------------------------------


def test_functions_classes_and_objects_are_taken_and_nothing_else() -> None:
    class Made:
        def requests(self, batch: Any) -> None: ...

    class Other: ...

    accept = callbacks_module._accept
    one = Made()
    assert accept("a", print)() is print
    assert accept("a", one)() == one.requests
    assert accept("a", Made)().__func__ is Made.requests  # type: ignore[attr-defined]
    for wrong in (Other, Other(), 5, None):
        with pytest.raises(Exception, match="requests"):
            accept("a", wrong)


def test_a_callback_of_a_package_is_found_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(PLUG_INS)
    found, broken = request_callbacks()
    assert ([one.title for one in found], broken) == (["lines of the package example-plug-ins"], {})


# --- the webhook ----------------------------------------------------------------------------------------


class Hook:
    """A server that keeps what it is sent and answers as it is told."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[int] = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = hook.answers.pop(0) if hook.answers else 204
                hook.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/in/{SECRET}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def hook() -> Iterator[Hook]:
    made = Hook()
    yield made
    made.close()


def webhook(url: str, *, secret: str | None = None, closing: threading.Event | None = None, **options: Any) -> Webhook:
    return Webhook(url, secret, closing or threading.Event(), **{"pauses": (0.01, 0.01), **options})


def test_a_batch_is_posted_and_signed(hook: Hook) -> None:
    webhook(hook.url, secret="s3cret")([{"id": "1"}])
    ((headers, body),) = hook.got
    document = json.loads(body)
    assert (document["type"], document["data"]) == ("requests.ended", {"requests": [{"id": "1"}]})
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(b"s3cret", signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    assert headers["content-type"] == "application/json"
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60
    assert b"s3cret" not in body
    assert "s3cret" not in json.dumps(headers)
    webhook(hook.url, secret="whsec_" + base64.b64encode(b"\0key").decode())([])
    headers, body = hook.got[1]
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(b"\0key", signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    webhook(hook.url)([])
    assert "webhook-signature" not in hook.got[2][0]


def test_what_may_pass_is_tried_again_under_the_same_id(hook: Hook) -> None:
    hook.answers = [503, 429]
    webhook(hook.url)([{"id": "1"}])
    assert len(hook.got) == 3
    assert len({headers["webhook-id"] for headers, _ in hook.got}) == 1
    assert len({body for _, body in hook.got}) == 1


@pytest.mark.parametrize(("answers", "tries"), [([500] * 9, 3), ([400], 1), ([302], 1), ([401], 1)])
def test_what_stays_refused_is_given_up(hook: Hook, answers: list[int], tries: int) -> None:
    hook.answers = list(answers)
    with pytest.raises(NotDelivered, match=f"it answered {answers[0]}"):
        webhook(hook.url)([])
    assert len(hook.got) == tries


def test_where_nobody_listens_the_address_is_not_repeated() -> None:
    with pytest.raises(NotDelivered) as said:
        webhook(f"http://127.0.0.1:{free_port()}/{SECRET}")([])
    assert str(said.value) == "no answer: Connection refused"


def test_at_the_end_there_are_no_pauses(hook: Hook) -> None:
    closing = threading.Event()
    closing.set()
    hook.answers = [503, 503, 503]
    with pytest.raises(NotDelivered):
        webhook(hook.url, closing=closing, pauses=(600.0, 600.0))([])
    assert len(hook.got) == 2


def test_settings_of_a_webhook_that_cannot_be_used_are_refused_without_repeating_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("webhook_url", f"ftp://h/{SECRET}"), ("webhook_secret", SECRET)):
        with pytest.raises(SettingsError) as wrong:
            load_settings(Places.under(tmp_path), {}, {name: value})
        assert SECRET not in f"{wrong.value.title} {wrong.value.cause} {wrong.value.advice}"
    assert webhook_address(Settings()) is None
    monkeypatch.setenv("HOOK", f"https://h/{SECRET}")
    monkeypatch.setenv("HOOK_KEY", "whsec_!")
    url = "env:HOOK"
    assert webhook_address(Settings(webhook_url=url)) == (f"https://h/{SECRET}", None)
    for options in (
        {"webhook_url": f"https://me:{SECRET}@h/"},
        {"webhook_url": "http://"},
        {"webhook_url": f"http://h:{SECRET}/"},
        {"webhook_url": f"http://h/{SECRET}\n"},
        {"webhook_url": "env:HOOK_KEY"},
        {"webhook_url": "env:NOT_THERE"},
        {"webhook_url": url, "webhook_secret": "env:NOT_THERE"},
        {"webhook_url": url, "webhook_secret": "env:HOOK_KEY"},
    ):
        with pytest.raises(StudioError) as refused:
            webhook_address(Settings(**options))
        assert SECRET not in f"{refused.value.title} {refused.value.cause} {refused.value.advice}"


# --- with the server ------------------------------------------------------------------------------------


async def test_requests_of_the_server_reach_the_webhook_and_the_plug_in(
    hook: Hook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.syspath_prepend(PLUG_INS)
    monkeypatch.setenv("EXAMPLE_REQUESTS", str(tmp_path / "lines.jsonl"))
    monkeypatch.setenv("HOOK_KEY", "s3cret")
    settings = f"webhook_url: {hook.url}\nwebhook_secret: env:HOOK_KEY\n"
    async with serving(tmp_path / "home", monkeypatch, settings=settings) as ground:
        reply = b'{"id":"x-1","usage":{"prompt_tokens":3,"completion_tokens":5},"choices":[{"finish_reason":"stop"}]}'
        ground.engine.script = answer(reply)
        ask = {"model": "m", "messages": [{"role": "user", "content": "the words"}]}
        status, _, _ = await ground.post("/v1/chat/completions", ask)
        assert status == 200
        _, health, _ = await ground.get("/health")
        assert [one["name"] for one in health["callbacks"]] == [
            "the request callback lines of the package example-plug-ins",
            f"the webhook at 127.0.0.1:{hook.server.server_port}",
        ]
        await until(lambda: bool(hook.got), "the webhook is told")
        # This one is told when the server ends.
        await ground.post("/v1/chat/completions", {**ask, "model": "n"})
    sent = [one for _, body in hook.got for one in json.loads(body)["data"]["requests"]]
    lines = [json.loads(line) for line in (tmp_path / "lines.jsonl").read_text().splitlines()]
    assert sent == lines
    assert [(one["requested_model"], one["prompt_tokens"], one["completion_tokens"]) for one in sent] == [
        ("m", 3, 5),
        ("n", 3, 5),
    ]
    assert b"the words" not in b"".join(body for _, body in hook.got)
    assert SECRET not in caplog.text


def test_a_callback_that_cannot_be_loaded_is_said_with_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (info := tmp_path / "bad_package-1.0.dist-info").mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bad-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{callbacks_module.GROUP}]\nbad = not_there:anything\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    found, broken = request_callbacks()
    why = "ModuleNotFoundError: No module named 'not_there' (package bad-package)"
    assert (found, broken) == ([], {"bad": why})
    assert why in caplog.text
