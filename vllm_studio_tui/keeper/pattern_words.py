"""Which patterns can match a text at all: a search for plain words is a hundred times cheaper than one for a pattern.

Standard library only.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

#: A shorter word stands in too many lines to save anything.
SHORTEST = 3
_OPTIONAL = "?*{"
_CLASSES = "dDwWsSbBAZ"


@lru_cache(maxsize=1024)
def words(pattern: str) -> tuple[str, ...]:
    """Return lower-case texts of which every match of the pattern holds one; empty where they cannot be found."""
    found = []
    for branch in _branches(pattern):
        longest = max(_runs(branch), key=len, default="")
        if len(longest) >= SHORTEST:
            found.append(longest)
            continue
        inner = _inner(branch)
        if not inner:
            return ()
        found.extend(inner)
    return tuple(dict.fromkeys(found))


def _inner(branch: str) -> tuple[str, ...]:
    """Return the words of the first group that has some, for a branch that has none outside its groups."""
    for begin, end in _groups(branch):
        body = branch[begin + 1 : end]
        body = body.removeprefix("?:").removeprefix("?-i:")
        if body.startswith("?") or branch[end + 1 : end + 2] in tuple(_OPTIONAL):
            continue
        found = words(body)
        if found:
            return found
    return ()


def _branches(pattern: str) -> Iterator[str]:
    """Yield what `|` parts outside of groups and classes."""
    begin = at = 0
    while at < len(pattern):
        if pattern[at] == "|":
            yield pattern[begin:at]
            begin = at + 1
        at = _after(pattern, at)
    yield pattern[begin:]


def _groups(branch: str) -> Iterator[tuple[int, int]]:
    at = 0
    while at < len(branch):
        following = _after(branch, at)
        if branch[at] == "(":
            yield at, following - 1
        at = following


def _runs(branch: str) -> Iterator[str]:
    """Yield runs of characters that every match holds as they are."""
    run, at = "", 0
    while at < len(branch):
        following = _after(branch, at)
        part, quantifier = branch[at:following], branch[following : following + 1]
        plain = part if len(part) == 1 and part not in ".^$()[]{}?*+|" else ""
        if len(part) == 2 and part[0] == "\\" and part[1] not in _CLASSES and not part[1].isdigit():
            plain = part[1]
        if not plain or quantifier in tuple(_OPTIONAL):
            yield run.lower()
            run = ""
        else:
            run += plain
            if quantifier == "+":
                yield run.lower()
                run = ""
        at = following
        if quantifier == "{":  # the count is no text
            at = branch.find("}", at) + 1 or len(branch)
    yield run.lower()


def _after(pattern: str, at: int) -> int:
    """Behind the character, escape, class or group that begins here."""
    mark = pattern[at]
    if mark == "\\":
        return min(at + 2, len(pattern))
    if mark == "[":
        at += 2 if pattern[at + 1 : at + 2] in ("^", "]") else 1
        while at < len(pattern) and pattern[at] != "]":
            at += 2 if pattern[at] == "\\" else 1
        return min(at + 1, len(pattern))
    if mark == "(":
        at += 1
        while at < len(pattern) and pattern[at] != ")":
            at = _after(pattern, at)
        return min(at + 1, len(pattern))
    return at + 1
