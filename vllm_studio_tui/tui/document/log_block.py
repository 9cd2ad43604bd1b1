"""A block of a log: a line, or a traceback that can be folded to one."""

from __future__ import annotations

from collections.abc import Sequence

from vllm_studio_tui.runs.log_text import LogLine
from vllm_studio_tui.tui.document.blocks import Block, Surroundings
from vllm_studio_tui.tui.document.line_breaking import Line, Part, fold


class LogBlock(Block):
    """A line, or a traceback folded to one."""

    def __init__(self, index: int, lines: Sequence[LogLine], level: str, *, cause: bool) -> None:
        super().__init__(index)
        self.log_lines = tuple(lines)
        self.level = level
        self._cause = cause
        self.open = False

    @property
    def folded(self) -> bool:
        """Whether it is a traceback that can be opened."""
        return len(self.log_lines) > 1

    def make(self, width: int, around: Surroundings) -> list[Line]:
        glyphs = around.glyphs
        mark = {"error": (f"{glyphs.failed} ", "err"), "warning": (f"{glyphs.warning} ", "warn")}.get(
            self.level, ("  ", "fg")
        )
        plane = "sel" if self._cause else ""
        style = "fg bold" if self._cause else "fg" if self.level in ("error", "warning") else "dim"
        later: tuple[Part, ...] = (("  ", "fg"),)
        if self.folded and not self.open:
            head: list[Part] = [(f"{glyphs.folded} Traceback, {len(self.log_lines)} lines", "dim")]
            return fold(head, width, (mark,), later)
        out: list[Line] = []
        for line in self.log_lines:
            out += fold([(line.text.expandtabs(4), style)], width, (mark,), later, plane) or [Line((mark,), plane)]
        return out

    def estimate(self, width: int) -> int:
        return 1 if self.folded and not self.open else max(1, len(self.log_lines[0].text) // max(1, width) + 1)

    def toggle(self) -> bool:
        if not self.folded:
            return False
        self.open = not self.open
        self.changed()
        return True

    def source(self) -> str:
        return "\n".join(line.text for line in self.log_lines)
