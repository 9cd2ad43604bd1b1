"""Usage as rows: totals, a chart of prompt and generated tokens by day, and a table."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vllm_studio_tui.domain.usage import DAY, Price, UsageReport, UsageRow, date_of
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.tui.look.sizes import Size, margin
from vllm_studio_tui.tui.paint import charts
from vllm_studio_tui.tui.paint.glyphs import Glyphs
from vllm_studio_tui.tui.paint.ink import Row


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table."""

    name: str
    head: str
    value: Callable[[UsageRow], float | None]
    form: Callable[[float | None], str]
    width: int
    least: Size

    def text(self, used: UsageRow) -> str:
        """Return the value of a row as text; with ~ where a part of it is estimated."""
        about = used.tokens_estimated and self.name in ("tokens", "written")
        return f"{'~' if about else ''}{self.form(self.value(used))}"


def _joules(row: UsageRow) -> float | None:
    per = row.kwh_per_million_tokens
    return None if per is None else per * 3.6e6 / 1000


COLUMNS = (
    Column("tokens", "tokens", lambda row: row.total_tokens, numbers.count, 9, Size.COMPACT),
    Column("read", "read", lambda row: row.prompt_tokens, numbers.count, 10, Size.WIDE),
    Column("written", "written", lambda row: row.completion_tokens, numbers.count, 10, Size.WIDE),
    Column("requests", "requests", lambda row: row.requests, numbers.count, 10, Size.COMPACT),
    Column("ttft50", "TTFT p50", lambda row: row.ttft.p50, numbers.latency, 11, Size.FULL),
    Column("ttft95", "TTFT p95", lambda row: row.ttft.p95, numbers.latency, 10, Size.BASE),
    Column("speed", "tok/s", lambda row: row.tokens_per_second, numbers.rate, 9, Size.WIDE),
    Column("failed", "failed", lambda row: None if row.success_rate is None else 1 - row.success_rate,
           numbers.percent, 8, Size.FULL),
    Column("energy", "energy", lambda row: row.energy_wh, numbers.energy, 12, Size.BASE),
    Column("joules", "J/1k", _joules, numbers.count, 8, Size.FULL),
)  # fmt: skip


def columns_of(price: Price | None) -> tuple[Column, ...]:
    """Return the columns; the cost of energy only where the settings have a price."""
    if price is None:
        return COLUMNS

    def form(value: float | None) -> str:
        return "–" if value is None else f"{value:.2f}" if value >= 0.995 or not value else f"{value:.4f}"

    return (*COLUMNS, Column("cost", price.currency, price.of, form, 9, Size.BASE))


def head(report: UsageReport | None, days: int, by: str, size: Size) -> Row:
    """Draw the title: the number of days, their dates, and the grouping."""
    row = Row()
    x = row.put(margin(size), "USAGE", "dim bold") + 2
    x = row.put(x, f"{days} days", "accent bold") + 3
    if report is not None:
        last = int(report.at // DAY)
        x = row.put(x, f"{_day(last - days + 1)} to {_day(last)}", "faint") + 3
    row.put(x, f"by {by}", "faint")
    return row


def _day(day: int) -> str:
    return time.strftime("%b %-d", time.gmtime(day * DAY))


def totals(report: UsageReport, before: UsageReport | None, width: int, size: Size) -> list[Row]:
    """Draw the sums, and their change from the same number of days before."""
    names = ["tokens", "requests", "ttft95", "energy"]
    if size >= Size.WIDE:
        names = ["tokens", "requests", "ttft95", "speed", "energy", "joules"]
    if size == Size.FULL:
        names.append("failed")
    if report.price is not None and size >= Size.BASE:
        names.append("cost")
    every = columns_of(report.price)
    columns = [next(column for column in every if column.name == name) for name in names]
    values, labels = Row(), Row()
    x = margin(size)
    step = max(12, (width - x) // len(columns))
    for column in columns:
        value = column.value(report.totals)
        if x + len(column.text(report.totals)) >= width:
            break  # a number is never cut: its column is left out
        after = values.put(x, column.text(report.totals), "fg bold" if value is not None else "faint")
        earlier = column.value(before.totals) if before is not None else None
        if value is not None and earlier:
            change = (value - earlier) / earlier
            values.put(after + 2, "=" if abs(change) < 0.005 else f"{change:+.0%}", "faint", max(0, step - 8))
        labels.put(x, column.head, "dim", step - 1)
        x += step
    return [values, labels]


def chart(
    report: UsageReport, days: int, glyphs: Glyphs, width: int, size: Size, height: int, chosen: int | None
) -> list[Row]:
    """Draw a column for each day, of prompt and generated tokens; the day `chosen` counts back from the last day."""
    last = int(report.at // DAY)
    by_day = {row.key: row for row in report.daily}
    x = margin(size) + 7
    legend = 20 if size == Size.FULL else 0
    room = width - x - legend - 2
    pitch = max(1, min(9, room // days))
    shown = min(days, room // pitch)
    bar = max(1, pitch - (2 if pitch > 3 else 1 if pitch > 1 else 0))
    rows_of = [by_day.get(date_of(last - shown + 1 + index)) for index in range(shown)]
    peak = max((row.total_tokens or 0 for row in rows_of if row is not None), default=0)
    lines = max(2, height - 2)
    rows = [Row() for _ in range(lines)]
    rows[0].put(margin(size), numbers.count(peak), "faint")
    rows[lines // 2].put(margin(size), numbers.count(peak / 2), "faint")
    rows[-1].put(margin(size), "0", "faint")
    for index, used in enumerate(rows_of):
        if used is None or not peak:
            continue
        read, both = (used.prompt_tokens or 0) / peak, (used.total_tokens or 0) / peak
        for line, (lower, upper) in enumerate(_stack(glyphs, read, both, lines)):
            row = rows[lines - 1 - line]
            at = x + index * pitch
            if upper:
                row.put(at, upper * bar, "data")
            elif lower:
                row.put(at, lower * bar, "fill")
    days_row, sums = Row(), Row()
    for index in range(shown):
        day = last - shown + 1 + index
        here = chosen is not None and index == shown - 1 - chosen
        at = x + index * pitch
        if pitch >= 3:
            days_row.put(at, time.strftime("%-d", time.gmtime(day * DAY)), "accent bold" if here else "faint", pitch)
            used = rows_of[index]
            if pitch >= 6 and used is not None:
                sums.put(at, numbers.count(used.total_tokens), "dim" if not here else "fg bold", pitch)
        elif here:
            days_row.put(at, glyphs.up_down[0], "accent")
    if legend:
        at = width - legend + 1
        for index, (mark, style, label, value) in enumerate((
            (glyphs.full, "data", "written", report.totals.completion_tokens),
            (glyphs.full, "fill", "read", report.totals.prompt_tokens),
            (" ", "fg", "from cache", report.totals.cache_hit_tokens),
        )):  # fmt: skip
            if index + 1 < lines:
                rows[index + 1].put(at, mark, style)
                rows[index + 1].put(at + 2, label, "dim")
                rows[index + 1].put_right(width - 2, numbers.count(value), "fg")
    return [*rows, days_row, sums] if pitch >= 6 else [*rows, days_row]


def _stack(glyphs: Glyphs, read: float, both: float, lines: int) -> list[tuple[str, str]]:
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
        out.append((character, "") if line < split else ("", character))
    return out


def table(
    rows: Sequence[UsageRow],
    total: UsageRow,
    by: str,
    sort: str,
    glyphs: Glyphs,
    width: int,
    size: Size,
    price: Price | None = None,
) -> list[Row]:
    """Draw the headings, a row for each entry, and the sum."""
    x = margin(size)
    columns = [column for column in columns_of(price) if size >= column.least]
    numbers_width = sum(column.width for column in columns)
    name_width = max(10, min(28, width - numbers_width - x - 18))
    bar = max(0, min(18, width - numbers_width - name_width - x - 10))
    head_row = Row()
    head_row.put(x, by, "faint")
    start = x + name_width + 1
    if bar >= 6:
        head_row.put(start, "share", "faint")
    out = [head_row]
    whole = total.total_tokens or 0

    def fill(row: Row, used: UsageRow, style: str) -> None:
        at = start + (bar + 6 if bar >= 6 else 0)
        for column in columns:
            at += column.width
            value = column.value(used)
            row.put_right(at, column.text(used), style if value is not None else "faint")

    at = start + (bar + 6 if bar >= 6 else 0)
    for column in columns:
        at += column.width
        head_row.put_right(at, column.head, "accent" if column.name == sort else "faint")
    for used in rows:
        row = Row(key=used.key or "–")
        row.put(x, used.title or used.key or "not known", "fg", name_width)
        if bar >= 6:
            share = (used.total_tokens or 0) / whole if whole else None
            charts.put_bar(row, start, glyphs, share, bar)
            row.put_right(start + bar + 5, numbers.percent(share), "dim")
        fill(row, used, "fg")
        out.append(row)
    if len(rows) > 1:
        line = Row()
        line.put(x, glyphs.hairline * max(0, width - 2 * x), "track")
        all_row = Row()
        all_row.put(x, "all", "dim")
        fill(all_row, total, "fg bold")
        out += [line, all_row]
    return out
