"""A turn of a chat over HTTP: the answer as events, tools for keys that may use them, calls decided at a path."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.http_ground import Ground, serving
from tests.unit.scripted_engine import DONE, TARGET
from tests.unit.test_serve_controller import call
from tests.unit.test_serve_guard import make_key
from tests.unit.tool_box import Rounds, calls
from vllm_studio_tui.domain.api_key import Scope
from vllm_studio_tui.domain.chat import Delta, Target
from vllm_studio_tui.inference import client
from vllm_studio_tui.services.launching.launcher import Launcher

FETCH = ("id-of-the-fetch", "builtin__fetch", '{"url": "http://127.0.0.1:9/"}')
TIME = ("id-of-the-clock", "builtin__time", "{}")


@pytest.fixture
async def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ground]:
    def target(self: Launcher, **named: Any) -> Target:
        return TARGET

    monkeypatch.setattr(Launcher, "target", target)
    monkeypatch.setattr(Launcher, "target_of_chat", lambda self, session: TARGET)
    async with serving(tmp_path / "home", monkeypatch) as made:
        yield made


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Rounds:
    made = Rounds([Delta("I look."), *calls(FETCH, TIME)], [Delta("Noon."), DONE])
    monkeypatch.setattr(client, "stream_chat", made)
    return made


async def chat(ground: Ground) -> str:
    return str((await call(ground, "POST", "/chats", {}))[1]["session"]["id"])


async def turn(ground: Ground, path: str, body: Any, decision: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """Every event of an answer; a call that waits is decided."""
    events: list[dict[str, Any]] = []
    async with ground.client.post(f"{ground.url}{path}/turn", json=body) as answered:
        assert answered.status == 200, await answered.text()
        assert answered.content_type == "text/event-stream"
        async for line in answered.content:
            if not line.startswith(b"data: "):
                continue
            events.append(json.loads(line[6:]))
            if events[-1]["event"] == "tool_asked" and decision is not None:
                decided = await call(ground, "POST", f"{path}/calls/{events[-1]['id']}", decision)
                assert decided[0] == 200, decided
    return events


async def test_an_answer_comes_as_events_and_is_kept(ground: Ground, engine: Rounds) -> None:
    engine.scripts = [[Delta(reasoning="hm"), Delta("Paris."), DONE]]
    name = await chat(ground)
    events = await turn(ground, f"/chats/{name}", {"content": "Capital of France?", "sampling": {"temperature": 0.5}})
    assert [one["event"] for one in events] == ["reasoning", "content", "stats"]
    assert (events[-1]["content"], events[-1]["finish"]) == ("Paris.", "stop")
    assert engine.asked[0].sampling.temperature == 0.5
    assert engine.asked[0].tools == ()
    kept = (await call(ground, "GET", f"/chats/{name}"))[1]["session"]["messages"]
    assert [(one["role"], one["content"]) for one in kept] == [("user", "Capital of France?"), ("assistant", "Paris.")]


@pytest.mark.parametrize(("decision", "how"), [("once", "failed"), ("deny", "denied")])
async def test_a_call_waits_until_it_is_decided(ground: Ground, engine: Rounds, decision: str, how: str) -> None:
    path = f"/chats/{await chat(ground)}"
    events = await turn(ground, path, {"content": "x", "tools": ["builtin"]}, {"decision": decision})
    assert {one["function"]["name"].partition("__")[0] for one in engine.asked[0].tools} == {"builtin"}
    asked = [one for one in events if one["event"] == "tool_asked"]
    assert [(one["name"], one["server"]) for one in asked] == [("builtin__fetch", "builtin")]
    results = {one["name"]: one["how"] for one in events if one["event"] == "tool_result"}
    assert results == {"builtin__fetch": how, "builtin__time": "done"}
    assert (events[-1]["event"], events[-1]["content"]) == ("stats", "Noon.")
    again = await call(ground, "POST", f"{path}/calls/{FETCH[0]}", {"decision": "once"})
    assert (again[0], again[1]["code"]) == (409, "call_does_not_wait")


async def test_calls_are_allowed_by_a_pattern_of_their_arguments(ground: Ground, engine: Rounds) -> None:
    path = f"/chats/{await chat(ground)}"
    pattern = {"url": "http://127.0.0.1:9/*"}
    await turn(ground, path, {"content": "x", "tools": ["builtin"]}, {"decision": "always", "pattern": pattern})
    (kept,) = await asyncio.to_thread(ground.context.studio.tools.consents)
    assert (kept.tool, kept.session_id, kept.pattern) == ("builtin__fetch", None, pattern)
    engine.asked.clear()
    events = await turn(ground, path, {"content": "x", "tools": ["builtin"]})
    assert not [one for one in events if one["event"] == "tool_asked"]


WRONG_PATTERNS: list[dict[str, Any]] = [
    {"decision": "always", "pattern": {"url": "https://other.example/*"}},
    {"decision": "always", "pattern": {}},
    {"decision": "always", "pattern": {"url": 3}},
    {"decision": "always", "pattern": {str(number): "*" for number in range(51)}},
    {"decision": "once", "pattern": {"url": "*"}},
    {"decision": "deny", "pattern": {"url": "*"}},
]


async def test_a_pattern_that_cannot_be_meant_is_refused_and_the_call_waits_on(ground: Ground, engine: Rounds) -> None:
    path = f"/chats/{await chat(ground)}"
    asked = {"content": "x", "tools": ["builtin"]}
    async with ground.client.post(f"{ground.url}{path}/turn", json=asked) as answered:
        async for line in answered.content:
            if b'"tool_asked"' in line:
                break
        for wrong in WRONG_PATTERNS:
            status, refused, _ = await call(ground, "POST", f"{path}/calls/{FETCH[0]}", wrong)
            assert (status, "pattern" in refused["error"]) == (400, True), wrong
        assert (await call(ground, "POST", f"{path}/calls/{FETCH[0]}", {"decision": "deny"}))[0] == 200
        async for line in answered.content:
            if b'"stats"' in line:
                break


async def test_a_call_is_forced_in_the_first_round(ground: Ground, engine: Rounds) -> None:
    path = f"/chats/{await chat(ground)}"
    asked = {"content": "x", "tools": ["builtin"], "tool_choice": "builtin__time"}
    await turn(ground, path, asked, {"decision": "deny"})
    assert [one.sampling.others.get("tool_choice") for one in engine.asked] == ["builtin__time", None]
    events = await turn(ground, path, {**asked, "tool_choice": "rain"})
    assert "no tool rain is offered" in events[0]["message"] and "builtin__time" in events[0]["message"]


async def test_whoever_leaves_stops_the_answer_and_nothing_is_called(ground: Ground, engine: Rounds) -> None:
    name = await chat(ground)
    async with ground.client.post(f"{ground.url}/chats/{name}/turn", json={"content": "x", "tools": True}) as answered:
        async for line in answered.content:
            if b"tool_asked" in line:
                break
        answered.close()
    async with asyncio.timeout(40):
        while True:
            kept = (await call(ground, "GET", f"/chats/{name}"))[1]["session"]["messages"]
            if kept[2]["finish"] == "stopped":
                break
            await asyncio.sleep(0.1)
    assert "not made" in kept[2]["content"]


async def test_a_key_without_the_scope_gets_no_tools_and_decides_nothing(ground: Ground, engine: Rounds) -> None:
    name = await chat(ground)
    headers = {"Authorization": f"Bearer {await make_key(ground, 'k', scopes=(Scope.MANAGE,))}"}
    asked = {"content": "x", "tools": True}
    refused = await call(ground, "POST", f"/chats/{name}/turn", asked, headers=headers)
    assert (refused[0], refused[1]["code"]) == (403, "scope_missing")
    decided = await call(ground, "POST", f"/chats/{name}/calls/x", {"decision": "once"}, headers=headers)
    assert decided[0] == 403
    assert engine.asked == []


BAD: list[tuple[str, Any, int]] = [
    ("/chats/none/turn", {"content": "x"}, 404),
    ("/chats/{}/turn", {}, 400),
    ("/chats/{}/turn", {"content": 3}, 400),
    ("/chats/{}/turn", {"content": "x", "tools": "all"}, 400),
    ("/chats/{}/turn", {"content": "x", "tools": [3]}, 400),
    ("/chats/{}/turn", {"content": "x", "sampling": []}, 400),
    ("/chats/{}/turn", {"content": "x", "tools": True, "tool_choice": "two words"}, 400),
    ("/chats/{}/turn", {"content": "x", "tools": True, "tool_choice": 3}, 400),
    ("/chats/{}/turn", {"content": "x", "tool_choice": "required"}, 400),
    ("/chats/{}/calls/none", {"decision": "once"}, 409),
    ("/chats/{}/calls/none", {"decision": "perhaps"}, 400),
    ("/chats/{}/calls/none", {"decision": "once", "arguments": 3}, 400),
    ("/chats/none/calls/none", {"decision": "once"}, 404),
]


@pytest.mark.parametrize(("path", "body", "status"), BAD)
async def test_what_cannot_be_asked_is_refused_in_words(ground: Ground, path: str, body: Any, status: int) -> None:
    answered, refused, _ = await call(ground, "POST", path.format(await chat(ground)), body)
    assert (answered, bool(refused["error"])) == (status, True)


async def test_a_chat_goes_on_where_it_was_cut_off(ground: Ground, engine: Rounds) -> None:
    path = f"/chats/{await chat(ground)}"
    async with ground.client.post(f"{ground.url}{path}/turn", json={"content": "x", "tools": ["builtin"]}) as answered:
        async for line in answered.content:
            if b"tool_asked" in line:
                break
        answered.close()
    async with asyncio.timeout(40):
        while True:
            if (await call(ground, "GET", path))[1]["session"]["messages"][2]["finish"] == "stopped":
                break
            await asyncio.sleep(0.1)
    events = await turn(ground, path, {"continue": True, "tools": ["builtin"]}, {"decision": "deny"})
    assert [one["name"] for one in events if one["event"] == "tool_asked"] == ["builtin__fetch"]
    assert (events[-1]["event"], events[-1]["content"]) == ("stats", "Noon.")
    for body in ({"continue": True, "tools": ["builtin"]}, {"continue": True, "content": "x"}, {"continue": "yes"}):
        refused = await call(ground, "POST", f"{path}/turn", body)
        assert refused[0] == 400, refused
