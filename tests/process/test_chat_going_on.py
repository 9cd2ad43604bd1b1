"""Going on with the small real model in the embedded engine: in the text that was cut off, and in a round of calls."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import pytest

from tests.process.house import House
from tests.process.serving import small_model
from tests.unit.tool_box import WEATHER, Box
from vllm_studio_tui.domain.chat import Delta, Ended, Message, Sampling, Target
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.domain.tools import CallAsked, ChatEvent, Decision
from vllm_studio_tui.runs import control
from vllm_studio_tui.services.chat.chat import ChatService
from vllm_studio_tui.studio import Studio

pytestmark = pytest.mark.timeout(240)
#: A call, in the form in which Llama writes calls as text: the model is held to it.
CALL = {"type": "object", "properties": {"name": {"const": "weather"}, "parameters": {"const": {"city": "Paris"}}},
        "required": ["name", "parameters"], "additionalProperties": False}  # fmt: skip
FORCED = {"response_format": {"type": "json_schema", "json_schema": {"name": "call", "schema": CALL}}}


async def whole(events: AsyncGenerator[ChatEvent, None]) -> tuple[str, Ended]:
    """Read to the end; what was written, and the end."""
    text, ended = "", None
    async with aclosing(events):
        async for event in events:
            text += event.content if isinstance(event, Delta) else ""
            ended = event if isinstance(event, Ended) else ended
    assert ended is not None
    return text, ended


def test_what_was_cut_is_written_on_and_calls_are_made_once(tmp_path: Path) -> None:
    model = small_model()
    house = House(tmp_path)
    with Studio.open_sync(house.places) as studio:
        fields = {"id": "smol", "name": "smol", "backend": "llamacpp", "model_path": str(model), "max_model_len": 1024}
        run = house.ready(studio.launcher.launch(studio.recipes.create(Recipe.model_validate(fields))))
        try:
            target = studio.launcher.target(recipe="smol")
            asyncio.run(_cut_by_the_limit(studio, target))
            asyncio.run(_stopped(studio, target))
            asyncio.run(_stopped_in_a_round(studio, target))
        finally:
            control.stop(run)


def _last(studio: Studio, session: str) -> Message:
    return studio.chat.messages.branch(session)[-1]


async def _cut_by_the_limit(studio: Studio, target: Target) -> None:
    """In two pieces it is what it is in one."""
    chat, question = studio.chat, "Name the days of the week, in order."
    at_once, parts = chat.new_session("x"), chat.new_session("x")
    text, ended = await whole(chat.send(at_once, question, target, sampling=Sampling(temperature=0, max_tokens=24)))
    assert ended.finish == "length"
    short = Sampling(temperature=0, max_tokens=12)
    first, ended = await whole(chat.send(parts, question, target, sampling=short))
    assert (ended.finish, text.startswith(first)) == ("length", True)
    message = _last(studio, parts)
    rest, ended = await whole(chat.go_on(parts, None, target, sampling=short))
    kept = _last(studio, parts)
    assert (kept.id, kept.content) == (message.id, first + rest)
    assert len(chat.messages.branch(parts)) == 2
    assert first + rest == text
    assert kept.usage.completion_tokens == 24


async def _stopped(studio: Studio, target: Target) -> None:
    chat, session = studio.chat, studio.chat.new_session("x")
    events = chat.send(session, "Tell a story of the sea.", target, sampling=Sampling(temperature=0, max_tokens=200))
    text = ""
    async with aclosing(events):
        async for event in events:
            text += event.content if isinstance(event, Delta) else ""
            if len(text) > 40:
                break
    cut = _last(studio, session)
    assert (cut.finish, cut.content) == ("stopped", text)
    rest, _ = await whole(chat.go_on(session, cut.id, target, sampling=Sampling(temperature=0, max_tokens=8)))
    assert rest.strip()
    assert not text.startswith(rest.strip())  # it goes on, and does not begin again
    assert _last(studio, session).content == text + rest


async def _stopped_in_a_round(studio: Studio, target: Target) -> None:
    box = Box(WEATHER)
    chat = ChatService(studio.db, studio.bus)
    session = chat.new_session("x")
    forced = Sampling(temperature=0, max_tokens=60, extra=FORCED)
    events = chat.send(session, "What is the weather in Paris?", target, sampling=forced, tools=box)
    async with aclosing(events):
        async for event in events:
            if isinstance(event, CallAsked):
                break
    assert box.made == []
    assert _last(studio, session).finish == "stopped"
    asked = 0
    events = chat.go_on(session, None, target, sampling=Sampling(temperature=0, max_tokens=20), tools=box)
    async with aclosing(events):
        async for event in events:
            if isinstance(event, CallAsked):
                asked += 1
                assert json.loads(event.call.arguments) == {"city": "Paris"}
                chat.decide(event.call.id, Decision.ONCE if asked == 1 else Decision.DENY)
    assert box.made == [("weather", {"city": "Paris"})]
    assert chat.messages.branch(session)[2].content == "weather of {'city': 'Paris'}"
    assert _last(studio, session).role == "assistant"
    chat.close()
