"""What is selected in the document, and words that are highlighted in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from vllm_studio_tui.tui.document.line_breaking import Part
from vllm_studio_tui.tui.paint.ink import LINK


class Point(NamedTuple):
    """A place in the document: a block, a line of it, a cell of that."""

    block: int
    line: int
    cell: int


class Selection:
    """The text between two points; empty until the mouse has moved."""

    def __init__(self) -> None:
        self._from: Point | None = None
        self._to: Point | None = None
        self.going = False
        self.version = 0

    def __bool__(self) -> bool:
        return self._from is not None and self._to is not None and self._from != self._to

    @property
    def range(self) -> tuple[Point, Point]:
        """The two ends in reading order."""
        assert self._from is not None and self._to is not None
        return min(self._from, self._to), max(self._from, self._to)

    def clear(self) -> None:
        if self._from is not None:
            self.version += 1
        self._from = self._to = None
        self.going = False

    def start(self, point: Point) -> None:
        self._from, self._to, self.going = point, point, True
        self.version += 1

    def extend(self, point: Point) -> None:
        if point != self._to:
            self._to = point
            self.version += 1

    def stop(self) -> None:
        self.going = False

    def on(self, block: int, line: int) -> tuple[int, int] | None:
        """Return the first selected cell of a line and the one after the last; None where none is selected."""
        if not self:
            return None
        first, last = self.range
        here = (block, line)
        if not (first.block, first.line) <= here <= (last.block, last.line):
            return None
        start = first.cell if here == (first.block, first.line) else 0
        end = last.cell + 1 if here == (last.block, last.line) else 10_000
        return start, end


def highlighted(parts: Sequence[Part], words: str, hit: int | None = None) -> tuple[Part, ...]:
    """Return the parts with every match of `words` reversed, ignoring case; the one of number `hit` stands out."""
    text = "".join(part for part, _ in parts)
    lower, wanted = text.lower(), words.lower()
    if len(lower) != len(text) or wanted not in lower:
        return tuple(parts)
    marks: dict[int, str] = {}
    at, number = lower.find(wanted), 0
    while at >= 0:
        style = "accent bold reverse" if number == hit else ""
        marks.update(dict.fromkeys(range(at, at + len(wanted)), style))
        at, number = lower.find(wanted, at + len(wanted)), number + 1
    out: list[Part] = []
    index = 0
    for part, style in parts:
        run, now = "", style
        for character in part:
            mark = marks.get(index)
            wanted_style = style if mark is None else f"{mark}{_link(style)}" if mark else f"{style} reverse"
            if run and wanted_style != now:
                out.append((run, now))
                run = ""
            now = wanted_style
            run += character
            index += 1
        if run:
            out.append((run, now))
    return tuple(out)


def _link(style: str) -> str:
    """Return the word that says where a style leads, with a blank before it."""
    return "".join(f" {word}" for word in style.split() if word.startswith(LINK))
