"""A chat that calls tools of real MCP servers, over standard streams and HTTP: allowed, refused, allowed for longer.

The engine's answers are a script: no model that runs in a test calls a tool for certain.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.process.test_mcp_client import WELL, well_over
from tests.unit.scripted_engine import DONE, TARGET
from tests.unit.tool_box import Rounds, calls
from vllm_studio_tui.domain.chat import Delta
from vllm_studio_tui.domain.tools import CallAsked, CallEnded, Decision, ToolChoice
from vllm_studio_tui.inference import client
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.studio import Studio

ADD = ("call-1", "well__add", '{"a": 2, "b": 40}')
END = ("call-2", "well__end", '{"code": 9}')


@pytest.fixture(params=["stdio", "http"])
def studio(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Studio]:
    with Studio.open_sync(Places.under(tmp_path)) as one:
        if request.param == "stdio":
            one.tools.add_server("well", {"command": sys.executable, "args": [WELL]}, trust=True)
            yield one
        else:
            with well_over("http") as url:
                one.tools.add_server("well", {"url": url}, trust=True)
                yield one


async def ask(
    studio: Studio, monkeypatch: pytest.MonkeyPatch, decision: Decision, *wanted: tuple[str, str, str]
) -> tuple[Rounds, list[Any], str]:
    """Ask with the tools of the server, and decide every call alike; what the engine was sent, the events, the chat."""
    engine = Rounds([Delta("I add."), *calls(*wanted)], [Delta("Done."), DONE])
    if "chat" in vars(studio):  # it knows the engine of its first question
        studio.chat.close()
        del vars(studio)["chat"]
    monkeypatch.setattr(client, "stream_chat", engine)
    session = studio.chat.new_session("add")
    events = []
    async for event in studio.chat.send(session, "Add 2 and 40.", TARGET, tools=ToolChoice(("well",))):
        events.append(event)
        if isinstance(event, CallAsked):
            assert studio.chat.decide(event.call.id, decision)
    return engine, events, session


def told(engine: Rounds) -> list[str]:
    """What the model was told of its calls."""
    return [str(one["content"]) for one in engine.asked[1].messages if one["role"] == "tool"]


async def test_a_call_that_is_allowed_is_made_and_its_result_goes_to_the_model(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, events, session = await ask(studio, monkeypatch, Decision.ONCE, ADD)
    offered = {one["function"]["name"] for one in engine.asked[0].tools}
    assert "well__add" in offered
    assert not any(name.startswith(("builtin", "studio")) for name in offered)
    assert told(engine) == ["42"]
    (ended,) = [one for one in events if isinstance(one, CallEnded)]
    assert (ended.how, ended.result.text) == ("done", "42")
    roles = [(one.role, one.content) for one in studio.chats.branch(session)]
    assert roles == [("user", "Add 2 and 40."), ("assistant", "I add."), ("tool", "42"), ("assistant", "Done.")]


async def test_a_call_that_is_refused_is_not_made_and_the_model_is_told(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, events, _ = await ask(studio, monkeypatch, Decision.DENY, ADD)
    assert [one.how for one in events if isinstance(one, CallEnded)] == ["denied"]
    assert "42" not in "".join(told(engine))
    assert told(engine)


async def test_what_is_always_allowed_asks_once(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    _, first, _ = await ask(studio, monkeypatch, Decision.ALWAYS, ADD)
    engine, second, _ = await ask(studio, monkeypatch, Decision.DENY, ADD)
    assert len([one for one in first if isinstance(one, CallAsked)]) == 1
    assert not [one for one in second if isinstance(one, CallAsked)]
    assert told(engine) == ["42"]


async def test_a_server_that_ends_in_a_call_ends_no_answer(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    if studio.tools.server("well").kind == "http":
        pytest.skip("its process is another program's")
    engine, events, session = await ask(studio, monkeypatch, Decision.ONCE, END)
    assert [one.how for one in events if isinstance(one, CallEnded)] == ["failed"]
    assert "It ended with 9" in told(engine)[0]
    assert studio.chats.branch(session)[-1].content == "Done."
    engine, _, _ = await ask(studio, monkeypatch, Decision.ONCE, ADD)
    assert told(engine) == ["42"]


async def test_a_server_that_nobody_agreed_to_offers_nothing(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    server = studio.tools.server("well")
    entry = (
        {"command": server.command, "args": [*server.args, "stdio"]} if server.command else {"url": f"{server.url}?x"}
    )
    studio.tools.add_server("well", entry, replace=True)
    engine, events, _ = await ask(studio, monkeypatch, Decision.ONCE, ADD)
    assert not engine.asked[0].tools
    assert "42" not in [one.result.text for one in events if isinstance(one, CallEnded)]


async def test_what_tools_take_of_the_context_is_known_once_their_server_was_asked(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = studio.chat.new_session("add", settings={"tools": ["well", "builtin"]})
    before = studio.context.report(session, TARGET, draft="Add 2 and 40.")
    assert before.unknown_tools == ("well",)  # it is not started to count
    assert before.tools > 0
    await ask(studio, monkeypatch, Decision.ONCE, ADD)
    after = studio.context.report(session, TARGET, draft="Add 2 and 40.")
    assert after.unknown_tools == ()
    assert after.tools > before.tools
