"""Reading an engine's log: its end at once however large it is, and what is added to it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

CHUNK = 64 * 1024


def last_lines(path: Path, count: int) -> list[str]:
    """The last `count` lines, read from the end; the holes of a trimmed log are passed over.

    Raises:
        OSError: There is no such log.
    """
    with path.open("rb") as stream:
        position = stream.seek(0, os.SEEK_END)
        data = b""
        while position > 0 and data.count(b"\n") <= count:
            step = min(CHUNK, position)
            position -= step
            stream.seek(position)
            piece = stream.read(step)
            if not piece.strip(b"\0"):
                position = _before_hole(stream.fileno(), position)
                continue
            data = piece.replace(b"\0", b"") + data
    lines = data.decode("utf-8", errors="replace").splitlines()
    return lines[-count:] if count else []


def _before_hole(fd: int, position: int) -> int:
    """Where the hole that ends at `position` begins (SEEK_DATA walks forward, so bisect); at least one chunk back."""
    low, high = 0, position
    while high - low > CHUNK:
        middle = (low + high) // 2
        try:
            data = os.lseek(fd, middle, os.SEEK_DATA)
        except OSError:
            data = position
        if data >= position:
            high = middle
        else:
            low = middle
    return high


def follow(path: Path, *, until: Callable[[], bool], pause: float = 0.2) -> Iterator[str]:
    """Lines as they are added, until `until()` says that no more will come and all is read."""
    position = path.stat().st_size if path.exists() else 0
    rest = b""
    while True:
        over = until()
        size = path.stat().st_size if path.exists() else 0
        if size < position:
            position, rest = 0, b""
        while size > position:
            with path.open("rb") as stream:
                stream.seek(position)
                data = stream.read(CHUNK)
            if not data:
                break
            position += len(data)
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                yield line.decode("utf-8", errors="replace").rstrip("\r")
        if over:
            if rest:
                yield rest.decode("utf-8", errors="replace")
            return
        time.sleep(pause)
