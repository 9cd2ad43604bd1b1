"""Server-sent events out of bytes that come in any pieces."""

from __future__ import annotations

from collections.abc import Iterator

#: An event longer than this is dropped as hostile.
MAX_EVENT = 32 * 1024 * 1024


class EventSplitter:
    """Collects bytes and hands out the data of whole events, as the WHATWG standard has them.

    Comments and other fields are passed over. Bytes are decoded event by event, so that a character that is split
    over two pieces stays whole; what is not UTF-8 becomes U+FFFD.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []
        self._size = 0
        self.dropped = 0

    def feed(self, piece: bytes) -> Iterator[str]:
        """The data of every event that this piece completes."""
        if b"\r" in piece or b"\r" in self._rest:
            yield from self._feed_slow(piece)
            return
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            event = self._line(line)
            if event is not None:
                yield event
        self._bound()

    def _feed_slow(self, piece: bytes) -> Iterator[str]:
        raw = self._rest + piece
        held = b""
        if raw.endswith(b"\r"):  # perhaps the first half of \r\n
            raw, held = raw[:-1], b"\r"
        *lines, rest = raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._rest = rest + held
        for line in lines:
            event = self._line(line)
            if event is not None:
                yield event
        self._bound()

    def close(self) -> Iterator[str]:
        """What a server left without its last empty line."""
        rest, self._rest = self._rest.rstrip(b"\r"), b""
        for line in (rest, b"") if rest else (b"",):
            event = self._line(line)
            if event is not None:
                yield event

    def _line(self, line: bytes) -> str | None:
        if line:
            if line.startswith(b"data:"):
                self._data.append(line[6:] if line[5:6] == b" " else line[5:])
                self._size += len(line)
                if self._size > MAX_EVENT:
                    self._data, self._size = [], 0
                    self.dropped += 1
            return None
        if not self._data:
            return None
        data, self._data, self._size = b"\n".join(self._data), [], 0
        return data.decode("utf-8", errors="replace")

    def _bound(self) -> None:
        if len(self._rest) > MAX_EVENT:
            self._rest = b""
            self.dropped += 1
