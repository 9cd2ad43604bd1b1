"""The line below calls of tools that were cut off: what was not made, and the key that goes on."""

from __future__ import annotations

from vllm_studio_tui.services.chat.going_on import CutRound
from vllm_studio_tui.tui.document.blocks import BLANK, Block, Surroundings
from vllm_studio_tui.tui.document.line_breaking import Line, Part, fold


class RoundFoot(Block):
    """Says that a round of calls has no answer yet, and why."""

    def __init__(self, message: int, cut: CutRound) -> None:
        super().__init__(message)
        ends = {one.finish for one in cut.results}
        why = "stopped by you" if "stopped" in ends else "cut off" if "interrupted" in ends else ""
        calls = "call" if len(cut.open) == 1 else "calls"
        left = f"{len(cut.open)} {calls} not made" if cut.open else "not answered yet"
        self._words = ": ".join(filter(None, (why, left)))

    def make(self, width: int, around: Surroundings) -> list[Line]:
        lead: tuple[Part, ...] = ((f"{around.glyphs.block} ", "warn"),)
        way = "" if around.reading else "tab "  # elsewhere the letter alone would be typed
        runs: list[Part] = [(self._words, "fg"), ("   ", "fg"), (f"{way}c", "fg bold"), (" go on", "dim")]
        return [*fold(runs, width, lead, lead), BLANK]
