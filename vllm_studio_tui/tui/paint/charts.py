"""Bars, sparklines and column charts, as text."""

from __future__ import annotations

from collections.abc import Sequence

from vllm_studio_tui.tui.paint.glyphs import Glyphs
from vllm_studio_tui.tui.paint.ink import Row


def bar(glyphs: Glyphs, share: float | None, width: int, style: str = "data") -> list[tuple[str, str]]:
    """Return a share (0-1) as a bar, rounded to half a cell; only 0 is drawn empty and only 1 full."""
    if width <= 0:
        return []
    if share is None:
        return [(glyphs.unknown_bar * width, "track")]
    halves = round(max(0.0, min(1.0, share)) * width * 2)
    if share > 0:
        halves = max(1, halves)
    if share < 1:
        halves = min(width * 2 - 1, halves)
    whole, half = divmod(halves, 2)
    filled = glyphs.bar * whole + glyphs.half * half
    return [(filled, style), (glyphs.track * (width - len(filled)), "track")]


def put_bar(row: Row, column: int, glyphs: Glyphs, share: float | None, width: int, style: str = "data") -> int:
    """Draw a bar of at least four cells, or nothing; return the column after it."""
    return row.run(column, bar(glyphs, share, width, style)) if width >= 4 else column


def spark(
    glyphs: Glyphs, values: Sequence[float | None], top: float | None = None, *, latest: str = "data"
) -> list[tuple[str, str]]:
    """Return values as a sparkline that starts at zero; the newest value in the style `latest`."""
    known = [value for value in values if value is not None]
    peak = top if top is not None else max(known, default=0.0)
    levels = glyphs.spark
    text = []
    for value in values:
        if value is None:
            text.append(glyphs.no_sample)
        elif peak <= 0 or value <= 0:
            text.append(levels[0])
        else:
            text.append(levels[min(len(levels) - 1, int(min(1.0, value / peak) * (len(levels) - 1) + 0.5))])
    if not text:
        return []
    return [("".join(text[:-1]), "fill"), (text[-1], latest)]


def columns(
    glyphs: Glyphs,
    values: Sequence[float | None],
    height: int,
    top: float | None = None,
    *,
    limit: float | None = None,
) -> list[list[tuple[str, str]]]:
    """Return values as a column chart of `height` rows, the highest row first; values over `limit` in `warn`."""
    known = [value for value in values if value is not None]
    peak = top if top is not None else max(known, default=0.0)
    levels = glyphs.chart
    steps = len(levels)
    heights: list[int | None] = []
    for value in values:
        if value is None:
            heights.append(None)
        elif peak <= 0 or value <= 0:
            heights.append(0)
        else:
            heights.append(max(1, round(min(1.0, value / peak) * height * steps)))
    rows: list[list[tuple[str, str]]] = []
    for line in range(height - 1, -1, -1):
        row: list[tuple[str, str]] = []
        for index, level in enumerate(heights):
            value = values[index]
            style = "data" if index == len(heights) - 1 else "fill"
            if limit is not None and value is not None and value > limit:
                style = "warn"
            if level is None:
                row.append((glyphs.no_sample if line == 0 else " ", "track"))
                continue
            rest = level - line * steps
            character = " " if rest <= 0 else levels[min(steps, rest) - 1]
            if line == 0 and level == 0:
                character, style = levels[0], "track"
            row.append((character, style))
        rows.append(joined(row))
    return rows


def joined(parts: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Join neighbouring parts of the same style."""
    out: list[tuple[str, str]] = []
    for text, style in parts:
        if out and out[-1][1] == style:
            out[-1] = (out[-1][0] + text, style)
        else:
            out.append((text, style))
    return out
