"""Reading an engine's log: its end at once however large it is, and what is added to it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from vllm_studio_tui.kit import secrets
from vllm_studio_tui.kit.masking import is_secret
from vllm_studio_tui.kit.sanitize import redact
from vllm_studio_tui.runs.read import RunView

CHUNK = 64 * 1024
#: Bytes of a line; longer ones are cut.
LONGEST_LINE = 1024 * 1024


def known_secrets(run: RunView) -> list[str]:
    """Return the secrets that a run was given, as far as this environment can resolve them: no view may show them."""
    if run.spec is None:
        return []
    values = [value for name, value in run.spec.env.items() if is_secret(name, value)]
    for reference in (*run.spec.env_refs.values(), run.spec.api_key_ref):
        try:
            if reference:
                values.append(secrets.resolve(reference, os.environ))
        except ValueError:
            continue  # not ours to read here: patterns still mask what looks like a key
    return values


def masked_lines(run: RunView, count: int) -> list[str]:
    """Return the last `count` lines of a run's log, known secrets masked.

    Raises:
        OSError: There is no such log.
    """
    hidden = known_secrets(run)
    return [redact(line, hidden) for line in last_lines(run.log, count)]


def follow_masked(run: RunView, *, until: Callable[[], bool]) -> Iterator[str]:
    """Yield lines as they are added to a run's log, known secrets masked, until `until()` is true and all is read."""
    yield from _follow(LogReader(run.log, hidden=known_secrets(run)), until, 0.2)


def last_lines(path: Path, count: int) -> list[str]:
    """Return the last `count` lines, read from the end; holes of a trimmed log are skipped.

    Raises:
        OSError: There is no such log.
    """
    return _end_of(path, count)[0].decode("utf-8", errors="replace").splitlines()[-count:] if count else []


def _end_of(path: Path, count: int) -> tuple[bytes, int]:
    """Return the end of a log with at least `count` lines, if it has so many, and how long the log is.

    Raises:
        OSError: There is no such log.
    """
    with path.open("rb") as stream:
        position = size = stream.seek(0, os.SEEK_END)
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
    return data, size


def _before_hole(fd: int, position: int) -> int:
    """Return the start of the hole that ends at `position` (bisected: SEEK_DATA only walks forward)."""
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


class LogReader:
    """Reads a log in pieces, as it is written.

    Attributes:
        position: After the last whole line that was returned.

    Args:
        hidden: Secrets that are masked.
    """

    def __init__(self, path: Path, position: int = 0, hidden: Sequence[str] = ()) -> None:
        self._path = path
        self._hidden = hidden
        self.position = position

    @property
    def size(self) -> int:
        try:
            return self._path.stat().st_size
        except OSError:
            return 0

    def last(self, count: int) -> list[tuple[int, str]]:
        """Return the last `count` whole lines, each with the position after it, and go on from there."""
        try:
            data, self.position = _end_of(self._path, count)
        except OSError:
            return []
        whole, _, part = data.rpartition(b"\n")
        self.position -= len(part)
        end, found = self.position, []
        for line in reversed(whole.split(b"\n")[-count:] if whole and count else []):
            found.append((end, self._text(line)))
            end -= len(line) + 1
        return found[::-1]

    def more(self) -> list[tuple[int, str]]:
        """Return whole lines that follow, as many as one piece has; empty where there is nothing yet."""
        size = self.size
        if size < self.position:  # it was begun anew
            self.position = 0
        if size == self.position:
            return []
        try:
            with self._path.open("rb") as stream:
                stream.seek(self.position)
                data = stream.read(CHUNK)
                # A line is returned whole, however long it is; what never ends is cut.
                while b"\n" not in data and len(data) < LONGEST_LINE and (piece := stream.read(CHUNK)):
                    data += piece
        except OSError:
            return []
        whole, newline, _ = data.rpartition(b"\n")
        if not newline and len(data) >= LONGEST_LINE:
            whole, newline = data, b""
        found = []
        for line in whole.split(b"\n") if whole or newline else ():
            self.position += len(line) + len(newline)
            found.append((self.position, self._text(line)))
        return found

    def rest(self) -> list[tuple[int, str]]:
        """Return what stands after the last whole line, for a log to which nothing is added any more."""
        try:
            with self._path.open("rb") as stream:
                stream.seek(self.position)
                data = stream.read(LONGEST_LINE)
        except OSError:
            return []
        self.position += len(data)
        return [(self.position, self._text(data))] if data else []

    def _text(self, line: bytes) -> str:
        text = line.replace(b"\0", b"").decode("utf-8", errors="replace").rstrip("\r")
        return redact(text, self._hidden)


def follow(path: Path, *, until: Callable[[], bool], pause: float = 0.2) -> Iterator[str]:
    """Yield lines as they are added, until `until()` is true and everything is read."""
    yield from _follow(LogReader(path), until, pause)


def _follow(reader: LogReader, until: Callable[[], bool], pause: float) -> Iterator[str]:
    reader.position = reader.size
    while True:
        over = until()
        while lines := reader.more():
            yield from (line for _, line in lines)
        if over:
            yield from (line for _, line in reader.rest())
            return
        time.sleep(pause)
