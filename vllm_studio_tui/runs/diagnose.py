"""Explaining the log of any engine, also of one that the studio did not start."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from vllm_studio_tui.domain.spec import Failure, Fix
from vllm_studio_tui.keeper.explanation import Explanation, explain
from vllm_studio_tui.keeper.log_tail import ready_at
from vllm_studio_tui.keeper.log_watch import HEAD, meaningful, plain
from vllm_studio_tui.keeper.own_words import ends_with_error

TAIL = 512 * 1024
#: An exception among so many last lines is taken for the one that ended the program.
LAST_WORDS = 20
#: What ended an engine that served is followed by no more lines than a dump of its stack.
LATE = 200
_WRAPPERS = (
    re.compile(r"^[\w.-]{1,80} +\| ?"),
    re.compile(r"^[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \S{1,80} [^\s\[]{1,80}\[\d+\]: "),
    re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\S{0,20} (?:std(?:out|err) [FP] )?"),
    re.compile(r"^\[pod/\S{1,200}\] "),
    re.compile(r"^\d{1,5}: "),  # srun --label
    re.compile(r"^\[\d{1,5} [^\]\s]{1,253}\] "),  # ranks on several hosts
)
_STOPPED = re.compile(r"ended by SIG(?:TERM|INT)|cleaning up before exit|Received SIG(?:TERM|INT)")
_ATTEMPT = "[vllm-studio] attempt "


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Why a log says that its engine failed.

    Attributes:
        reason: A slug of the table, `engine_error` for an error that no row knows, None: nothing speaks of a failure.
        title: The cause in words.
        cause: The engine's own words: the line without what stands before its message.
        line: The line as it stands in the log.
        line_number: From 1, counted by line feeds.
        retry: Whether another try could help.
        fixes: What answers it, the best first, see `domain.spec.Fix`.
        groups: What the groups of the pattern matched.
        explained: False: it failed, and nothing says why.
    """

    reason: str | None = None
    title: str | None = None
    cause: str | None = None
    advice: str | None = None
    line: str | None = None
    line_number: int | None = None
    retry: bool | None = None
    fixes: tuple[Fix, ...] = ()
    groups: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()
    explained: bool = True


def diagnose_file(path: Path, failures: Sequence[Failure], *, begin: int = 0) -> Diagnosis:
    """Explain a log: its head from byte `begin`, where causes are, and its tail; of several attempts the last.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as stream:
        return diagnose_lines(_numbered(stream, begin), failures)


def diagnose_bytes(raw: bytes, failures: Sequence[Failure]) -> Diagnosis:
    """Explain a log that came through a pipe."""
    if len(raw) > HEAD + TAIL:
        head = _lines(raw[:HEAD], 1)
        return diagnose_lines([*head, *_lines(raw[-TAIL:], 1 + raw[:-TAIL].count(b"\n"))], failures)
    return diagnose_lines(_lines(raw, 1), failures)


def diagnose_lines(numbered: Sequence[tuple[int, str]], failures: Sequence[Failure]) -> Diagnosis:
    """Explain lines with their numbers."""
    start = max((at for at, (_, line) in enumerate(numbered) if line.startswith(_ATTEMPT)), default=0)
    numbers = [number for number, _ in numbered[start:]]
    lines = _unwrapped([line for _, line in numbered[start:]])
    found = _read(lines, failures)
    if found is None:
        return Diagnosis()
    return Diagnosis(
        found.reason, found.title, found.words, found.advice or None, found.line, numbers[found.index], found.retry,
        tuple(found.fixes), found.groups, tuple(meaningful(lines)), found.explained,
    )  # fmt: skip


def _unwrapped(lines: list[str]) -> list[str]:
    """Return lines without the prefixes of docker compose, journald, kubernetes, srun or our own ranks."""
    begin = [line for line in lines[:400] if line.strip()]
    for wrapper in _WRAPPERS:
        if begin and sum(1 for line in begin if wrapper.match(line)) > 0.8 * len(begin):
            return [wrapper.sub("", line, count=1) for line in lines]
    return lines


def _read(lines: Sequence[str], table: Sequence[Failure]) -> Explanation | None:
    """Explain a log alone: also whether the engine ended at all must be seen in it."""
    served = ready_at(lines) is not None
    found = explain(lines, table, served=served)
    if not served:
        return found if found is None or found.row or ends_with_error(lines, LAST_WORDS) else None
    if found is None or found.pointer:
        return found
    # It may have left in order, or go on: a line that tells of an end stands among the last ones.
    left = any("shutdown complete" in line.lower() or _STOPPED.search(line) for line in lines[found.index :])
    return None if left or sum(1 for line in lines[found.index :] if line.strip()) > LATE else found


def _numbered(stream: BinaryIO, begin: int) -> list[tuple[int, str]]:
    size = os.fstat(stream.fileno()).st_size
    begin = begin if begin <= size else 0
    first = 1 + _count(stream, 0, begin)
    stream.seek(begin)
    lines = _lines(stream.read(HEAD), first)
    if size - begin > HEAD:
        tail = max(begin + HEAD, size - TAIL)
        lines += _lines(_from(stream, tail), first + _count(stream, begin, tail))
    return lines


def _from(stream: BinaryIO, offset: int) -> bytes:
    stream.seek(offset)
    return stream.read(TAIL)


def _count(stream: BinaryIO, begin: int, end: int) -> int:
    """Count the line feeds between two offsets."""
    stream.seek(begin)
    count, left = 0, end - begin
    while left > 0 and (chunk := stream.read(min(left, 1 << 20))):
        count += chunk.count(b"\n")
        left -= len(chunk)
    return count


def _lines(raw: bytes, first: int) -> list[tuple[int, str]]:
    return [(first + at, part) for at, line in enumerate(raw.split(b"\n")) if line for part in plain(line)]
