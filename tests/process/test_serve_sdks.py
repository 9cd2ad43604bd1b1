"""`serve` as people use it: the SDKs of OpenAI and Anthropic, two recipes of a real model, room for one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import openai
import pytest

from tests.ports import free_port
from tests.process.house import House, until
from tests.process.serving import small_model
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.domain.usage import WHOLE, CompletedRequest
from vllm_studio_tui.kit.prometheus import parse
from vllm_studio_tui.runs import read
from vllm_studio_tui.store.requests import RequestRows
from vllm_studio_tui.studio import Studio

HI: list[Any] = [{"role": "user", "content": "Say hello."}]
LONG: list[Any] = [{"role": "user", "content": "Count from one to one thousand in words."}]
#: The model does not end by itself.
ON = {"ignore_eos": True}


class Served:
    """`serve` as a process of its own on a home with the recipes `one` and `two`."""

    def __init__(self, house: House, path: Path) -> None:
        self.house = house
        settings = {"max_loaded": 1, "max_consecutive": 0.5, "min_warm": 0, "abandon_after": 0.2, "shutdown_grace": 20,
                    "inference_port": free_port()}  # fmt: skip
        house.places.config.mkdir(parents=True)
        house.places.settings_file.write_text("".join(f"{name}: {value}\n" for name, value in settings.items()))
        with Studio.open_sync(house.places) as studio:
            for name in ("one", "two"):
                fields = {"backend": "llamacpp", "model_path": str(path), "max_model_len": 4096, "max_num_seqs": 2}
                names = {"id": name, "name": name, "served_model_name": f"served-{name}", "aliases": [f"alias-{name}"]}
                studio.recipes.create(Recipe.model_validate({**fields, **names, "on_demand": True}))
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "vllm_studio_tui", "serve", "--port", "0"],
            env={**os.environ, "VLLM_STUDIO_HOME": str(self.house.root)},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("vllm-studio serves on http://127.0.0.1:"), line
        self.url = line.split()[-1]

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        code = self.process.wait(timeout=30)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code

    def live(self) -> dict[str, read.RunView]:
        return {one.recipe_id: one for one in read.live_runs(self.house.places)}

    def rows(self) -> list[CompletedRequest]:
        with Studio.open_sync(self.house.places) as studio:
            return RequestRows(studio.db).recent(1000)

    def counters(self, run: read.RunView) -> dict[str, float]:
        with urllib.request.urlopen(f"http://127.0.0.1:{run.port}/metrics", timeout=10) as answer:
            return {name: sum(value for _, value in found) for name, found in parse(answer.read()).items()}

    def live_requests(self) -> list[dict[str, Any]]:
        with urllib.request.urlopen(self.url.removesuffix("/v1") + "/requests/live", timeout=10) as answer:
            found: list[dict[str, Any]] = json.load(answer)["requests"]
            return found


@pytest.fixture
def served(house: House) -> Iterator[Served]:
    made = Served(house, small_model())
    yield made
    with contextlib.suppress(ProcessLookupError):
        made.end()


@pytest.mark.timeout(240)
async def test_both_sdks_are_answered_and_every_token_is_counted_once(served: Served) -> None:
    client = openai.AsyncOpenAI(base_url=served.url, api_key="none", max_retries=0)
    claude = anthropic.AsyncAnthropic(base_url=served.url.removesuffix("/v1"), api_key="none", max_retries=0)
    listed = [one.id async for one in client.models.list()]
    assert listed == ["served-one", "one", "alias-one", "served-two", "two", "alias-two"]
    assert served.live() == {}, "a list loads nothing"

    # On demand, by each of its names.
    for name in ("alias-one", "served-one", "one"):
        answer = await client.chat.completions.create(model=name, messages=HI, max_tokens=6)
        assert answer.usage is not None
        assert 0 < answer.usage.completion_tokens <= 6
    assert list(served.live()) == ["one"]
    run = served.live()["one"]

    words, usage = "", None
    stream = await client.chat.completions.create(
        model="one", messages=HI, max_tokens=8, stream=True, stream_options={"include_usage": True}
    )  # fmt: skip
    async for chunk in stream:
        words += chunk.choices[0].delta.content or "" if chunk.choices else ""
        usage = chunk.usage or usage
    assert words
    assert usage is not None
    plain = [
        one async for one in await client.chat.completions.create(model="one", messages=HI, max_tokens=4, stream=True)
    ]
    assert all(one.choices for one in plain), "a usage that was not asked for is not shown"
    text = await client.completions.create(model="one", prompt="Once", max_tokens=5)
    assert text.usage is not None
    response = await client.responses.create(model="one", input="Say hello.", max_output_tokens=5)
    assert response.usage is not None
    assert 0 < response.usage.output_tokens <= 5

    message = await claude.messages.create(model="one", messages=HI, max_tokens=7)
    assert 0 < message.usage.output_tokens <= 7
    # The likeliest words: where the first token is half of a character, as of an emoji, llama.cpp begins no message.
    likeliest = {"temperature": 0.0}
    async with claude.messages.stream(model="one", messages=HI, max_tokens=6, extra_body=likeliest) as events:
        assert 0 < (await events.get_final_message()).usage.output_tokens <= 6
    counted = await claude.messages.count_tokens(model="one", messages=HI)
    tokens = await client.post("/tokenize", body={"model": "one", "messages": HI}, cast_to=object)
    assert counted.input_tokens > 5
    assert isinstance(tokens, dict)
    assert abs(tokens["count"] - counted.input_tokens) <= 1
    back = await client.post("/detokenize", body={"model": "one", "tokens": tokens["tokens"]}, cast_to=object)
    assert "Say hello." in str(back)

    with pytest.raises(openai.NotFoundError, match="Did you mean served-one"):
        await client.chat.completions.create(model="alias-on", messages=HI)
    with pytest.raises(openai.BadRequestError, match="response_format"):
        form = {"response_format": {"type": "nonsense"}}
        await client.chat.completions.create(model="one", messages=HI, max_tokens=3, extra_body=form)
    with pytest.raises(anthropic.NotFoundError):
        await claude.messages.create(model="none", messages=HI, max_tokens=3)

    counters = served.counters(run)
    until(lambda: len([one for one in served.rows() if one.finish != "refused"]) >= 11, "all rows are there")
    rows = [one for one in served.rows() if one.run_id == run.run_id]
    assert sum(one.completion_tokens or 0 for one in rows) == counters["llamacpp:tokens_predicted_total"]
    read_ = sum((one.prompt_tokens or 0) - (one.cached_tokens or 0) for one in rows)
    assert read_ == counters["llamacpp:prompt_tokens_total"]
    assert not any(one.estimated for one in rows)
    assert {one.source for one in rows} == {"proxy"}
    assert all(one.upstream_id for one in rows if one.finish in ("stop", "length") and one.completion_tokens)
    assert rows[-1].load_seconds, "the first of them had it loaded"
    await client.close()
    await claude.close()


@pytest.mark.timeout(240)
async def test_a_client_that_leaves_frees_the_slot_and_two_models_take_turns(served: Served) -> None:
    client = openai.AsyncOpenAI(base_url=served.url, api_key="none", max_retries=0, timeout=120)
    stream = await client.chat.completions.create(
        model="one", messages=LONG, max_tokens=1500, stream=True, extra_body=ON
    )
    async for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content:
            break
    run = served.live()["one"]
    assert served.counters(run)["llamacpp:requests_processing"] == 1
    await stream.close()
    until(lambda: not served.counters(run)["llamacpp:requests_processing"], "its slot is free")
    assert served.counters(run)["llamacpp:tokens_predicted_total"] < 1500, "before all was said"
    until(lambda: served.live_requests() == [], "nothing is under way")
    until(lambda: any(one.finish == "cancelled" for one in served.rows()), "it is on record as what it was")

    async def ask(seed: int) -> int:
        done = 0
        for turn in range(3):
            name = ("one", "alias-two")[(seed + turn) % 2]
            answer = await client.chat.completions.create(model=name, messages=HI, max_tokens=6)
            assert answer.model == ("served-one" if name == "one" else "served-two")
            done += 1
        return done

    assert await asyncio.gather(*map(ask, range(4))) == [3, 3, 3, 3]
    assert len(served.live()) == 1
    runs = read.all_runs(served.house.places)
    assert {one.status.reason for one in runs} <= {None, "stopped"}, "nobody was killed"
    until(lambda: len([one for one in served.rows() if one.finish in WHOLE]) == 12, "all twelve are on record")
    assert served.live_requests() == []
    await client.close()


@pytest.mark.timeout(240)
async def test_an_engine_outlives_the_server_and_what_was_under_way_is_on_record(served: Served) -> None:
    client = openai.AsyncOpenAI(base_url=served.url, api_key="none", max_retries=0, timeout=120)
    stream = await client.chat.completions.create(
        model="one", messages=LONG, max_tokens=1500, stream=True, extra_body=ON
    )
    async for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content:
            break
    run = served.live()["one"]
    assert served.end(signal.SIGKILL) == -signal.SIGKILL
    with pytest.raises(openai.APIError):
        async for _ in stream:
            pass
    await client.close()
    assert served.live()["one"].engine_alive
    served.start()
    client = openai.AsyncOpenAI(base_url=served.url, api_key="none", max_retries=0, timeout=120)
    answer = await client.chat.completions.create(model="alias-one", messages=HI, max_tokens=4)
    assert answer.usage is not None
    assert served.live()["one"].run_id == run.run_id, "nothing was launched again"
    until(lambda: len(served.rows()) == 2, "both are on record")
    assert sorted(one.finish in WHOLE for one in served.rows()) == [False, True]
    assert "interrupted" in {one.finish for one in served.rows()}

    # Told to stop, it lets an answer end that is under way, and takes no other.
    stream = await client.chat.completions.create(model="one", messages=LONG, max_tokens=40, stream=True, extra_body=ON)
    async for _ in stream:
        break
    served.process.send_signal(signal.SIGTERM)
    came = [one.choices[0].finish_reason async for one in stream if one.choices]
    assert came[-1] in WHOLE
    assert served.process.wait(timeout=30) == 0
    assert served.live()["one"].engine_alive
    await client.close()


@pytest.mark.timeout(240)
async def test_a_real_engine_reads_a_form_to_its_end_and_outlives_one_that_breaks_off(served: Served) -> None:
    async with openai.AsyncOpenAI(base_url=served.url, api_key="none", max_retries=0, timeout=120) as client:
        ask = client.audio.transcriptions.create
        with pytest.raises(openai.APIStatusError, match="does not support audio") as own_words:
            await ask(model="alias-one", file=("a.wav", b"RIFF" + bytes(500_000)))
        assert own_words.value.status_code == 501
        two: list[tuple[str, Any]] = [
            ("model", (None, "one")),
            ("file", ("a.wav", bytes(5_000_000))),
            ("model", (None, "two")),
        ]
        async with httpx2.AsyncClient() as plain:
            refused = await plain.post(f"{served.url}/audio/transcriptions", files=two)
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_model")
        answer = await client.chat.completions.create(model="one", messages=HI, max_tokens=4)
        assert answer.usage is not None
    until(lambda: len(served.rows()) == 3, "all are on record")
    rows = {one.status: one for one in served.rows()}
    assert {*rows} == {501, 400, 200}
    assert (rows[400].error or "").startswith("the form names two models"), "the engine is not to blame"
    assert len(served.live()) == 1
