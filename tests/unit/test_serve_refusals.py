"""What clients are told that are not answered, and what is left of that: with the real SDKs, as they come."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from tests.unit.http_ground import Asked, Ground, serving, until
from tests.unit.test_serve_guard import bearer, make_key
from vllm_studio_tui.domain.api_key import LOCAL, Scope
from vllm_studio_tui.domain.errors import UsageError
from vllm_studio_tui.domain.serving import Refusal
from vllm_studio_tui.services.serving import refusals
from vllm_studio_tui.services.serving.journal import journal_folder
from vllm_studio_tui.store.database import Database

CHAT = "/v1/chat/completions"
HI: list[Any] = [{"role": "user", "content": "hi"}]
ASK = {"model": "m", "messages": HI}


@pytest.fixture
async def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ground]:
    async with serving(tmp_path, monkeypatch) as made:
        yield made


async def cancel(ground: Ground, asked: int) -> None:
    """Cancel the one request that is under way, the so manieth that its engine was asked."""
    await until(lambda: len(ground.engine.asked) == asked, "the engine has it")
    [live] = (await ground.get("/requests/live"))[1]["requests"]
    assert (await ground.post(f"/requests/{live['id']}/cancel", {}))[0] == 200


async def test_a_request_that_a_person_cancels_is_not_sent_again_by_any_sdk(ground: Ground) -> None:
    async def script(*_: Any) -> None:
        await asyncio.Event().wait()

    ground.engine.script = script
    async with openai.AsyncOpenAI(base_url=f"{ground.url}/v1", api_key="none") as client:
        asking = asyncio.ensure_future(client.chat.completions.create(model="m", messages=HI))
        await cancel(ground, 1)
        with pytest.raises(openai.APIStatusError, match="was cancelled by local") as refused:
            await asking
    assert (refused.value.status_code, refused.value.code) == (499, "cancelled")
    assert refused.value.response.headers["x-should-retry"] == "false"
    async with anthropic.AsyncAnthropic(base_url=ground.url, api_key="none") as claude:
        telling = asyncio.ensure_future(claude.messages.create(model="m", messages=HI, max_tokens=9))
        await cancel(ground, 2)
        with pytest.raises(anthropic.APIStatusError, match="was cancelled by local"):
            await telling
    assert [(one.finish, one.status) for one in ground.rows] == [("cancelled", 499)] * 2
    assert len(ground.engine.asked) == 2


async def test_a_crowd_that_waited_and_was_refused_is_under_way_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch) as ground:
        ground.dispatcher.ready.clear()
        asking = [asyncio.ensure_future(ground.post(CHAT, ASK)) for _ in range(5)]
        log = ground.context.log
        await until(lambda: len(log._open) == 5, "all of them are noted as they wait")
        ground.dispatcher.failure = Refusal(429, "model_busy", "it is busy")
        ground.dispatcher.ready.set()
        assert [(await one)[0] for one in asking] == [429] * 5
        assert len(ground.rows) == 1
        assert log._open == {}
        places = ground.context.studio.places
    with contextlib.closing(Database.open(places.database)) as db:
        found = db.rows("SELECT finish, error FROM requests ORDER BY error")
    assert [row["finish"] for row in found] == ["refused"] * 2
    assert found[1]["error"].startswith("stands for 4 refused with 429")
    assert list(journal_folder(places).iterdir()) == []


async def test_what_waits_for_a_person_is_not_tried_again_by_an_sdk(ground: Ground) -> None:
    for refusal in (refusals.failed("m", "cuda_oom", "no memory"), refusals.may_not_launch("m")):
        ground.dispatcher.refusal = refusal
        before = len(ground.rows)
        async with openai.AsyncOpenAI(base_url=f"{ground.url}/v1", api_key="none") as client:
            with pytest.raises(openai.APIStatusError) as refused:
                await client.chat.completions.create(model="m", messages=HI)
        assert refused.value.status_code == refusal.status
        assert len(ground.rows) == before + 1
    assert "keys add NAME --may-launch" in str(refused.value)
    assert "vllm-studio launch m --wait" in str(refused.value)
    assert refused.value.type == "permission_error"


async def test_a_key_that_may_do_everything_may_have_models_loaded(ground: Ground) -> None:
    admin = await make_key(ground, "boss", scopes=(Scope.ADMIN,))
    plain = await make_key(ground, "plain")
    for secret in (admin, plain):
        assert (await ground.post(CHAT, ASK, **bearer(secret)))[0] == 200
    assert [one.may_launch for one in ground.dispatcher.arrivals] == [True, False]
    assert LOCAL.to_json()["may_launch"] is True


@pytest.mark.parametrize("how", ["Content-Length: 0\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"])
async def test_an_engine_that_refuses_without_a_word_is_told_in_ours(ground: Ground, how: str) -> None:
    async def script(_: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 413 X\r\nRetry-After: 7\r\nContent-Type: text/plain\r\n{how}".encode())
        await writer.drain()

    ground.engine.script = script
    async with openai.AsyncOpenAI(base_url=f"{ground.url}/v1", api_key="none") as client:
        with pytest.raises(openai.APIStatusError, match=r"the engine answered 413 .*and nothing else") as refused:
            await client.chat.completions.create(model="m", messages=HI)
    assert (refused.value.status_code, refused.value.code) == (413, "engine_refused")
    assert refused.value.response.headers["retry-after"] == "7"
    assert refused.value.response.headers["x-vllm-studio-run"] == "run-1"
    status, data, _ = await ground.post("/v1/messages", {**ASK, "max_tokens": 5})
    assert (status, data["error"]["type"]) == (413, "request_too_large")
    assert [(one.finish, one.status, one.error) for one in ground.rows] == [
        ("failed", 413, "the engine answered 413")
    ] * 2


async def test_what_an_engine_says_of_its_refusal_is_passed_on_however_long_it_is(ground: Ground) -> None:
    async def script(__: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 X\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(2):
            writer.write(b"2\r\nno\r\n")
            await writer.drain()
            await asyncio.sleep(0.01)  # as two pieces
        writer.write(b"0\r\n\r\n")

    ground.engine.script = script
    assert (await ground.post(CHAT, ASK))[:2] == (400, b"nono")
    assert ground.rows[0].bytes_out == 4


async def test_no_client_is_told_the_name_of_an_exception(ground: Ground) -> None:
    async def gone(_: Asked, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async def cut(_: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{")
        await writer.drain()
        writer.transport.abort()

    async def noise(_: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(b"nonsense\r\n\r\n")
        await writer.drain()
        writer.transport.abort()

    told = []
    for ground.engine.script in (gone, cut, noise):
        for path, body in ((CHAT, ASK), ("/tokenize", {"model": "m", "prompt": "a"})):
            status, data, _ = await ground.post(path, body)
            assert status == 502
            told.append(data["error"]["message"])
    assert (
        told[0]
        == "rec ended before it answered. It closed the connection. See `vllm-studio status` and `vllm-studio logs`."
    )
    assert "in the middle of its answer" in told[2]
    assert not [one for one in told if "Error" in one or "<" in one or "Exception" in one], told
    assert not [one.error for one in ground.rows if "Error" in (one.error or "")]


async def test_what_never_reached_a_model_is_not_one_of_a_keys_requests_a_minute(ground: Ground) -> None:
    secret = await make_key(ground, "slow", requests_per_minute=1)
    ground.dispatcher.refusal = refusals.gone("m")
    assert [(await ground.post(CHAT, ASK, **bearer(secret)))[0] for _ in range(3)] == [404] * 3
    ground.dispatcher.refusal = None
    assert [(await ground.post(CHAT, ASK, **bearer(secret)))[0] for _ in range(2)] == [200, 429]


@pytest.mark.parametrize("name", ["chat", "Bench", "probe", "local", "owner", "guest"])
async def test_no_key_is_called_as_those_are_that_have_none(ground: Ground, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be named"):
        await make_key(ground, name)


async def test_who_is_turned_away_at_the_door_is_on_record_and_strangers_fill_nothing(ground: Ground) -> None:
    reader = await make_key(ground, "reader", scopes=(Scope.READ,))
    assert (await ground.post(CHAT, ASK, **bearer(reader)))[0] == 403
    _, _, got = await ground.post(CHAT, ASK)
    assert (await ground.post(CHAT, ASK, headers={"Origin": "https://evil.example"}))[0] == 403
    assert (await ground.get("/requests/live"))[0] == 401, "that is no request for a model"
    assert [(one.key_name, one.status, one.finish) for one in ground.rows] == [
        ("reader", 403, "refused"), ("anonymous", 401, "refused"), ("anonymous", 403, "refused"),
    ]  # fmt: skip
    assert ground.rows[0].error == "the key reader may not do this. It needs the scope inference."
    row = ground.rows[1]
    assert (row.error, row.endpoint, row.id) == ("a key is needed", CHAT, got.headers["x-vllm-studio-request"])
    assert (row.client or "").startswith("127.0.0.1 Python/")
    statuses = [(await ground.post(CHAT, ASK, **bearer(f"vs-{number}")))[0] for number in range(30)]
    assert statuses == [401] * 10 + [429] * 20
    assert [one.status for one in ground.rows[3:]] == [401] * 4 + [429]
    assert ground.rows[3].error == "this key is not known"
    assert ground.engine.asked == []
