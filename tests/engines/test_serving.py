"""Real engines behind `serve`: every path that they have, their errors, clients that leave, kills, swaps.

`VLLM_STUDIO_TEST_CAPTURE` names a folder for the streams as they came, from which `tests/fixtures/sse` is made.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import anthropic
import openai
import pytest

from tests.engines.conftest import RECIPES, Home
from tests.ports import free_port
from vllm_studio_tui.kit import process
from vllm_studio_tui.kit.prometheus import parse

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]
HI: list[Any] = [{"role": "user", "content": "Say hello."}]
COLD = {"temperature": 0.0}
LONG = "Count from one to one thousand in words."
#: Tokens read and written, and requests under way, as each engine counts them. What llama.cpp read it had not cached.
VLLM = ("vllm:prompt_tokens_total", "vllm:generation_tokens_total", "vllm:num_requests_running")
LLAMA = ("llamacpp:prompt_tokens_total", "llamacpp:tokens_predicted_total", "llamacpp:requests_processing")
COUNTERS = {"vllm": VLLM, "llama-server": LLAMA, "embedded": LLAMA}
#: Bodies that no engine takes, by path.
BAD: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": 7, "max_tokens": 1},
    "/v1/responses": {"input": 7, "max_output_tokens": 1},
    "/v1/messages": {"messages": 7, "max_tokens": 1},
    "/v1/nothing": {},
}
RECORDING = b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0@\x1f\0\0\x80>\0\0\x02\0\x10\0data\0\0\0\0"


class Served:
    """`serve` on a home with one recipe of each of these engines, of which one is loaded at a time."""

    def __init__(self, home: Home, *engines: str, **changes: Any) -> None:
        self.home, self.engine = home, engines[0]
        self.recipes = [
            home.recipe(one, on_demand=True, aliases=[f"alias-{one}"], **{"max_num_seqs": 2, **changes})
            for one in engines
        ]
        settings = {"MAX_LOADED": "1", "MIN_WARM": "0", "MAX_CONSECUTIVE": "0.5", "INFERENCE_PORT": str(free_port())}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "vllm_studio_tui", "serve", "--port", "0"],
            env={**os.environ, "VLLM_STUDIO_HOME": str(home.root)}
            | {f"VLLM_STUDIO_{name}": value for name, value in settings.items()},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.root = self.process.stdout.readline().split()[-1].removesuffix("/v1")
        self.name = f"alias-{self.engine}"

    def openai(self) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=f"{self.root}/v1", api_key="none", max_retries=0, timeout=400)

    def anthropic(self) -> anthropic.AsyncAnthropic:
        return anthropic.AsyncAnthropic(base_url=self.root, api_key="none", max_retries=0, timeout=400)

    def run(self) -> dict[str, Any]:
        """The run that is ready."""
        found: list[dict[str, Any]] = [one for one in self.home.json("status")["runs"] if one["state"] == "ready"]
        assert len(found) == 1, found
        return found[0]

    def engine_root(self) -> str:
        return f"http://127.0.0.1:{self.run()['port']}"

    def pid(self) -> int:
        """The engine's process, without a command that takes its time."""
        states = [json.loads(one.read_bytes()) for one in self.home.root.glob("state/runs/*/*/state.json")]
        pids = [one["pid"] for one in states if one["state"] == "ready"]
        assert len(pids) == 1
        return int(pids[0])

    def ended(self, finish: str, status: int, count: int) -> list[dict[str, Any]]:
        """The rows of requests that ended so, once there are so many."""
        deadline = time.monotonic() + 30
        while True:
            found = [one for one in self.rows() if (one["finish"], one["status"]) == (finish, status)]
            if len(found) >= count or time.monotonic() > deadline:
                return found
            time.sleep(0.1)

    def rows(self, count: int = 0) -> list[dict[str, Any]]:
        """All rows, once there are so many."""
        deadline = time.monotonic() + 30
        while True:
            rows: list[dict[str, Any]] = self.home.json("requests", "--limit", "1000")["requests"]
            if len(rows) >= count or time.monotonic() > deadline:
                return rows
            time.sleep(0.1)

    def own_name(self) -> str:
        """What the engine calls its model."""
        with urllib.request.urlopen(f"{self.root}/v1/models", timeout=30) as answer:
            names = [one["id"] for one in json.load(answer)["data"] if one["recipe_id"] == self.recipes[0]]
        return str(names[0])


def counters(root: str, engine: str) -> tuple[float, ...]:
    with urllib.request.urlopen(f"{root}/metrics", timeout=30) as answer:
        found = parse(answer.read())
    return tuple(sum(value for _, value in found.get(name, ())) for name in COUNTERS[engine])


@contextlib.contextmanager
def serving(folder: Path, *engines: str, **changes: Any) -> Iterator[Served]:
    home = Home(folder)
    made = Served(home, *engines, **changes)
    try:
        yield made
    finally:
        made.process.send_signal(signal.SIGTERM)
        made.process.wait(timeout=60)
        assert made.process.stdout is not None
        made.process.stdout.close()
        home.run("stop", "--all", "--force")
        for left in home.tree():
            process.send(left.pid, left.start, signal.SIGKILL)


@pytest.fixture(scope="module", params=tuple(RECIPES))
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One engine for all tests of this file that do not say otherwise; the first request has it loaded."""
    with serving(tmp_path_factory.mktemp(request.param), request.param) as made:
        yield made


async def streamed(served: Served, path: str, body: dict[str, Any]) -> bytes:
    """Ask for a stream, and return its bytes."""
    async with (
        aiohttp.ClientSession() as session,
        session.post(served.root + path, json={"model": served.name, "stream": True, **body}) as answer,
    ):
        assert (answer.status, answer.content_type) == (200, "text/event-stream"), await answer.text()
        came = await answer.read()
    if folder := os.environ.get("VLLM_STUDIO_TEST_CAPTURE"):
        name = f"{path.rpartition('/')[2]}-{served.engine}.txt"
        (Path(folder) / name).write_bytes(came)
    return came


async def test_every_path_that_it_has_is_answered_and_each_token_counted_once(served: Served) -> None:
    engine, name = served.engine, served.name
    client, claude = served.openai(), served.anthropic()
    asked = 0
    answer = await client.chat.completions.create(model=name, messages=HI, max_tokens=6)  # it is launched for this
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 6
    begun = answer.usage.prompt_tokens
    shown = [one async for one in await client.chat.completions.create(
        model=name, messages=HI, max_tokens=5, stream=True, stream_options={"include_usage": True}
    )]  # fmt: skip
    assert shown[-1].usage is not None
    assert shown[-1].usage.completion_tokens == 5
    hidden = [one async for one in await client.chat.completions.create(
        model=name, messages=HI, max_tokens=5, stream=True
    )]  # fmt: skip
    assert all(one.choices for one in hidden), "a usage that was not asked for has no event of its own"
    text = await client.completions.create(model=name, prompt="Once upon a time", max_tokens=4)
    assert text.choices[0].text
    await streamed(served, "/v1/completions", {"prompt": "Once upon a time", "max_tokens": 4})
    response = await client.responses.create(model=name, input="Say hello.", max_output_tokens=5)
    assert response.usage is not None
    assert response.usage.output_tokens == 5
    events = await streamed(served, "/v1/responses", {"input": "Say hello.", "max_output_tokens": 5})
    assert b"response.completed" in events
    asked += 7
    if engine == "transformers":
        with pytest.raises(anthropic.APIStatusError, match="does not have Anthropic's API"):
            await claude.messages.create(model=name, messages=HI, max_tokens=5)
        asked += 1
    else:
        message = await claude.messages.create(model=name, messages=HI, max_tokens=5, extra_body=COLD)
        assert message.usage.output_tokens == 5
        events = await streamed(served, "/v1/messages", {"messages": HI, "max_tokens": 5, **COLD})
        assert events.count(b"event: content_block_delta") >= 1
        async with claude.messages.stream(model=name, messages=HI, max_tokens=5, extra_body=COLD) as stream:
            assert (await stream.get_final_message()).usage.output_tokens == 5
        counted = await claude.messages.count_tokens(model=name, messages=HI)
        assert counted.input_tokens == begun
        asked += 4
    tokens: Any = await client.post("/tokenize", body={"model": name, "messages": HI}, cast_to=object)
    assert tokens["count"] == begun
    if engine != "transformers":
        back: Any = await client.post("/detokenize", body={"model": name, "tokens": tokens["tokens"]}, cast_to=object)
        assert "Say hello." in back["prompt"]
        words: Any = await client.post("/tokenize", body={"model": name, "prompt": "Say hello."}, cast_to=object)
        assert 2 < words["count"] < begun
    rows = [one for one in served.rows(asked) if one["endpoint"] != "/v1/messages/count_tokens"]
    rows = [one for one in rows if one["status"] == 200]
    assert len(rows) == (7 if engine == "transformers" else 10)
    assert not any(one["estimated"] for one in rows)
    assert all(one["upstream_id"] for one in rows)
    assert {one["finish"] for one in rows} <= {"length", "stop"}
    written = sum(one["completion_tokens"] for one in rows)
    assert written >= 30
    if engine in COUNTERS:
        cached = 0 if engine == "vllm" else sum(one["cached_tokens"] or 0 for one in rows)
        read = sum(one["prompt_tokens"] for one in rows) - cached
        assert (read, written) == counters(served.engine_root(), engine)[:2]
    await client.close()
    await claude.close()


async def test_its_errors_come_through_as_they_are(served: Served) -> None:
    if not served.home.json("status")["runs"]:
        await streamed(served, "/v1/chat/completions", {"messages": HI, "max_tokens": 1})
    direct, own = served.engine_root(), served.own_name()
    async with aiohttp.ClientSession() as session:
        for path, body in BAD.items():
            if path == "/v1/messages" and served.engine != "vllm":
                continue  # llama.cpp takes it, transformers has no such path
            if path == "/v1/nothing":
                path, body = "/v1/embeddings", {"input": "a"}
            async with session.post(direct + path, json={"model": own, **body}) as answer:
                its = (answer.status, answer.content_type, await answer.read())
            async with session.post(served.root + path, json={"model": own, **body}) as answer:
                assert (answer.status, answer.content_type, await answer.read()) == its
                assert answer.headers["x-vllm-studio-run"]
            assert its[0] >= 400, path
        # A recording is sent on in chunks, with the engine's own name in the place of the alias.
        found = []
        for root, name in ((direct, own), (served.root, served.name)):
            form = aiohttp.FormData({"model": name})
            form.add_field("file", RECORDING, filename="a.wav", content_type="audio/wav")
            async with session.post(f"{root}/v1/audio/transcriptions", data=form) as answer:
                found.append((answer.status, answer.content_type, await answer.read()))
        assert found[0] == found[1]
        assert found[0][0] >= 400
        print(served.engine, found[0])


async def said(root: str, engine: str, *, working: bool) -> bool:
    """Wait until an engine says that it answers somebody, or nobody."""
    for _ in range(1000):
        if ((await asyncio.to_thread(counters, root, engine))[2] > 0) is working:
            return True
        await asyncio.sleep(0.01)
    return False


async def leave_in_the_middle(root: str, direct: str, engine: str, model: str, path: str) -> float:
    """Ask for a long stream, leave after its first words, and return the seconds until the engine says so."""
    body = {"model": model, "messages": [{"role": "user", "content": LONG}], "max_tokens": 1500, "stream": True}
    async with aiohttp.ClientSession() as session:
        answer = await session.post(root + path, json={**body, "ignore_eos": True})
        assert answer.status == 200
        async for line in answer.content:
            if b'"content":"' in line or b"text_delta" in line:
                break
        assert await said(direct, engine, working=True)
        left = time.monotonic()
        answer.close()
        assert await said(direct, engine, working=False), "its slot is free"
        return time.monotonic() - left


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
async def test_a_client_that_leaves_frees_the_slot_as_soon_as_without_the_server(served: Served, path: str) -> None:
    engine = served.engine
    if engine not in COUNTERS:
        pytest.skip("it does not say what it is doing")
    await streamed(served, "/v1/chat/completions", {"messages": HI, "max_tokens": 1})
    direct, own, before = served.engine_root(), served.own_name(), len(served.ended("cancelled", 200, 0))
    beside, through = [], []
    for _ in range(5):
        beside.append(await leave_in_the_middle(direct, direct, engine, own, path))
        through.append(await leave_in_the_middle(served.root, direct, engine, own, path))
    print(f"{engine} {path}: free after {statistics.median(through):.3f} s, alone {statistics.median(beside):.3f} s")
    assert statistics.median(through) <= statistics.median(beside) + 0.1
    rows = served.ended("cancelled", 200, before + 5)
    assert len(rows) == before + 5
    assert all(one["estimated"] and one["completion_tokens"] for one in rows)


async def events_of(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The blocks of a stream."""
    block = b""
    async for line in answer.content:
        if line.strip():
            block += line
        elif block:
            yield block
            block = b""
    if block:
        yield block


async def gone(pid: int) -> bool:
    """Wait until a process has no sockets any more."""
    for _ in range(1000):
        if not any(one.pid == pid and one.state not in "ZX" for one in process.all_processes()):
            return True
        await asyncio.sleep(0.02)
    return False


async def test_an_engine_that_is_killed_ends_a_stream_in_its_protocol_and_the_next_request_starts_it(
    served: Served,
) -> None:
    """The last of this file for each engine."""
    second = "/v1/responses" if served.engine == "transformers" else "/v1/messages"
    killed = []
    for path in ("/v1/chat/completions", second):
        body: dict[str, Any] = {"messages": [{"role": "user", "content": LONG}], "max_tokens": 1500}
        if path == "/v1/responses":
            body = {"input": LONG, "max_output_tokens": 1500}
        if served.engine != "transformers":
            body["ignore_eos"] = True
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=600)) as session,
            session.post(served.root + path, json={"model": served.name, "stream": True, **body}) as answer,
        ):
            blocks: list[bytes] = []
            parts, pid = 0, None
            async for block in events_of(answer):
                blocks.append(block)
                parts += b'"content":"' in block or b"_delta" in block or b".delta" in block
                if parts > 1 and pid is None:
                    pid = served.pid()
                    killed.append(pid)
                    os.kill(pid, signal.SIGKILL)
        assert pid is not None, b"".join(blocks[-3:])
        assert await gone(pid)  # one that is still ending takes connections, and what it has taken is not sent twice
        last = blocks[-1]
        if path == "/v1/messages":
            assert last.startswith(b"event: error\n")
            error = json.loads(last.split(b"data: ", 1)[1])
            assert (error["type"], error["error"]["type"]) == ("error", "api_error")
        else:
            error = json.loads(last.removeprefix(b"data: "))
            assert error["error"]["code"] == "engine_ended"
        assert "ended in the middle of its answer" in error["error"]["message"]
    assert len(set(killed)) == 2, "who came right after the kill was answered by a new run"
    rows = served.ended("failed", 502, 2)
    assert len(rows) == 2
    assert all(one["completion_tokens"] and one["estimated"] for one in rows)


async def test_two_real_engines_take_turns(tmp_path: Path) -> None:
    with serving(tmp_path, "llama-server", "vllm") as served:
        client = served.openai()

        async def ask(seed: int) -> list[str]:
            names = ("alias-llama-server", "alias-vllm", "alias-llama-server")
            found = []
            for turn in range(2):
                answer = await client.chat.completions.create(model=names[seed % 2 + turn], messages=HI, max_tokens=4)
                found.append(answer.model)
            return found

        answers = await asyncio.gather(*map(ask, range(4)))
        first = answers[0][0]
        assert answers == [[first, "smol"], ["smol", first]] * 2
        runs = served.home.json("runs", "list")["runs"]
        assert {one["reason"] for one in runs} <= {None, "stopped"}, "nobody was killed"
        assert served.run()["state"] == "ready"
        rows = served.rows(8)
        assert len(rows) == 8
        assert {one["status"] for one in rows} == {200}
        assert any(one["load"] > 1 for one in rows)
        await client.close()


#: How each engine is started for embeddings; the embedded one has no flags for that.
EMBEDDING: dict[str, dict[str, Any]] = {
    "vllm": {"runner": "pooling", "convert": "embed", "enforce_eager": True},
    "llama-server": {"embeddings": True, "pooling": "mean"},
}


@pytest.mark.parametrize("engine", EMBEDDING)
async def test_embeddings_pass(tmp_path: Path, engine: str) -> None:
    with serving(tmp_path, engine, extra_args=EMBEDDING[engine]) as served:
        client = served.openai()
        found = await client.embeddings.create(model=served.name, input=["one", "two words here"])
        assert [len(one.embedding) for one in found.data] == [576, 576]
        row = served.rows(1)[0]
        assert (row["endpoint"], row["status"], row["finish"]) == ("/v1/embeddings", 200, "stop")
        assert row["prompt_tokens"] == found.usage.prompt_tokens > 0
        await client.close()
