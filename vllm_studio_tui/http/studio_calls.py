"""The protocols of a studio over HTTP, for the faces of other machines: one route for every method of theirs.

All of it needs the scope `admin`: recipes and runs have environments and paths in them, and a launch may run anything.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aiohttp import web

from vllm_studio_tui import __version__
from vllm_studio_tui.domain.api_key import Scope
from vllm_studio_tui.domain.chat import Target
from vllm_studio_tui.domain.errors import NotFound, StudioError, UsageError
from vllm_studio_tui.domain.serving import Refusal
from vllm_studio_tui.http.errors import as_refusal
from vllm_studio_tui.http.request_body import read_body
from vllm_studio_tui.http.route import Call, Route
from vllm_studio_tui.http.studio_streams import stop_stream, stream_events, stream_lines, stream_samples
from vllm_studio_tui.remote.any_value import BadShape
from vllm_studio_tui.remote.contract import VERSION_HEADER, CallShape, Kind, calls
from vllm_studio_tui.remote.errors import error_document
from vllm_studio_tui.runs import logs, read
from vllm_studio_tui.runs.read import RunView

if TYPE_CHECKING:
    from vllm_studio_tui.studio import Studio


async def _call(call: Call) -> web.StreamResponse:
    raw = await read_body(call.request, call.context.settings.max_body)
    _same_version(call)
    name = f"{call.request.match_info['service']}.{call.request.match_info['method']}"
    shape = calls().get(name)
    if shape is None:
        raise NotFound(f"a studio has no {name[:80]}")
    studio = call.context.studio
    if shape.kind is Kind.EVENTS:
        given = await call.context.call(_arguments, studio, shape, raw)
        return await stream_events(call, shape, _method(studio, shape)(**given))
    if shape.kind is Kind.LINES:
        given = await call.context.call(_arguments, studio, shape, raw)
        return await stream_lines(call, shape, _lines(studio, shape, given))
    status, body = await call.context.call(_answer, studio, shape, raw)
    return web.Response(status=status, body=body, content_type="application/json")


async def _version(call: Call) -> web.StreamResponse:
    return web.json_response({"version": __version__})


async def _samples(call: Call) -> web.StreamResponse:
    _same_version(call)
    return await stream_samples(call)


async def _stop(call: Call) -> web.StreamResponse:
    await read_body(call.request, call.context.settings.max_body)
    return web.json_response({"stopped": await stop_stream(call, call.request.match_info["id"])})


def _same_version(call: Call) -> None:
    theirs = call.request.headers.get(VERSION_HEADER, "")
    if theirs != __version__:
        words = f"this studio has version {__version__}, the asking one {theirs[:20] or 'none'}"
        raise Refusal(409, "other_version", words, advice="Install the same version of vllm-studio-tui on both.")


# --- in a thread ----------------------------------------------------------------------------------------


def _answer(studio: Studio, shape: CallShape, raw: bytes) -> tuple[int, bytes]:
    """Call a method; return what it returns, or the error that it raises. Blocking."""
    try:
        given = _arguments(studio, shape, raw)
        value = _method(studio, shape) if shape.kind is Kind.PROPERTY else _method(studio, shape)(**given)
        document: Any = {"value": shape.result.encode(value)}
        status = 200
    except (StudioError, OSError) as error:
        document = {"error": error_document(error)}
        status = as_refusal(error).status if isinstance(error, StudioError) else 500
    return status, json.dumps(document).encode()


def _arguments(studio: Studio, shape: CallShape, raw: bytes) -> dict[str, Any]:
    """Return the arguments of a call, as they are on this machine. Blocking."""
    try:
        data = json.loads(raw or b"{}")
        if not isinstance(data, dict) or not data.keys() <= shape.arguments.keys():
            raise BadShape(f"its arguments are {', '.join(shape.arguments) or 'none'}")
        given = {name: shape.arguments[name].decode(one) for name, one in data.items()}
        if shape.kind is not Kind.PROPERTY:
            shape.signature.bind(studio, **given)
    except (ValueError, TypeError, RecursionError) as error:
        raise UsageError(f"{shape.name} cannot be called like this", cause=str(error)[:300]) from None
    return {name: _here(studio, value) for name, value in given.items()}


def _here(studio: Studio, value: Any) -> Any:
    """Return a value as this machine knows it: of a run only its id is believed, of a server not whose key it gets.

    Raises:
        NotFound: There is no such run.
    """
    if isinstance(value, RunView):
        return next((one for one in read.all_runs(studio.places) if one.run_id == value.run_id), None) or _gone(value)
    if isinstance(value, Target):
        return _with_key(studio, value)
    return value


def _gone(run: RunView) -> RunView:
    raise NotFound(f"no run called {run.run_id[:80]}", advice="See `vllm-studio logs --list`.")


def _with_key(studio: Studio, target: Target) -> Target:
    """Return a server with the key that is known here: keys do not travel."""
    try:
        if target.run_id is not None or target.recipe_id is not None:
            known = studio.launcher.target(recipe=target.run_id or target.recipe_id)
        else:
            known = studio.launcher.target(base_url=target.base_url, model=target.model or None)
    except StudioError:
        return target  # it says itself what is wrong when it is asked
    if known.base_url != target.base_url:
        return target
    return replace(target, api_key=known.api_key, user=known.user)


def _method(studio: Studio, shape: CallShape) -> Any:
    owner: Any = studio
    for name in shape.service.split(".") if shape.service else ():
        owner = getattr(owner, name)
    return getattr(owner, shape.method)


def _lines(studio: Studio, shape: CallShape, given: Mapping[str, Any]) -> Callable[[Callable[[], bool]], Any]:
    """Return what begins an iterator, told how to find out that nobody listens any more."""
    if shape.name == "runs.follow_log":
        # It waits for a line for as long as the run lives: here it must be able to end before.
        run: RunView = given["run"]
        return lambda left: logs.follow_masked(run, until=lambda: left() or not read.view(run.folder).live)
    return lambda _: _method(studio, shape)(**given)


ROUTES = (
    Route("GET", "/studio", _version, Scope.ADMIN, "The version of this studio, for faces elsewhere", "Remote faces"),
    Route("GET", "/studio/samples", _samples, Scope.ADMIN, "Samples of everything, a line each", "Remote faces"),
    Route("POST", "/studio/streams/{id}/stop", _stop, Scope.ADMIN, "End a stream, and wait for it", "Remote faces"),
    Route(
        "POST",
        "/studio/{service}/{method}",
        _call,
        Scope.ADMIN,
        "A method of the studio, called by a face elsewhere",
        "Remote faces",
        body={"type": "object", "description": "Its arguments by name"},
    ),
)
