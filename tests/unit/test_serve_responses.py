"""Earlier answers of `/v1/responses`: whoever asks for one again, its tokens are counted once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest
from yarl import URL

from tests.unit.http_ground import STREAM, Asked, Ground, Script, answer, event, serving, until
from tests.unit.test_serve_guard import bearer, make_key
from vllm_studio_tui.domain.api_key import Scope
from vllm_studio_tui.http import earlier_answers

ASK = {"model": "m", "input": "hi"}
USAGE = {
    "input_tokens": 20, "output_tokens": 50, "total_tokens": 70,
    "input_tokens_details": {"cached_tokens": 4}, "output_tokens_details": {"reasoning_tokens": 8},
}  # fmt: skip
TOLD = (20, 50, 8, 4)
NONE = (None, None, None, None)


@pytest.fixture
async def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ground]:
    async with serving(tmp_path, monkeypatch) as made:
        yield made


def response(status: str = "completed", usage: Any = None, name: str = "resp_1") -> dict[str, Any]:
    return {"id": name, "object": "response", "model": "m", "status": status, "output": [], "usage": usage}


def counted(ground: Ground) -> list[tuple[int | None, ...]]:
    """Return the tokens of each row: prompt, answer, thinking, cache."""
    return [(row.prompt_tokens, row.completion_tokens, row.reasoning_tokens, row.cached_tokens) for row in ground.rows]


def events(*told: dict[str, Any], end: bool = True) -> Script:
    """A stream of events; `end`: the engine ends it."""

    async def script(_: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM.encode() + b"".join(event({"sequence_number": at, **one}) for at, one in enumerate(told)))
        await writer.drain()
        if not end:
            await asyncio.Event().wait()
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    return script


CREATED = {"type": "response.created", "response": response("in_progress")}
DELTA = {
    "type": "response.output_text.delta", "delta": "a", "item_id": "i", "output_index": 0, "content_index": 0,
    "logprobs": [],
}  # fmt: skip
COMPLETED = {"type": "response.completed", "response": response(usage=USAGE)}


async def test_an_answer_that_is_asked_for_again_is_counted_once_by_all_who_count(ground: Ground) -> None:
    secret = await make_key(ground, "agent", tokens_per_day=1000, scopes=frozenset(Scope))
    key = bearer(secret)
    ground.engine.script = answer(response(usage=USAGE))
    assert (await ground.post("/v1/responses", ASK, **key))[0] == 200
    for _ in range(3):
        status, data, _ = await ground.get("/v1/responses/resp_1", **key)
        assert (status, data) == (200, response(usage=USAGE))
    assert (await ground.post("/v1/responses/resp_1/cancel", b"", **key))[0] == 200
    async with ground.client.delete(ground.url + "/v1/responses/resp_1", **key) as got:
        assert got.status == 200
    assert counted(ground) == [TOLD, *[NONE] * 5]
    assert {row.finish for row in ground.rows} == {"stop"}
    assert not any(row.estimated for row in ground.rows)
    assert ground.context.keys.tokens_today(ground.rows[0].key_id or "") == 70
    text = (await ground.get("/metrics", **key))[1].decode()
    told = [one for one in text.splitlines() if one.startswith("vllm_studio_request_tokens_total{")]
    assert sorted(float(one.split()[-1]) for one in told) == [4.0, 8.0, 20.0, 50.0]


async def test_an_answer_made_in_the_background_is_counted_when_it_is_first_told(ground: Ground) -> None:
    ground.engine.script = answer(response("queued"))
    await ground.post("/v1/responses", {**ASK, "background": True})
    ground.engine.script = answer(response("in_progress"))
    await ground.get("/v1/responses/resp_1")
    ground.engine.script = answer(response(usage=USAGE))
    await asyncio.gather(*(ground.get("/v1/responses/resp_1") for _ in range(4)))
    assert sorted(counted(ground), key=str) == [TOLD, *[NONE] * 5]


async def test_a_cancelled_answer_is_counted_with_what_the_cancel_tells(ground: Ground) -> None:
    ground.engine.script = answer(response("queued"))
    await ground.post("/v1/responses", {**ASK, "background": True})
    ground.engine.script = answer(response("cancelled", {"input_tokens": 20, "output_tokens": 7}))
    await ground.post("/v1/responses/resp_1/cancel", b"")
    await ground.get("/v1/responses/resp_1")
    assert counted(ground) == [NONE, (20, 7, None, None), NONE]


async def test_a_stream_that_broke_off_goes_on_where_its_client_says_and_counts_what_is_new(ground: Ground) -> None:
    async with openai.AsyncOpenAI(base_url=f"{ground.url}/v1", api_key="none", max_retries=0) as client:
        ground.engine.script = events(CREATED, *[DELTA] * 3, end=False)
        made = await client.responses.create(model="m", input="hi", background=True, stream=True)
        async for one in made:
            if one.sequence_number == 3:
                break
        await made.close()
        await until(lambda: len(ground.rows) == 1, "it is known that the client left")
        assert (ground.rows[0].finish, ground.rows[0].estimated) == ("cancelled", True)
        came = ground.rows[0].completion_tokens or 0
        assert 0 < came <= 3
        ground.engine.script = events(*[DELTA] * 47, COMPLETED)
        for _ in range(2):
            again = await client.responses.retrieve("resp_1", stream=True, starting_after=3)
            assert [one.type async for one in again][-1] == "response.completed"
    assert [one.path for one in ground.engine.asked[1:]] == ["/v1/responses/resp_1?starting_after=3&stream=true"] * 2
    assert counted(ground)[1:] == [(20, 50 - came, 8, 4), NONE]
    # What was generated before came at once: that is no speed, and no first token.
    assert [(row.streamed, row.tokens_per_second, row.ttft) for row in ground.rows[1:]] == [(True, None, None)] * 2


async def test_a_query_is_passed_on_as_it_was_written_and_an_id_stays_one_part_of_the_path(ground: Ground) -> None:
    ground.engine.script = answer(response(name="resp?a=1 b"))
    await ground.post("/v1/responses", ASK)
    path = "/v1/responses/resp%3Fa%3D1%20b"
    await ground.get(path)
    query = "?include[]=x&include%5B%5D=y%20z"
    async with ground.client.get(URL(ground.url + path + query, encoded=True)) as got:
        assert got.status == 200
    assert [one.path for one in ground.engine.asked[1:]] == [path, path + query]


@pytest.mark.parametrize(
    "usage", [{"input_tokens": -5, "output_tokens": "many"}, [], {"input_tokens": 10**400, "output_tokens": 1.5}]
)
async def test_what_an_engine_says_wrong_of_tokens_breaks_nothing(ground: Ground, usage: Any) -> None:
    ground.engine.script = answer(response("queued"))
    await ground.post("/v1/responses", ASK)
    ground.engine.script = answer(response(usage=usage))
    assert (await ground.get("/v1/responses/resp_1"))[0] == 200
    assert len(ground.rows) == 2


async def test_as_many_answers_are_remembered_as_there_is_room_for(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(earlier_answers, "MOST", 3)
    for number in range(5):
        ground.engine.script = answer(response(usage=USAGE, name=f"resp_{number}"))
        await ground.post("/v1/responses", ASK)
    statuses = [(await ground.get(f"/v1/responses/resp_{number}"))[0] for number in range(5)]
    assert statuses == [404, 404, 200, 200, 200]
    assert len(ground.context.answers) == 3
