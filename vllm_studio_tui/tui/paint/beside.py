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
    for one, other in zip_longest(left, right):
        row = Row(key=one.key if one is not None else None)
        if one is not None:
            row.pieces += [piece for piece in one.pieces if piece[0] < middle - gap]
            row.links += one.links
        if other is not None:
            row.pieces += [(column + middle, text, style) for column, text, style in other.pieces]
            row.links += [(start + middle, end + middle, action) for start, end, action in other.links]
        rows.append(row)
    return rows
