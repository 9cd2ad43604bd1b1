"""One run's engine, asked directly: any of its paths, as it is. Nothing is launched, and nothing is counted here."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import web

from vllm_studio_tui.domain.api_key import Scope
from vllm_studio_tui.domain.errors import NotFound
from vllm_studio_tui.domain.run import ANSWERING
from vllm_studio_tui.domain.serving import Endpoint, Refusal
from vllm_studio_tui.http.request_body import read_body
from vllm_studio_tui.http.route import Call, Route
from vllm_studio_tui.http.upstream import answer_headers
from vllm_studio_tui.kit import secrets
from vllm_studio_tui.runs.find import pick_run

if TYPE_CHECKING:
    from vllm_studio_tui.runs.read import RunView


async def _ask(call: Call) -> web.StreamResponse:
    context, request = call.context, call.request
    endpoint = _endpoint(pick_run(await context.read(context.studio.runs.live), request.match_info["run"]))
    # As the client wrote it, with its escapes and its query.
    below = request.rel_url.raw_path.split("/", 3)[3]
    if any(part in ("..", ".") for part in below.lower().replace("%2e", ".").split("/")):
        raise Refusal(400, "bad_path", "this is no path of an engine")
    query = f"?{request.rel_url.raw_query_string}" if request.rel_url.raw_query_string else ""
    # Whole, because not every engine reads a body whose length it is not told.
    body = await read_body(request, context.settings.max_body) if request.can_read_body else None
    try:
        answer = await context.upstream.send(endpoint, request.method, f"//{below}{query}", request.headers, body)
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
    return Endpoint(run.spec.base_url, api_key=key, run_id=run.run_id, recipe_id=run.recipe_id)


ROUTES = tuple(
    Route(
        method, "/upstream/{run}/{path:.*}", _ask, Scope.ADMIN, "Ask one run's engine, whatever its path", "Runs",
        body={"description": "Passed on as it is."} if method in ("POST", "PUT") else None,
    )
    for method in ("GET", "POST", "PUT", "DELETE")
)  # fmt: skip
