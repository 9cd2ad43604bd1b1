"""What is told of a log to somebody who cannot open its file: what has come, what was counted, what was found."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

#: Bytes before a place that are compared, to know a file again.
MARKED = 64


def mark_of(raw: bytes) -> int:
    """Return by what the bytes before a place are known again; it tells nothing of them."""
    return zlib.crc32(raw[-MARKED:])


class NotHere(Exception):
    """A part of a log that lies elsewhere is not here yet: it has to be brought, by a thread, and read again."""

    def __init__(self, first: int, last: int) -> None:
        super().__init__(f"pages {first} to {last}")
        self.first, self.last = first, last


class LogAway(OSError):
    """A log that lies elsewhere cannot be read now; the words say why."""


@dataclass(frozen=True, slots=True)
class LogNews:
    """A log now, and what was added to it.

    Attributes:
        size: Its size in bytes.
        file: Which file it is; another one when the log was replaced.
        mark: By what its end is known again.
        changed: It does not hold any more what was known of it.
        holes: The ranges of it that were freed, in order.
        begin: Where `data` begins; everything before it that is new was left out.
        data: Its end, secrets masked.
    """

    size: int
    file: str
    mark: int
    changed: bool
    holes: tuple[tuple[int, int], ...] = ()
    begin: int = 0
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class LogCounts:
    """What was counted in a stretch of a log.

    Attributes:
        upto: Where the stretch ends, in bytes.
        lines, errors, warnings: How many there are in it.
        error_at, warning_at, attempts: Where those begin; see `log_index.LogIndex`.
        places, counts: Bytes, and how many lines of the stretch begin before each.
    """

    upto: int
    lines: int
    errors: int
    warnings: int
    error_at: tuple[int, ...] = ()
    warning_at: tuple[int, ...] = ()
    attempts: tuple[int, ...] = ()
    places: tuple[int, ...] = ()
    counts: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class LogHits:
    """The lines with some words in a stretch of a log: where it ends, how many, and where they begin."""

    upto: int
    count: int
    at: tuple[int, ...] = ()
