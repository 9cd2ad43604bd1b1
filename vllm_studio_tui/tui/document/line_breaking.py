"""Wraps styled text to a width."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rich.cells import cell_len

from vllm_studio_tui.kit.sanitize import clean_line
from vllm_studio_tui.tui.paint.cutting import cut_at

#: Text and its style, as words that `paint.ink` knows.
Part = tuple[str, str]


class Line(NamedTuple):
    """One line of a block: its parts, the plane behind it, and a word at its right end with its style."""

    parts: tuple[Part, ...]
    plane: str = ""
    right: str = ""
    right_style: str = "faint"

    @property
    def text(self) -> str:
        return "".join(text for text, _ in self.parts)


def cells(text: str) -> int:
    """Return how many cells a text takes."""
    return len(text) if text.isascii() else cell_len(text)


def fold(
    runs: Iterable[Part], width: int, first: Sequence[Part] = (), later: Sequence[Part] = (), plane: str = ""
) -> list[Line]:
    """Wrap runs of styled text at blanks, to lines of at most `width` cells; longer words are cut.

    What follows a word without a blank, such as the comma after a link, stays with it.

    Args:
        first, later: Parts at the beginning of the first line and of the others.
    """
    width = max(1, width)
    # Where there is no room for what should stand before the text, it is left out.
    first = first if sum(cells(text) for text, _ in first) < width else ()
    later = later if sum(cells(text) for text, _ in later) < width else ()
    lead = sum(cells(text) for text, _ in first)
    indent = sum(cells(text) for text, _ in later)
    lines: list[Line] = []
    line: list[Part] = list(first)
    used = min(lead, width - 1)
    before = len(line)  # how many parts of it are no text
    empty = True
    parted = True  # a blank stood before the next word, in sight or not

    def flush() -> None:
        nonlocal line, used, before, empty
        lines.append(Line(tuple(_merged(line)), plane))
        line = list(later)
        used = min(indent, width - 1)
        before = len(line)
        empty = True

    for text, style in runs:
        for index, hard in enumerate(text.split("\n")):
            if index:
                flush()
                parted = True
            for word in _words(hard):
                size = cells(word)
                if word == " ":
                    parted = True
                    if not empty and used < width:
                        line.append((" ", style))
                        used += 1
                    continue
                if used + size > width and not empty:
                    along = [] if parted else _beginning(line, before, width - indent - size)
                    while line and line[-1][0] == " ":
                        line.pop()
                    flush()
                    for part in along:
                        line.append(part)
                        used += cells(part[0])
                        empty = False
                while used + size > width:
                    head, word = cut(word, max(1, width - used))
                    line.append((head, style))
                    flush()
                    size = cells(word)
                if word:
                    line.append((word, style))
                    used += size
                    empty = parted = False
    if not empty or not lines or line != list(later):
        lines.append(Line(tuple(_merged(line)), plane))
    return lines


def _beginning(line: list[Part], start: int, room: int) -> list[Part]:
    """Take off the end of a line the parts of a word that goes on, where all of it fits into the next line."""
    at = len(line)
    while at > start and line[at - 1][0] != " ":
        at -= 1
    if at <= start or sum(cells(text) for text, _ in line[at:]) > room:
        return []
    taken = line[at:]
    del line[at:]
    return taken


def _words(text: str) -> Iterable[str]:
    """Yield words and single blanks, in order."""
    text = clean_line(text)
    at = 0
    length = len(text)
    while at < length:
        if text[at] == " ":
            yield " "
            at += 1
            continue
        end = text.find(" ", at)
        if end < 0:
            end = length
        yield text[at:end]
        at = end


def cut(text: str, width: int) -> Part:
    """Split a text after `width` cells; at least one character goes into the first part."""
    at = cut_at(text, width)
    return text[:at], text[at:]


def _merged(parts: Iterable[Part]) -> Iterable[Part]:
    last: Part | None = None
    for part in parts:
        if last is not None and last[1] == part[1]:
            last = (last[0] + part[0], part[1])
        else:
            if last is not None:
                yield last
            last = part
    if last is not None:
        yield last
