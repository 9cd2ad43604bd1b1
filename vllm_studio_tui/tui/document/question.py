"""The block of a question, with what goes with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vllm_studio_tui.domain.chat import Attachment
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.sanitize import clean
from vllm_studio_tui.services.chat.attachments import words
from vllm_studio_tui.tui.document.blocks import BLANK, Block, Surroundings, estimated
from vllm_studio_tui.tui.document.line_breaking import Line, Part, fold
from vllm_studio_tui.tui.document.links import linked
from vllm_studio_tui.tui.paint.glyphs import Glyphs


class Question(Block):
    """What the person asked, on a background of its own."""

    def __init__(
        self,
        message: int,
        text: str,
        images: Sequence[str] = (),
        files: Sequence[Attachment] = (),
        *,
        sibling: tuple[int, int] = (1, 1),
        spacious: bool = False,
    ) -> None:
        super().__init__(message)
        self._text = text
        self.sibling = sibling
        self._images = tuple(images)
        self._files = tuple(files)
        self.spacious = spacious

    def make(self, width: int, around: Surroundings) -> list[Line]:
        lead: tuple[Part, ...] = ((f"{around.glyphs.block} ", "data"),)
        lines = [Line(lead, "surf")] if self.spacious else []
        lines += self._attached(width, lead, around)
        text = clean(self._text.expandtabs(4))
        for row in text.split("\n"):
            lines += fold(linked(row, "fg"), width, lead, lead, "surf") if row.strip() else [Line(lead, "surf")]
        if self.sibling[1] > 1:
            lines += fold([(of_several(self.sibling, around.glyphs), "faint")], width, lead, lead, "surf")
        if self.spacious:
            lines.append(Line(lead, "surf"))
        return [*lines, BLANK]

    def _attached(self, width: int, lead: tuple[Part, ...], around: Surroundings) -> list[Line]:
        """Return what goes with the question: a line for each, and the pictures below theirs."""

        def ready() -> None:
            self.changed()
            if around.ready is not None:
                around.ready()

        lines: list[Line] = []
        images = iter(self._images)
        for one in self._files:
            picture = next(images, None) if one.text is None else None
            facts = "   ".join(words.facts_of(one))
            head = [("image  " if picture else "file  ", "dim"), (words.name_of(one), "fg"), (f"   {facts}", "dim")]
            lines += fold(head, width, lead, lead, "surf")
            lines += self._picture(picture, width, lead, around, ready)
        for picture in images:
            size = numbers.size(len(picture) * 3 // 4)
            lines.append(Line((*lead, ("image  ", "dim"), (size, "dim")), "surf"))
            lines += self._picture(picture, width, lead, around, ready)
        return [*lines, Line(lead, "surf")] if lines and self._text.strip() else lines

    def _picture(
        self, url: str | None, width: int, lead: tuple[Part, ...], around: Surroundings, ready: Callable[[], None]
    ) -> list[Line]:
        if url is None or around.drawing is None or width < 12:
            return []
        rows = around.drawing.rows(url, width - 2, ready) or ()
        return [Line((*lead, *row), "surf") for row in rows]

    def estimate(self, width: int) -> int:
        return (
            estimated(self._text, width - 2)
            + len(self._files)
            + len(self._images) * 8
            + (2 if self.spacious else 0)
            + (self.sibling[1] > 1)
        )

    def source(self) -> str:
        return self._text


def of_several(sibling: tuple[int, int], glyphs: Glyphs) -> str:
    """Return which one of several questions or answers this is, between the arrows that go to the others."""
    index, count = sibling
    return f"{glyphs.left} {index} of {count} {glyphs.right}"
