"""The place in a chat where it was made shorter: what is not sent any more, and the summary that is sent instead."""

from __future__ import annotations

from vllm_studio_tui.domain.chat import Message
from vllm_studio_tui.kit.sanitize import clean, clean_line
from vllm_studio_tui.tui.document.blocks import BLANK, Block, Surroundings, estimated
from vllm_studio_tui.tui.document.line_breaking import Line, Part, fold


def is_shortening(message: Message) -> bool:
    """Whether a message stands where a chat was made shorter."""
    return message.role == "system" and isinstance(message.details.get("summary"), dict)


class Shortening(Block):
    """A line that says what is not sent; opened, the summary."""

    def __init__(self, message: int, text: str, said: dict[str, object]) -> None:
        super().__init__(message)
        self.text = text
        self._said = said
        self.open = False

    def make(self, width: int, around: Surroundings) -> list[Line]:
        glyphs = around.glyphs
        count = self._said.get("messages")
        messages = f"{count} messages" if isinstance(count, int) and count != 1 else "1 message"
        if self._said.get("undone"):
            words = f"{messages} above: all of it is sent again"
        elif self.text.strip():
            words = f"{messages} above are sent as a summary"
        else:
            words = f"{messages} above are not sent any more"
        mark = (glyphs.open if self.open else glyphs.folded) if self.text.strip() else glyphs.hairline
        by = self._said.get("by")
        head: list[Part] = [(f"{mark} ", "dim"), (words, "dim")]
        if isinstance(by, str) and by and self.text.strip():
            head.append((f"   by {clean_line(by, limit=40)}", "faint"))
        lines = fold(head, width)
        if self.open and self.text.strip():
            lead: tuple[Part, ...] = ((f"{glyphs.inside} ", "track"),)
            for row in clean(self.text.expandtabs(4)).strip("\n").split("\n"):
                lines += fold([(row, "dim")], width, lead, lead) if row.strip() else [Line(lead)]
        return [*lines, BLANK]

    def estimate(self, width: int) -> int:
        return estimated(self.text, width - 2) + 2 if self.open else 2

    def toggle(self) -> bool:
        if not self.text.strip():
            return False
        self.open = not self.open
        self.changed()
        return True

    def source(self) -> str:
        return self.text if self.open else ""


def shortening_block(index: int, message: Message) -> Shortening:
    """Return the block of such a message."""
    return Shortening(index, message.content, dict(message.details["summary"]))
