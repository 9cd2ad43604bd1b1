"""Chats that are kept, and titles for them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aiohttp import web

from vllm_studio_tui.domain.api_key import Scope
from vllm_studio_tui.domain.chat import total_usage
from vllm_studio_tui.domain.serving import Refusal
from vllm_studio_tui.http.answers import body_of, document, flag, text_field, whole_number
from vllm_studio_tui.http.route import Call, Route

if TYPE_CHECKING:
    from vllm_studio_tui.domain.chat import Message, Session
    from vllm_studio_tui.services.chat_protocols import ChatsApi

MOST_TITLE = 200


def message_told(message: Message) -> dict[str, Any]:
    """Return a message with what it used by the original's names too."""
    usage = message.usage
    prompt, tools = usage.prompt_tokens, usage.tools_tokens
    return {
        **message.to_json(),
        "session_id": message.session_id,
        "request_prompt_tokens": prompt if prompt is None or tools is None else max(0, prompt - tools),
        "request_tools_tokens": tools,
        "request_total_input_tokens": prompt,
        "request_completion_tokens": usage.completion_tokens,
    }


def _whole(chats: ChatsApi, session: Session, *, tree: bool = False) -> dict[str, Any]:
    found = chats.tree(session.id) if tree else chats.branch(session.id)
    return {"session": {**session.to_json(), "messages": [message_told(one) for one in found]}}


async def _list(call: Call) -> web.StreamResponse:
    limit, offset = whole_number(call, "limit", 1000, 1, 10_000), whole_number(call, "offset", 0, 0, 10**9)
    search, trash = call.request.query.get("search", ""), flag(call, "trash")
    tag = call.request.query.get("tag") or None
    found = await call.context.read(
        lambda: call.context.studio.chats.list(limit=limit, offset=offset, search=search, trash=trash, tag=tag)
    )
    return document([one.to_json() for one in found])


async def _get(call: Call) -> web.StreamResponse:
    chats, name, tree = call.context.studio.chats, call.request.match_info["id"], flag(call, "tree")
    return document(await call.context.read(lambda: _whole(chats, chats.get(name), tree=tree)))


async def _create(call: Call) -> web.StreamResponse:
    data = await body_of(call)
    title, model = text_field(data, "title", most=MOST_TITLE), text_field(data, "model", most=MOST_TITLE)
    settings, chats = _settings(data), call.context.studio.chats
    made = await call.context.read(lambda: _whole(chats, chats.create(title or "", model=model, settings=settings)))
    return document(made, 201, {"Location": f"/chats/{made['session']['id']}"})


async def _change(call: Call) -> web.StreamResponse:
    """Rename a chat, or say whom it is with; take it out of the trash with `deleted` false."""
    data = await body_of(call)
    title, model = text_field(data, "title", most=MOST_TITLE), text_field(data, "model", most=MOST_TITLE)
    settings, chats, name = _settings(data), call.context.studio.chats, call.request.match_info["id"]
    back, tags, pinned = data.get("deleted"), data.get("tags"), data.get("pinned")
    if tags is not None and not (isinstance(tags, list) and all(isinstance(one, str) for one in tags)):
        raise Refusal(400, "invalid_field", "`tags` is no list of texts", param="tags")
    if pinned not in (None, True, False):
        raise Refusal(400, "invalid_field", "`pinned` is true or false", param="pinned")
    if back not in (None, False):
        raise Refusal(400, "invalid_field", "`deleted` can only be false here", param="deleted")

    def change() -> dict[str, Any]:
        chats.get(name)
        if title is not None:
            chats.rename(name, title)
        if "model" in data:
            chats.set_model(name, model)
        if settings is not None:
            chats.set_settings(name, settings)
        if tags is not None:
            chats.set_tags(name, tags)
        if pinned is not None:
            chats.pin(name, pinned)
        if back is False:
            chats.restore(name)
        return chats.get(name).to_json()

    return document({"success": True, "session": await call.context.read(change)})


async def _delete(call: Call) -> web.StreamResponse:
    """Put a chat into the trash, or delete it for good."""
    chats, name, purge = call.context.studio.chats, call.request.match_info["id"], flag(call, "purge")
    await call.context.read(chats.purge if purge else chats.trash, name)
    return document({"success": True, "id": name})


async def _put_message(call: Call) -> web.StreamResponse:
    data = await body_of(call)
    chats, name = call.context.studio.chats, call.request.match_info["id"]
    return document(message_told(await call.context.read(chats.put_message, name, data)))


async def _fork(call: Call) -> web.StreamResponse:
    data = await body_of(call)
    message, model = text_field(data, "message_id", most=MOST_TITLE), text_field(data, "model", most=MOST_TITLE)
    title = text_field(data, "title", most=MOST_TITLE)
    chats, name = call.context.studio.chats, call.request.match_info["id"]

    def fork() -> dict[str, Any]:
        made = chats.fork(name, message)
        if title:
            chats.rename(made.id, title)
        if model:
            chats.set_model(made.id, model)
        return _whole(chats, chats.get(made.id))

    made = await call.context.read(fork)
    return document(made, 201, {"Location": f"/chats/{made['session']['id']}"})


async def _usage(call: Call) -> web.StreamResponse:
    chats, name = call.context.studio.chats, call.request.match_info["id"]

    def usage() -> dict[str, int | None]:
        return total_usage(chats.tree(chats.get(name).id))

    return document(await call.context.read(usage))


async def _title(call: Call) -> web.StreamResponse:
    data = await body_of(call)
    question = text_field(data, "user") or text_field(data, "prompt") or ""
    answer = text_field(data, "assistant") or ""
    if not question.strip():
        raise Refusal(400, "invalid_field", "`user` is missing: the first question of the chat", param="user")
    model = text_field(data, "model", most=MOST_TITLE) or None
    if call.key.models and (model is None or not call.key.sees(model)):
        words = f"the key {call.key.name} may not use this model"
        raise Refusal(403, "model_not_allowed", words, advice="Name one that it may use in `model`.", param="model")
    context = call.context
    context.keys.admit(call.key)
    try:
        # Not a thread of those that answer everything else: an engine may be slow.
        title = await asyncio.to_thread(context.studio.write_title, question, answer, model)
    finally:
        context.keys.release(call.key)
    return document({"title": title})


def _settings(data: Mapping[str, Any]) -> Mapping[str, Any] | None:
    settings = data.get("settings")
    if settings is not None and not isinstance(settings, dict):
        raise Refusal(400, "invalid_field", "`settings` is no object", param="settings")
    return settings


_CHAT = {
    "type": "object",
    "properties": {
        "title": {"type": "string"},
        "model": {"type": "string"},
        "settings": {"type": "object"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "pinned": {"type": "boolean"},
    },
}
_MESSAGE = {
    "type": "object",
    "required": ["role"],
    "properties": {
        "id": {"type": "string"},
        "role": {"enum": ["system", "user", "assistant", "tool"]},
        "content": {"description": "Text, or a list of parts as OpenAI has them."},
        "tool_calls": {"type": "array"},
    },
}
_FORK = {
    "type": "object",
    "properties": {"message_id": {"type": "string"}, "model": {"type": "string"}, "title": {"type": "string"}},
}
_TITLE = {
    "type": "object",
    "required": ["user"],
    "properties": {"user": {"type": "string"}, "assistant": {"type": "string"}, "model": {"type": "string"}},
}
_PAGE = {
    "limit": "At most so many (1000).",
    "offset": "Pass over so many.",
    "search": "Words in title, model and tags.",
    "tag": "Those with this tag.",
    "trash": "Those in the trash.",
}
ROUTES = (
    Route(
        "GET", "/chats", _list, Scope.READ, "Chats, the one used last first", "Chats", query=_PAGE,
        answer={"type": "array", "items": _CHAT},
    ),
    Route("POST", "/chats", _create, Scope.MANAGE, "A new chat", "Chats", body=_CHAT),
    Route(
        "GET", "/chats/{id}", _get, Scope.READ, "One chat with its messages", "Chats",
        query={"tree": "Every branch, not only the one that the chat shows."},
    ),
    Route("PUT", "/chats/{id}", _change, Scope.MANAGE, "Rename a chat, say whom it is with", "Chats", body=_CHAT),
    Route(
        "DELETE", "/chats/{id}", _delete, Scope.MANAGE, "Put a chat into the trash", "Chats",
        query={"purge": "Delete it for good."},
    ),
    Route(
        "POST", "/chats/{id}/messages", _put_message, Scope.MANAGE, "Add a message, or replace one by its id", "Chats",
        body=_MESSAGE,
    ),
    Route("POST", "/chats/{id}/fork", _fork, Scope.MANAGE, "Copy a chat up to a message", "Chats", body=_FORK),
    Route("GET", "/chats/{id}/usage", _usage, Scope.READ, "What a chat used", "Chats"),
    Route("POST", "/api/title", _title, Scope.INFERENCE, "Have a ready model write a title", "Chats", body=_TITLE),
)  # fmt: skip
