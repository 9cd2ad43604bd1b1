"""Blocks of a document. Each makes its lines when it is first visible, for the width there is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vllm_studio_tui.tui.document.drawing import Drawing
from vllm_studio_tui.tui.document.line_breaking import Line, fold
from vllm_studio_tui.tui.paint.glyphs import Glyphs

BLANK = Line(())


@dataclass(slots=True)
class Surroundings:
    """What blocks need to draw themselves.

    Attributes:
        ready: Called, in another thread, when a lexer has been loaded.
        drawing: Draws pictures; None: they cannot be drawn here.
        reading: The keys go to the document.
        height: How many lines are visible at once.
        key: Returns the key of an action, as it is shown; empty for one that has none.
    """

    glyphs: Glyphs
    ready: Callable[[], None] | None = None
    reading: bool = True
    drawing: Drawing | None = None
    height: int = 40
    key: Callable[[str], str] = str


class Block:
    """A part of the document. Its lines are made for one width, and kept until something changes.

    Attributes:
        message: Index of the message that it belongs to.
    """

    def __init__(self, message: int) -> None:
        self.message = message
        self._width = -1
        self._lines: list[Line] = []

    def lines(self, width: int, around: Surroundings) -> list[Line]:
        """Return its lines, a blank one last."""
        if width != self._width:
            self._width = width
            before, self._lines = self._lines, self.make(max(1, width), around)
            for index, (old, new) in enumerate(zip(before, self._lines, strict=False)):
                if old == new:  # the same object: it is not drawn again
                    self._lines[index] = old
        return self._lines

    def height(self, width: int) -> int:
        """Return how many lines it takes: exact once it was drawn at this width, an estimate before."""
        return len(self._lines) if width == self._width else self.estimate(max(1, width))

    def changed(self) -> None:
        """Make the lines anew when they are next needed."""
        self._width = -1

    def make(self, width: int, around: Surroundings) -> list[Line]:
        raise NotImplementedError

    def estimate(self, width: int) -> int:
        return 2

    def toggle(self) -> bool:
        """Fold or open it; return False where it cannot be folded."""
        return False

    def source(self) -> str:
        """Return the text that a search looks through."""
        return ""


def estimated(text: str, width: int) -> int:
    """Return roughly how many lines a text takes."""
    return max(1, text.count("\n") + len(text) // max(1, width)) + 1


class Hint(Block):
    """What an empty chat shows: a title, and keys with what they do."""

    def __init__(self, title: str, lines: Sequence[tuple[str, str]]) -> None:
        super().__init__(-1)
        self._title = title
        self._hints = tuple(lines)

    def make(self, width: int, around: Surroundings) -> list[Line]:
        out = [BLANK, *fold([(self._title, "fg bold")], width), BLANK]
        for key, words in self._hints:
            out += fold([(f"{key:<8}", "fg bold"), (words, "faint")], width)
        return out
