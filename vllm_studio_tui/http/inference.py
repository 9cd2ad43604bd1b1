"""The routes of models: what engines answer is passed on as it is."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import quote

from aiohttp import web

from vllm_studio_tui.backends import registry
from vllm_studio_tui.domain.api_key import Scope
from vllm_studio_tui.domain.errors import NotFound, StudioError
from vllm_studio_tui.domain.serving import Endpoint, Refusal, ServedModel
from vllm_studio_tui.http.earlier_answers import EarlierAnswerReader
from vllm_studio_tui.http.form_body import Form
from vllm_studio_tui.http.proxy import Api, Question, forward
from vllm_studio_tui.http.request_body import read_json
from vllm_studio_tui.http.route import Call, Route
from vllm_studio_tui.http.tokens import TOKEN_ROUTES
from vllm_studio_tui.kit.iso_time import iso_time
from vllm_studio_tui.kit.json_body import json_bytes

_CHAT = Api("/chat/completions", asks_usage=True, thinks=True)
_COMPLETIONS = Api("/completions", asks_usage=True)
_MESSAGES = Api("/messages", "messages")
_COUNT = Api("/messages/count_tokens", "messages")
_RESPONSES = Api("/responses", "responses")
_BODY = {
    "type": "object",
    "properties": {"model": {"type": "string"}, "stream": {"type": "boolean"}},
    "additionalProperties": True,
}


async def _json(call: Call, api: Api) -> web.StreamResponse:
    """Pass a request with a JSON body on."""

    async def read() -> Question:
        body = await read_json(call.request, call.context.settings.max_body)

        def made(endpoint: Endpoint, ask_usage: bool) -> bytes:
            return body.for_engine(endpoint, ask_usage=ask_usage)

        silent = body.streamed and "stream_options" not in body.data
        check = _speaks_anthropic if api.protocol == "messages" else None
        return Question(body.model, body.streamed, len(body.raw), made, ask_usage=silent, check=check)

    return await forward(call, api, read)


async def _form(call: Call, api: Api) -> web.StreamResponse:
    """Pass a form on, such as a recording to write down: it is read no further than to its model."""
    limit = call.context.settings.max_body
    if call.request.content_type not in ("multipart/form-data", "application/x-www-form-urlencoded"):
        return await _json(call, api)

    async def read() -> Question:
        form = Form(call.request, limit)
        await form.read_head()

        def made(endpoint: Endpoint, _: bool) -> Form:
            return form.naming(endpoint.model)

        return Question(form.model, False, call.request.content_length or form.size, made, once=True)

    return await forward(call, api, read)


def _speaks_anthropic(endpoint: Endpoint) -> None:
    backend = registry.backend(endpoint.backend) if endpoint.backend is not None else None
    if backend is None or not backend.needs_launch or backend.anthropic_api:
        return  # of a server that somebody else runs, its own answer says it
    title = f"{backend.title} does not have Anthropic's API"
    advice = "Ask /v1/chat/completions, or let a gateway translate: vllm-studio gateway start."
    raise Refusal(501, "not_supported", title, advice=advice)


async def _of_answer(call: Call) -> web.StreamResponse:
    """Pass a request that names an answer of `/v1/responses` to the model that gave it."""
    name, answers = call.request.match_info["id"], call.context.answers
    model = answers.model_of(name)
    if model is None:
        raise NotFound("no answer of this id is known", advice="Answers are remembered while the server runs.")
    below = f"/responses/{quote(name, safe='')}" + ("/cancel" if call.route.path.endswith("/cancel") else "")
    if asked := call.request.rel_url.raw_query_string:
        below += f"?{asked}"  # such as where a stream is to go on
    streamed = call.route.method == "GET" and call.request.query.get("stream", "").lower() in ("true", "1")

    async def read() -> Question:
        # What the engine tells was counted with the request that made the answer, as a rule.
        return Question(model, streamed, 0, lambda *_: None, reader=EarlierAnswerReader(answers, name))

    return await forward(call, Api(below, "responses"), read, call.route.method)


async def _models(call: Call) -> web.StreamResponse:
    """List what can be asked for, in OpenAI's shape and in Anthropic's at once."""
    data = [entry for model in await _served(call) for entry in model_entries(model)]
    ids = [entry["id"] for entry in data]
    document = {
        "object": "list",
        "data": data,
        "has_more": False,
        "first_id": ids[0] if ids else None,
        "last_id": ids[-1] if ids else None,
    }
    return web.Response(body=json_bytes(document), content_type="application/json")


async def _model(call: Call) -> web.StreamResponse:
    name = call.request.match_info["id"]
    for model in await _served(call):
        for entry in model_entries(model):
            if entry["id"] == name:
                return web.Response(body=json_bytes(entry), content_type="application/json")
    raise Refusal(404, "model_not_found", f"there is no model {name[:200]}", advice="See /v1/models.")


async def _served(call: Call) -> list[ServedModel]:
    """Return what this key may ask for, each with a time: of a run its launch, else the last change of its recipe."""
    context = call.context
    models = context.dispatcher.models(call.key.models)
    if all(one.created is not None for one in models):
        return models
    changed: dict[str, float] = {}
    with contextlib.suppress(StudioError):
        changed = await context.read(context.studio.recipes.changed_at)
    return [
        one if one.created is not None else replace(one, created=changed.get(one.recipe_id or "", context.began))
        for one in models
    ]


def model_entries(model: ServedModel) -> list[dict[str, Any]]:
    """Return a model and its aliases as `/v1/models` lists them."""
    shared: dict[str, Any] = {
        "object": "model",
        "type": "model",
        "created": int(model.created or 0),
        "created_at": iso_time(model.created or 0.0),
        "owned_by": "vllm-studio",
        "active": model.active,
        "state": model.state,
        "max_model_len": model.max_model_len,
        "recipe_id": model.recipe_id,
        "run_id": model.run_id,
        "backend": model.backend,
        "peer": model.peer,
        "on_demand": model.on_demand,
    }
    first = {"id": model.id, "display_name": model.id, "aliases": list(model.aliases), **shared}
    others = [{"id": name, "display_name": name, "alias_of": model.id, **shared} for name in model.aliases]
    return [first, *others]


def _post(path: str, handler: Callable[[Call], Awaitable[web.StreamResponse]], summary: str) -> Route:
    return Route("POST", path, handler, Scope.INFERENCE, summary, "Models", body=_BODY)


_SIMPLE = {
    "/embeddings": "Turn texts into vectors",
    "/rerank": "Order documents by how well they answer",
    "/score": "Say how alike texts are",
    "/audio/speech": "Read a text aloud",
    "/images/generations": "Make pictures",
}
_FORMS = {
    "/audio/transcriptions": "Write down a recording",
    "/audio/translations": "Write down a recording in English",
    "/images/edits": "Change pictures",
}
ROUTES = (
    Route("GET", "/v1/models", _models, Scope.INFERENCE, "List every model, loaded or not", "Models"),
    Route("GET", "/v1/models/{id:.+}", _model, Scope.INFERENCE, "One model", "Models"),
    _post("/v1/chat/completions", partial(_json, api=_CHAT), "Answer a chat"),
    _post("/v1/completions", partial(_json, api=_COMPLETIONS), "Continue a text"),
    _post("/v1/messages", partial(_json, api=_MESSAGES), "Answer a chat, in Anthropic's shape"),
    _post("/v1/messages/count_tokens", partial(_json, api=_COUNT), "Count tokens, in Anthropic's shape"),
    _post("/v1/responses", partial(_json, api=_RESPONSES), "Answer, in the shape of OpenAI's Responses"),
    Route("GET", "/v1/responses/{id}", _of_answer, Scope.INFERENCE, "An earlier answer of /v1/responses", "Models"),
    Route("DELETE", "/v1/responses/{id}", _of_answer, Scope.INFERENCE, "Delete an earlier answer", "Models"),
    Route("POST", "/v1/responses/{id}/cancel", _of_answer, Scope.INFERENCE, "Cancel an answer", "Models"),
    *(_post(f"/v1{path}", partial(_json, api=Api(path)), summary) for path, summary in _SIMPLE.items()),
    *(_post(f"/v1{path}", partial(_form, api=Api(path)), summary) for path, summary in _FORMS.items()),
    *TOKEN_ROUTES,
)
