"""Read bodies of requests: bounded in size and in time, and which model they name."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from vllm_studio_tui.domain.serving import Endpoint, Refusal
from vllm_studio_tui.kit.json_body import change_members, insert_first, read_object

#: Seconds without a byte after which a body is given up.
STALL = 30.0
#: Letters that a model's name may have.
MAX_MODEL = 512


@dataclass(slots=True)
class JsonBody:
    """A body that is a JSON object.

    Attributes:
        raw: As the client wrote it.
        data: As it reads. A model that is not named is None.
    """

    raw: bytes
    data: dict[str, Any]
    model: str | None
    streamed: bool

    def for_engine(self, endpoint: Endpoint, *, ask_usage: bool) -> bytes:
        """Return the body for whoever answers; what no rule changes stays as the client wrote it.

        Args:
            ask_usage: Have the engine tell the tokens of a stream.
        """
        data = self.data
        changed: dict[str, Any] = {name: value for name, value in endpoint.default_params if data.get(name) is None}
        changed.update(endpoint.set_params)
        if endpoint.model is not None and endpoint.model != self.model:
            changed["model"] = endpoint.model
        removed = [name for name in endpoint.strip_params if name in data]
        if ask_usage:
            if not changed and not removed:
                return insert_first(self.raw, "stream_options", {"include_usage": True})
            changed["stream_options"] = {"include_usage": True}
        return change_members(self.raw, changed, removed) if changed or removed else self.raw


async def read_body(request: web.Request, limit: int) -> bytes:
    """Return the whole body.

    Raises:
        Refusal: It is too large, or its sender stopped in the middle of it.
    """
    if request.content_length is not None and request.content_length > limit:
        raise too_large(limit)
    pieces: list[bytes] = []
    size = 0
    while not request.content.at_eof():
        piece = await next_piece(request)
        size += len(piece)
        if size > limit:
            raise too_large(limit)
        pieces.append(piece)
    return b"".join(pieces) if len(pieces) != 1 else pieces[0]


async def read_json(request: web.Request, limit: int) -> JsonBody:
    """Return the body as an object that may name a model.

    Raises:
        Refusal: See `read_body`; or it is no JSON object, or `model` is no name.
    """
    raw = await read_body(request, limit)
    if not raw.strip():
        raise Refusal(400, "invalid_body", "the request has no body", advice="Send a JSON object.")
    try:
        data = read_object(raw)
    except ValueError as error:
        raise Refusal(400, "invalid_body", f"the body is {error}", advice="Send a JSON object.") from None
    model = data.get("model")
    if model is not None and (not isinstance(model, str) or len(model) > MAX_MODEL):
        raise no_name()
    streamed = data.get("stream")
    if streamed is not None and not isinstance(streamed, bool):
        raise Refusal(400, "invalid_stream", "`stream` is neither true nor false", param="stream")
    return JsonBody(raw, data, model or None, bool(streamed))


async def read_document(request: web.Request, limit: int) -> Mapping[str, Any]:
    """Return a JSON object that some calls of the studio take and others do not need; empty without a body.

    Raises:
        Refusal: See `read_json`.
    """
    raw = await read_body(request, limit)
    if not raw.strip():
        return {}
    try:
        return read_object(raw)
    except ValueError as error:
        raise Refusal(400, "invalid_body", f"the body is {error}", advice="Send a JSON object.") from None


async def next_piece(request: web.Request) -> bytes:
    """Return what came of a body; nothing at its end.

    Raises:
        Refusal: It is not encoded as it should be, or its sender stopped.
    """
    try:
        # Most bodies are there with their head: a clock for nothing takes as long as reading them as JSON twice.
        if here := request.content.read_nowait():
            return here
        async with asyncio.timeout(STALL):
            return await request.content.readany()
    except web.RequestPayloadError:
        raise Refusal(400, "invalid_body", "the body is not encoded as its headers say") from None
    except TimeoutError:
        raise Refusal(408, "request_timeout", f"no byte of the body came for {STALL:g} s") from None


def too_large(limit: int) -> Refusal:
    """Return the refusal of a body of more bytes than this."""
    mib = limit / 1024**2
    advice = "The setting max_body allows more."
    return Refusal(413, "request_too_large", f"the body is larger than {mib:g} MiB", advice=advice)


def no_name() -> Refusal:
    """Return the refusal of a model that is something else than a name."""
    advice = f"A name is text of at most {MAX_MODEL} letters. See /v1/models."
    return Refusal(400, "invalid_model", "`model` is not a name", advice=advice, param="model")
