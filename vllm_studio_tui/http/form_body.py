"""Forms that are passed on: read no further than to their model, and looked through to their end as they pass."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable

from aiohttp import web

from vllm_studio_tui.domain.serving import Refusal
from vllm_studio_tui.http.request_body import MAX_MODEL, next_piece, no_name, too_large
from vllm_studio_tui.kit.multipart import FormScanner, LongValue, Value, boundary_of

FIELD = "model"
#: Bytes up to which pieces that are kept are put together.
ENOUGH = 65536
_ADVICE = "Let the client write the form, as the SDKs and curl -F do; see RFC 7578."


class Form:
    """A form on its way to an engine: to be iterated once, for its bytes with the name that the engine has.

    Attributes:
        model: What its field `model` says; None: it has none, or an empty one.
        size: Bytes of it that have come.
        broken: What ended it on its way, if it was not the engine.
        on_broken: Is called then: an engine that has begun to answer would be waited for, and it waits for the form.
    """

    def __init__(self, request: web.Request, limit: int) -> None:
        """Begin with nothing of it.

        Raises:
            Refusal: It is too large, or does not say what its boundary is.
        """
        if request.content_length is not None and request.content_length > limit:
            raise too_large(limit)
        try:
            boundary = boundary_of(request.headers.get("Content-Type", ""))
        except ValueError as error:
            raise _unreadable(error) from None
        self.model: str | None = None
        self.size = 0
        self.broken: Exception | None = None
        self.on_broken: Callable[[], None] | None = None
        self._request = request
        self._limit = limit
        self._scanner = FormScanner(boundary, FIELD, MAX_MODEL)
        #: What was read to find the model.
        self._head: deque[bytearray | Value] = deque()
        self._found = False
        self._named: str | None = None

    async def read_head(self) -> None:
        """Read up to the end of the field `model`; all of it where it has none.

        Raises:
            Refusal: It is too large or no form, or its sender stopped.
        """
        while not self._found and (came := await self._read()) is not None:
            for part in came:
                last = self._head[-1] if self._head else None
                if isinstance(part, bytes) and isinstance(last, bytearray) and len(last) < ENOUGH:
                    last += part  # what comes in small pieces takes no more room than it is long
                else:
                    self._head.append(part if isinstance(part, Value) else bytearray(part))

    def naming(self, model: str | None) -> Form:
        """Return it with another name in the place of the model's; None: as the client wrote it."""
        self._named = model
        return self

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while self._head:
            if part := self._written(self._head.popleft()):
                yield part
        while True:
            try:
                came = await self._read()
            except Exception as error:
                self.broken = error  # aiohttp tells it as a fault of the connection to the engine
                if self.on_broken is not None:
                    self.on_broken()
                raise
            if came is None:
                return
            if came:
                yield b"".join(map(self._written, came))

    def _written(self, part: bytes | bytearray | Value) -> bytes:
        if not isinstance(part, Value):
            return bytes(part)
        return part.raw if self._named is None or self.model is None else self._named.encode()

    async def _read(self) -> list[bytes | Value] | None:
        """Return what passed of the next piece; None: that was all."""
        try:
            if self._request.content.at_eof():
                self._scanner.close()
                return None
            piece = await next_piece(self._request)
            self.size += len(piece)
            if self.size > self._limit:
                raise too_large(self._limit)
            came = self._scanner.feed(piece)
        except LongValue:
            raise no_name() from None
        except ValueError as error:
            raise _unreadable(error) from None
        for part in came:
            if isinstance(part, Value):
                self._take(part.raw)
        return came

    def _take(self, raw: bytes) -> None:
        """Look at a field `model`: whatever is asked, and whoever may ask, is decided by the first."""
        try:
            name = raw.decode().strip()
        except UnicodeDecodeError:
            raise no_name() from None
        if name and not name.isprintable():
            raise no_name()
        model = name or None
        if self._found and model != self.model:
            raise Refusal(
                400,
                "invalid_model",
                "the form names two models",
                cause=f"Its field `model` says {self.model or 'nothing'}, and another one {model or 'nothing'}",
                advice="Send one field `model`.",
                param="model",
            )
        self.model, self._found = model, True


def _unreadable(error: ValueError) -> Refusal:
    return Refusal(400, "invalid_body", f"the form {error}", advice=_ADVICE)
