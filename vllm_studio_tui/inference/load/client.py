"""HTTP/1.1 for many streams in one event loop: raw sockets, connections that are kept, nothing parsed twice."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import ssl
from collections import deque
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from vllm_studio_tui.domain.chat import Target
from vllm_studio_tui.domain.errors import UsageError
from vllm_studio_tui.inference.connection import ChunkedDecoder
from vllm_studio_tui.inference.load.reading import AnswerReader, Outcome, error_words
from vllm_studio_tui.inference.request import authorization
from vllm_studio_tui.inference.sse import EventSplitter
from vllm_studio_tui.kit.sanitize import clean_line

#: Bytes of a head, and of an answer that is no stream.
MAX_HEAD, MAX_DOCUMENT = 64 * 1024, 4 * 1024 * 1024
#: Seconds that a connection may take.
CONNECT = 10.0
#: The error of a request that we ended ourselves.
CANCELLED = "cancelled"
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})")


class Cut(Exception):
    """The connection ended before the answer did.

    Attributes:
        fresh: Nothing had come on it: a server may end a kept connection at any time, and another is tried.
    """

    def __init__(self, words: str, *, fresh: bool) -> None:
        super().__init__(words)
        self.fresh = fresh


class Wire(asyncio.Protocol):
    """One connection; it answers one request at a time."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._over: asyncio.Future[None] | None = None
        self._outcome: Outcome | None = None
        self.alive = False
        self.used = 0
        self._reset()

    def _reset(self) -> None:
        self._head = bytearray()
        self._in_head = True
        self._chunked: ChunkedDecoder | None = None
        self._left: int | None = None
        self._document = bytearray()
        self._splitter: EventSplitter | None = None
        self._reader: AnswerReader | None = None
        self._closes = False
        self._came = False

    # --- asyncio ----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.alive = True
        found = transport.get_extra_info("socket")
        if found is not None and found.family in (socket.AF_INET, socket.AF_INET6):
            found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def connection_lost(self, exc: Exception | None) -> None:
        self.alive = False
        if self._over is None or self._over.done():
            return
        if not self._in_head and self._chunked is None and self._left is None:
            self._finish()  # the end of the connection is the end of the answer
            return
        words = f"the connection was cut: {exc}" if exc else "the server ended the connection before the answer"
        self._over.set_exception(Cut(clean_line(words), fresh=not self._came))

    def data_received(self, data: bytes) -> None:
        now = self._loop.time()
        if self._in_head and not self._came:
            data = data.lstrip(b"\r\n")  # the last bytes of the answer before may come behind its last event
            if not data:
                return
        self._came = True
        if self._over is None or self._over.done():
            if not self._in_head and not data.strip(b"\r\n"):
                return  # as above, before the next request
            self.close()  # nobody asked for it
            return
        if self._in_head:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                if len(self._head) > MAX_HEAD:
                    self._fail("what the server sent is no HTTP answer")
                return
            data = bytes(self._head[end + 4 :])
            if not self._read_head(bytes(self._head[:end])):
                return
        if self._chunked is not None:
            data = self._chunked.feed(data)
        elif self._left is not None:
            data = data[: self._left]
            self._left -= len(data)
        if data:
            if self._splitter is not None and self._reader is not None:
                for event in self._splitter.feed(data):
                    self._reader.take(event, now)
            else:
                self._document += data
                if len(self._document) > MAX_DOCUMENT:
                    self._fail("what the server sent is too long")
                    return
        if self._chunked is not None and self._chunked.broken:
            self._fail("what the server sent is no HTTP chunk")
        elif (self._chunked is not None and self._chunked.over) or self._left == 0:
            self._finish()

    # --- one request ------------------------------------------------------------------------------------

    async def ask(self, request: bytes, outcome: Outcome) -> bytes:
        """Send a request, read its answer into the outcome, and return the document where it was no stream.

        Raises:
            Cut: The connection ended before.
        """
        assert self._transport is not None
        self._reset()
        self.used += 1
        self._outcome = outcome
        self._over = self._loop.create_future()
        if not self.alive:
            raise Cut("the server ended the connection", fresh=True)
        self._transport.write(request)
        try:
            await self._over
        except asyncio.CancelledError:
            self.close()  # the engine sees that nobody waits, and stops
            self._settle()
            raise
        except Cut:
            self._settle()
            raise
        finally:
            self._over = None
        return bytes(self._document)

    def close(self) -> None:
        """End the connection."""
        self.alive = False
        if self._transport is not None:
            self._transport.abort()

    def _settle(self) -> None:
        if self._reader is not None:
            self._reader.close(self._loop.time())

    def _read_head(self, head: bytes) -> bool:
        found = _STATUS.match(head)
        if found is None:
            self._fail("what the server sent is no HTTP answer")
            return False
        status = int(found[1])
        if 100 <= status < 200:  # a word before the answer
            self._head = self._head[len(head) + 4 :]
            return False
        headers: dict[str, str] = {}
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            headers[name.decode("latin-1").strip().lower()] = value.decode("latin-1").strip()
        assert self._outcome is not None
        self._outcome.status = status
        self._in_head = False
        self._closes = headers.get("connection", "").lower() == "close" or head.startswith(b"HTTP/1.0")
        if headers.get("transfer-encoding", "").lower() == "chunked":
            self._chunked = ChunkedDecoder()
        elif headers.get("content-length", "").isdecimal():
            self._left = int(headers["content-length"])
        if status == 200 and headers.get("content-type", "").lower().startswith("text/event-stream"):
            self._splitter, self._reader = EventSplitter(), AnswerReader(self._outcome)
        return True

    def _fail(self, words: str) -> None:
        if self._over is not None and not self._over.done():
            self._over.set_exception(Cut(words, fresh=False))
        self.close()

    def _finish(self) -> None:
        if self._splitter is not None and self._reader is not None:
            for event in self._splitter.close():
                self._reader.take(event, self._loop.time())
            self._reader.close(self._loop.time())
        if self._closes:
            self.close()
        if self._over is not None and not self._over.done():
            self._over.set_result(None)


class LoadClient:
    """Asks one server; keeps its connections.

    Args:
        target: Who is asked; its proxy variables are not looked at, a load goes straight to its engine.
    """

    def __init__(self, target: Target) -> None:
        parts = urlsplit(target.base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"{clean_line(target.base_url)} cannot be measured", cause="It is no address of a server.")
        self._host, self._path = parts.hostname, parts.path.rstrip("/")
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        name = f"[{self._host}]" if ":" in self._host else self._host
        lines = [f"Host: {name}:{self._port}", "Accept-Encoding: identity", "User-Agent: vllm-studio-bench"]
        lines += [f"{one}: {value}" for one, value in authorization(target.api_key, target.user).items()]
        if any("\r" in one or "\n" in one for one in lines):
            raise UsageError("the key has a line break", advice="Write it on one line.")
        self._head = "\r\n".join(lines).encode()
        self._idle: deque[Wire] = deque()
        self._all: set[Wire] = set()

    async def ask(self, path: str, body: Mapping[str, Any] | bytes, outcome: Outcome | None = None) -> Outcome:
        """Ask for one answer; what goes wrong is in the outcome. Cancelled, it ends the connection.

        Args:
            path: Below the base URL, such as `/chat/completions`.
            outcome: Where it is kept, as it comes; it has when it counts as sent.
        """
        loop = asyncio.get_running_loop()
        payload = body if isinstance(body, bytes) else json.dumps(dict(body)).encode()
        request = b"POST %s HTTP/1.1\r\n%s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
            f"{self._path}{path}".encode(),
            self._head,
            len(payload),
            payload,
        )
        outcome = Outcome(loop.time()) if outcome is None else outcome
        while True:
            wire: Wire | None = None
            try:
                wire = await self._wire()
                again = wire.used > 0
                document = await wire.ask(request, outcome)
            except Cut as cut:
                self._drop(wire)
                if cut.fresh and again:
                    continue
                outcome.error = str(cut)
                return outcome
            except OSError as error:
                outcome.error = f"cannot connect: {clean_line(str(error) or type(error).__name__)}"
                return outcome
            except asyncio.CancelledError:
                self._drop(wire)
                outcome.error = CANCELLED
                outcome.ended = loop.time()
                raise
            break
        if wire.alive:
            self._idle.append(wire)
        else:
            self._drop(wire)
        self._judge(outcome, document)
        return outcome

    def _drop(self, wire: Wire | None) -> None:
        if wire is not None:
            wire.close()
            self._all.discard(wire)

    def _judge(self, outcome: Outcome, document: bytes) -> None:
        if outcome.status != 200 or (document and not outcome.times):
            found: Any = None
            with contextlib.suppress(ValueError, RecursionError):
                found = json.loads(document)
            if outcome.status == 200 and isinstance(found, dict) and "error" not in found:
                _whole(outcome, found)
                return
            outcome.refused = True
            said = clean_line(document[:300].decode("utf-8", "replace"))
            words = error_words(found) if isinstance(found, dict) else said
            outcome.error = f"HTTP {outcome.status}: {words}".rstrip(": ")
        elif outcome.error is None and outcome.first is None:
            outcome.error = "the answer had no token"
        elif outcome.error is None and not outcome.whole:
            outcome.error = "the stream ended before the answer did"

    async def _wire(self) -> Wire:
        while self._idle:
            wire = self._idle.pop()
            if wire.alive:
                return wire
            self._all.discard(wire)
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(CONNECT):
            _, wire = await loop.create_connection(Wire, self._host, self._port, ssl=self._tls)
        self._all.add(wire)
        return wire

    def close(self) -> None:
        """End every connection."""
        for wire in self._all:
            wire.close()
        self._all.clear()
        self._idle.clear()


def _whole(outcome: Outcome, document: Mapping[str, Any]) -> None:
    """Read the usage of an answer that came as a whole: it has no times."""
    usage = document.get("usage")
    if isinstance(usage, Mapping):
        for name, ours in (("prompt_tokens", "prompt_tokens"), ("completion_tokens", "output_tokens")):
            value = usage.get(name)
            if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53:
                setattr(outcome, ours, value)
