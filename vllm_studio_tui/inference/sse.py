"""Split bytes that come in any pieces into server-sent events."""

from __future__ import annotations

from collections.abc import Iterator

#: An event longer than this is dropped as hostile.
MAX_EVENT = 32 * 1024 * 1024


class EventSplitter:
    """Collects bytes and yields the data of whole events (WHATWG HTML, "Server-sent events").

    Comments and other fields are passed over. Bytes are decoded event by event, so that a character that is split
    over two pieces stays whole; what is not UTF-8 becomes U+FFFD. Each byte is looked at once, however it was cut.

    Attributes:
        dropped: How many events were too long to be read.
    """

    def __init__(self) -> None:
        self._rest = bytearray()
        self._data: list[bytes] = []
        self._size = 0
        self._dropping = False
        self._after_return = False
        self.dropped = 0

    def feed(self, piece: bytes) -> Iterator[str]:
        """Yield the data of every event that this piece completes."""
        if self._after_return and piece:
            piece = piece.removeprefix(b"\n")  # the second half of \r\n
            self._after_return = False
        if b"\r" in piece:
            self._after_return = piece.endswith(b"\r")
            piece = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        first, *lines = piece.split(b"\n")
        self._keep(first)
        for line in lines:
            event = self._line(bytes(self._rest))
            self._rest.clear()
            self._keep(line)
            if event is not None:
                yield event

    def close(self) -> Iterator[str]:
        """Yield the event that a server left without its closing empty line."""
        rest = bytes(self._rest)
        self._rest.clear()
        for line in (rest, b"") if rest else (b"",):
            event = self._line(line)
            if event is not None:
                yield event

    def _keep(self, piece: bytes) -> None:
        """Keep a line, or the beginning of one whose end has not come."""
        if self._dropping and piece:
            self._rest[:] = b":"  # not empty is all that counts of it
            return
        self._rest += piece
        if len(self._rest) + self._size > MAX_EVENT:
            self._drop()

    def _drop(self) -> None:
        self._data, self._size = [], 0
        self._rest[:] = b":" if self._rest else b""
        self._dropping = True  # up to the empty line that ends the event
        self.dropped += 1

    def _line(self, line: bytes) -> str | None:
        if line:
            if line.startswith(b"data:"):
                self._data.append(line[6:] if line[5:6] == b" " else line[5:])
                self._size += len(line)
            return None
        self._dropping = False
        if not self._data:
            return None
        data, self._data, self._size = b"\n".join(self._data), [], 0
        return data.decode("utf-8", errors="replace")
