"""A turn of a chat: a question, its answer as server-sent events, and decisions on the tools that it calls."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping
from typing import TYPE_CHECKING, Any

from aiohttp import web

from vllm_studio_tui.domain.api_key import Scope
from vllm_studio_tui.domain.chat_settings import sampling_of, shaped
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.sampling import checked
from vllm_studio_tui.domain.serving import Refusal
from vllm_studio_tui.domain.tool_choice import AUTO
from vllm_studio_tui.domain.tool_consent import matches
from vllm_studio_tui.domain.tools import ChatEvent, Decision, RoundBegan, ToolChoice
from vllm_studio_tui.http.answers import body_of, document, text_field
from vllm_studio_tui.http.errors import as_refusal
from vllm_studio_tui.http.route import Call, Route
from vllm_studio_tui.kit.json_body import json_bytes
from vllm_studio_tui.services.chat.answer import Answer
from vllm_studio_tui.services.chat.event_documents import event_documents
from vllm_studio_tui.services.chat.tool_round import arguments_of

if TYPE_CHECKING:
    from vllm_studio_tui.domain.chat import Session, Target

#: Seconds between two signs of life while nothing comes, and between two looks whether the server is being stopped.
PING = 15.0
LOOK = 1.0
#: Letters of a question.
MOST_TEXT = 4_000_000
MOST_NAME = 200
#: Arguments of a pattern.
MOST_PATTERNS = 50
_HEADERS = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}


async def _turn(call: Call) -> web.StreamResponse:
    """Ask in a chat, or go on where it was cut off. The answer is stopped where its reader leaves; what came stays."""
    data = await body_of(call)
    go_on = data.get("continue", False)
    if go_on not in (True, False) or (go_on and data.get("content") is not None):
        words = "`continue` is true or false, and true only without `content`"
        raise Refusal(400, "invalid_field", words, param="continue")
    text = text_field(data, "content", most=MOST_TEXT, needed=not go_on) or ""
    model, system = text_field(data, "model", most=MOST_NAME), text_field(data, "system")
    tools, given = _tools(call, data), data.get("sampling", {})
    choice = _tool_choice(data, offered=tools is not None)
    if not isinstance(given, dict):
        raise Refusal(400, "invalid_field", "`sampling` is no object", param="sampling")
    context, studio = call.context, call.context.studio
    session = await context.read(studio.chats.get, call.request.match_info["id"])
    target = await context.call(_target, call, session, model)
    context.keys.admit(call.key)
    try:
        sampling = sampling_of({**shaped(session.settings), **given, **choice})
        chat = await context.call(lambda: studio.chat)
        if go_on:
            events = chat.go_on(session.id, None, target, sampling=sampling, tools=tools)
        else:
            events = chat.send(session.id, text, target, sampling=sampling, system=system, tools=tools)
        async with contextlib.aclosing(events):
            return await _send(call, events)
    finally:
        context.keys.release(call.key)


def _target(call: Call, session: Session, model: str | None) -> Target:
    """Return who answers. Blocking."""
    launcher = call.context.studio.launcher
    target = launcher.target(model=model) if model else launcher.target_of_chat(session)
    if call.key.models and not call.key.sees(model or target.recipe_id or target.model):
        words = f"the key {call.key.name} may not use this model"
        raise Refusal(403, "model_not_allowed", words, advice="Name one that it may use in `model`.", param="model")
    return target


def _tools(call: Call, data: Mapping[str, Any]) -> ToolChoice | None:
    """Return which tools are offered.

    Raises:
        Refusal: The field is none of its kinds, or the key may not use tools.
    """
    wanted = data.get("tools", False)
    if wanted is False or wanted is None:
        return None
    listed = isinstance(wanted, list) and all(isinstance(one, str) and len(one) <= MOST_NAME for one in wanted)
    if wanted is not True and not listed:
        words = "`tools` is neither true nor a list of names of tools and servers"
        raise Refusal(400, "invalid_field", words, param="tools")
    if not call.key.allows(Scope.TOOLS):
        words = f"the key {call.key.name} may not use tools"
        raise Refusal(403, "scope_missing", words, advice="It needs the scope tools: `vllm-studio keys add`.")
    return ToolChoice(None if wanted is True else tuple(wanted))


def _tool_choice(data: Mapping[str, Any], *, offered: bool) -> dict[str, Any]:
    """Return whether a tool is to be called, as sampling has it; empty where that is not said.

    Raises:
        Refusal: It is none of what can be chosen, or there are no tools to choose from.
    """
    choice = data.get("tool_choice")
    if choice is None:
        return {}
    try:
        checked("tool_choice", choice)
    except ValueError as error:
        raise Refusal(400, "invalid_field", f"`tool_choice` is {error}", param="tool_choice") from None
    if not offered and choice != AUTO:
        words = "`tool_choice` is for `tools`, and there are none"
        raise Refusal(400, "invalid_field", words, advice='Send "tools": true too.', param="tool_choice")
    return {"tool_choice": choice}


async def _send(call: Call, events: AsyncGenerator[ChatEvent, None]) -> web.StreamResponse:
    """Send an answer as it comes. What fails before its first event is an answer of its own."""
    context = call.context
    response: web.StreamResponse | None = None
    answer = Answer()
    coming = asyncio.ensure_future(anext(events))
    spoke = context.loop.time()
    try:
        while not context.draining:
            await asyncio.wait({coming}, timeout=LOOK)
            if response is None and (not coming.done() or coming.exception() is None):
                response = web.StreamResponse(headers=_HEADERS)
                await response.prepare(call.request)
            if not coming.done():
                if context.loop.time() - spoke >= PING and response is not None:
                    await response.write(b": ping\n\n")
                    spoke = context.loop.time()
                continue
            try:
                event = coming.result()
            except StopAsyncIteration:
                break
            except StudioError as error:
                if response is None:
                    raise as_refusal(error) from None
                told = {"event": "error", "message": error.title, "cause": error.cause, "advice": error.advice}
                await response.write(_event(told))
                break
            if isinstance(event, RoundBegan):
                answer = Answer()
            assert response is not None
            for one in event_documents(event, answer.text()[0]):
                await response.write(_event(one))
            answer.add(event)
            spoke = context.loop.time()
            coming = asyncio.ensure_future(anext(events))
        if response is None:
            raise Refusal(503, "stopping", "the server is being stopped", retry_after=5.0)
        await response.write_eof()
        return response
    except ConnectionError:  # it has left
        assert response is not None
        return response
    finally:
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)


def _event(told: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (str(told["event"]).encode(), json_bytes(told))


async def _decide(call: Call) -> web.StreamResponse:
    """Allow a call that waits, or deny it."""
    data = await body_of(call)
    try:
        decision = Decision(str(data.get("decision")))
    except ValueError:
        words = f"`decision` is none of {', '.join(Decision)}"
        raise Refusal(400, "invalid_field", words, param="decision") from None
    arguments = data.get("arguments")
    if arguments is not None and not isinstance(arguments, dict):
        raise Refusal(400, "invalid_field", "`arguments` is no object", param="arguments")
    pattern = _pattern(data, decision)
    name, wanted = call.request.match_info["id"], call.request.match_info["call"]
    studio = call.context.studio

    def decide() -> bool:
        branch = studio.chats.branch(studio.chats.get(name).id)
        known = next((one for message in branch for one in message.tool_calls if one.id == wanted), None)
        if known is None:
            return False
        given = arguments if arguments is not None else arguments_of(known.arguments)
        if pattern is not None and (given is None or not matches(pattern, given)):
            words = "the arguments of this call are not like `pattern`"
            raise Refusal(400, "invalid_field", words, param="pattern")
        return studio.chat.decide(wanted, decision, arguments, pattern)

    if not await call.context.read(decide):
        advice = "It was decided before, its answer was stopped, or there was no such call."
        raise Refusal(409, "call_does_not_wait", "no call of this id waits in this chat", advice=advice)
    return document({"success": True, "id": wanted, "decision": decision})


def _pattern(data: Mapping[str, Any], decision: Decision) -> dict[str, str] | None:
    """Return what the arguments of calls must be like that a decision is for.

    Raises:
        Refusal: It is none, or the decision is for one call alone.
    """
    pattern = data.get("pattern")
    if pattern is None:
        return None
    texts = isinstance(pattern, dict) and all(
        isinstance(one, str) and len(one) <= MOST_NAME for one in pattern.values()
    )
    if not texts or not 0 < len(pattern) <= MOST_PATTERNS:
        words = "`pattern` is no object of texts, by the names of arguments"
        raise Refusal(400, "invalid_field", words, param="pattern")
    if decision not in (Decision.CHAT, Decision.ALWAYS):
        words = f"`pattern` is for {Decision.CHAT} and {Decision.ALWAYS}"
        raise Refusal(400, "invalid_field", words, param="pattern")
    return dict(pattern)


_TURN = {
    "type": "object",
    "properties": {
        "content": {"type": "string", "description": "The question; needed unless `continue` is true."},
        "continue": {
            "type": "boolean",
            "description": "Ask nothing: go on where the last answer, or its round of calls, was cut off.",
        },
        "model": {"type": "string", "description": "Who answers; without it, who answered last."},
        "system": {"type": "string"},
        "sampling": {"type": "object", "description": "Parameters by name, in place of those of the chat."},
        "tools": {
            "description": "true, or names of tools and servers: what the model may call. Needs the scope tools."
        },
        "tool_choice": {
            "type": "string",
            "description": "auto, none, required, or the name of a tool whose call is forced, in the first round.",
        },
    },
}
_DECISION = {
    "type": "object",
    "required": ["decision"],
    "properties": {
        "decision": {"enum": list(Decision)},
        "arguments": {"type": "object", "description": "What it is called with in place of the model's."},
        "pattern": {
            "type": "object",
            "description": "chat and always: only for calls whose arguments are like these texts, by name. * stands for"
            " anything but what begins a further command or leaves a folder.",
        },
    },
}
ROUTES = (
    Route(
        "POST", "/chats/{id}/turn", _turn, Scope.MANAGE, "Ask in a chat; the answer as server-sent events", "Chats",
        body=_TURN, answer={"type": "string", "description": "text/event-stream"},
    ),
    Route(
        "POST", "/chats/{id}/calls/{call}", _decide, Scope.TOOLS, "Allow a call of a tool that waits, or deny it",
        "Chats", body=_DECISION,
    ),
)  # fmt: skip
