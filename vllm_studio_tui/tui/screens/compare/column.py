"""A column: one answer, with a head that says whose it is and what it does."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.containers import Vertical

from vllm_studio_tui.domain.chat import Message
from vllm_studio_tui.tui.document import figures
from vllm_studio_tui.tui.document.blocks import BLANK, Block, Surroundings
from vllm_studio_tui.tui.document.line_breaking import Line, fold
from vllm_studio_tui.tui.document.message_blocks import Foot
from vllm_studio_tui.tui.document.view import Document, Entry
from vllm_studio_tui.tui.widgets.canvas import Canvas

if TYPE_CHECKING:
    from vllm_studio_tui.tui.paint.ink import Ink, Row

_EMPTY = Message("", "", "assistant", "", finish="streaming")
#: How an answer ended that did not end by itself.
_ENDS = {"stopped": "stopped by you, kept", "interrupted": "cut off", "failed": "it failed"}


class Figures(Block):
    """The line below an answer that stands beside others: how it ended, how fast it was."""

    def __init__(self, answer: Message) -> None:
        super().__init__(0)
        self._answer = answer

    def make(self, width: int, around: Surroundings) -> list[Line]:
        one, lines = self._answer, []
        if (end := _ENDS.get(one.finish or "")) is not None:
            failed = one.finish != "stopped"
            lead = ((f"{around.glyphs.block} ", "err" if failed else "warn"),)
            words = f"{end}: {one.error}" if failed and one.error else end
            lines += fold([(words, "fg")], width, lead, lead)[:6]
        lines += fold([("   ".join(figures.parts(one)), "faint")], width)
        return [*lines, BLANK]


class AnswerText(Document):
    """The text of one answer. There is nothing else in it for a cursor to be on."""

    def marked(self, block: Block) -> bool:
        return False


class Column(Vertical):
    """One answer.

    Args:
        place: Its place from 0 on.
        head: Draws the row above it.
    """

    def __init__(self, place: int, head: Callable[[int, int], list[Row]], get_ink: Callable[[], Ink]) -> None:
        super().__init__(id=f"compare-{place}", classes="compare-column")
        self.place = place
        self._head = Canvas(lambda width, _: head(place, width), get_ink, classes="compare-head")
        self.document = AnswerText(get_ink, id=f"compare-text-{place}")

    def compose(self) -> ComposeResult:
        yield self._head
        yield self.document

    def repaint(self) -> None:
        self._head.repaint()

    def begin(self) -> None:
        """Show an answer that begins."""
        self.document.show_entries([])
        self.document.begin(Entry(_EMPTY))

    def finish(self, message: Message) -> None:
        """Show the end of the answer, as it is kept."""
        document = self.document
        if document.live is None:
            document.show_entries([Entry(message)])
        else:
            document.finish(Entry(message))
        # Its keys are others here, and its figures are all that differs.
        document.blocks = [*(one for one in document.blocks if not isinstance(one, Foot)), Figures(message)]
        document.redraw()
