"""Text into tokens and back: the same calls for every engine, whichever its own are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import aiohttp
from aiohttp import web

from vllm_studio_tui.backends import registry
from vllm_studio_tui.backends.common.token_calls import VLLM, TokenCalls
from vllm_studio_tui.domain.api_key import Scope
from vllm_studio_tui.domain.serving import Arrival, Endpoint, Refusal
from vllm_studio_tui.http.engine_endings import heard, not_reached
from vllm_studio_tui.http.request_body import read_json
from vllm_studio_tui.http.route import Call, Route
from vllm_studio_tui.kit.json_body import json_bytes, read_object

#: Bytes of an answer that are read, and the seconds that it may take.
MAX_ANSWER = 64 * 1024 * 1024
PATIENCE = 60.0


async def _encode(call: Call) -> web.StreamResponse:
    """Return the tokens of a prompt or of messages."""
    return _document(await _tokens(call))


async def _count(call: Call) -> web.StreamResponse:
    """Return how many tokens a prompt or messages have."""
    count = (await _tokens(call))["count"]
    return _document({"count": count, "num_tokens": count})


async def _decode(call: Call) -> web.StreamResponse:
    """Return the text of tokens."""
    body = await read_json(call.request, call.context.settings.max_body)

    async def ask(endpoint: Endpoint) -> dict[str, Any]:
        calls = _calls_of(endpoint)
        if calls is None or not calls.decode:
            raise _cannot(endpoint)
        sent = {"model": endpoint.model, "tokens": body.data.get("tokens")}
        return calls.text_of(await _post(call, endpoint, f"/{calls.decode}", sent))

    return _document(await _with_engine(call, body.model, ask))


async def _tokens(call: Call) -> dict[str, Any]:
    body = await read_json(call.request, call.context.settings.max_body)
    data = body.data

    async def ask(endpoint: Endpoint) -> dict[str, Any]:
        calls = _calls_of(endpoint)
        if calls is None:
            if "messages" not in data:
                raise _cannot(endpoint)
            return await _counted_by_asking(call, endpoint, data)
        wanted: Mapping[str, Any] = data
        if "messages" in data and calls.template is not None:
            templated: dict[str, Any] = {
                name: data[name] for name in ("messages", "tools", "chat_template_kwargs") if name in data
            }
            made = await _post(call, endpoint, f"/{calls.template}", templated)
            # The template has written the special tokens; reading them as such is this server's usual way.
            wanted = {"prompt": made.get("prompt"), "add_special_tokens": False}
        sent = calls.encode_body(wanted, endpoint.model or body.model)
        return calls.tokens_of(await _post(call, endpoint, f"/{calls.encode}", sent))

    return await _with_engine(call, body.model, ask)


async def _counted_by_asking(call: Call, endpoint: Endpoint, data: Mapping[str, Any]) -> dict[str, Any]:
    """Have an engine without such a call count the tokens of messages: it says how many it read."""
    sent = {name: data[name] for name in ("messages", "tools") if name in data}
    asked = {"model": endpoint.model, **sent, "max_tokens": 1, "stream": False}
    usage = (await _post(call, endpoint, "/chat/completions", asked)).get("usage")
    count = usage.get("prompt_tokens") if isinstance(usage, dict) else None
    return {"count": count, "tokens": None, "max_model_len": None}


async def _with_engine(call: Call, model: str | None, ask: Any) -> dict[str, Any]:
    """Wait for the model's engine, and do with it what `ask` does."""
    context = call.context
    context.keys.admit(call.key)
    admission = None
    try:
        admission = context.dispatcher.enter(Arrival(call.id, model, call.key.launches, call.key.models))
        found: dict[str, Any] = await ask(await admission.wait())
        return found
    finally:
        if admission is not None:
            admission.leave()
        context.keys.release(call.key)


async def _post(call: Call, endpoint: Endpoint, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Ask an engine, and return its answer.

    Raises:
        Refusal: It refuses, cannot be reached, or answers no JSON object.
    """
    try:
        async with (
            call.context.upstream.send(endpoint, "POST", path, _HEADERS, json_bytes(body)) as answer,
            aiohttp.helpers.ceil_timeout(PATIENCE),
        ):
            raw = await answer.content.read(MAX_ANSWER)
            call.context.upstream.note(endpoint, answer.status)
            while not answer.content.at_eof() and len(raw) < MAX_ANSWER:
                raw += await answer.content.read(MAX_ANSWER)
    except (aiohttp.ClientError, TimeoutError) as error:
        raise not_reached(endpoint, heard(error).rstrip(".")) from None
    try:
        data = read_object(raw)
    except ValueError:
        data = {}
    if answer.status >= 400:
        told = data.get("error", data.get("detail"))
        words = told.get("message") if isinstance(told, dict) else told
        title = f"the engine answered {answer.status}"
        raise Refusal(answer.status, "engine_refused", title, cause=str(words or "")[:2000])
    return data


def _calls_of(endpoint: Endpoint) -> TokenCalls | None:
    """Return the calls of an engine; of a server that somebody else runs, those of most."""
    backend = registry.backend(endpoint.backend) if endpoint.backend is not None else None
    return VLLM if backend is None or not backend.needs_launch else backend.token_calls


def _cannot(endpoint: Endpoint) -> Refusal:
    title = registry.backend(endpoint.backend).title if endpoint.backend else "this server"
    advice = "Send `messages`: those it can count." if endpoint.backend else ""
    return Refusal(501, "not_supported", f"{title} has no call for this", advice=advice)


def _document(data: dict[str, Any]) -> web.Response:
    return web.Response(body=json_bytes(data), content_type="application/json")


_HEADERS = {"Content-Type": "application/json"}
_PROMPT = {"type": "object", "properties": {"model": {"type": "string"}, "prompt": {}, "messages": {"type": "array"}}}
_GIVEN = {"type": "object", "properties": {"model": {"type": "string"}, "tokens": {"type": "array"}}}
TOKEN_ROUTES = (
    *(
        Route("POST", path, _encode, Scope.INFERENCE, "Turn a prompt or messages into tokens", "Models", body=_PROMPT)
        for path in (
            "/tokenize",
            "/v1/tokenize",
            "/v1/tokenize-chat-completions",
            "/v1/chat/completions/tokenize",
        )
    ),
    *(
        Route("POST", path, _decode, Scope.INFERENCE, "Turn tokens into text", "Models", body=_GIVEN)
        for path in ("/detokenize", "/v1/detokenize")
    ),
    Route("POST", "/v1/count-tokens", _count, Scope.INFERENCE, "Count tokens", "Models", body=_PROMPT),
)
