"""Cuts a stream of Markdown into chunks that can be rendered one by one. Each call costs only the new text."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)$")
_HEADING = re.compile(r" {0,3}#{1,6}(?:\s|$)")
_LIST = re.compile(r" {0,3}(?:[-*+]|\d{1,9}[.)])(?:\s|$)")
_TABLE_RULE = re.compile(r" {0,3}\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$")


@dataclass(slots=True)
class Fence:
    """An open code fence: its marker, its info string, and its lines so far."""

    marker: str
    info: str
    lines: list[str] = field(default_factory=list)


class Scanner:
    """Finds where a chunk of Markdown ends.

    A chunk ends after a code fence, before a heading, and at a blank line that is followed by an unindented line
    which does not continue a list. Joined, the chunks are the text; rendered one by one they look as rendered at once.
    """

    def __init__(self) -> None:
        self._closed: list[str] = []  # whole lines of the chunk that is open
        self._rest = ""  # the line that has not ended yet
        self._pending: list[str] = []
        self._blank = False
        self._list = False
        self.fence: Fence | None = None
        self._inner_fence: str | None = None

    @property
    def tail(self) -> str:
        """The text after the last complete chunk."""
        return "".join(self._closed) + self._rest

    @property
    def lines(self) -> list[str]:
        """The whole lines of that text."""
        return self._closed

    @property
    def rest(self) -> str:
        """The last line of that text, where it has not ended."""
        return self._rest

    @property
    def table(self) -> bool:
        """Whether that text is a table."""
        lines = self._closed
        return len(lines) >= 2 and "|" in lines[0] and _TABLE_RULE.match(lines[1].rstrip("\n")) is not None

    def feed(self, text: str) -> list[str]:
        """Take more text; return the chunks that it completes."""
        out: list[str] = []
        pieces = text.split("\n")
        if len(pieces) == 1:
            self._pending.append(text)
            self._rest += text
            return out
        pieces[0] = self._rest + pieces[0]
        self._rest = pieces.pop()
        for line in pieces:
            self._line(line + "\n", out)
        return out

    def close(self) -> list[str]:
        """End the text; return what is left of it."""
        out: list[str] = []
        rest, self._rest = self._rest, ""
        if rest:
            self._line(rest, out)
        self._end(out)
        self.fence = None
        return out

    def _line(self, line: str, out: list[str]) -> None:
        if self.fence is not None:
            self._closed.append(line)
            if _closes(line, self.fence.marker):
                self.fence = None
                self._end(out)
            else:
                self.fence.lines.append(line)
            return
        if self._inner_fence is not None:
            # A fence inside a list belongs to the list's chunk.
            self._closed.append(line)
            if _closes(line.strip(), self._inner_fence):
                self._inner_fence = None
            return
        if not line.strip():
            self._blank = True
            self._closed.append(line)
            return
        indented = line[0] in " \t"
        is_list = _LIST.match(line) is not None
        if (self._blank and not indented and not (is_list and self._list)) or _HEADING.match(line):
            self._end(out)
        self._blank = False
        opening = _FENCE.match(line.rstrip("\n"))
        if opening is not None and not (opening[1][0] == "`" and "`" in opening[2]):
            if indented and self._list:
                self._inner_fence = opening[1]
            else:
                if self._closed:
                    self._end(out)
                self.fence = Fence(opening[1], opening[2].strip())
            self._closed.append(line)
            return
        if self._list and indented and (inner := _FENCE.match(line.strip())) is not None:
            self._inner_fence = inner[1]
        self._list = self._list or is_list
        self._closed.append(line)

    def _end(self, out: list[str]) -> None:
        if self._closed:
            out.append("".join(self._closed))
        self._closed = []
        self._blank = self._list = False


def _closes(line: str, marker: str) -> bool:
    text = line.strip()
    return len(text) >= len(marker) and text == text[:1] * len(text) and text.startswith(marker)
