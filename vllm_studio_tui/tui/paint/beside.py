"""Puts two blocks of rows side by side."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from vllm_studio_tui.tui.paint.ink import Row


def beside(left: Sequence[Row], right: Sequence[Row], middle: int, gap: int = 1) -> list[Row]:
    """Return rows side by side, those of the right block from column `middle` on.

    Pieces of the left block that begin less than `gap` columns before `middle`, or after it, are dropped. A row keeps
    the key of its left part.
    """
    rows = []
    for left_row, right_row in zip_longest(left, right):
        row = Row(key=left_row.key if left_row is not None else None)
        if left_row is not None:
            row.pieces += [piece for piece in left_row.pieces if piece[0] < middle - gap]
            row.links += left_row.links
        if right_row is not None:
            row.pieces += [(column + middle, text, style) for column, text, style in right_row.pieces]
            row.links += [(start + middle, end + middle, action) for start, end, action in right_row.links]
        rows.append(row)
    return rows
