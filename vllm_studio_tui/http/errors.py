"""Errors in the shape that a client of a path expects: OpenAI's, Anthropic's, or the studio's own."""

from __future__ import annotations

import math
from typing import Any

from aiohttp import web

from vllm_studio_tui.domain.errors import (
    EngineRefused,
    EngineUnreachable,
    InvalidRecipe,
    LaunchRefused,
    NotFound,
    StoreError,
    StudioError,
    UsageError,
)
from vllm_studio_tui.domain.serving import Refusal
from vllm_studio_tui.kit.json_body import json_bytes

_OPENAI = {
    401: "authentication_error",
    403: "permission_error",
    408: "timeout_error",
    429: "rate_limit_error",
    499: "request_cancelled",
}
_ANTHROPIC = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}


#: Where trying again by itself changes nothing: until a person does something, or because one did.
_FINAL = frozenset(
    {"cancelled", "model_ambiguous", "model_blocked", "model_failed", "model_not_loaded", "model_stopped"}
)


def as_refusal(error: StudioError) -> Refusal:
    """Return any error of ours as HTTP says it."""
    if isinstance(error, Refusal):
        return error
    status, code = 500, "failed"
    if isinstance(error, NotFound):
        status, code = 404, "not_found"
    elif isinstance(error, InvalidRecipe):
        status, code = 422, "invalid_recipe"
    elif isinstance(error, UsageError):
        status, code = 400, "invalid_request"
    elif isinstance(error, LaunchRefused):
        status, code = 409, "launch_refused"
    elif isinstance(error, EngineRefused | EngineUnreachable):
        status, code = 502, "engine_refused"
    elif isinstance(error, StoreError):
        status, code = 503, "database_unavailable"
    return Refusal(status, code, error.title, cause=error.cause, advice=error.advice)


def family(path: str) -> str:
    """Return whose shape the errors of a path have: `anthropic`, `openai` or `studio`."""
    if path.startswith("/v1/messages"):
        return "anthropic"
    return "openai" if path.startswith("/v1/") or path in ("/tokenize", "/detokenize") else "studio"


def error_document(shape: str, error: Refusal, request_id: str | None = None) -> dict[str, Any]:
    """Return an error as a JSON document."""
    message = _sentences(error.title, error.cause, error.advice)
    if shape == "anthropic":
        kind = _ANTHROPIC.get(error.status, "invalid_request_error" if error.status < 500 else "api_error")
        return {"type": "error", "error": {"type": kind, "message": message}, "request_id": request_id}
    if shape == "openai":
        kind = _OPENAI.get(error.status, "invalid_request_error" if error.status < 500 else "server_error")
        return {"error": {"message": message, "type": kind, "param": error.param, "code": error.code}}
    detail = _sentences(error.cause, error.advice)
    return {"error": error.title, "detail": detail, "code": error.code}


def error_event(shape: str, error: Refusal, request_id: str | None = None) -> bytes:
    """Return an error as an event of a stream that has begun."""
    document = json_bytes(error_document(shape, error, request_id))
    return b"event: error\ndata: %b\n\n" % document if shape == "anthropic" else b"data: %b\n\n" % document


def error_response(path: str, error: Refusal, request_id: str | None = None) -> web.Response:
    """Return an error as an answer."""
    headers = {}
    if error.retry_after is not None:
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    if error.code in _FINAL:
        headers["x-should-retry"] = "false"  # the SDKs of OpenAI and Anthropic keep to it
    if error.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="vllm-studio"'
    if request_id is not None:
        headers["x-vllm-studio-request"] = request_id
    body = json_bytes(error_document(family(path), error, request_id))
    return web.Response(status=error.status, body=body, content_type="application/json", headers=headers)


def in_short(error: Refusal) -> str:
    """Return an error as the row of its request keeps it: without the advice."""
    return _sentences(error.title, error.cause) if error.cause else error.title


def _sentences(*parts: str) -> str:
    """Return parts as one line in which each ends as a sentence does."""
    whole = [part if part.endswith((".", "!", "?", ":")) else f"{part}." for part in parts if part]
    return " ".join(whole).replace("\n", " ")
