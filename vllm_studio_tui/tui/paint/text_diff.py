"""What differs between two texts, as rows: `-` old, `+` new, as in a change of a recipe."""

from __future__ import annotations

from collections.abc import Sequence

from vllm_studio_tui.tui.paint.diff import COME, GONE
from vllm_studio_tui.tui.paint.ink import Row, wrap

#: The sign, its colour and the plane below a piece.
_LOOKS = {"-": GONE, "+": COME, " ": (" ", "dim", "")}


def text_diff_rows(pieces: Sequence[tuple[str, str]], x: int, width: int) -> list[Row]:
    """Draw the pieces of `kit.text_diff.diff_texts` from column `x` on, `width` cells wide."""
    rows: list[Row] = []
    for kind, text in pieces:
        sign, colour, plane = _LOOKS[kind]
        for index, line in enumerate(wrap(text, max(4, width - 2))):
            row = Row(plane=plane)
            row.put(x, sign if index == 0 else " ", colour)
            row.put(x + 2, line, "dim" if kind == " " else "fg")
            rows.append(row)
    return rows
