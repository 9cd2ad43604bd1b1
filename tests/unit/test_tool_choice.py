"""Calls of tools that a person forces or forbids: what engines are sent, what is refused, what is said afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.scripted_engine import DONE, TARGET, contents, read
from tests.unit.tool_box import CLOCK, WEATHER, Box, Rounds, calls
from vllm_studio_tui.domain.chat import ChatRequest, Delta, Ended, Sampling, StreamEvent, Target, ToolCall
from vllm_studio_tui.domain.chat_settings import sampling_of
from vllm_studio_tui.domain.errors import UsageError
from vllm_studio_tui.domain.tool_choice import check_offered, unheeded
from vllm_studio_tui.domain.tools import CallAsked, CallEnded, Decision, RoundEnded
from vllm_studio_tui.inference.answer_details import details_of
from vllm_studio_tui.inference.likelihoods import Likelihoods
from vllm_studio_tui.inference.request import body
from vllm_studio_tui.services.chat.chat import ChatService
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.messages import MessageRows

TOOLS = (WEATHER.to_openai(), CLOCK.to_openai())
NAMED = {"type": "function", "function": {"name": "clock"}}
NOON = ("id-of-the-clock", "clock", "{}")
SAID: list[StreamEvent] = [Delta("It is noon."), DONE]


def chosen(choice: str) -> Sampling:
    return sampling_of({"tool_choice": choice})


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    opened = Database.open(tmp_path / "studio.db")
    yield opened
    opened.close()


# --- what is sent ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["vllm", "sglang", "tabbyapi", "external"])
@pytest.mark.parametrize(
    ("choice", "sent"), [("auto", None), ("none", "none"), ("required", "required"), ("clock", NAMED)]
)
def test_an_engine_is_told_the_choice(backend: str, choice: str, sent: Any) -> None:
    made = body(Target("x", "m", backend=backend), ChatRequest(({},), chosen(choice), TOOLS))
    assert made.get("tool_choice") == sent
    assert made["tools"] == list(TOOLS)


def test_llama_cpp_which_reads_no_names_is_offered_the_one_tool_that_it_must_call() -> None:
    made = body(Target("x", "m", backend="llamacpp"), ChatRequest(({},), chosen("clock"), TOOLS))
    assert (made["tool_choice"], made["tools"]) == ("required", [CLOCK.to_openai()])
    made = body(Target("x", "m", backend="llamacpp"), ChatRequest(({},), chosen("none"), TOOLS))
    assert (made["tool_choice"], made["tools"]) == ("none", list(TOOLS))


def test_an_engine_that_takes_no_choice_is_offered_no_tools_where_calls_are_forbidden() -> None:
    target = Target("x", "m", backend="transformers")
    assert not {"tools", "tool_choice"} & set(body(target, ChatRequest(({},), chosen("none"), TOOLS)))
    request = ChatRequest(({},), chosen("required"), TOOLS)
    made = body(target, request)
    assert "tool_choice" not in made and made["tools"] == list(TOOLS)
    details = details_of(target, request, Ended("stop"), "", Likelihoods())
    assert "takes no tool_choice" in details["not_sent"]["tool_choice"]
    assert "unheeded" not in details


@pytest.mark.parametrize("choice", ["auto", "none", "required", "clock"])
def test_a_request_without_tools_has_no_choice(choice: str) -> None:
    request = ChatRequest(({},), chosen(choice))
    assert "tool_choice" not in body(Target("x", "m", backend="vllm"), request)
    assert details_of(Target("x", "m", backend="transformers"), request, Ended("stop"), "", Likelihoods()) == {}


# --- rounds ---------------------------------------------------------------------------------------------------


async def ask(db: Database, engine: Rounds, choice: str, box: Box | None = None) -> tuple[str, list[Any]]:
    service = ChatService(db, stream=engine)
    session, events = service.new_session("x"), []
    async for event in service.send(session, "x", TARGET, tools=box or Box(), sampling=chosen(choice)):
        events.append(event)
        if isinstance(event, CallAsked):
            assert service.decide(event.call.id, Decision.ONCE)
    return session, events


@pytest.mark.parametrize("choice", ["required", "clock"])
async def test_a_call_is_forced_in_the_first_round_alone(db: Database, choice: str) -> None:
    engine = Rounds(calls(NOON), calls(("another-call", "clock", '{"n": 1}')), SAID)
    await ask(db, engine, choice)
    assert [one.sampling.others.get("tool_choice") for one in engine.asked] == [choice, None, None]


async def test_below_the_result_of_a_tool_no_call_is_forced_anew(db: Database) -> None:
    session, _ = await ask(db, Rounds(calls(NOON), SAID), "required")
    result = MessageRows(db).branch(session)[2]
    again = Rounds(SAID)
    await read(
        ChatService(db, stream=again).regenerate(session, result.id, TARGET, tools=Box(), sampling=chosen("required"))
    )
    assert "tool_choice" not in again.asked[0].sampling.others


async def test_calls_that_were_forbidden_are_not_made(db: Database) -> None:
    box = Box()
    session, events = await ask(db, Rounds(calls(NOON), SAID), "none", box)
    assert box.made == []
    assert not [one for one in events if isinstance(one, RoundEnded | CallEnded)]
    assert [one[0] for one in contents(db, session)] == ["user", "assistant"]


async def test_a_tool_that_is_not_offered_is_refused_with_those_that_are(db: Database) -> None:
    engine = Rounds(SAID)
    session, events = await ask(db, engine, "rain")
    ended = events[-1]
    assert isinstance(ended, Ended) and ended.finish == "failed"
    assert ended.error == "no tool rain is offered\nThere are: weather, clock."
    assert engine.asked == []
    assert contents(db, session)[0] == ("user", "x", None)


def test_without_any_tool_no_call_can_be_forced() -> None:
    with pytest.raises(UsageError, match="there are no tools"):
        check_offered("required", [])
    check_offered("none", [])
    check_offered(None, [])
    with pytest.raises(UsageError) as refused:
        check_offered("x", (f"tool-{number}" for number in range(200)))
    assert "and 160 more" in (refused.value.cause or "")


# --- what is said of the answer -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("choice", "names", "finish", "words"),
    [
        ("required", (), "stop", "a call was forced, and none came"),
        ("required", (), "length", "a call was forced, and the answer was cut"),
        ("clock", (), "stop", "a call of clock was forced, and none came"),
        ("clock", ("weather",), "tool_calls", "a call of clock was forced, and weather came"),
        ("none", ("weather",), "tool_calls", "calls were forbidden, and it asked for weather"),
        ("required", ("weather",), "tool_calls", None),
        ("clock", ("clock",), "tool_calls", None),
        ("none", (), "stop", None),
        (None, (), "stop", None),
        ("required", (), "failed", None),
        ("required", (), "stopped", None),
    ],
)
def test_an_answer_that_does_not_keep_to_the_choice_says_so(
    choice: str | None, names: tuple[str, ...], finish: str, words: str | None
) -> None:
    found = unheeded(choice, [ToolCall("1", name, "{}") for name in names], finish)
    assert found is None if words is None else (found or "").startswith(words)
