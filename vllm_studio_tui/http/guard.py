"""Who may ask what: hosts, origins, keys and scopes. Every route goes through here."""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Awaitable, Callable
from functools import lru_cache
from ipaddress import ip_address
from typing import TYPE_CHECKING

from aiohttp import web

from vllm_studio_tui.domain.api_key import ANONYMOUS, GUEST, LOCAL, OWNER, ApiKey, Scope
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.serving import Phase, Refusal
from vllm_studio_tui.http.errors import as_refusal, error_response, in_short
from vllm_studio_tui.http.live import LiveRequest, client_of
from vllm_studio_tui.http.route import Call, Route

if TYPE_CHECKING:
    from vllm_studio_tui.http.context import ServeContext

log = logging.getLogger(__name__)
CONTEXT: web.AppKey[ServeContext] = web.AppKey("context")
_DRAINING = Refusal(503, "shutting_down", "the server is being stopped", retry_after=5)
#: As the HTTP library writes the route of whatever has none.
ANYTHING = "/{path}"
_METHODS = "GET, POST, PUT, DELETE, OPTIONS"
_HEADERS = "authorization, content-type, x-api-key, anthropic-version, anthropic-beta, last-event-id, if-match, prefer"


def guarded(context: ServeContext, route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Return the handler of a route for the server: it asks who sends, and answers every error."""

    async def handle(request: web.Request) -> web.StreamResponse:
        call_id = os.urandom(16).hex()
        started = context.loop.time()
        key, entered = ANONYMOUS, False
        try:
            _check_origin(context, request)
            key = _who(context, request, route)
            _check_scope(key, route)
            entered = True
            if context.draining and route.scope is not None:
                refused = error_response(route.path, _DRAINING, call_id)
                refused.force_close()
                return refused
            return await route.handler(Call(context, request, route, key, call_id, started))
        except StudioError as error:
            refusal = as_refusal(error)
            if not entered and route.scope is Scope.INFERENCE:
                context.turned_away(_turned_away(request, route, key, refusal, call_id, started))
            return error_response(route.path, refusal, call_id)
        except web.HTTPException as error:
            return error_response(route.path, http_refusal(error.status, error.reason or ""), call_id)
        except ConnectionError:
            raise  # the client is gone
        except Exception as error:  # noqa: BLE001 - it is a fault of ours, and no reason to end the server
            # Where it failed, not its words: those may repeat what was sent.
            where = "".join(traceback.format_tb(error.__traceback__))
            log.error("%s %s failed: %s\n%s", route.method, route.path, type(error).__name__, where)
            words = "the studio itself failed"
            cause = f"{type(error).__name__}; see the log of `vllm-studio serve`."
            return error_response(route.path, Refusal(500, "internal_error", words, cause=cause), call_id)

    return handle


async def unknown(request: web.Request) -> web.StreamResponse:
    """Answer what has no route: preflights of browsers, unknown paths and methods."""
    context = request.app[CONTEXT]
    origin = request.headers.get("Origin")
    if request.method == "OPTIONS" and origin is not None and origin_allowed(context, origin):
        allowed = {"Access-Control-Allow-Methods": _METHODS, "Access-Control-Allow-Headers": _HEADERS}
        return web.Response(status=204, headers={**allowed, "Access-Control-Max-Age": "600"})
    return error_response(request.path, http_refusal(405 if _has_path(request) else 404))


def _has_path(request: web.Request) -> bool:
    for resource in request.app.router.resources():
        info = resource.get_info()
        pattern = info.get("pattern")
        if request.path == info.get("path") or (
            pattern is not None and info["formatter"] != ANYTHING and pattern.fullmatch(request.path)
        ):
            return True
    return False


def http_refusal(status: int, reason: str = "") -> Refusal:
    """Return an error of HTTP itself in our words."""
    words = {404: "there is no such path", 405: "this path does not have that method", 413: "the request is too large"}
    codes = {404: "not_found", 405: "method_not_allowed", 413: "request_too_large"}
    advice = "See /docs for what there is." if status == 404 else ""
    title = words.get(status, (reason or "bad request").lower())
    return Refusal(status, codes.get(status, "bad_request"), title, advice=advice)


def origin_allowed(context: ServeContext, origin: str) -> bool:
    """Return whether pages of a site may speak to this server."""
    allowed = context.settings.cors_origins
    return "*" in allowed or origin in allowed


def _check_origin(context: ServeContext, request: web.Request) -> None:
    """Refuse pages of other sites, which a browser lets send requests to this machine.

    Raises:
        Refusal: The page is not one of `cors_origins`, or a name that is not this machine's leads here.
    """
    origin = request.headers.get("Origin")
    if origin is not None and not origin_allowed(context, origin):
        raise Refusal(
            403,
            "origin_not_allowed",
            "pages of this site may not use this server",
            advice="Put the site into `cors_origins` of the settings.",
        )
    if context.open_locally and not _over_socket(request) and not _names_this_machine(request.host):
        # Without a key, a name that an attacker lets point to 127.0.0.1 would be enough (DNS rebinding).
        raise Refusal(
            403,
            "host_not_allowed",
            "this server is asked by the name of another machine",
            advice="Use 127.0.0.1 or localhost, or make a key: vllm-studio keys add NAME.",
        )


@lru_cache(maxsize=64)
def _names_this_machine(host: str) -> bool:
    name = host.rsplit(":", 1)[0] if not host.endswith("]") and host.count(":") != 0 else host
    name = name.strip("[]").lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def _over_socket(request: web.Request) -> bool:
    """Return whether it came over a unix socket: only this machine's owner of the file can open that."""
    transport = request.transport
    name = transport.get_extra_info("sockname") if transport is not None else None
    return isinstance(name, str | bytes)


def _who(context: ServeContext, request: web.Request, route: Route) -> ApiKey:
    """Return who asks.

    Raises:
        Refusal: No key where one is needed, or a wrong one.
    """
    if _over_socket(request):
        return OWNER
    if context.open_locally:
        return LOCAL  # there is no key; clients that insist on one send any
    secret = _secret(request)
    if secret is None:
        if context.open_to_all and route.scope is Scope.INFERENCE:
            return GUEST
        if route.scope is None or (route.scope is Scope.METRICS and context.settings.public_metrics):
            return ANONYMOUS
        raise Refusal(401, "missing_api_key", "a key is needed", advice="Send it as `Authorization: Bearer KEY`.")
    key = OWNER if context.is_owner(secret) else context.keys.check(secret)
    # Before its address is looked at: behind a reverse proxy all have one, and somebody's wrong key must not lock the
    # others out. A key of ours has 256 random bits, which nobody guesses however often he may try; one that a person
    # made up may be so short that only the wait keeps others from it.
    if key is not None and not (key is OWNER and context.owner_guessable):
        return key
    if key is None and context.open_to_all and route.scope is Scope.INFERENCE:
        return GUEST
    address = request.remote or ""
    blocked = context.keys.blocked(address)
    if blocked is not None:
        raise Refusal(429, "too_many_bad_keys", "too many wrong keys came from this address", retry_after=blocked)
    if key is None:
        context.keys.bad_try(address)
        raise Refusal(401, "invalid_api_key", "this key is not known", advice="Make one: vllm-studio keys add NAME.")
    return key


def _check_scope(key: ApiKey, route: Route) -> None:
    """Refuse a key that may not do this; who has none was let in by `_who` as what anybody may do.

    Raises:
        Refusal: Its scopes are others.
    """
    if route.scope is not None and key is not ANONYMOUS and not key.allows(route.scope):
        title = f"the key {key.name} may not do this"
        raise Refusal(403, "scope_missing", title, cause=f"It needs the scope {route.scope}.")


def _turned_away(
    request: web.Request, route: Route, key: ApiKey, refusal: Refusal, call_id: str, started: float
) -> LiveRequest:
    """Return a request for a model that was refused at the door, for the log: by whom, from where, and why."""
    address, agent = request.remote or "unix socket", client_of(request)
    client = address if agent == address else f"{address} {agent}"
    made = LiveRequest(call_id, route.path, key.id, key.name, client, started, phase=Phase.REFUSED)
    made.status, made.error = refusal.status, in_short(refusal)
    return made


def _secret(request: web.Request) -> str | None:
    header = request.headers.get("Authorization")
    if header is not None:
        kind, _, rest = header.partition(" ")
        if kind.lower() == "bearer" and rest.strip():
            return rest.strip()
    return request.headers.get("x-api-key") or None
