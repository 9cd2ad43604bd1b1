"""Requests to engines."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from vllm_studio_tui.domain.serving import Endpoint

#: Seconds that a connection to an engine may take; an answer may take any time.
CONNECT = 10.0
#: Seconds that a connection is kept for the next request: less than any engine keeps it (uvicorn: 5), so that no
#: request is sent into a connection that is just being closed.
KEEP = 2.0
#: An engine that failed at one request closes that connection a moment later (Starlette does). Until those that are
#: kept have run out, each request to it has a connection of its own.
FAILED = 500
#: Headers that a connection is about, that were for us alone, or that say who asked.
_DROPPED = frozenset(
    {
        "connection", "keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization", "te", "trailer",
        "transfer-encoding", "upgrade", "host", "content-length", "expect", "accept-encoding", "content-encoding",
        "authorization", "x-api-key", "api-key", "cookie", "forwarded", "x-real-ip", "origin", "referer", "via",
    }
)  # fmt: skip
_DROPPED_ANSWER = frozenset(
    {
        "connection", "keep-alive", "proxy-connection", "proxy-authenticate", "trailer", "transfer-encoding", "upgrade",
        "set-cookie", "server", "date", "content-length", "alt-svc", "strict-transport-security",
    }
)  # fmt: skip
_DROPPED_PREFIXES = ("x-forwarded-", "x-vllm-studio-", "sec-", "access-control-")


class Upstream:
    """One pool of connections to all engines."""

    def __init__(self) -> None:
        self._session = _session(aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP))
        self._unkept: aiohttp.ClientSession | None = None
        #: When an engine failed at a request, by its address.
        self._failed: dict[str, float] = {}

    def send(
        self,
        endpoint: Endpoint,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: Any,
        *,
        streamed: bool = False,
    ) -> aiohttp.client._RequestContextManager:
        """Return the request, to be awaited; whoever gets the answer closes it.

        Args:
            path: Below `/v1`, or beginning with `//` for one beside it.
            streamed: A stream is asked for.
        """
        return self._session_for(endpoint, streamed).request(
            method,
            url_of(endpoint.base_url, path),
            data=body,
            headers=sent_headers(headers, endpoint),
            timeout=_timeout(endpoint.stall_timeout),
            allow_redirects=False,
        )

    def note(self, endpoint: Endpoint, status: int) -> None:
        """Take the status of an engine's answer."""
        if status >= FAILED:
            self._failed[endpoint.base_url] = time.monotonic()

    def _session_for(self, endpoint: Endpoint, streamed: bool) -> aiohttp.ClientSession:
        # Connections that are closed without a word are those of streams: others are kept, a new one takes 0.7 ms.
        if endpoint.keeps_connections or not streamed:
            failed = self._failed.get(endpoint.base_url) if self._failed else None
            if failed is None:
                return self._session
            if time.monotonic() - failed > KEEP:
                del self._failed[endpoint.base_url]
                return self._session
        if self._unkept is None:
            self._unkept = _session(aiohttp.TCPConnector(limit=0, force_close=True))
        return self._unkept

    async def well(self, url: str) -> bool:
        """Return whether a service beside us answers an address with success.

        Raises:
            aiohttp.ClientError: It does not answer.
        """
        async with self._session.get(url, allow_redirects=False) as answer:
            return answer.status < 400

    async def close(self) -> None:
        await self._session.close()
        if self._unkept is not None:
            await self._unkept.close()


def _session(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT),
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        # A body of a real answer may have long headers, never this many.
        read_bufsize=2**18,
    )


@lru_cache(maxsize=512)
def _timeout(stall: float | None) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, sock_connect=CONNECT, sock_read=stall)


@lru_cache(maxsize=512)
def url_of(base_url: str, path: str) -> URL:
    """Return the address of a path of an engine."""
    base = base_url.rstrip("/")
    if path.startswith("//"):
        return URL(base.removesuffix("/v1") + path[1:], encoded=True)
    return URL(base + path, encoded=True)


def sent_headers(headers: Mapping[str, str], endpoint: Endpoint) -> CIMultiDict[str]:
    """Return the headers of a client that an engine gets, with the engine's own key in place of the client's."""
    sent: CIMultiDict[str] = CIMultiDict()
    for name, value in headers.items():
        lower = name.lower()
        if lower not in _DROPPED and not lower.startswith(_DROPPED_PREFIXES):
            sent.add(name, value)
    sent["Accept-Encoding"] = "identity"
    if endpoint.user is not None:
        sent["Authorization"] = aiohttp.BasicAuth(endpoint.user, endpoint.api_key or "").encode()
    elif endpoint.api_key is not None:
        sent["Authorization"] = f"Bearer {endpoint.api_key}"
    return sent


def answer_headers(headers: Mapping[str, str]) -> CIMultiDict[str]:
    """Return the headers of an engine's answer that a client gets."""
    passed: CIMultiDict[str] = CIMultiDict()
    for name, value in headers.items():
        lower = name.lower()
        if lower not in _DROPPED_ANSWER and not lower.startswith(_DROPPED_PREFIXES):
            passed.add(name, value)
    return passed
