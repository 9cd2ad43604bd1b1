"""What the routes of the studio's own API share: parameters of requests, and answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aiohttp import web

from vllm_studio_tui.domain.serving import Refusal
from vllm_studio_tui.http.request_body import read_document
from vllm_studio_tui.kit.json_body import json_bytes

if TYPE_CHECKING:
    from vllm_studio_tui.http.route import Call

#: Bytes that a document may have which is no import.
MAX_DOCUMENT = 8 * 1024 * 1024
_FLAGS = {"1": True, "true": True, "yes": True, "": True, "0": False, "false": False, "no": False}


def document(data: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return plain data as a JSON answer."""
    return web.Response(body=json_bytes(data), status=status, content_type="application/json", headers=headers)


async def body_of(call: Call) -> dict[str, Any]:
    """Return the JSON object that was sent; empty without a body.

    Raises:
        Refusal: It is none, or too large.
    """
    return dict(await read_document(call.request, min(MAX_DOCUMENT, call.context.settings.max_body)))


def whole_number(call: Call, name: str, default: int, low: int, high: int) -> int:
    """Return a query parameter that is a whole number.

    Raises:
        Refusal: It is none, or outside of the bounds.
    """
    text = call.request.query.get(name)
    if text is None:
        return default
    try:
        value = int(text) if len(text) <= 20 else high + 1
    except ValueError:
        value = low - 1
    if not low <= value <= high:
        raise Refusal(400, "invalid_query", f"`{name}` is not a whole number from {low} to {high}", param=name)
    return value


def seconds(call: Call, name: str, default: float, high: float) -> float:
    """Return a query parameter that is a time in seconds.

    Raises:
        Refusal: It is none, or outside of the bounds.
    """
    text = call.request.query.get(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= high:
        raise Refusal(400, "invalid_query", f"`{name}` is not a number of seconds up to {high:g}", param=name)
    return value


def flag(call: Call, name: str, *, default: bool = False) -> bool:
    """Return a query parameter that is `true` or `false`.

    Raises:
        Refusal: It is neither.
    """
    text = call.request.query.get(name)
    if text is None:
        return default
    found = _FLAGS.get(text.lower())
    if found is None:
        raise Refusal(400, "invalid_query", f"`{name}` is neither true nor false", param=name)
    return found


def text_field(data: Mapping[str, Any], name: str, *, most: int = 100_000, needed: bool = False) -> str | None:
    """Return a field of a body that is text.

    Raises:
        Refusal: It is no text, too long, or needed and missing.
    """
    value = data.get(name)
    if value is None and not needed:
        return None
    if not isinstance(value, str) or len(value) > most:
        words = f"`{name}` is missing" if value is None else f"`{name}` is not a text of up to {most} characters"
        raise Refusal(400, "invalid_field", words, param=name)
    return value
