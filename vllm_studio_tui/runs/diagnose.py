"""Explaining the log of any engine, also of one that the studio did not start."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from vllm_studio_tui.domain.spec import Failure
from vllm_studio_tui.keeper.causes import NO_LEAD, compiled, find, first_error, last_pointer, message
from vllm_studio_tui.keeper.explain import UNKNOWN_ERROR
from vllm_studio_tui.keeper.logwatch import HEAD, meaningful, plain

TAIL = 512 * 1024
#: An exception among so many last lines is taken for the one that ended the program.
LAST_WORDS = 20
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
        fix: Changes of the recipe; `extra_args.name` is a single entry.
    """

    reason: str | None = None
    title: str | None = None
    cause: str | None = None
    advice: str | None = None
    line: str | None = None
    line_number: int | None = None
    retry: bool | None = None
    fix: dict[str, Any] = field(default_factory=dict)
    evidence: tuple[str, ...] = ()


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
        skipped = raw[HEAD:-TAIL].count(b"\n")
        head = _lines(raw[:HEAD], 1)
        return diagnose_lines([*head, *_lines(raw[-TAIL:], head[-1][0] + skipped)], failures)
    return diagnose_lines(_lines(raw, 1), failures)


def diagnose_lines(numbered: Sequence[tuple[int, str]], failures: Sequence[Failure]) -> Diagnosis:
    """Explain lines with their numbers."""
    start = max((at for at, (_, line) in enumerate(numbered) if line.startswith(_ATTEMPT)), default=0)
    numbers = [number for number, _ in numbered[start:]]
    lines = [line for _, line in numbered[start:]]
    patterns = compiled(failures)
    cause = find(lines, patterns)
    evidence = tuple(meaningful(lines))
    error = None
    if cause is None or cause.failure.pointer:
        error = first_error(lines if cause is None else lines[: last_pointer(lines, patterns)], patterns)
    if cause is None:
        if error is None or not _ends_with_it(lines):
            return Diagnosis()
        line = lines[error[0]].strip()
        return Diagnosis(
            "engine_error", error[1][:200], error[1], UNKNOWN_ERROR, line, numbers[error[0]], True, {}, evidence
        )
    at, title = cause.index, cause.title
    if error is not None:
        at, title = error[0], f"{title}: {error[1][:200]}"
    line = lines[at].strip()
    failure = cause.failure
    words = message(line)
    lost = error is None and failure.reason == "engine_died"
    advice = NO_LEAD if lost else cause.advice or None
    return Diagnosis(failure.reason, title, words, advice, line, numbers[at], failure.restart, cause.fix, evidence)


def _ends_with_it(lines: Sequence[str]) -> bool:
    """Whether an exception stands among the last words, so that it ended the program rather than one request."""
    last = [line for line in lines if line.strip()][-LAST_WORDS:]
    return first_error(last) is not None and not any("shutdown complete" in line.lower() for line in last)


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
    """Line feeds between two places."""
    stream.seek(begin)
    count, left = 0, end - begin
    while left > 0 and (chunk := stream.read(min(left, 1 << 20))):
        count += chunk.count(b"\n")
        left -= len(chunk)
    return count


def _lines(raw: bytes, first: int) -> list[tuple[int, str]]:
    return [(first + at, part) for at, line in enumerate(raw.split(b"\n")) for part in plain(line)]
