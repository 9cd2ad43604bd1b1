"""One run's engine, asked directly: any of its paths, as it is. Nothing is launched.

What is posted is work: a row of the request log, and a use of the run. GET and DELETE only look, and leave no trace.
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import web

from vllm_studio_tui.domain.api_key import Scope
from vllm_studio_tui.domain.errors import NotFound
from vllm_studio_tui.domain.run import ANSWERING
from vllm_studio_tui.domain.serving import Endpoint, Refusal
from vllm_studio_tui.http.proxy import Api, Question, forward
from vllm_studio_tui.http.request_body import read_body
from vllm_studio_tui.http.route import Call, Route
from vllm_studio_tui.http.upstream import answer_headers
from vllm_studio_tui.kit import secrets
from vllm_studio_tui.runs.find import pick_run

if TYPE_CHECKING:
    from vllm_studio_tui.runs.read import RunView


#: What answers of these paths are read as; others as those of a chat.
_PROTOCOLS = {"messages": "messages", "responses": "responses"}
#: Paths of models, which the request log and the metrics call by their own names.
_NAMED = frozenset(
    {"chat/completions", "completions", "messages", "responses", "embeddings", "rerank", "score", "tokenize",
     "detokenize", "audio/transcriptions", "audio/translations", "audio/speech", "images/generations"}
)  # fmt: skip


async def _ask(call: Call) -> web.StreamResponse:
    """Pass what asks the engine for work on as any request is: counted, written down, a use of the run."""
    context, request = call.context, call.request
    run = pick_run(await context.read(context.studio.runs.live), request.match_info["run"])
    endpoint = await context.read(_endpoint, run)
    path = _path_of(request)

    async def read() -> Question:
        # Whole, because not every engine reads a body whose length it is not told.
        body = await read_body(request, context.settings.max_body) if request.can_read_body else b""
        model, streamed = _wanted(body)
        return Question(model, streamed, len(body), lambda *_: body, once=True, endpoint=endpoint)

    below = path.partition("?")[0].removeprefix("//").removeprefix("v1/")
    named = f"/upstream/{below}" if below in _NAMED else "/upstream"
    return await forward(call, Api(path, _PROTOCOLS.get(below, "chat"), named=named), read, request.method)


def _wanted(body: bytes) -> tuple[str | None, bool]:
    """Return the model that a body names, and whether it wants a stream."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return None, False
    if not isinstance(data, dict):
        return None, False
    model = data.get("model")
    return (model if isinstance(model, str) else None), data.get("stream") is True


def _path_of(request: web.Request) -> str:
    """Return the path below the run's address as the client wrote it, with its escapes and its query."""
    below = request.rel_url.raw_path.split("/", 3)[3]
    if any(part in ("..", ".") for part in below.lower().replace("%2e", ".").split("/")):
        raise Refusal(400, "bad_path", "this is no path of an engine")
    query = f"?{request.rel_url.raw_query_string}" if request.rel_url.raw_query_string else ""
    return f"//{below}{query}"


async def _look(call: Call) -> web.StreamResponse:
    """Pass a look at an engine on: its metrics, say. Who looks every second must not keep a run from being idle."""
    context, request = call.context, call.request
    run = pick_run(await context.read(context.studio.runs.live), request.match_info["run"])
    endpoint = await context.read(_endpoint, run)
    path = _path_of(request)
    body = await read_body(request, context.settings.max_body) if request.can_read_body else None
    try:
        answer = await context.upstream.send(endpoint, request.method, path, request.headers, body)
    except (TimeoutError, aiohttp.ClientError) as error:
        title = f"{endpoint.recipe_id} does not answer"
        raise Refusal(502, "engine_unreachable", title, cause=type(error).__name__) from None
    headers = answer_headers(answer.headers)
    headers["x-vllm-studio-run"] = endpoint.run_id or ""
    response = web.StreamResponse(status=answer.status, headers=headers)
    if answer.content_length is not None:
        response.content_length = answer.content_length
    try:
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):  # the client has left
            async for piece in answer.content.iter_any():
                await response.write(piece)
            await response.write_eof()
    except aiohttp.ClientError:
        if request.transport is not None:
            request.transport.abort()  # the end of an answer that is not whole must not look like one that is
    finally:
        answer.close()
    return response


def _endpoint(run: RunView | None) -> Endpoint:
    """Return how a run is asked.

    Raises:
        StudioError: It does not answer, or must not be asked.
    """
    if run is None or run.spec is None:
        raise NotFound("no such run is live", advice="See /runs.")
    if run.state not in ANSWERING or run.status.stranger:
        raise Refusal(503, "not_ready", f"{run.recipe_id} is {run.state}", advice="See /wait-ready.")
    key = None
    if run.spec.api_key_ref is not None:
        try:
            key = secrets.resolve(run.spec.api_key_ref, os.environ)
        except ValueError as error:
            raise Refusal(502, "no_key", "the engine's key cannot be read", cause=str(error)) from None
    return Endpoint(
        run.spec.base_url,
        run.model,
        api_key=key,
        backend=run.backend,
        run_id=run.run_id,
        attempt=run.status.attempt,
        recipe_id=run.recipe_id,
    )


ROUTES = tuple(
    Route(
        method, "/upstream/{run}/{path:.*}", _ask if method in ("POST", "PUT") else _look, Scope.ADMIN,
        "Ask one run's engine, whatever its path" if method in ("POST", "PUT") else "Look at one run's engine", "Runs",
        body={"description": "Passed on as it is."} if method in ("POST", "PUT") else None,
    )
    for method in ("GET", "POST", "PUT", "DELETE")
)  # fmt: skip
