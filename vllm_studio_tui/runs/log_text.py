"""A log of any size, read from where it is looked at. Nothing of it is indexed; a gigabyte opens as fast as a line.

The engine appends, and the keeper frees the middle of a log that has become large: such a hole reads as zero bytes
and is passed over by the file system's own word (lseek(2), SEEK_DATA).
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vllm_studio_tui.kit.sanitize import SHORTEST_SECRET, strip_ansi

BLOCK = 64 * 1024
#: A longer line is shown in pieces of so many bytes.
LONGEST = 8 * 1024
#: Bytes around a range that are looked at for secrets that it cuts; and holes that are told.
MARGIN = 4 * 1024
MOST_HOLES = 4096
#: Seconds that a search looks on at most.
PATIENCE = 2.0
_LEVEL_WORD = re.compile(r"(?:^|[\s\[\](|])(ERROR|CRITICAL|FATAL|WARNING|WARN|INFO|DEBUG|TRACE|[EWID])(?=[\s:\]|)])")
_WORDS = {
    **dict.fromkeys(("ERROR", "CRITICAL", "FATAL", "E"), "error"),
    **dict.fromkeys(("WARNING", "WARN", "W"), "warning"),
    **dict.fromkeys(("INFO", "I"), "info"),
    **dict.fromkeys(("DEBUG", "TRACE", "D"), "debug"),
}
#: Lines without a level that tell of an end.
_FATAL = re.compile(
    r"^(?:[\w.]+\.)?(?:[A-Z]\w*)?(?:Error|Exception|Interrupt)(?::|$)|^error: |^Segmentation fault|core dumped\)"
    r"|^terminate called|hit an exception|^Killed$|^Aborted|: error: "
)
_WARNS = re.compile(r"\b[A-Z]\w*Warning: ")
#: What stands before each line of a part of a run on several machines: its rank and host.
NODE = re.compile(r"\[(\d{1,4}) ([\w.:@-]{1,100})\] ")
_FRAME = re.compile(
    r"^(?:\[\d{1,4} [\w.:@-]{1,100}\] )?(?:\([^)]*\) ?)?"
    r"(?:(?:ERROR|WARNING|INFO) \d\d-\d\d \d\d:\d\d:\d\d \[[^\]]*\] ?)?(.*)$"
)
#: What looks like a key, as in `kit.sanitize.redact`, in bytes.
_KEYS = re.compile(rb"\b(?:sk-|hf_|ghp_|xoxb-)[A-Za-z0-9_\-]{8,}|(?<=Bearer )[A-Za-z0-9._~+/\-]{8,}=*")
RANK = {"debug": 0, "info": 1, "warning": 2, "error": 3}


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line: where it begins and ends in the file, in bytes, and its text without colours."""

    offset: int
    end: int
    text: str
    hole: bool = False


def tells(text: str, least: str) -> bool:
    """Return whether a line is of a level or above it; lines within a traceback are not, its last line is."""
    return RANK[level_of(text)] >= RANK[least] and not in_traceback(text, True)


def level_of(text: str) -> str:
    """Return a line's level: error, warning, info or debug, by the first word for a level near its beginning."""
    if text[:1] == "[" and (node := NODE.match(text)) is not None:
        text = text[node.end() :]
    word = _LEVEL_WORD.search(text[:72])
    # A single letter is a level only where llama.cpp puts it: behind the time.
    if word is not None and (len(word[1]) > 1 or text[:1].isdigit()):
        return _WORDS[word[1]]
    head = frame_of(text[:400])
    return "error" if _FATAL.search(head) else "warning" if _WARNS.search(head) else "info"


def frame_of(text: str) -> str:
    """Return a line without the prefix that vLLM prints before every line of a traceback."""
    match = _FRAME.match(text)
    return match[1] if match else text


def in_traceback(text: str, before: bool) -> bool:
    """Return whether a line belongs to a traceback, given whether the line before did."""
    inner = frame_of(text)
    if inner.startswith(("Traceback (most recent call last)", "Exception Group Traceback")):
        return True
    if text.endswith("Traceback (most recent call last):"):  # behind the words of the engine, or another prefix
        return True
    if not before:
        return False
    return inner.startswith((" ", "\t", "During handling of", "The above exception")) or not inner.strip()


class LogText:
    """Random access to a log.

    Args:
        secrets: Are not shown; whole lines are searched for them, so that no cut can hide a part.

    Raises:
        OSError: While it is opened.
    """

    def __init__(self, path: Path, secrets: Sequence[str] = ()) -> None:
        self.path = path
        self._secrets = tuple(secret.encode() for secret in secrets if len(secret) >= SHORTEST_SECRET)
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def refresh(self) -> None:
        """Look whether anything was added. For a thread; here the file itself is looked at whenever it is asked."""

    @property
    def size(self) -> int:
        """Return the file's present size in bytes."""
        return os.fstat(self._fd).st_size if self._fd >= 0 else 0

    @property
    def identity(self) -> str:
        """Return which file it is, as long as it is open."""
        found = os.fstat(self._fd)
        return f"{found.st_dev}:{found.st_ino}"

    def replaced(self) -> bool:
        """Return whether the path now names another file."""
        try:
            here, there = os.fstat(self._fd), self.path.stat()
        except OSError:
            return False
        return (here.st_dev, here.st_ino) != (there.st_dev, there.st_ino)

    # --- reading ----------------------------------------------------------------------------------------

    def after(self, offset: int, count: int, *, end: int | None = None) -> list[LogLine]:
        """Return up to `count` lines from the one that begins at `offset`."""
        limit = self.size if end is None else min(end, self.size)
        lines: list[LogLine] = []
        rest = b""
        at = begin = offset
        while len(lines) < count and at < limit:
            data = min(self.data_from(at), limit)
            if data > at:
                if rest.strip(b"\0"):
                    lines += self._pieces(begin, rest)
                    begin = at
                # Zeros before it are the rest of a page that was freed only in part.
                rest = b""
                lines.append(_hole(begin, data))
                at = begin = data
                continue
            block = self.read(at, min(BLOCK, limit - at))
            if not block:
                break
            at += len(block)
            rest += block
            cut = 0  # one cut a block, not one a line: a line is short and the rest is long
            while len(lines) < count and (newline := rest.find(b"\n", cut)) >= 0:
                lines += self._pieces(begin, rest[cut : newline + 1])
                begin += newline + 1 - cut
                cut = newline + 1
            rest = rest[cut:]
            if len(rest) > 4 * BLOCK and len(lines) < count:
                lines += self._pieces(begin, rest)
                begin += len(rest)
                rest = b""
        if rest.strip(b"\0") and len(lines) < count:
            lines += self._pieces(begin, rest)
        return lines[:count]

    def before(self, offset: int, count: int, *, most: int = 1 << 20) -> list[LogLine]:
        """Return up to `count` lines that end at `offset`; fewer where they exceed `most` bytes together."""
        start = offset
        found: list[LogLine] = []
        while start > 0 and len(found) < count and offset - start < most:
            begin = self.start_of(max(0, start - BLOCK))
            made = self.after(begin, 10_000_000, end=start)
            if not made:
                break
            found = made + found
            if made[0].hole:
                most += made[0].end - made[0].offset
            start = begin
        return found[-count:]

    def tail(self, count: int) -> list[LogLine]:
        """Return the last lines."""
        return self.before(self.size, count)

    def lines_at(self, offsets: Sequence[int]) -> list[LogLine | None]:
        """Return the lines that begin at some bytes. For a thread."""
        return [next(iter(self.after(at, 1)), None) for at in offsets]

    def start_of(self, offset: int) -> int:
        """Return the start of the line that holds a byte; a line longer than four blocks starts where it is cut."""
        hole = self.hole_before(offset)
        lowest = 0
        if hole is not None:
            if hole[0] <= offset < hole[1]:
                return hole[0]
            lowest = hole[1]
        at = offset
        while at > lowest:
            begin = max(lowest, at - BLOCK)
            newline = self.read(begin, at - begin).rfind(b"\n")
            if newline >= 0:
                return begin + newline + 1
            if offset - begin > 4 * BLOCK:
                return begin
            at = begin
        return lowest

    def hole_before(self, offset: int) -> tuple[int, int] | None:
        """Return the last hole that begins at or before a byte; a log has one or two."""
        found: tuple[int, int] | None = None
        size, at = self.size, 0
        try:
            while at <= offset and at < size:
                start = os.lseek(self._fd, at, os.SEEK_HOLE)
                if start > offset or start >= size:
                    break
                end = size
                with contextlib.suppress(OSError):  # ENXIO: there is no data behind it
                    end = os.lseek(self._fd, start, os.SEEK_DATA)
                found = (start, end)
                at = end
        except OSError:
            return found
        return found

    def holes(self) -> list[tuple[int, int]]:
        """Return the holes, in order; of a file with very many the first."""
        found: list[tuple[int, int]] = []
        size, at = self.size, 0
        with contextlib.suppress(OSError):
            while at < size and len(found) < MOST_HOLES:
                start = os.lseek(self._fd, at, os.SEEK_HOLE)
                if start >= size:
                    break
                at = min(size, self.data_from(start))
                found.append((start, at))
        return found

    def data_from(self, offset: int) -> int:
        """Return the first byte at or after `offset` that is not in a hole."""
        try:
            return os.lseek(self._fd, offset, os.SEEK_DATA)
        except OSError as error:
            return self.size if error.errno == errno.ENXIO else offset

    def read(self, offset: int, size: int) -> bytes:
        """Return bytes of the file; fewer at its end or where they cannot be read."""
        try:
            return os.pread(self._fd, size, offset)
        except OSError:
            return b""

    def masked(self, offset: int, size: int) -> bytes:
        """Return bytes of the file with each secret, and what looks like a key, as so many stars.

        What stands before and behind them is looked at too, so that no part of a secret is told.
        """
        margin = max(MARGIN, *(len(secret) for secret in self._secrets)) if self._secrets else MARGIN
        begin = max(0, offset - margin)
        raw = self._mask(self.read(begin, offset - begin + size + margin))
        return raw[offset - begin : offset - begin + size]

    # --- searching --------------------------------------------------------------------------------------

    def search(self, words: str, offset: int, step: int) -> tuple[int | None, int]:
        """Return the start of the next line with `words`, ignoring case, forwards or backwards from `offset`.

        Returns:
            The line's first byte, or None; and how far was looked, to go on from when time ran out.
        """
        wanted = words.lower().encode("utf-8", "replace")
        until = time.monotonic() + PATIENCE
        overlap = len(wanted) - 1
        large = 16 * BLOCK
        at = offset
        while wanted and time.monotonic() < until:
            if step > 0:
                at = max(at, self.data_from(at))
                block = self.read(at, large)
                hit = self._hit(block, at, wanted, step)
                if hit is not None:
                    return hit
                if len(block) < large:
                    return None, self.size
                at += large - overlap
            else:
                hole = self.hole_before(max(0, at - 1))
                if hole is not None and hole[1] >= at:
                    at = hole[0]
                    if at <= 0:
                        return None, 0
                    continue
                begin = max(hole[1] if hole is not None else 0, at - large)
                block = self.read(begin, at - begin)
                hit = self._hit(block, begin, wanted, step)
                if hit is not None:
                    return hit
                if begin == 0:
                    return None, 0
                at = begin + overlap if hole is None or begin > hole[1] else begin
        return None, at

    def _hit(self, block: bytes, begin: int, wanted: bytes, step: int) -> tuple[int, int] | None:
        """Return the first hit in a block (backwards: the last): its line and its offset."""
        lower = block.lower()
        found = lower.find(wanted) if step > 0 else lower.rfind(wanted)
        if found < 0:
            return None
        first = block.rfind(b"\n", 0, found) + 1
        # A line that the block cuts off is read whole.
        return begin + first if first else self.start_of(begin + found), begin + found

    def _pieces(self, offset: int, raw: bytes) -> list[LogLine]:
        """Yield a line, or the pieces of a line that is too long to be shown whole."""
        raw = self._mask(raw)
        out: list[LogLine] = []
        at = 0
        while at < len(raw) or not out:
            cut = min(len(raw), at + LONGEST)
            while cut < len(raw) and cut > at + 1 and raw[cut] & 0xC0 == 0x80:
                cut -= 1  # not within a character
            out.append(LogLine(offset + at, offset + cut, decoded(raw[at:cut])))
            at = cut
        return out

    def _mask(self, raw: bytes) -> bytes:
        """Return bytes with as many stars as its secrets have bytes: nothing moves."""
        for secret in self._secrets:
            raw = raw.replace(secret, b"*" * len(secret))
        return _KEYS.sub(lambda match: b"*" * len(match[0]), raw)


def _hole(start: int, end: int) -> LogLine:
    return LogLine(start, end, f"… {(end - start) / 1024 / 1024:.1f} MiB of the middle were dropped here …", True)


def decoded(raw: bytes) -> str:
    """Return the text of a line; for a rewritten progress bar its last state."""
    text = raw.decode("utf-8", "replace").strip("\0").rstrip("\r\n")
    if "\r" in text:
        text = next((part for part in reversed(text.split("\r")) if part.strip()), "")
    return strip_ansi(text).replace("\n", " ")
