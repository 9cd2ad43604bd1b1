"""What passes through the server: bodies, headers, streams, their ends, and the row that is kept of each."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.unit.http_ground import (
    STREAM,
    Asked,
    FixedAdmission,
    Ground,
    ScriptedEngine,
    answer,
    delta,
    event,
    serving,
    stream,
    until,
)
from vllm_studio_tui.domain.serving import Endpoint, Phase, Refusal, Waiting
from vllm_studio_tui.http import loading, proxy, request_body
from vllm_studio_tui.services.serving.journal import journal_folder, memory_folder
from vllm_studio_tui.store.requests import RequestRows

CHAT = "/v1/chat/completions"
ASK = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
async def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ground]:
    async with serving(tmp_path, monkeypatch) as made:
        yield made
        assert made.dispatcher.in_flight == 0, "every request that entered has left"
        assert len(made.context.live) == 0


async def test_a_body_passes_byte_for_byte_and_the_answer_too(ground: Ground) -> None:
    body = b'{ "model":"m", "seed":12345678901234567890, "t":1.50,"messages":[{"role":"user","content":"\\u00e9"}]}'
    reply = b'{"id" : "x-1", "usage":{"prompt_tokens":3,"completion_tokens":5},"choices":[{"finish_reason":"length"}]}'
    ground.engine.script = answer(reply, headers="X-Engine: yes\r\nSet-Cookie: a=b\r\n")
    async with ground.client.post(ground.url + CHAT, data=body) as got:
        assert await got.read() == reply
        assert got.headers["X-Engine"] == "yes"
        assert "Set-Cookie" not in got.headers
        assert (got.headers["x-vllm-studio-run"], len(got.headers["x-vllm-studio-request"])) == ("run-1", 32)
        assert float(got.headers["x-vllm-studio-overhead-ms"]) >= 0
    assert ground.engine.asked[0].body == body
    row = ground.rows[0]
    assert (row.id, row.source, row.finish, row.status) == (
        got.headers["x-vllm-studio-request"],
        "proxy",
        "length",
        200,
    )
    assert (row.prompt_tokens, row.completion_tokens, row.upstream_id) == (3, 5, "x-1")
    assert (row.run_id, row.attempt, row.recipe_id, row.model, row.requested_model) == ("run-1", 1, "rec", "m", "m")
    assert (row.bytes_in, row.bytes_out, row.streamed, row.endpoint) == (len(body), len(reply), False, CHAT)
    await until(lambda: bool(RequestRows(ground.context.studio.db).recent()), "the row is in the database")
    assert RequestRows(ground.context.studio.db).recent()[0].upstream_id == "x-1"


async def test_before_an_engine_has_a_request_it_is_noted_where_a_kill_leaves_it(ground: Ground) -> None:
    places = ground.context.studio.places
    folders = [one for one in (journal_folder(places), memory_folder(places)) if one is not None]
    noted = b""
    whole = ground.engine.script

    async def script(asked: Asked, writer: asyncio.StreamWriter) -> None:
        nonlocal noted
        noted = b"".join(path.read_bytes() for folder in folders for path in folder.iterdir())
        await whole(asked, writer)

    ground.engine.script = script
    status, _, got = await ground.post(CHAT, ASK)
    assert status == 200
    assert got.headers["x-vllm-studio-request"].encode() in noted
    assert [one.finish for one in ground.rows] == ["stop"]


async def test_headers_of_the_client_stop_here_and_the_engines_own_key_goes_on(ground: Ground) -> None:
    sent = {
        "Authorization": "Bearer client", "x-api-key": "client", "Cookie": "c=1", "X-Forwarded-For": "9.9.9.9",
        "anthropic-version": "2023-06-01", "X-Mine": "kept", "Accept-Encoding": "gzip",
    }  # fmt: skip
    await ground.post(CHAT, ASK, headers=sent)
    got = ground.engine.asked[0].headers
    assert got["authorization"] == "Bearer engine-key"
    assert (got["x-mine"], got["anthropic-version"], got["accept-encoding"]) == ("kept", "2023-06-01", "identity")
    assert {"x-api-key", "cookie", "x-forwarded-for"} & got.keys() == set()
    assert b"client" not in ground.engine.asked[0].body


async def test_a_stream_passes_as_it_comes_and_its_usage_is_counted_but_not_shown(ground: Ground) -> None:
    pause = asyncio.Event()
    ground.engine.script = stream("Hello", " you", usage=2, pause=pause)
    async with ground.client.post(ground.url + CHAT, json={**ASK, "stream": True}) as got:
        first = await asyncio.wait_for(got.content.readuntil(b"\n\n"), 20)
        assert b"Hello" in first, "the first token is here while the engine still writes"
        live = (await ground.get("/requests/live"))[1]["requests"]
        assert [(one["phase"], one["completion_tokens"]) for one in live] == [("streaming", 1)]
        pause.set()
        rest = await got.read()
    assert rest.endswith(b"data: [DONE]\n\n")
    assert b"usage" not in rest
    assert ground.engine.asked[0].json["stream_options"] == {"include_usage": True}
    row = ground.rows[0]
    assert (row.completion_tokens, row.estimated, row.finish, row.streamed) == (2, False, "stop", True)
    assert row.ttft is not None
    assert row.total_seconds is not None
    assert 0 < row.ttft < row.total_seconds


async def test_a_usage_that_the_client_asks_for_it_gets(ground: Ground) -> None:
    ground.engine.script = stream("a", usage=1)
    asked = {**ASK, "stream": True, "stream_options": {"include_usage": True}}
    _, raw, _ = await ground.post(CHAT, asked)
    assert b'"completion_tokens": 1' in raw
    await ground.post(CHAT, {**asked, "stream_options": {"include_usage": False}})
    assert ground.engine.asked[1].json["stream_options"] == {"include_usage": False}
    assert ground.rows[1].estimated


async def test_a_client_that_leaves_frees_the_engine_at_once(ground: Ground) -> None:
    ground.engine.script = stream("a", pause=asyncio.Event())
    got = await ground.client.post(ground.url + CHAT, json={**ASK, "stream": True})
    await got.content.readany()
    got.close()
    await asyncio.wait_for(ground.engine.gone.wait(), 20)
    await until(lambda: bool(ground.rows), "the request has ended")
    assert (ground.rows[0].finish, ground.rows[0].completion_tokens, ground.rows[0].estimated) == ("cancelled", 1, True)


async def test_a_client_that_leaves_while_it_waits_is_forgotten(ground: Ground) -> None:
    ground.dispatcher.ready.clear()
    asking = asyncio.ensure_future(ground.post(CHAT, ASK))
    await until(lambda: ground.dispatcher.in_flight == 1, "it waits")
    live = (await ground.get("/requests/live"))[1]["requests"][0]
    assert (live["phase"], live["stage"], live["progress"]) == ("loading", "weights", 0.43)
    asking.cancel()
    await until(lambda: bool(ground.rows), "the request has ended")
    assert (ground.rows[0].finish, ground.engine.asked) == ("cancelled", [])


async def test_an_answer_that_nobody_reads_on_can_be_ended_and_nothing_is_written_behind_it(ground: Ground) -> None:
    choice = {"message": {"content": "x" * 8_000_000}, "finish_reason": "stop"}
    ground.engine.script = answer({"choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 5}})
    host, port = ground.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    body = json.dumps(ASK).encode()
    writer.write(
        b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (CHAT.encode(), len(body)) + body
    )
    await until(lambda: any(one.response is not None for one in ground.context.live), "the answer is on its way")
    for one in ground.context.live:
        assert ground.context.live.cancel(one.id, "cancelled by a person")
    await until(lambda: bool(ground.rows), "it has ended")
    came = await reader.read(-1)
    writer.close()
    assert (came.count(b"HTTP/1.1 "), came.count(b"cancelled")) == (1, 0)
    row = ground.rows[0]
    assert (row.finish, row.status, row.completion_tokens) == ("cancelled", 499, 5)
    assert row.error == "the request was cancelled by a person"


@pytest.mark.parametrize("head", ["Transfer-Encoding: chunked", f"Content-Length: {40 * 1024 * 1024}"])
async def test_an_answer_that_is_no_stream_of_events_is_cut_off_where_it_is_ended(ground: Ground, head: str) -> None:
    async def script(_: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Type: audio/wav\r\n{head}\r\n\r\n".encode())
        writer.write(b"4\r\nRIFF\r\n" if "chunked" in head else b"RIFF")
        await asyncio.Event().wait()

    ground.engine.script = script
    async with ground.client.post(f"{ground.url}/v1/audio/speech", json={"model": "m", "input": "hi"}) as got:
        assert await got.content.readexactly(4) == b"RIFF"
        for one in ground.context.live:
            assert ground.context.live.cancel(one.id, "cancelled by a person")
        with pytest.raises(aiohttp.ClientError):
            assert await got.content.read() == b""
    await until(lambda: bool(ground.rows), "it has ended")
    assert [(one.finish, one.status) for one in ground.rows] == [("cancelled", 499)]


async def test_a_stream_that_nobody_reads_on_can_be_ended(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy, "LAST_WORD", 0.05)
    ground.engine.script = stream(*["x" * 500_000] * 20)
    host, port = ground.url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    body = json.dumps({**ASK, "stream": True}).encode()
    writer.write(
        b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (CHAT.encode(), len(body)) + body
    )
    await until(lambda: any(one.bytes_out > 2_000_000 for one in ground.context.live), "the answer is on its way")
    for one in ground.context.live:
        assert ground.context.live.cancel(one.id, "cancelled by a person")
    await until(lambda: bool(ground.rows), "it has ended")
    writer.close()
    assert [one.finish for one in ground.rows] == ["cancelled"]


async def test_somebody_else_can_end_a_request(ground: Ground) -> None:
    ground.engine.script = stream("a", pause=asyncio.Event())
    async with ground.client.post(ground.url + CHAT, json={**ASK, "stream": True}) as got:
        await got.content.readuntil(b"\n\n")
        live = (await ground.get("/requests/live"))[1]["requests"][0]
        assert (await ground.post(f"/requests/{live['id']}/cancel", {}))[0] == 200
        rest = await got.read()
    assert b"cancelled by local" in rest
    assert b"[DONE]" not in rest
    assert ground.rows[0].finish == "cancelled"
    assert (await ground.post(f"/requests/{live['id']}/cancel", {}))[0] == 404


@pytest.mark.parametrize("path", [CHAT, "/v1/messages"])
async def test_an_engine_that_dies_in_a_stream_ends_it_with_an_error_and_no_usual_end(
    ground: Ground, path: str
) -> None:
    ground.engine.script = stream("a", "b", cut=True)
    _, raw, _ = await ground.post(path, {**ASK, "stream": True, "max_tokens": 9})
    last = raw.strip().split(b"\n\n")[-1]
    assert b"[DONE]" not in raw
    data = json.loads(last.split(b"data: ")[1])
    assert "ended in the middle" in data["error"]["message"]
    assert last.startswith(b"event: error") == (path == "/v1/messages")
    assert ground.rows[0].finish == "failed"


async def test_an_engine_that_ends_before_it_answers_is_a_502(ground: Ground) -> None:
    async def script(_: Asked, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    ground.engine.script = script
    status, data, _ = await ground.post(CHAT, ASK)
    assert (status, data["error"]["code"]) == (502, "engine_ended")
    assert len(ground.engine.asked) == 1, "what an engine has seen is not sent to it again"
    assert ground.rows[0].finish == "failed"


async def test_an_engine_that_is_not_there_is_asked_once_more(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    good = ground.dispatcher.endpoint
    ground.dispatcher.endpoint = Endpoint("http://127.0.0.1:1/v1", "m", recipe_id="rec")
    monkeypatch.setattr(FixedAdmission, "queued_seconds", 30.0)
    monkeypatch.setattr(proxy, "ONCE_MORE", 0.1)
    begun = time.monotonic()
    asking = asyncio.ensure_future(ground.post(CHAT, ASK))
    await until(lambda: len(ground.dispatcher.arrivals) == 1, "it was tried")
    await until(lambda: ground.dispatcher.in_flight == 0, "it was left")
    monkeypatch.setattr(FixedAdmission, "queued_seconds", 0.0)
    ground.dispatcher.endpoint = good
    assert (await asking)[0] == 200
    assert ground.rows[0].queued_seconds == 30.0, "what was waited for the engine that had gone stays waited"
    assert (ground.rows[0].overhead_seconds or 0) < time.monotonic() - begun
    ground.dispatcher.endpoint = Endpoint("http://127.0.0.1:1/v1", "m", recipe_id="rec")
    status, data, _ = await ground.post(CHAT, ASK)
    assert (status, data["error"]["code"]) == (502, "engine_unreachable")


async def test_an_engine_that_has_ended_is_not_asked_again_before_somebody_looked(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = ground.dispatcher.endpoint

    async def refresh() -> None:
        ground.dispatcher.endpoint = good  # another one was started, or is about to be

    monkeypatch.setattr(proxy, "ONCE_MORE", 0.0)
    monkeypatch.setattr(ground.dispatcher, "refresh", refresh)
    ground.dispatcher.endpoint = Endpoint("http://127.0.0.1:1/v1", "m", recipe_id="rec")
    assert (await ground.post(CHAT, ASK))[0] == 200


@pytest.mark.parametrize("status", [400, 401, 404, 422, 429, 500, 503])
async def test_what_an_engine_refuses_passes_byte_for_byte(ground: Ground, status: int) -> None:
    reply = b'{"object":"error","message":"no","code":%d}' % status
    ground.engine.script = answer(reply, status)
    async with ground.client.post(ground.url + CHAT, json=ASK) as got:
        assert (got.status, await got.read()) == (status, reply)
    assert (ground.rows[0].finish, ground.rows[0].status) == ("failed", status)


async def test_a_stall_that_a_recipe_does_not_allow_ends_the_answer(ground: Ground) -> None:
    from dataclasses import replace

    ground.dispatcher.endpoint = replace(ground.dispatcher.endpoint, stall_timeout=0.2)
    ground.engine.script = stream("a", pause=asyncio.Event())
    _, raw, _ = await ground.post(CHAT, {**ASK, "stream": True})
    assert b"stopped in the middle" in raw
    assert ground.rows[0].finish == "failed"


async def test_rules_of_a_recipe_change_the_body_and_nothing_else_of_it(ground: Ground) -> None:
    from dataclasses import replace

    ground.dispatcher.endpoint = replace(
        ground.dispatcher.endpoint, model="engine-name", set_params=(("top_k", 5),),
        default_params=(("temperature", 0.5), ("seed", 1)), strip_params=("user",),
    )  # fmt: skip
    body = b'{"model":"alias","seed":7,"user":"me","x":1.50,"stream":true}'
    ground.engine.script = stream("a")
    await ground.post(CHAT, body)
    assert ground.engine.asked[0].body == (
        b'{"model":"engine-name","seed":7,"x":1.50,"stream":true,"temperature":0.5,"top_k":5,'
        b'"stream_options":{"include_usage":true}}'
    )
    assert ground.rows[0].requested_model == "alias"


@pytest.mark.parametrize(
    ("body", "code"),
    [(b"", "invalid_body"), (b"{", "invalid_body"), (b"[]", "invalid_body"), (b'{"model":7}', "invalid_model"),
     (b'{"model":"m","stream":"yes"}', "invalid_stream"), (b'{"model":"%s"}' % (b"x" * 600), "invalid_model")],
)  # fmt: skip
async def test_bodies_that_are_none_are_refused_with_what_is_wrong(ground: Ground, body: bytes, code: str) -> None:
    status, data, _ = await ground.post(CHAT, body)
    assert (status, data["error"]["code"], data["error"]["type"]) == (400, code, "invalid_request_error")
    status, data, _ = await ground.post("/v1/messages", body)
    assert (status, data["type"], data["error"]["type"]) == (400, "error", "invalid_request_error")
    assert ground.engine.asked == []
    assert {row.finish for row in ground.rows} == {"refused"}


@pytest.mark.parametrize(
    "name", ["a\r\nx-evil: 1", "a\n\nHTTP/1.1 200 OK", "\x1b]52;c;eA==\x07", "模型", "a\x00b", "\ud800"]
)
async def test_a_hostile_name_reaches_no_header(ground: Ground, name: str) -> None:
    body = json.dumps({"model": name, "messages": []}).encode()
    ground.engine.script = answer("a")
    status, _, answered = await ground.post(CHAT, body)
    assert status in (200, 400)
    for where in (answered.headers, *(one.headers for one in ground.engine.asked)):
        assert "x-evil" not in where
        assert all(value.isascii() and value.isprintable() for value in where.values())


async def test_a_body_that_is_too_large_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: Any) -> None:
    async with serving(tmp_path, monkeypatch, settings="max_body: 2048\n") as ground:
        status, data, _ = await ground.post(CHAT, b"{" + b" " * 4000)
        assert (status, data["error"]["code"]) == (413, "request_too_large")

        async def endless() -> AsyncIterator[bytes]:
            while True:
                yield b" " * 1024

        with pytest.raises(aiohttp.ClientError):  # or the answer, where it comes before the connection ends
            async with ground.client.post(ground.url + CHAT, data=endless()) as got:
                assert got.status == 413
                raise aiohttp.ClientError
        assert {row.status for row in ground.rows} == {413}


async def test_a_body_that_stops_in_the_middle_is_given_up(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_body, "STALL", 0.2)
    host, port = ground.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
    assert b" 408 " in await asyncio.wait_for(reader.readline(), 20)
    writer.close()


async def test_refusals_of_the_dispatcher_have_their_status_and_say_when_to_come_back(ground: Ground) -> None:
    ground.dispatcher.refusal = Refusal(429, "queue_full", "too many wait", retry_after=7.2)
    status, data, got = await ground.post(CHAT, ASK)
    assert (status, data["error"]["code"], got.headers["Retry-After"]) == (429, "queue_full", "8")
    ground.dispatcher.refusal = Refusal(404, "model_not_found", "no model x", advice="Near: m.", param="model")
    status, data, got = await ground.post("/v1/messages", ASK)
    assert (status, data["error"]["type"]) == (404, "not_found_error")
    assert "Near: m." in data["error"]["message"]
    ground.dispatcher.refusal = Refusal(404, "model_not_found", "no model \ud83d", param="model")
    status, data, got = await ground.post(CHAT, ASK)
    assert (status, data["error"]["message"]) == (404, "no model \ud83d.")
    assert [row.finish for row in ground.rows] == ["refused", "refused", "refused"]


async def test_a_stream_that_waits_says_so_and_then_answers(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "EVERY", 0.05)
    ground.dispatcher.ready.clear()
    ground.engine.script = stream("hello")
    async with ground.client.post(ground.url + CHAT, json={**ASK, "stream": True}) as got:
        assert await asyncio.wait_for(got.content.readuntil(b"\n\n"), 20) == b": loading weights 43%\n\n"
        ground.dispatcher.ready.set()
        assert b"hello" in await got.read()
    assert ground.rows[0].finish == "stop"


async def test_a_load_that_fails_while_a_stream_waits_is_an_error_event(ground: Ground, monkeypatch: Any) -> None:
    monkeypatch.setattr(loading, "EVERY", 0.05)
    ground.dispatcher.ready.clear()
    ground.dispatcher.failure = Refusal(503, "model_failed", "out of memory", advice="Shorten the context.")
    async with ground.client.post(ground.url + CHAT, json={**ASK, "stream": True}) as got:
        await got.content.readuntil(b"\n\n")
        ground.dispatcher.ready.set()
        rest = await got.read()
    assert json.loads(rest.split(b"data: ")[1])["error"]["code"] == "model_failed"
    assert b"[DONE]" not in rest
    assert ground.rows[0].finish == "refused"


async def test_loading_can_be_shown_as_thinking_or_not_be_waited_for(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(loading, "EVERY", 0.05)
    async with serving(tmp_path, monkeypatch, settings="loading: reasoning\n") as ground:
        ground.dispatcher.ready.clear()
        ground.engine.script = stream("hello")
        async with ground.client.post(ground.url + CHAT, json={**ASK, "stream": True}) as got:
            first = json.loads((await got.content.readuntil(b"\n\n")).removeprefix(b"data: "))
            assert "weights 43%" in first["choices"][0]["delta"]["reasoning_content"]
            ground.dispatcher.ready.set()
            assert b"hello" in await got.read()
    async with serving(tmp_path / "b", monkeypatch, settings='loading: "503"\n') as ground:
        ground.dispatcher.ready.clear()
        ground.dispatcher.waiting = Waiting(Phase.LOADING, "rec", eta=41.2)
        status, data, got = await ground.post(CHAT, ASK)
        assert (status, data["error"]["code"], got.headers["Retry-After"]) == (503, "model_loading", "42")


async def test_an_engine_without_anthropics_api_is_not_asked_for_it(ground: Ground) -> None:
    from dataclasses import replace

    ground.dispatcher.endpoint = replace(ground.dispatcher.endpoint, backend="transformers")
    status, data, _ = await ground.post("/v1/messages", {**ASK, "max_tokens": 5})
    assert (status, data["type"]) == (501, "error")
    assert "gateway" in data["error"]["message"]
    assert ground.engine.asked == []


async def test_an_answer_of_responses_is_found_again_at_the_model_that_gave_it(ground: Ground) -> None:
    ground.engine.script = answer(
        {"id": "resp_1", "status": "completed", "usage": {"input_tokens": 2, "output_tokens": 1}}
    )
    await ground.post("/v1/responses", {"model": "m", "input": "hi"})
    assert (await ground.get("/v1/responses/resp_1"))[0] == 200
    assert [(one.method, one.path) for one in ground.engine.asked] == [
        ("POST", "/v1/responses"), ("GET", "/v1/responses/resp_1"),
    ]  # fmt: skip
    assert (await ground.get("/v1/responses/resp_2"))[0] == 404


async def test_a_form_goes_on_without_being_kept_and_its_model_is_read_from_its_head(ground: Ground) -> None:
    for order in (("model", "file"), ("file", "model")):
        form = aiohttp.FormData()
        for name in order:
            if name == "model":
                form.add_field("model", "whisper")
            else:
                form.add_field("file", b"\0" * 300_000, filename="a.wav", content_type="audio/wav")
        ground.dispatcher.endpoint = Endpoint(ground.engine.url, None, recipe_id="rec")
        async with ground.client.post(ground.url + "/v1/audio/transcriptions", data=form) as got:
            assert got.status == 200
        assert ground.dispatcher.arrivals[-1].model == "whisper"
        assert ground.engine.asked[-1].body.count(b"\0") == 300_000
        assert ground.engine.asked[-1].headers["content-type"].startswith("multipart/form-data; boundary=")


async def test_a_form_that_says_an_alias_goes_on_with_the_name_that_the_engine_has(ground: Ground) -> None:
    for order in (("model", "file"), ("file", "model")):
        form = aiohttp.FormData()
        for name in order:
            form.add_field(name, "small") if name == "model" else form.add_field(
                name, b"\0small\0", filename="small.wav"
            )
        ground.dispatcher.endpoint = Endpoint(ground.engine.url, "org/whisper", recipe_id="rec")
        async with ground.client.post(ground.url + "/v1/audio/transcriptions", data=form) as got:
            assert got.status == 200
        body = ground.engine.asked[-1].body
        assert b'name="model"\r\n\r\norg/whisper\r\n--' in body
        assert b'filename="small.wav"' in body
        assert b"\0small\0" in body
        assert ground.rows[-1].requested_model == "small"


async def test_a_connection_on_which_an_engine_failed_is_not_used_again(ground: Ground) -> None:
    failed: set[asyncio.StreamWriter] = set()

    async def script(asked: Asked, writer: asyncio.StreamWriter) -> None:
        if writer in failed:  # as Starlette does: it answered 500, and closes the connection a moment later
            writer.transport.abort()
            return
        bad = asked.json["messages"] == "bad"
        await answer({"detail": "a fault"} if bad else {"choices": []}, 500 if bad else 200)(asked, writer)
        if bad:
            failed.add(writer)

    ground.engine.script = script
    for _ in range(3):
        assert (await ground.post(CHAT, {**ASK, "messages": "bad"}))[0] == 500
        assert (await ground.post(CHAT, ASK))[0] == 200
    assert [one.status for one in ground.rows] == [500, 200] * 3


async def test_an_engine_that_closes_connections_after_streams_is_asked_on_a_new_one_for_each(ground: Ground) -> None:
    from dataclasses import replace

    streamed: set[asyncio.StreamWriter] = set()
    others: set[asyncio.StreamWriter] = set()
    whole = ground.engine.script

    async def script(asked: Asked, writer: asyncio.StreamWriter) -> None:
        if writer in streamed:  # as llama.cpp does after a stream
            writer.transport.abort()
        elif asked.json.get("stream"):
            streamed.add(writer)
            await stream("a", usage=1)(asked, writer)
        else:
            others.add(writer)
            await whole(asked, writer)

    ground.engine.script = script
    ground.dispatcher.endpoint = replace(ground.dispatcher.endpoint, keeps_connections=False)
    for _ in range(3):
        async with ground.client.post(ground.url + CHAT, json={**ASK, "stream": True}) as got:
            assert b"[DONE]" in await got.read()
        assert (await ground.post(CHAT, ASK))[0] == 200
    assert (len(streamed), len(others)) == (3, 1)


@pytest.mark.parametrize("kind", ["application/json", "text/event-stream"])
async def test_who_leaves_in_the_middle_of_an_answer_is_no_fault_of_the_engine(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    write = web.StreamResponse.write

    async def gone(response: web.StreamResponse, data: bytes) -> None:
        """Write when the client has gone and nobody has been told yet."""
        assert response._req is not None
        assert response._req.transport is not None
        response._req.transport.abort()
        await write(response, data)

    async def script(_: Asked, writer: asyncio.StreamWriter) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n"
        writer.write(head.encode() + event("x") * 3 + b"0\r\n\r\n")
        await writer.drain()

    ground.engine.script = script
    monkeypatch.setattr(web.StreamResponse, "write", gone)
    with contextlib.suppress(aiohttp.ClientError):
        await ground.post(CHAT, ASK)
    await until(lambda: bool(ground.rows), "the request has ended")
    assert [(one.finish, one.status, one.error) for one in ground.rows] == [("cancelled", 200, "the client left")]


async def test_models_are_listed_for_openais_and_for_anthropics_clients(ground: Ground) -> None:
    _, data, _ = await ground.get("/v1/models")
    assert [one["id"] for one in data["data"]] == ["m", "alias"]
    assert (data["object"], data["has_more"], data["first_id"]) == ("list", False, "m")
    assert data["data"][0]["max_model_len"] == 4096
    assert (await ground.get("/v1/models/alias"))[1]["alias_of"] == "m"
    assert (await ground.get("/v1/models/none"))[0] == 404


@pytest.mark.parametrize(
    ("backend", "path", "engine_path", "sent"),
    [("vllm", "/v1/tokenize", "/tokenize", {"model": "m", "prompt": "hi"}),
     ("llamacpp", "/tokenize", "/tokenize", {"model": "m", "content": "hi"}),
     ("tabbyapi", "/v1/tokenize", "/v1/token/encode", {"model": "m", "text": "hi"})],
)  # fmt: skip
async def test_tokens_are_asked_for_in_each_engines_own_words(
    ground: Ground, backend: str, path: str, engine_path: str, sent: dict[str, str]
) -> None:
    from dataclasses import replace

    ground.dispatcher.endpoint = replace(ground.dispatcher.endpoint, backend=backend)
    ground.engine.script = answer({"tokens": [1, 2, 3]})
    status, data, _ = await ground.post(path, {"model": "alias", "prompt": "hi"})
    assert (status, data) == (200, {"count": 3, "tokens": [1, 2, 3], "max_model_len": None})
    assert (ground.engine.asked[0].path, ground.engine.asked[0].json) == (engine_path, sent)


async def test_two_streams_do_not_wait_for_each_other(ground: Ground) -> None:
    pause = asyncio.Event()
    scripts = {"slow": stream("a", pause=pause), "quick": stream("b", usage=1)}

    async def script(asked: Asked, writer: asyncio.StreamWriter) -> None:
        await scripts[asked.json["messages"][0]["content"]](asked, writer)

    ground.engine.script = script

    def ask(who: str) -> dict[str, Any]:
        return {"model": "m", "stream": True, "messages": [{"role": "user", "content": who}]}

    slow = asyncio.ensure_future(ground.post(CHAT, ask("slow")))
    await until(lambda: ground.engine.open == 1, "the slow one goes on")
    assert b"[DONE]" in (await ground.post(CHAT, ask("quick")))[1]
    pause.set()
    assert b"[DONE]" in (await slow)[1]


def test_what_a_stand_in_engine_writes_is_framed_as_http_is() -> None:
    assert STREAM.endswith("\r\n\r\n")
    assert event("[DONE]") == b"e\r\ndata: [DONE]\n\n\r\n"
    assert delta("a").count(b"\r\n") == 2
    assert ScriptedEngine().open == 0
