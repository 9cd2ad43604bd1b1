"""Keys of programs, and the requests that they made."""

from __future__ import annotations

import time
from typing import Any

from aiohttp import web

from vllm_studio_tui.domain.api_key import Scope
from vllm_studio_tui.domain.errors import UsageError
from vllm_studio_tui.domain.requests import RequestQuery, request_document
from vllm_studio_tui.domain.serving import Refusal
from vllm_studio_tui.http.answers import body_of, document, text_field, whole_number
from vllm_studio_tui.http.route import Call, Route
from vllm_studio_tui.kit.moments import FORMS, read_moment

_LIMITS = ("requests_per_minute", "max_concurrent", "tokens_per_day")
_FIELDS = ("name", "scopes", "models", *_LIMITS, "expires_in", "may_launch", "loading")
MOST_REQUESTS = 10_000


async def _list(call: Call) -> web.StreamResponse:
    keys = call.context.studio.keys

    def found() -> list[dict[str, Any]]:
        today = keys.tokens_today()
        return [{**one.to_json(), "tokens_today": today.get(one.id, 0)} for one in keys.list()]

    return document({"keys": await call.context.read(found)})


async def _get(call: Call) -> web.StreamResponse:
    keys = call.context.studio.keys

    def found() -> dict[str, Any]:
        one = keys.find(call.request.match_info["id"])
        return {**one.to_json(), "tokens_today": keys.tokens_today().get(one.id, 0)}

    return document(await call.context.read(found))


async def _add(call: Call) -> web.StreamResponse:
    """Make a key; its secret is in this answer and in no other."""
    data = await body_of(call)
    unknown = sorted(set(data).difference(_FIELDS))
    if unknown:
        raise Refusal(400, "invalid_field", f"a key has no {unknown[0][:40]}", advice=f"It has: {', '.join(_FIELDS)}.")
    given: dict[str, Any] = {name: _limit(data, name) for name in _LIMITS}
    for name in ("scopes", "models"):
        if data.get(name) is not None:
            given[name] = _texts(data, name)
    launches = data.get("may_launch", False)
    if not isinstance(launches, bool):
        raise Refusal(400, "invalid_field", "`may_launch` is neither true nor false", param="may_launch")
    lives = data.get("expires_in")
    if lives is not None and (isinstance(lives, bool) or not isinstance(lives, int | float) or not 0 < lives < 1e10):
        raise Refusal(400, "invalid_field", "`expires_in` is no number of seconds", param="expires_in")
    name = text_field(data, "name", most=200, needed=True) or ""
    key, secret = await call.context.read(
        lambda: call.context.studio.keys.add(
            name,
            **given,
            expires_at=None if lives is None else time.time() + lives,
            may_launch=launches,
            loading=text_field(data, "loading", most=40),
        )
    )
    headers = {"Location": f"/keys/{key.id}", "Cache-Control": "no-store"}
    return document({**key.to_json(), "key": secret}, 201, headers)


async def _delete(call: Call) -> web.StreamResponse:
    key = await call.context.read(call.context.studio.keys.delete, call.request.match_info["id"])
    return document({"success": True, "id": key.id, "name": key.name})


def _limit(data: dict[str, Any], name: str) -> int | None:
    value = data.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise Refusal(400, "invalid_field", f"`{name}` is not a whole number", param=name)
    return value


def _texts(data: dict[str, Any], name: str) -> list[str]:
    value = data[name]
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value) or len(value) > 1000:
        raise Refusal(400, "invalid_field", f"`{name}` is not a list of texts", param=name)
    return value


def _moment(text: str | None) -> float | None:
    at = None if text is None else read_moment(text, time.time())
    if text is not None and at is None:
        raise UsageError(f"{text[:60]} is no moment", advice=FORMS)
    return at


async def _requests(call: Call) -> web.StreamResponse:
    limit = whole_number(call, "limit", 100, 1, MOST_REQUESTS)
    given = call.request.query
    query = RequestQuery(
        limit, given.get("key"), given.get("model"), None, given.get("run"),
        _moment(given.get("since")), _moment(given.get("until")),
    )  # fmt: skip
    if any(len(one or "") > 200 for one in (query.key, query.model, query.run_id)):
        raise UsageError("a pattern has at most 200 characters")
    ended = await call.context.read(call.context.studio.requests.ended, query)
    return document({"requests": [request_document(one) for one in ended]})


_KEY = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string"},
        "scopes": {"type": "array", "items": {"enum": sorted(Scope)}},
        "models": {"type": "array", "items": {"type": "string"}, "description": "Globs of models that it may use."},
        **{name: {"type": "integer", "minimum": 1} for name in _LIMITS},
        "expires_in": {"type": "number", "description": "Seconds from now."},
        "may_launch": {"type": "boolean"},
        "loading": {"enum": ["comment", "reasoning", "503"]},
    },
    "additionalProperties": False,
}
ROUTES = (
    Route("GET", "/keys", _list, Scope.ADMIN, "All keys, what they may do, and what they used today", "Keys"),
    Route("POST", "/keys", _add, Scope.ADMIN, "Make a key; its secret is told this once", "Keys", body=_KEY),
    Route("GET", "/keys/{id}", _get, Scope.ADMIN, "One key", "Keys"),
    Route("DELETE", "/keys/{id}", _delete, Scope.ADMIN, "Delete a key", "Keys"),
    Route(
        "GET", "/requests", _requests, Scope.READ, "Requests that have ended, the latest first", "Requests",
        query={
            "limit": "At most so many (100).", "key": "Of this key; a glob.", "model": "For this model; a glob.",
            "run": "That the run of this id answered.",
            "since": "Under way after this moment: ISO 8601, or `30m`, `2h` ago.",
            "until": "Under way before this moment.",
        },
    ),
)  # fmt: skip
