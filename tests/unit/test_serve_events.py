"""Streams of events as a client reads them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, ClassVar

import aiohttp
import pytest

from tests.functional.stage import snapshot
from tests.unit.http_ground import Ground, answer, serving, until
from tests.unit.test_serve_controller import call, recipe
from vllm_studio_tui.http import event_hub, events, watching
from vllm_studio_tui.kit.event_bus import Bus
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.services.watching.snapshot import Snapshot

CHAT = "/v1/chat/completions"
ASK = {"model": "m", "messages": [{"role": "user", "content": "a secret question"}]}


@pytest.fixture
async def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ground]:
    async with serving(tmp_path / "home", monkeypatch) as made:
        yield made


class Reader:
    """Reads a stream event by event."""

    def __init__(self, answered: aiohttp.ClientResponse) -> None:
        self.answered = answered

    async def raw(self) -> str:
        raw = await asyncio.wait_for(self.answered.content.readuntil(b"\n\n"), 10)
        if not raw.endswith(b"\n\n"):
            raise EOFError(raw)
        return raw.decode()

    async def next(self, *kinds: str) -> tuple[str, str, Any]:
        """The next event, of these kinds if any are named; its data has a time."""
        while True:
            fields = dict(line.split(": ", 1) for line in (await self.raw()).strip().split("\n") if line[0] != ":")
            if "data" in fields and (not kinds or fields["event"] in kinds):
                document = json.loads(fields["data"])
                assert document["timestamp"].endswith("Z")
                return fields["id"], fields["event"], document["data"]


async def listen(ground: Ground, path: str, last: str | None = None) -> Reader:
    headers = {"Last-Event-ID": last} if last is not None else {}
    answered = await ground.client.get(ground.url + path, headers=headers)
    assert answered.status == 200, await answered.text()
    assert answered.headers["Content-Type"].startswith("text/event-stream")
    return Reader(answered)


async def test_requests_launches_and_recipes_are_told_as_they_happen(ground: Ground) -> None:
    reader = await listen(ground, "/events?types=request,launch_progress,recipe,queue,run")
    assert "retry" in await reader.raw()
    ground.engine.script = answer({"id": "a", "usage": {"prompt_tokens": 3, "completion_tokens": 5}})
    await ground.post(CHAT, ASK)
    told = [await reader.next("request") for _ in range(2)]
    assert [(data["what"], data["model"]) for _, _, data in told] == [("start", "m"), ("end", "m")]
    assert (told[1][2]["completion_tokens"], told[1][2]["status"]) == (5, 200)
    assert "secret question" not in str(told)
    tell = ground.dispatcher.listeners[0]
    tell(
        "launch_progress", {"recipe_id": "r", "run_id": "r-1", "stage": "waiting", "detail": "weights", "progress": 0.5}
    )
    _, _, data = await reader.next()
    assert {"recipe_id", "stage", "message", "progress"} <= data.keys()
    assert (data["stage"], data["message"], data["progress"]) == ("waiting", "Loading model: weights", 0.75)
    tell("launch_progress", {"recipe_id": "r", "run_id": "r-1", "stage": "ready", "detail": None, "progress": None})
    assert (await reader.next())[2]["progress"] == 1.0
    tell("queue", {"queue": []})
    assert (await reader.next())[1:] == ("queue", {"queue": []})
    await call(ground, "POST", "/recipes", recipe("new"))
    last, kind, data = await reader.next()
    assert (kind, data["recipe_id"], data["change"], data["revision"]) == ("recipe", "new", "created", 1)
    reader.answered.close()
    await until(lambda: not ground.context.events.listeners, "its end is seen")
    await call(ground, "DELETE", "/recipes/new")
    again = await listen(ground, "/events?types=recipe", last)
    assert (await again.next())[2]["change"] == "deleted"
    lost = await listen(ground, "/events?types=recipe", "gone-1")
    assert (await lost.next())[1] == "resync"
    _, stats, _ = await call(ground, "GET", "/events/stats")
    assert stats["total_subscribers"] == 2
    assert stats["events"]["request"] == 2


class StillSampler:
    """Sees the same again and again."""

    made: ClassVar[list[StillSampler]] = []
    shown: ClassVar[Snapshot]

    def __init__(self, places: Places, bus: Bus, *, every: float, alerts: object, peaks: object) -> None:
        self.latest: Snapshot | None = None
        self._bus = bus
        self.open = True
        self.made.append(self)

    def start(self) -> None:
        self.latest = self.shown
        self._bus.publish(self.latest)

    def close(self) -> None:
        self.open = False


async def test_samples_are_taken_only_while_somebody_listens(
    ground: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StillSampler, "shown", snapshot(tmp_path / "stage"), raising=False)
    monkeypatch.setattr(watching, "Sampler", StillSampler)
    monkeypatch.setattr(watching, "LINGER", 0.01)
    monkeypatch.setattr(event_hub, "LINGER", 0.01)
    context = ground.context
    reader = await listen(ground, "/events?types=gpu,metrics,status")
    found = {kind: data for _, kind, data in [await reader.next() for _ in range(3)]}
    assert found["gpu"]["count"] == 4
    assert {"running", "process", "inference_port"} <= found["status"].keys()
    assert found["status"]["launching"] == "deepseek-r1-70b"
    assert {"running_requests", "generation_throughput", "lifetime_tokens"} <= found["metrics"].keys()
    assert [one.open for one in StillSampler.made] == [True]
    reader.answered.close()
    await until(lambda: not context.watching.running and not StillSampler.made[0].open, "no more samples are taken")
    again = await listen(ground, "/events?types=gpu")
    assert (await again.next())[1] == "gpu"
    assert [one.open for one in StillSampler.made] == [False, True]


async def test_a_quiet_stream_shows_that_it_lives_and_ends_with_the_server(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "PING", 0.05)
    reader = await listen(ground, "/events?types=recipe")
    assert "retry:" in await reader.raw()
    assert [await reader.raw() for _ in range(2)] == [": ping\n\n"] * 2
    ground.context.events.close()
    while await asyncio.wait_for(reader.answered.content.readany(), 20):
        pass
    assert (await ground.get("/events?types=nonsense"))[0] == 400


async def test_who_does_not_read_is_told_later_that_it_missed_something(ground: Ground) -> None:
    """A client that stands still costs no more memory than it may be behind, and is never left in the dark."""
    reader = await listen(ground, "/events?types=run")
    assert "retry" in await reader.raw()
    hub = ground.context.events
    (listener,) = hub.listeners
    for number in range(20 * event_hub.BEHIND):
        hub.publish("run", {"number": number, "padding": "x" * 4000})
        if number % 500 == 0:
            await asyncio.sleep(0)
        assert listener.behind <= event_hub.BEHIND_BYTES
    kinds: list[str] = []
    numbers: list[int] = []
    while not numbers or numbers[-1] != 20 * event_hub.BEHIND - 1:
        _, kind, data = await reader.next()
        kinds.append(kind)
        if kind == "run":
            numbers.append(data["number"])
    assert "resync" in kinds
    assert numbers == sorted(set(numbers)), "in order, and none twice"
