"""A block of a document: makes its lines when it is seen, at the width there is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vllm_studio_tui.tui.document.flow import Line, fold
from vllm_studio_tui.tui.paint.glyphs import Glyphs

BLANK = Line(())


@dataclass(slots=True)
class Surroundings:
    """What blocks draw with.

    Attributes:
        ready: Called, from a thread, when a lexer has come.
    """

    glyphs: Glyphs
    ready: Callable[[], None] | None = None


class Block:
    """Something in the document. Lines are made for one width and kept until something changes.

    Attributes:
        message: Index of the message that it belongs to.
    """

    def __init__(self, message: int) -> None:
        self.message = message
        self._width = -1
        self._lines: list[Line] = []

    def lines(self, width: int, around: Surroundings) -> list[Line]:
        """Its lines, a blank one at the end."""
        if width != self._width:
            self._width = width
            before, self._lines = self._lines, self.make(max(1, width), around)
            for index, (old, new) in enumerate(zip(before, self._lines, strict=False)):
                if old == new:  # the same object: it is not drawn again
                    self._lines[index] = old
        return self._lines

    def height(self, width: int) -> int:
        """How many lines it takes: exact once it was drawn at this width, an estimate before."""
        return len(self._lines) if width == self._width else self.estimate(max(1, width))

    def changed(self) -> None:
        """Make the lines anew when they are next needed."""
        self._width = -1

    def make(self, width: int, around: Surroundings) -> list[Line]:
        raise NotImplementedError

    def estimate(self, width: int) -> int:
        return 2

    def toggle(self) -> bool:
        """Fold or open; False for what cannot be."""
        return False

    def source(self) -> str:
        """What a search looks through."""
        return ""


def estimated(text: str, width: int) -> int:
    """About how many lines a text takes."""
    return max(1, text.count("\n") + len(text) // max(1, width)) + 1


class Hint(Block):
    """What stands where nothing was said yet: what could be, and with which keys."""

    def __init__(self, title: str, lines: Sequence[tuple[str, str]]) -> None:
        super().__init__(-1)
        self._title = title
        self._hints = tuple(lines)

    def make(self, width: int, around: Surroundings) -> list[Line]:
        out = [BLANK, *fold([(self._title, "fg bold")], width), BLANK]
        for key, words in self._hints:
            out += fold([(f"{key:<8}", "fg bold"), (words, "faint")], width)
        return out
