"""The heatmap of usage: how many tokens in which hour of which weekday."""

from __future__ import annotations

from vllm_studio_tui.domain.usage import WEEKDAYS, UsageReport
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.tui.look.sizes import Size, margin
from vllm_studio_tui.tui.paint.glyphs import Glyphs
from vllm_studio_tui.tui.paint.ink import Row
from vllm_studio_tui.tui.screens.usage.chart import LEGEND

#: The cells of a weekday's name, with a blank.
NAME = 4


def heat(report: UsageReport, glyphs: Glyphs, width: int, size: Size) -> list[Row]:
    """Draw seven rows of 24 hours and their axis; the characters differ, not the colours alone."""
    tokens = [[cell.tokens for cell in hours] for hours in report.heatmap] or [[0] * 24] * 7
    peak = max(max(hours) for hours in tokens)
    x = margin(size) + NAME
    legend = LEGEND if size == Size.FULL else 0
    wide = max(1, min(5, (width - x - legend - 2) // 24))
    rows = []
    for name, hours in zip(WEEKDAYS, tokens, strict=True):
        row = Row()
        row.put(margin(size), name[:3], "dim")
        for hour, value in enumerate(hours):
            mark, style = _mark(glyphs, value, peak)
            # A blank between two hours where there is room: what stands beside each other is told apart.
            row.put(x + hour * wide, mark * max(1, wide - 1 if wide > 2 else wide), style)
        rows.append(row)
    axis = Row()
    for hour in range(0, 24, 3 if wide > 1 else 6):
        axis.put(x + hour * wide, f"{hour:02d}", "faint")
    if legend:
        _legend(rows, tokens, peak, glyphs, width - legend + 1, width - 2)
    return [*rows, axis]


def _mark(glyphs: Glyphs, value: int, peak: int) -> tuple[str, str]:
    """Return the character of a value: one for nothing, and one for each quarter of the peak."""
    if not value:
        return glyphs.no_sample, "track"
    level = min(len(glyphs.heat) - 1, value * len(glyphs.heat) // (peak + 1))
    return glyphs.heat[level], "data"


def _legend(rows: list[Row], tokens: list[list[int]], peak: int, glyphs: Glyphs, x: int, end: int) -> None:
    """Draw beside it the busiest hour and weekday, and what the characters mean."""
    if not peak:
        return
    weekday, hour = next((day, one) for day in range(7) for one in range(24) if tokens[day][one] == peak)
    sums = [sum(hours) for hours in tokens]
    busiest = sums.index(max(sums))
    lines = (
        ("busiest hour", "faint"),
        (f"{WEEKDAYS[weekday][:3]} {hour:02d}:00   {numbers.count(peak)}", "fg"),
        ("busiest weekday", "faint"),
        (f"{WEEKDAYS[busiest]}   {numbers.count(sums[busiest])}", "fg"),
    )
    for row, (text, style) in zip(rows, lines, strict=False):
        row.put(x, text, style, end - x)
    at = x
    for mark in glyphs.heat:
        at = rows[5].put(at, mark * 2, "data") + 1
    rows[6].put(x, "quarters of that hour", "faint", end - x)
