"""The chart of usage: a column for each day, or for several where there are more days than room, with its axes."""

from __future__ import annotations

import time
from dataclasses import dataclass

from vllm_studio_tui.domain.usage import DAY, UsageReport, UsageRow
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.local_time import date_of, day_of, monday_of
from vllm_studio_tui.tui.look.sizes import Size, margin
from vllm_studio_tui.tui.paint.glyphs import Glyphs
from vllm_studio_tui.tui.paint.ink import Ink, Row
from vllm_studio_tui.tui.screens.usage.rows import day_word

#: The width of the legend beside the chart.
LEGEND = 24


@dataclass(frozen=True, slots=True)
class _Bar:
    """A column of the chart: the first of its days, and what they used together."""

    first: int
    read: int
    both: int


def chart(
    report: UsageReport, days: int, ink: Ink, width: int, size: Size, height: int, chosen: int | None
) -> list[Row]:
    """Draw prompt and generated tokens by day, in `height` rows; the day `chosen` counts back from the last one."""
    glyphs = ink.glyphs
    # With few or no colours, what was read and what was written differ in their characters too.
    read = glyphs.shade if ink.plain or glyphs.ascii else glyphs.full
    last = day_of(report.at)
    x = margin(size) + 7
    legend = LEGEND if size == Size.FULL else 0
    room = width - x - legend - 2
    weekly = report.query.by == "week"
    per = 7 if weekly else -(-days // room)
    bars = _weeks(report, last - days + 1, last) if weekly else _bars(report, last - days + 1, last, per)
    pitch = max(1, min(9, room // len(bars)))
    thick = max(1, pitch - (2 if pitch > 3 else 1 if pitch > 1 else 0))
    peak = max((bar.both for bar in bars), default=0)
    below = 2 if pitch >= 6 else 1
    lines = max(2, height - below)
    rows = [Row() for _ in range(lines)]
    for line, part in ((0, 1.0), (lines // 2, 1 - lines // 2 / lines), (lines - 1, 0.0)):
        rows[line].put_right(x - 2, numbers.count(round(peak * part)), "faint")
    for index, bar in enumerate(bars):
        at = x + index * pitch
        if not peak:
            continue
        for line, (lower, upper) in enumerate(_stack(glyphs, bar.read / peak, bar.both / peak, lines, read)):
            if upper or lower:
                rows[lines - 1 - line].put(at, (upper or lower) * thick, "data" if upper else "fill")
    axis, sums = Row(), Row()
    marked = None
    if chosen is not None:
        since = monday_of(last) + 6 - (last - chosen) if weekly else chosen
        marked = len(bars) - 1 - since // per
    free = 0
    for index, bar in enumerate(bars):
        here = index == marked
        at = x + index * pitch
        style = "accent bold" if here else "faint"
        # The month where it changes, and first where it leaves the days after it their places.
        text = day_word(bar.first)
        if pitch >= 3 and (index or pitch <= len(text)) and time.gmtime(bar.first * DAY).tm_mday != 1:
            text = time.strftime("%-d", time.gmtime(bar.first * DAY))
        if here or (at >= free and (pitch >= 3 or index % 10 == 0)):
            free = max(free, axis.put(at, text, style) + 1)
        if pitch >= 6 and bar.both:
            sums.put(at, numbers.count(bar.both), "fg bold" if here else "dim", pitch - 1)
    if per > 1:
        words, after = "a week a column" if weekly else f"{per} days a column", x + len(bars) * pitch + 1
        if after + len(words) < width - legend:
            axis.put(after, words, "faint")
        else:
            axis.put_right(after - 1, f" {words}", "faint")
    if legend:
        _legend(rows, report, bars, per, glyphs, read, width - legend + 1, width - 2)
    return [*rows, axis, sums][: lines + below]


def _bars(report: UsageReport, first: int, last: int, per: int) -> list[_Bar]:
    by_day = {row.key: row for row in report.daily}
    # Counted from the last day, so that its column is a whole one.
    return [_bar(by_day, max(first, end - per + 1), end) for end in range(last, first - 1, -per)][::-1]


def _weeks(report: UsageReport, first: int, last: int) -> list[_Bar]:
    """Return a column for each week, from Monday on; the first and the last may have fewer days."""
    by_day = {row.key: row for row in report.daily}
    mondays = range(monday_of(first), last + 1, 7)
    return [_bar(by_day, max(first, monday), min(last, monday + 6)) for monday in mondays]


def _bar(by_day: dict[str, UsageRow], begin: int, end: int) -> _Bar:
    used: list[UsageRow] = [row for day in range(begin, end + 1) if (row := by_day.get(date_of(day))) is not None]
    return _Bar(begin, sum(row.prompt_tokens or 0 for row in used), sum(row.total_tokens or 0 for row in used))


def _legend(
    rows: list[Row], report: UsageReport, bars: list[_Bar], per: int, glyphs: Glyphs, read: str, x: int, end: int
) -> None:
    """Draw beside the chart what its colours mean, the busiest day and the highest speed."""
    kinds = report.totals.kinds
    parts = [("data", "written", report.totals.completion_tokens)]
    if kinds["thinking"]:
        parts.append(("", "of it thought", kinds["thinking"]))
    parts += [("fill", "read", report.totals.prompt_tokens), ("", "from cache", kinds["cached"])]
    for row, (style, label, value) in zip(rows, parts, strict=False):
        if style:
            row.put(x, read if style == "fill" else glyphs.full, style)
        row.put(x + 2, label, "dim")
        row.put_right(end, numbers.count(value, glyphs.unknown), "fg")
    busiest = max(bars, key=lambda bar: bar.both)
    speeds = [(speed, model) for model, one in report.peaks.items() if (speed := one.get("generation_tps"))]
    lines = [("busiest day" if per == 1 else "busiest week" if per == 7 else f"busiest {per} days", "faint"),
             (f"{day_word(busiest.first)}   {numbers.count(busiest.both)}", "fg")]  # fmt: skip
    if speeds:
        speed, model = max(speeds)
        lines += [("", ""), ("fastest answer ever", "faint"), (f"{numbers.rate(speed)} tok/s", "fg"), (model, "dim")]
    for row, (text, style) in zip(rows[5:], lines, strict=False):
        row.put(x, text, style, end - x)


def _stack(glyphs: Glyphs, read: float, both: float, lines: int, shade: str) -> list[tuple[str, str]]:
    """Return for each line, the lowest first, the characters of the prompt tokens and of the generated tokens."""
    steps = len(glyphs.chart)
    top = round(both * lines * steps)
    split = round(read * lines)
    out = []
    for line in range(lines):
        rest = top - line * steps
        if rest <= 0:
            out.append((" ", ""))
            continue
        character = glyphs.chart[min(steps, rest) - 1]
        out.append((shade if rest >= steps else character, "") if line < split else ("", character))
    return [("", "") if lower == " " else (lower, upper) for lower, upper in out]
