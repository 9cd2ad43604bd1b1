"""An MCP server elsewhere, over streamable HTTP or the older SSE: what it answers is bounded."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx2 as httpx

from vllm_studio_tui.kit import numbers
from vllm_studio_tui.tools.process_transport import MAX_BYTES, MAX_MESSAGE, Limits

#: Seconds until a connection is there, and without a byte of an answer; calls have a time limit of their own.
CONNECT = 10.0
SILENCE = 300.0


class TooMuch(httpx.TransportError):
    """An answer that is larger than any is."""


class BoundedStream(httpx.AsyncByteStream):
    """The body of an answer; past its bound it breaks."""

    def __init__(self, inner: httpx.AsyncByteStream, most: int, limits: Limits) -> None:
        self._inner, self._most, self._limits = inner, most, limits

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for piece in self._inner:
            size += len(piece)
            if size > self._most:
                self._limits.fault = f"it answered with more than {numbers.size(self._most)}"
                raise TooMuch(self._limits.fault)
            yield piece

    async def aclose(self) -> None:
        await self._inner.aclose()


class BoundedTransport(httpx.AsyncHTTPTransport):
    """Bounds every answer."""

    def __init__(self, limits: Limits) -> None:
        super().__init__(retries=0)
        self._limits = limits

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answer = await super().handle_async_request(request)
        if request.method == "POST" and answer.status_code >= 400:
            self._limits.status = answer.status_code
        streams = answer.headers.get("content-type", "").startswith("text/event-stream")
        assert isinstance(answer.stream, httpx.AsyncByteStream)
        answer.stream = BoundedStream(answer.stream, MAX_BYTES if streams else MAX_MESSAGE, self._limits)
        # A body that is packed would be as large as it likes once it is unpacked; it was asked not to be.
        if answer.headers.get("content-encoding", "identity").lower() not in ("identity", ""):
            await answer.aclose()
            self._limits.fault = "it packed its answer, although it was asked not to"
            raise TooMuch(self._limits.fault)
        return answer


def http_client(headers: Mapping[str, str], limits: Limits) -> httpx.AsyncClient:
    """Return the client for one server."""
    return httpx.AsyncClient(
        transport=BoundedTransport(limits),
        headers={"Accept-Encoding": "identity", **headers},
        timeout=httpx.Timeout(SILENCE, connect=CONNECT),
        follow_redirects=False,
    )


def http_transport(url: str, client: httpx.AsyncClient) -> AbstractAsyncContextManager[Any]:
    """Return the transport for streamable HTTP."""
    from mcp.client.streamable_http import streamable_http_client

    return streamable_http_client(url, http_client=client, max_sse_event_size=MAX_MESSAGE)


def sse_transport(url: str, headers: Mapping[str, str], limits: Limits) -> AbstractAsyncContextManager[Any]:
    """Return the transport for servers from before streamable HTTP."""
    from mcp.client.sse import sse_client

    def made(headers: dict[str, str] | None = None, timeout: Any = None, auth: Any = None) -> httpx.AsyncClient:
        return http_client(headers or {}, limits)

    return sse_client(url, headers=dict(headers), timeout=CONNECT, sse_read_timeout=SILENCE, httpx_client_factory=made)


class Counted(AbstractAsyncContextManager[Any]):
    """A transport whose messages are counted: past the limits it is at its end."""

    def __init__(self, inner: AbstractAsyncContextManager[Any], limits: Limits) -> None:
        self._inner, self._limits = inner, limits

    async def __aenter__(self) -> Any:
        read, write, *_ = await self._inner.__aenter__()
        return _Read(read, self._limits), _Write(write, self._limits)

    async def __aexit__(self, *error: Any) -> bool | None:
        return await self._inner.__aexit__(*error)


class _Delegate:
    def __init__(self, inner: Any, limits: Limits) -> None:
        self._inner, self._limits = inner, limits

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def __aenter__(self) -> Any:
        await self._inner.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> Any:
        return await self._inner.__aexit__(*error)


class _Read(_Delegate):
    async def receive(self) -> Any:
        import anyio

        found = await self._inner.receive()
        if not self._limits.came(getattr(found, "message", None), 0):
            raise anyio.EndOfStream
        return found

    def __aiter__(self) -> _Read:
        return self

    async def __anext__(self) -> Any:
        import anyio

        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None


class _Write(_Delegate):
    async def send(self, item: Any) -> None:
        from mcp_types import JSONRPCRequest

        if isinstance(item.message, JSONRPCRequest):
            self._limits.asked()
        await self._inner.send(item)
