"""Read a response from its socket: all that has arrived at once, with arrival times, and few wake-ups.

Servers send one HTTP chunk for each event, and h11 hands them out one by one at 15-20 µs each. Here all that has
arrived is read at once, and a pause that saves wake-ups lies between two reads of the socket, never between chunks
that are already there.
"""

from __future__ import annotations

import contextlib
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx2

READ = 64 * 1024
#: A read smaller than this may be followed by a pause, so that a fast stream comes in fewer, larger pieces.
SMALL_READ = 8 * 1024
#: The longest pause in seconds, and the longest as a share of the time that the answer has been coming: that is all
#: by which a pause can delay its end or distort its speed.
PAUSE, SHARE = 0.016, 0.01
#: A document, or a refusal, longer than this is not read on.
MAX_DOCUMENT = 32 * 1024 * 1024

_BLANK_LINE = re.compile(rb"\n\r?\n")
_SIZE = re.compile(rb"[0-9A-Fa-f]{1,16}")
_MAX_SIZE_LINE = 4096
#: Where in the kernel's `struct tcp_info` are the milliseconds since data was received; it counts in ticks of 4 ms.
_LAST_DATA, _TICKS = 52, 0.008


class ChunkedDecoder:
    """Removes the transfer encoding `chunked` (RFC 9112, section 7.1).

    Attributes:
        over: The last chunk has come.
        broken: What follows is no chunk; what came before it was handed out.
    """

    def __init__(self) -> None:
        self.over = self.broken = False
        self._left = 0
        self._line = b""

    def feed(self, data: bytes) -> bytes:
        """Return the payload of all chunks in these bytes."""
        out: list[bytes] = []
        at, end = 0, len(data)
        while at < end and not (self.over or self.broken):
            if self._left:
                piece = data[at : at + self._left]
                out.append(piece)
                at += len(piece)
                self._left -= len(piece)
                continue
            stop = data.find(b"\n", at)
            if stop < 0:
                self._line += data[at:]
                self.broken = len(self._line) > _MAX_SIZE_LINE
                break
            line = (self._line + data[at:stop]).partition(b";")[0].strip()
            self._line, at = b"", stop + 1
            if not line:
                continue  # what ends the data of a chunk
            if _SIZE.fullmatch(line):
                self._left = int(line, 16)
                self.over = not self._left
            else:
                self.broken = True
        return b"".join(out)


class Connection:
    """Reads one response directly from the socket.

    httpcore still makes the connection (with proxies and TLS), sends the request and reads the headers: `trace` goes
    into the request's extensions. From then on `body` reads.

    Attributes:
        asked_at: When the connection was begun, in monotonic seconds.
        arrived_at: When the latest bytes came.
        timeout: Seconds that a read waits.
    """

    def __init__(self, timeout: float) -> None:
        self.asked_at: float | None = None
        self.arrived_at = time.monotonic()
        self.timeout = timeout
        self._shut = threading.Event()
        self._read: Callable[..., bytes] | None = None
        self._socket: socket.socket | None = None
        self._held = b""
        self._tail = b""
        self._in_head = True
        self._document = 0
        self._got = 0
        self._waited = 0.0

    # --- while httpcore works ---------------------------------------------------------------------------

    def trace(self, name: str, info: Mapping[str, Any]) -> None:
        """Follow httpcore's trace events while it connects and sends the request."""
        if self.asked_at is None:
            self.asked_at = time.monotonic()
        if name.endswith(("connect_tcp.complete", "start_tls.complete")):
            with contextlib.suppress(AttributeError):
                self._attach(info["return_value"])
        elif name.endswith("receive_response_headers.complete"):
            self._in_head = False

    def _attach(self, stream: Any) -> None:
        read = stream.read
        self._socket = stream.get_extra_info("socket")
        self._tail, self._in_head = b"", True

        def deliver(max_bytes: int, timeout: float | None = None) -> bytes:
            return self._deliver(max_bytes)

        stream.read, self._read = deliver, read
        if self._shut.is_set():
            self.shut()

    def _deliver(self, max_bytes: int) -> bytes:
        """Serve a read of httpcore's: the headers and no more, so that none of the body stays in its parser."""
        data, self._held = self._held, b""
        if not data:
            assert self._read is not None
            data = self._read(max_bytes, self.timeout)
            self._note_arrival()
        if self._in_head:
            found = _BLANK_LINE.search(self._tail + data)
            if found is None:
                self._tail = (self._tail + data)[-3:]
            else:
                end = found.end() - len(self._tail)
                data, self._held, self._tail = data[:end], data[end:], b""
        else:
            self._bound(data)
        return data

    def _bound(self, data: bytes) -> None:
        self._document += len(data)
        if self._document > MAX_DOCUMENT:
            raise OSError(f"the server sent more than {MAX_DOCUMENT >> 20} MB in one document")

    # --- reading ----------------------------------------------------------------------------------------

    def body(self, response: httpx2.Response) -> Iterator[bytes]:
        """Yield all that has arrived, each time something has.

        Raises:
            OSError: The connection was cut, or its framing is broken; TimeoutError: nothing came within `timeout`.
        """
        headers = response.headers
        coding = headers.get("transfer-encoding", "").strip().lower()
        encoded = headers.get("content-encoding", "identity").strip().lower() != "identity"
        if self._read is None or response.status_code != 200 or encoded or coding not in ("", "chunked"):
            yield from response.iter_bytes()
            return
        chunked = ChunkedDecoder() if coding else None
        length = headers.get("content-length", "")
        left = int(length) if length.isdecimal() and chunked is None else None
        while left is None or left > 0:
            data, self._held = self._held or self._receive(), b""
            if not data:
                return
            if chunked is not None:
                data = chunked.feed(data)
            elif left is not None:
                data = data[:left]
                left -= len(data)
            if data:
                yield data
            if chunked is not None and chunked.broken:
                raise OSError("what the server sent is no HTTP chunk")
            if chunked is not None and chunked.over:
                return

    def document(self, response: httpx2.Response) -> bytes:
        """Return the whole body of a response that is not a stream."""
        pieces: list[bytes] = []
        for piece in self.body(response):
            self._bound(piece)
            pieces.append(piece)
        return b"".join(pieces)

    def _receive(self) -> bytes:
        assert self._read is not None
        begin = time.monotonic()
        try:
            data = self._read(READ, self.timeout)
        except Exception as error:  # noqa: BLE001, RUF100
            # httpcore's own exceptions stand for one of the socket's.
            cause = error.__cause__
            raise cause if isinstance(cause, OSError) else OSError(str(error) or type(error).__name__) from None
        self._got, self._waited = len(data), time.monotonic() - begin
        self._note_arrival()
        return data

    def _note_arrival(self) -> None:
        """Ask the kernel when the latest bytes came: this thread may have paused since, or waited for its turn."""
        age = 0.0
        if self._socket is not None:
            with contextlib.suppress(OSError, AttributeError):  # not on every system
                info = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAST_DATA + 4)
                age = int.from_bytes(info[_LAST_DATA:], sys.byteorder) / 1000 - _TICKS
        self.arrived_at = max(self.arrived_at, time.monotonic() - max(0.0, age))

    def pause(self, since: float) -> None:
        """Wait for more to arrive before the next read, if the stream is fast and the last read was small.

        Args:
            since: When the answer began to come.
        """
        pause = min(PAUSE, (time.monotonic() - since) * SHARE)
        if self._got < SMALL_READ and self._waited < pause:  # else nothing more would come within it
            self._shut.wait(pause)

    def shut(self) -> None:
        """Shut the socket and end every wait, from any thread."""
        self._shut.set()
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
