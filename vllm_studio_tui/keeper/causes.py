"""Lines of a log that tell why an engine failed, found by a table of patterns.

Standard library only; the keeper uses it when an engine ends, `diagnose` for any log. Everything is linear in the
log: a row whose words stand nowhere in it costs one search of the whole, see `pattern_words`.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from vllm_studio_tui.domain.spec import Failure, Fix
from vllm_studio_tui.keeper.pattern_words import words
from vllm_studio_tui.kit.regex import regex

# A warning is never a cause, and what an engine merely informs of may be anything, a logged prompt for instance.
# But vLLM only warns of it when its core has gone.
_NOT_A_CAUSE = (
    r"^(?:\([^)]{0,80}\) ?){0,3}(?:\S+ )?(?:WARNING|WARN|DEBUG|INFO)\b(?! .*MPClient: engine core exited unexpectedly)"
    r"|^\[\d{4}-\d\d-\d\d[^\]]{0,40}\] (?:WARNING|INFO|DEBUG|Decode batch|Prefill batch|Pyspy )"
    r"|^\d[\d.]* [WID] |^\S*Warning:|UserWarning:|^\[W\d"
)
_MESSAGE = r"\braise\b|(?:^|[(\[{,= ])f?[\"'][^\"']{12}"
_TEMPLATE = r"\{(\d)(?:\|(\d+))?\}"


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
        return " ".join(fill(self.failure.title, self.groups).split())

    @property
    def advice(self) -> str:
        return fill(self.failure.advice, self.groups)

    @property
    def fixes(self) -> list[Fix]:
        """What answers it, the best first, with the groups filled in."""
        filled = [one if isinstance(one, str) else fill_changes(one, self.groups) for one in self.failure.fixes]
        return [one for one in filled if one]


def matches(row: Failure, line: str) -> re.Match[str] | None:
    """Search one line for the pattern of a row, without regard to case."""
    return regex(row.pattern, re.IGNORECASE).search(line)


def informs_only(line: str) -> bool:
    """Return whether a line is a warning or information, which is never a cause."""
    return regex(_NOT_A_CAUSE).search(line) is not None


def find(lines: Sequence[str], table: Sequence[Failure]) -> Cause | None:
    """Find the first line that tells a cause; one of a weak row, then of a pointer, counts when no other does."""
    weak: Cause | None = None
    pointer: Cause | None = None
    seen: set[str] = set()
    for index, rows in near(lines, table):
        line = lines[index]
        if line in seen:  # what was said a million times is looked at once
            continue
        seen.add(line)
        if informs_only(line) or is_source(lines, index):
            continue
        for failure in rows:
            match = matches(failure, line)
            if match is None:
                continue
            found = Cause(failure, line.strip(), index, tuple((group or "").strip() for group in match.groups()))
            if failure.pointer:
                pointer = pointer or found
            elif failure.weak:
                weak = weak or found
            else:
                return found
            break
    return weak or pointer


def is_source(lines: Sequence[str], index: int) -> bool:
    """Return whether a line is the program's source in a traceback, and holds a message that might be, but was not."""
    above = lines[index - 1] if index else ""
    if 'File "' not in above or ", line " not in above or regex(_MESSAGE).search(lines[index]) is None:
        return False
    # Of frozen modules Python has no source to show: right below such a frame stands the exception itself.
    return lines[index][above.index('File "') :][:1].isspace()


def last_pointer(lines: Sequence[str], table: Sequence[Failure]) -> int | None:
    """Find the last line that says that a part of the engine died: what stands below it only follows from that."""
    pointers = [row for row in table if row.pointer]
    for index, rows in reversed(near(lines, pointers)):
        if any(matches(row, lines[index]) for row in rows) and not informs_only(lines[index]):
            return index
    return None


def near(lines: Sequence[str], table: Sequence[Failure]) -> list[tuple[int, list[Failure]]]:
    """Find the lines that any row may match, each with these rows, in the order of the log and of the table.

    No pattern is compiled or searched for this: a row is near a line that holds one of the row's plain words.
    """
    lows = [line.lower() for line in lines]
    text = "\n".join(lows)
    begins = list(accumulate((len(line) + 1 for line in lows), initial=0))
    found: dict[int, list[Failure]] = {}
    for row in table:
        for word in words(row.pattern) or ("",):
            at = text.find(word)
            while 0 <= at < begins[-1]:
                index = bisect_right(begins, at) - 1
                if index >= len(lines):
                    break
                here = found.setdefault(index, [])
                if not here or here[-1] is not row:
                    here.append(row)
                at = text.find(word, begins[index + 1])
    return sorted(found.items(), key=lambda item: item[0])


def fill(text: str, groups: Sequence[str]) -> str:
    """`{1}` is the first group of the match; a group that matched nothing is empty."""
    return regex(_TEMPLATE).sub(lambda m: _group(m, groups), text)


def first_changes(fixes: Iterable[Fix]) -> dict[str, Any]:
    """Return the first fix that is data; empty where there is none."""
    return next((dict(one) for one in fixes if not isinstance(one, str)), {})


def fill_changes(changes: Mapping[str, Any], groups: Sequence[str]) -> dict[str, Any]:
    """Fill the groups into changes, numbers as numbers; a change whose group is empty is left out.

    `{1|16}` is the number of group 1 rounded down to a multiple of 16.
    """
    made: dict[str, Any] = {}
    for name, value in changes.items():
        if not isinstance(value, str) or "{" not in value:
            made[name] = value
            continue
        text = fill(value, groups)
        if text:
            made[name] = int(text) if text.isascii() and text.isdigit() and len(text) < 19 else text
    return made


def _group(match: re.Match[str], groups: Sequence[str]) -> str:
    at = int(match[1]) - 1
    text = groups[at][:200] if 0 <= at < len(groups) else ""
    if match[2] and text.isascii() and text.isdigit() and len(text) < 19:
        step = int(match[2])
        return str(int(text) // step * step if int(text) >= step else int(text))
    return text
