"""Why a log says that an engine failed: the first line that tells, found by a table of patterns.

Standard library only; the keeper uses it when an engine ends, `diagnose` for any log.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vllm_studio_tui.domain.spec import Failure

# A warning is never a cause, and what an engine merely informs of may be anything, a logged prompt for instance.
# But vLLM only warns of it when its core has gone.
NOT_A_CAUSE = re.compile(
    r"^(?:\([^)]*\) ?)?(?:\S+ )?(?:WARNING|WARN|DEBUG|INFO)\b(?! .*MPClient: engine core exited unexpectedly)"
    r"|^\d[\d.]* [WID] |^\S*Warning:|UserWarning:"
)
#: vLLM's process and log prefix, SGLang's time and rank: what stands before a message.
_PREFIX = re.compile(
    r"^(?:\([^)]{1,80}\) ?)?(?:(?:ERROR|CRITICAL|FATAL) +\d\d-\d\d \d\d:\d\d:\d\d\S* \[[^\]]{1,80}\] ?)?"
    r"(?:\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[^\]]{0,20}\] ?)?(?:\[?(?:rank|TP|PP|DP)\d{1,4}\]?:? ?)*"
)
_EXCEPTION = re.compile(r"(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Failure|Fault|Interrupt|Exit)(?:: ?(\S.*))?")
#: Exceptions that only say that somebody else gave up.
_FOLLOWS = re.compile(
    r"Engine core initialization failed|WorkerProc initialization failed|EngineDeadError|SystemExit|KeyboardInterrupt"
    r"|CalledProcessError|ChildFailedError|CancelledError|BrokenPipeError|EOFError$"
)
#: Advice where a part of the engine died and nothing above says why.
NO_LEAD = (
    "Nothing above says why. It may have been killed: by the kernel, for lack of memory (see `dmesg`), or by somebody."
)
_TEMPLATE = re.compile(r"\{(\d)(?:\|(\d+))?\}")


@dataclass(frozen=True, slots=True)
class Cause:
    """A line that tells why.

    Attributes:
        failure: The row of the table that matched.
        line: The line, stripped.
        index: Its place among the lines that were searched, from 0.
        groups: What the pattern's groups matched, empty where they did not.
    """

    failure: Failure
    line: str
    index: int
    groups: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        return fill(self.failure.title, self.groups)

    @property
    def advice(self) -> str:
        return fill(self.failure.advice, self.groups)

    @property
    def fix(self) -> dict[str, Any]:
        """Changes of the recipe that answer it; empty where the table names none."""
        return filled_fix(self.failure.fix, self.groups)


def compiled(failures: Iterable[Failure]) -> list[tuple[re.Pattern[str], Failure]]:
    return [(re.compile(one.pattern, re.IGNORECASE), one) for one in failures]


def find(lines: Sequence[str], patterns: Sequence[tuple[re.Pattern[str], Failure]]) -> Cause | None:
    """The first line that tells a cause; one that only points at another counts when no other does."""
    pointer: Cause | None = None
    seen: set[str] = set()
    for index, line in enumerate(lines):
        if line in seen:  # what was said a million times is looked at once
            continue
        seen.add(line)
        if NOT_A_CAUSE.search(line):
            continue
        for pattern, failure in patterns:
            match = pattern.search(line)
            if match is None:
                continue
            found = Cause(failure, line.strip(), index, tuple(group or "" for group in match.groups()))
            if not failure.pointer:
                return found
            pointer = pointer or found
            break
    return pointer


def last_pointer(lines: Sequence[str], patterns: Sequence[tuple[re.Pattern[str], Failure]]) -> int | None:
    """The last line that says that a part of the engine died: what stands below it only follows from that."""
    pointers = [pattern for pattern, failure in patterns if failure.pointer]
    for index in range(len(lines) - 1, -1, -1):
        if any(one.search(lines[index]) for one in pointers) and not NOT_A_CAUSE.search(lines[index]):
            return index
    return None


def message(line: str) -> str:
    """A log line without the process, time and place before it."""
    return line[_PREFIX.match(line).end() :].strip()  # type: ignore[union-attr]  # it matches the empty string too


def first_error(
    lines: Sequence[str], patterns: Sequence[tuple[re.Pattern[str], Failure]] = ()
) -> tuple[int, str] | None:
    """The first exception in a log: where no row knows a cause, this is the lead.

    Of several processes the one that fails first writes first, and of a chain of exceptions Python prints the root
    first. Lines that `patterns` only know as pointers, and exceptions that follow from another process's end, are
    passed over.

    Returns:
        Its place among the lines and its words, None where there is no exception.
    """
    for index, line in enumerate(lines):
        if NOT_A_CAUSE.search(line):
            continue
        text = message(line)
        if not _EXCEPTION.fullmatch(text) or _FOLLOWS.search(text):
            continue
        if not any(failure.pointer and pattern.search(line) for pattern, failure in patterns):
            return index, text
    return None


def fill(text: str, groups: Sequence[str]) -> str:
    """`{1}` is the first group of the match; a group that matched nothing is empty."""
    return _TEMPLATE.sub(lambda m: _group(m, groups), text)


def filled_fix(fix: Mapping[str, Any], groups: Sequence[str]) -> dict[str, Any]:
    """The changes with their groups filled in, numbers as numbers; a change whose group is empty is left out.

    `{1|16}` is the number of group 1 rounded down to a multiple of 16.
    """
    made: dict[str, Any] = {}
    for name, value in fix.items():
        if not isinstance(value, str) or "{" not in value:
            made[name] = value
            continue
        text = fill(value, groups)
        if text:
            made[name] = int(text) if text.isdecimal() else text
    return made


def _group(match: re.Match[str], groups: Sequence[str]) -> str:
    at = int(match[1]) - 1
    text = groups[at] if 0 <= at < len(groups) else ""
    if match[2] and text.isdecimal():
        step = int(match[2])
        return str(int(text) // step * step if int(text) >= step else int(text))
    return text
