"""A log of any size, read from where it is looked at. Nothing of it is indexed; a gigabyte opens as fast as a line.

The engine appends, and the keeper frees the middle of a log that has become large: such a hole reads as zero bytes
and is passed over by the file system's own word (lseek(2), SEEK_DATA).
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

from vllm_studio_tui.kit.sanitize import strip_ansi

BLOCK = 64 * 1024
#: A longer line is shown in pieces of so many bytes.
LONGEST = 8 * 1024
_LEVELS = (
    (
        "error",
        re.compile(
            r"(?:^|[\s\]|(])(?:ERROR|CRITICAL|FATAL|E)(?:[\s:\]|]|$)|\b[A-Z]\w*(?:Error|Exception)\b|^error:",
        ),
    ),
    ("warning", re.compile(r"(?:^|[\s\]|(])(?:WARNING|WARN|W)(?:[\s:\]|]|$)|\b\w*Warning:")),
    ("debug", re.compile(r"(?:^|[\s\]|(])(?:DEBUG|TRACE|D)(?:[\s:\]|]|$)")),
)
_FRAME = re.compile(r"^(?:\([^)]*\) ?)?(?:(?:ERROR|WARNING|INFO) \d\d-\d\d \d\d:\d\d:\d\d \[[^\]]*\] ?)?(.*)$")
RANK = {"debug": 0, "info": 1, "warning": 2, "error": 3}


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line: where it begins and ends in the file, in bytes, and its text without colours."""

    offset: int
    end: int
    text: str


def level_of(text: str) -> str:
    """How serious a line is: error, warning, info or debug, by the words that engines use."""
    head = text[:400]
    return next((name for name, pattern in _LEVELS if pattern.search(head)), "info")


def frame_of(text: str) -> str:
    """The line without what vLLM prints before every line of a traceback."""
    match = _FRAME.match(text)
    return match[1] if match else text


def in_traceback(text: str, before: bool) -> bool:
    """Whether a line belongs to a traceback, given whether the line before did."""
    inner = frame_of(text)
    if inner.startswith(("Traceback (most recent call last)", "Exception Group Traceback")):
        return True
    if not before:
        return False
    return inner.startswith((" ", "\t", "During handling of", "The above exception")) or not inner.strip()


class LogText:
    """Random access to a log.

    Attributes:
        bytes_read: How much was read so far.

    Raises:
        OSError: While it is opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.bytes_read = 0

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    @property
    def size(self) -> int:
        """Bytes now."""
        return os.fstat(self._fd).st_size if self._fd >= 0 else 0

    def replaced(self) -> bool:
        """Whether another file stands in its place."""
        try:
            here, there = os.fstat(self._fd), self.path.stat()
        except OSError:
            return False
        return (here.st_dev, here.st_ino) != (there.st_dev, there.st_ino)

    # --- reading ----------------------------------------------------------------------------------------

    def after(self, offset: int, count: int, *, end: int | None = None) -> list[LogLine]:
        """Up to `count` lines from the one that begins at `offset`."""
        limit = self.size if end is None else min(end, self.size)
        lines: list[LogLine] = []
        rest = b""
        at = begin = offset
        while len(lines) < count and at < limit:
            data = min(self._data_from(at), limit)
            if data > at:
                if rest:
                    lines += _pieces(begin, rest)
                    rest = b""
                lines.append(_hole(at, data))
                at = begin = data
                continue
            block = self.read(at, min(BLOCK, limit - at))
            if not block:
                break
            at += len(block)
            rest += block
            while len(lines) < count and (newline := rest.find(b"\n")) >= 0:
                lines += _pieces(begin, rest[: newline + 1])
                begin += newline + 1
                rest = rest[newline + 1 :]
            if len(rest) > 4 * BLOCK and len(lines) < count:
                lines += _pieces(begin, rest)
                begin += len(rest)
                rest = b""
        if rest and len(lines) < count:
            lines += _pieces(begin, rest)
        return lines[:count]

    def before(self, offset: int, count: int) -> list[LogLine]:
        """Up to `count` lines that end at `offset`."""
        start = offset
        found: list[LogLine] = []
        while start > 0 and len(found) < count:
            begin = self.start_of(max(0, start - BLOCK))
            made = self.after(begin, 10_000_000, end=start)
            if not made:
                break
            found = made + found
            start = begin
        return found[-count:]

    def tail(self, count: int) -> list[LogLine]:
        """The last lines."""
        return self.before(self.size, count)

    def start_of(self, offset: int) -> int:
        """Where the line that holds a byte begins; a line longer than four blocks begins where it is cut."""
        at = offset
        while at > 0:
            begin = max(0, at - BLOCK)
            block = self.read(begin, at - begin)
            newline = block.rfind(b"\n")
            hole = len(block.rstrip(b"\0")) < len(block) or not block
            if hole and newline < len(block.rstrip(b"\0")) - 1:
                return at
            if newline >= 0:
                return begin + newline + 1
            if offset - begin > 4 * BLOCK:
                return begin
            at = begin
        return 0

    def _data_from(self, offset: int) -> int:
        """The first byte at or after `offset` that is not in a hole."""
        with contextlib.suppress(OSError):
            return os.lseek(self._fd, offset, os.SEEK_DATA)
        return offset

    def read(self, offset: int, size: int) -> bytes:
        """Some bytes; fewer at the end or where they cannot be read."""
        try:
            data = os.pread(self._fd, size, offset)
        except OSError:
            return b""
        self.bytes_read += len(data)
        return data

    # --- searching --------------------------------------------------------------------------------------

    def search(self, words: str, offset: int, step: int, *, deadline: float = 2.0) -> tuple[int | None, int]:
        """Where the next line with `words` begins, without regard to case, forwards or backwards from `offset`.

        Returns:
            The line's first byte, or None; and how far was looked, to go on from when time ran out.
        """
        wanted = words.lower().encode("utf-8", "replace")
        until = time.monotonic() + deadline
        overlap = len(wanted) - 1
        large = 16 * BLOCK
        at = offset
        while wanted and time.monotonic() < until:
            if step > 0:
                at = max(at, self._data_from(at))
                block = self.read(at, large)
                found = block.lower().find(wanted)
                if found >= 0:
                    return self.start_of(at + found), at + found
                if len(block) < large:
                    return None, self.size
                at += large - overlap
            else:
                begin = max(0, at - large)
                block = self.read(begin, at - begin)
                found = block.lower().rfind(wanted)
                if found >= 0:
                    return self.start_of(begin + found), begin + found
                if begin == 0:
                    return None, 0
                at = begin + overlap
        return None, at

    def first_error(self, *, deadline: float = 2.0) -> LogLine | None:
        """The first line that is an error, as far as there is time to look."""
        until = time.monotonic() + deadline
        at = 0
        while at < self.size and time.monotonic() < until:
            lines = self.after(at, 2000)
            if not lines:
                return None
            for line in lines:
                if level_of(line.text) == "error":
                    return line
            at = lines[-1].end
        return None


def _pieces(offset: int, raw: bytes) -> list[LogLine]:
    """A line, or the pieces of one that is too long to be shown as one."""
    if len(raw) <= LONGEST:
        return [LogLine(offset, offset + len(raw), _text(raw))]
    return [
        LogLine(offset + at, min(offset + at + LONGEST, offset + len(raw)), _text(raw[at : at + LONGEST]))
        for at in range(0, len(raw), LONGEST)
    ]


def _hole(start: int, end: int) -> LogLine:
    return LogLine(start, end, f"… {(end - start) / 1024 / 1024:.1f} MiB of the middle were dropped here …")


def _text(raw: bytes) -> str:
    """The text of a line; of a progress bar that was rewritten its last state."""
    text = raw.decode("utf-8", "replace").strip("\0").rstrip("\r\n")
    if "\r" in text:
        text = next((part for part in reversed(text.split("\r")) if part.strip()), "")
    return strip_ansi(text).replace("\n", " ")
