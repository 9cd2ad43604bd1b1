"""What was thought before calls of tools goes back to the model within a question, in the field of its engine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.scripted_engine import DONE, TARGET, read
from tests.unit.test_inference_connection import Server, at_once, chunk, event, server
from tests.unit.tool_box import Box, Rounds, calls
from vllm_studio_tui.domain.chat import ChatRequest, Delta, Ended, Message, StreamEvent, Target, ToolCall
from vllm_studio_tui.inference.client import stream_chat
from vllm_studio_tui.inference.deltas import REASONING
from vllm_studio_tui.services.chat.chat import ChatService
from vllm_studio_tui.services.chat.request import request_messages
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.messages import MessageRows

__all__ = ["server"]
NOON = ("id-of-the-clock", "clock", "{}")
LATER = ("id-of-a-later-call", "clock", '{"n": 1}')


def called(thought: str, call_id: str, **more: Any) -> list[Message]:
    """An answer that thought and called, and the result."""
    answer = Message("", "", "assistant", "", reasoning=thought, tool_calls=(ToolCall(call_id, "clock", "{}"),), **more)
    return [answer, Message("", "", "tool", "noon", tool_call_id=call_id)]


def thoughts(branch: list[Message], target: Target | None) -> list[str | None]:
    """What stands of thinking in the messages of the answers that are sent."""
    made = request_messages(branch, None, target)
    return [next((one[name] for name in REASONING if name in one), None) for one in made if one["role"] == "assistant"]


EARLIER = [
    Message("", "", "user", "What time is it?"),
    *called("first", "a"),
    Message("", "", "assistant", "Noon.", reasoning="then"),
]
BRANCH = [*EARLIER, Message("", "", "user", "And now?"), *called("I look", "b"), *called("once more", "c")]


def test_of_the_last_question_alone_thinking_goes_back_and_only_with_calls() -> None:
    assert thoughts(BRANCH, TARGET) == [None, None, "I look", "once more"]
    assert thoughts([*BRANCH, Message("", "", "assistant", "Noon.", reasoning="so")], TARGET)[-1] is None
    assert thoughts([*BRANCH, Message("", "", "user", "Thanks")], TARGET) == [None] * 4
    assert thoughts(BRANCH[5:], TARGET)[0] is None, "a call without a question is of an earlier one"


def test_a_call_without_a_result_takes_no_thinking_along() -> None:
    assert thoughts(BRANCH[:-1], TARGET) == [None, None, "I look"]


@pytest.mark.parametrize(
    ("backend", "field"),
    [
        ("vllm", "reasoning"),
        ("sglang", "reasoning_content"),
        ("llamacpp", "reasoning_content"),
        ("tabbyapi", "reasoning_content"),
        ("transformers", None),
        ("external", None),
    ],
)
def test_each_engine_gets_it_in_its_own_field(backend: str, field: str | None) -> None:
    made = request_messages(BRANCH, None, Target("x", "m", backend=backend))[5]
    call = {"id": "b", "type": "function", "function": {"name": "clock", "arguments": "{}"}}
    wanted: dict[str, Any] = {"role": "assistant", "content": "", "tool_calls": [call]}
    assert made == (wanted if field is None else {**wanted, field: "I look"})


def test_a_server_that_nobody_described_gets_it_as_it_gave_it() -> None:
    for field, sent in (("reasoning_content", "I look"), ("reasoning", "I look"), ("role", None), (7, None)):
        branch = [
            *EARLIER,
            Message("", "", "user", "And now?"),
            *called("I look", "b", details={"thinking_field": field}),
        ]
        assert thoughts(branch, Target("x", "m"))[-1] == sent
        assert request_messages(branch, None, Target("x", "m"))[-2]["role"] == "assistant"


def test_who_is_not_known_gets_no_thinking() -> None:
    assert thoughts(BRANCH, None) == [None] * 4


# --- rounds ---------------------------------------------------------------------------------------------------


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    opened = Database.open(tmp_path / "studio.db")
    yield opened
    opened.close()


def script() -> Rounds:
    first: list[StreamEvent] = [Delta(reasoning="I look."), *calls(NOON)]
    second: list[StreamEvent] = [Delta(reasoning="Again."), *calls(LATER)]
    return Rounds(first, second, [Delta(reasoning="So."), Delta("Noon."), DONE])


@pytest.mark.parametrize("temporary", [False, True])
async def test_every_round_is_told_what_was_thought_in_those_before(db: Database, temporary: bool) -> None:
    engine = script()
    service = ChatService(db, stream=engine)
    session = None if temporary else service.new_session("x")
    await read(service.send(session, "What time is it?", TARGET, tools=Box(), temporary=temporary))
    sent = [[one.get("reasoning") for one in asked.messages if one["role"] == "assistant"] for asked in engine.asked]
    assert sent == [[], ["I look."], ["I look.", "Again."]]
    if session is not None:
        await read(service.send(session, "And now?", TARGET, tools=Box()))
        last = [one for one in engine.asked[-1].messages if one["role"] == "assistant"]
        assert len(last) == 3 and not any("reasoning" in one for one in last)


async def test_an_answer_that_goes_on_below_a_result_has_it_too(db: Database) -> None:
    service = ChatService(db, stream=script())
    session = service.new_session("x")
    await read(service.send(session, "What time is it?", TARGET, tools=Box()))
    result = next(one for one in MessageRows(db).branch(session) if one.role == "tool")
    again = Rounds([Delta("Noon."), DONE])
    await read(ChatService(db, stream=again).regenerate(session, result.id, TARGET))
    assert [one.get("reasoning") for one in again.asked[0].messages] == [None, "I look.", None]


# --- where it came from ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
@pytest.mark.parametrize(("backend", "told"), [("external", True), ("vllm", False)])
async def test_the_field_of_a_server_that_nobody_described_is_kept_with_its_calls(
    server: Server,
    field: str,
    backend: str,
    told: bool,
) -> None:
    call = {"index": 0, "id": "b", "function": {"name": "clock", "arguments": "{}"}}
    server.script = at_once(
        chunk(event(delta={field: "I look."})),
        chunk(event(delta={"tool_calls": [call]})),
        chunk(event(delta={}, finish_reason="tool_calls")) + chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n",
    )
    target = Target(f"http://127.0.0.1:{server.server_address[1]}/v1", "m", backend=backend)
    request = ChatRequest(({"role": "user", "content": "go"},))
    ended = await anext(one async for one in stream_chat(target, request) if isinstance(one, Ended))
    assert ended.tool_calls == (replace(ended.tool_calls[0], name="clock"),)
    assert ended.details.get("thinking_field") == (field if told else None)
