"""Listen to a stream of server-sent events while its bytes are passed on."""

from __future__ import annotations

import re
from collections.abc import Callable

_END = re.compile(rb"\r?\n\r?\n")
#: Bytes of an event that has no end after which nobody listens any more; its bytes are still passed on.
MAX_EVENT = 8 * 1024 * 1024


class SseTap:
    """Cuts a stream into events for a listener, and returns what is to be passed on.

    Bytes are passed on as they come. Only a stream of which events may be left out is passed on event by event, since
    an event must be known whole to be left out; servers write whole events.

    Args:
        listen: Called with each event, without the empty line that ends it. Returns whether it may be passed on;
            that counts only where `selective`.
        selective: Events may be left out.

    Attributes:
        events: How many events there were.
    """

    def __init__(self, listen: Callable[[bytes], bool], *, selective: bool = False) -> None:
        self._listen = listen
        self._selective = selective
        self._rest = b""
        self._deaf = False
        self.events = 0

    def feed(self, piece: bytes) -> bytes:
        """Take bytes, and return those to pass on now."""
        if self._deaf:
            return piece
        data = self._rest + piece if self._rest else piece
        # What was there before holds no end, but perhaps the beginning of one.
        at = max(0, len(self._rest) - 3)
        passed: list[bytes] = []
        start = 0
        while (end := _END.search(data, at)) is not None:
            self.events += 1
            if self._listen(data[start : end.start()]) and self._selective:
                passed.append(data[start : end.end()])
            start = at = end.end()
        self._rest = data[start:] if start else data
        if len(self._rest) > MAX_EVENT:
            self._deaf = True
            if self._selective:
                passed.append(self._rest)
            self._rest = b""
        return b"".join(passed) if self._selective else piece

    def close(self) -> bytes:
        """Return what is left to pass on when the stream has ended; an event without its empty line is heard too."""
        rest, self._rest = self._rest, b""
        if not rest:
            return b""
        self.events += 1
        passed = self._listen(rest)
        return rest if passed and self._selective else b""
