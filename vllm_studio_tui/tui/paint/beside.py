"""Puts two blocks of rows side by side."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from vllm_studio_tui.tui.paint.ink import Row


def beside(left: Sequence[Row], right: Sequence[Row], middle: int, gap: int = 1) -> list[Row]:
    """Return rows side by side, those of the right block from column `middle` on.

    Pieces of the left block that begin less than `gap` columns before `middle`, or after it, are dropped. A row keeps
    the key of its left part, else that of its right one, and the cursor covers that part alone.
    """
    rows = []
    for left_row, right_row in zip_longest(left, right):
        row = Row(key=left_row.key if left_row is not None else None)
        if left_row is not None:
            row.pieces += [piece for piece in left_row.pieces if piece[0] < middle - gap]
            row.links += left_row.links
            if left_row.key is not None and right:
                row.span = (0, middle - gap)
        if right_row is not None:
            row.pieces += [(column + middle, text, style) for column, text, style in right_row.pieces]
            row.links += [(start + middle, end + middle, action) for start, end, action in right_row.links]
            if row.key is None and right_row.key is not None:
                row.key, row.span = right_row.key, (middle - gap, 4000)
        rows.append(row)
    return rows
