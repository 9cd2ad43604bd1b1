"""Usage as rows: title, totals, and what is said where there is nothing. The chart is in `chart.py`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from vllm_studio_tui.domain.usage import DAY, TIMES, Price, UsageReport, UsageRow
from vllm_studio_tui.domain.usage_words import name_of, weekly_growth
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.local_time import day_of
from vllm_studio_tui.kit.spreadsheets import plain_cell
from vllm_studio_tui.tui.look.sizes import Size, margin
from vllm_studio_tui.tui.paint import charts
from vllm_studio_tui.tui.paint.glyphs import Glyphs
from vllm_studio_tui.tui.paint.ink import Row, wrap
from vllm_studio_tui.tui.paint.table import Column, Parts

#: The groupings, and what a person calls them.
WORDS = {
    "model": "model", "recipe": "recipe", "day": "day", "hour": "hour", "week": "week", "key": "key",
    "source": "source", "session": "chat",
}  # fmt: skip
#: Energy is drawn by a run: of no part of it is known who asked for it.
WITHOUT_ENERGY = frozenset({"key", "source", "session"})
ENERGY = frozenset({"energy", "joules", "tokens_per_watt_hour", "kwh_per_million", "cost", "cost_per_million"})
#: The width of the share in the table: a bar and a percentage.
SHARE = 17


@dataclass(frozen=True, slots=True)
class Measure:
    """Something that is counted.

    Attributes:
        name: What it is called in exports.
        drop: When its column is left out of the table, see `paint.table.Column`.
    """

    name: str
    head: str
    value: Callable[[UsageRow], float | None]
    form: Callable[[float | None], str]
    drop: int

    def text(self, used: UsageRow) -> str:
        """Return the value of a row as text; with ~ where a part of it is estimated."""
        about = (used.tokens_estimated and self.name in ("tokens", "written")) or (
            used.energy_estimated and self.name in ENERGY
        )
        value = self.value(used)
        return f"{'~' if about and value is not None else ''}{self.form(value)}"

    def column(self) -> Column[UsageRow]:
        def parts(used: UsageRow) -> Parts:
            return [(self.text(used), "fg" if self.value(used) is not None else "faint")]

        return Column(self.name, parts, 5, self.head, right=True, drop=self.drop, order=self.value, falling=True)


def _joules(row: UsageRow) -> float | None:
    """Return the energy of a thousand generated tokens: all of it, for reading the prompt is a part of an answer."""
    if row.energy_wh is None or not row.completion_tokens:
        return None
    return row.energy_wh * 3600 / row.completion_tokens * 1000


def _short(value: float | None) -> str:
    """Format an amount: two decimals, small ones with four."""
    return "–" if value is None else f"{value:.2f}" if value >= 0.995 or not value else f"{value:.4f}"


MEASURES = (
    Measure("tokens", "tokens", lambda row: row.total_tokens, numbers.count, 0),
    Measure("read", "read", lambda row: row.prompt_tokens, numbers.count, 5),
    Measure("written", "written", lambda row: row.completion_tokens, numbers.count, 6),
    Measure("requests", "requests", lambda row: row.requests, numbers.count, 1),
    Measure("ttft50", "TTFT p50", lambda row: row.ttft.p50, numbers.latency, 10),
    Measure("ttft95", "TTFT p95", lambda row: row.ttft.p95, numbers.latency, 3),
    Measure("speed", "tok/s", lambda row: row.tokens_per_second, numbers.rate, 4),
    Measure("failed", "failed", lambda row: None if row.success_rate is None else 1 - row.success_rate,
            numbers.percent, 7),
    Measure("energy", "energy", lambda row: row.energy_wh, numbers.energy, 2),
    Measure("joules", "J/1k written", _joules, numbers.count, 12),
    Measure("tokens_per_watt_hour", "tok/Wh", lambda row: row.tokens_per_watt_hour, numbers.count, 8),
    Measure("cached", "cached", lambda row: row.hit_rate, numbers.percent, 9),
    Measure("thought", "thought", lambda row: row.thinking_tokens, numbers.count, 13),
    Measure("e2e50", "answer p50", lambda row: row.latency.p50, numbers.latency, 14),
    Measure("kwh_per_million", "kWh/M", lambda row: row.kwh_per_million_tokens, _short, 15),
)  # fmt: skip


def measures_of(price: Price | None) -> tuple[Measure, ...]:
    """Return what is counted; the cost of energy only where the settings have a price."""
    if price is None:
        return MEASURES

    return (
        *MEASURES,
        Measure("cost", price.currency, price.of, _short, 2),
        Measure("cost_per_million", f"{price.currency}/M", price.of_a_million, _short, 7),
    )


def columns_of(report: UsageReport | None, by: str, glyphs: Glyphs) -> list[Column[UsageRow]]:
    """Return the columns of the table: the name, its share, what is counted, and the peak of a model."""
    whole = (report.totals.total_tokens if report is not None else None) or 0
    peaks: Mapping[str, Mapping[str, float | None]] = report.peaks if report is not None else {}

    def share(used: UsageRow, width: int) -> Parts:
        part = (used.total_tokens or 0) / whole if whole else None
        return [*charts.bar(glyphs, part, width - 5), (f"{numbers.percent(part):>5}", "dim")]

    def peak(used: UsageRow) -> float | None:
        return peaks.get(used.key, {}).get("generation_tps")

    def peak_parts(used: UsageRow) -> Parts:
        speed = peak(used)
        return [(numbers.rate(speed, glyphs.unknown), "faint" if speed is None else "fg")]

    columns: list[Column[UsageRow]] = [
        Column(
            "name", lambda used: [(row_name(used, by) or "not known", "fg")], 8, WORDS[by], grow=1,
            order=(lambda used: used.key) if by in TIMES else lambda used: row_name(used, by).lower(),
        ),
        Column("share", lambda used: (), SHARE, drop=8, draw=share),
        *(
            measure.column()
            for measure in measures_of(report.price if report is not None else None)
            if by not in WITHOUT_ENERGY or measure.name not in ENERGY
        ),
    ]  # fmt: skip
    if by == "week" and report is not None:
        grown = weekly_growth(report.weeks)

        def change(used: UsageRow) -> Parts:
            known = grown.get(used.key)
            return [(glyphs.unknown if known is None else f"{known:+.0%}", "faint" if known is None else "fg")]

        columns.insert(3, Column("change", change, 5, "change", right=True, drop=1,
                                 order=lambda used: grown.get(used.key), falling=True))  # fmt: skip
    if by == "model":
        columns.append(Column("peak", peak_parts, 5, "fastest", right=True, drop=7, order=peak, falling=True))
    return columns


def row_name(used: UsageRow, by: str) -> str:
    """Return what a row is called in the table; the row of the sums has a title that says so."""
    if by == "week" and used.key:
        first, last = (used.title or "").split(" to ") if " to " in (used.title or "") else ("", "")
        return f"{used.key[5:]}  {_short_date(first)} to {_short_date(last)}" if first else used.key
    if by == "hour" and used.key:
        return f"{_short_date(used.key[:10])}  {used.key[11:16]}"
    return used.title or name_of(used, by)


def _short_date(date: str) -> str:
    """Return a date as `Nov 23`; what is none as it is."""
    try:
        return time.strftime("%b %-d", time.strptime(date, "%Y-%m-%d"))
    except ValueError:
        return date


def head(report: UsageReport | None, before: UsageReport | None, days: int, size: Size) -> Row:
    """Draw the title: the number of days, their dates, and against what the changes below are."""
    row = Row()
    x = row.put(margin(size), "USAGE", "dim bold") + 2
    x = row.put(x, f"{days} days", "accent bold") + 3
    compared = before is not None and bool(before.totals.total_tokens)
    if report is not None and not (compared and size < Size.BASE):
        last = day_of(report.at)
        x = row.put(x, f"{day_word(last - days + 1)} to {day_word(last)}, {report.zone}", "faint") + 3
    if compared:
        x = row.put(x, f"% against the {days} days before", "faint") + 3
    if size >= Size.WIDE:
        row.put(x, "– not measured, left out of sums", "faint")
    return row


def day_word(day: int) -> str:
    """Return a day, counted from the epoch, as `Nov 23`."""
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
    every = {measure.name: measure for measure in measures_of(report.price)}
    values, labels = Row(), Row()
    x = margin(size)
    step = max(12, (width - x) // len(names))
    for measure in (every[name] for name in names):
        value = measure.value(report.totals)
        text = measure.text(report.totals)
        if x + len(text) >= width:
            break  # a number is never cut: it is left out
        after = values.put(x, text, "fg bold" if value is not None else "faint")
        earlier = measure.value(before.totals) if before is not None else None
        if value is not None and earlier:
            change = (value - earlier) / earlier
            words = "=" if abs(change) < 0.005 else f"{change:+.0%}" if change < 10 else f"{change + 1:.0f}x"
            if after + 2 + len(words) < x + step:
                values.put(after + 2, words, "faint")
        labels.put(x, measure.head, "dim", step - 1)
        x += step
    return [values, labels]


def missing(report: UsageReport, glyphs: Glyphs, x: int, width: int) -> list[Row]:
    """Say what is not in the report."""
    rows = []
    for index, line in enumerate(wrap(report.missing.removeprefix("warning: "), width - x - 4)[:2]):
        row = Row(bar="warn")
        if index == 0:
            row.put(x, glyphs.warning, "warn")
        row.put(x + 2, line, "dim")
        rows.append(row)
    return rows if report.missing else []


def error(title: str, cause: str, advice: str, glyphs: Glyphs, x: int, width: int) -> list[Row]:
    """Say why there is no report."""
    rows = [Row(bar="err", plane="errbg")]
    rows[0].run(x, [(f"{glyphs.failed} ", "err"), (title, "fg bold")])
    for text, style in ((cause, "fg"), (advice, "dim")):
        for line in wrap(text, width - x - 4)[:3] if text else []:
            row = Row(bar="err", plane="errbg")
            row.put(x + 2, line, style)
            rows.append(row)
    return rows


def nothing(report: UsageReport | None, days: int, x: int) -> list[Row]:
    """Say that nothing was used, and what to do about it."""
    if report is None:
        return []
    ever = report.lifetime.get("tokens_total")
    row, keys = Row(), Row()
    if ever:
        row.put(x, f"No tokens in these {days} days; {numbers.count(ever)} before.", "dim")
        offered = [("-", "more days", "usage.zoom-out")]
    else:
        row.put(x, "No tokens counted yet. They appear after the first answer.", "dim")
        offered = [("2", "run a recipe", "app.recipes"), ("3", "chat", "app.chat")]
    at = x
    for key, word, action in offered:
        end = keys.run(at, [(key, "fg bold"), (f" {word}", "dim")])
        keys.link(at, end, action)
        at = end + 3
    return [row, Row(), keys]


def as_csv(rows: Sequence[UsageRow], by: str, report: UsageReport) -> str:
    """Return rows as CSV, with a column for each measure."""
    import csv
    import io

    measures = measures_of(report.price)
    stream = io.StringIO()
    out = csv.writer(stream)
    out.writerow([by, *(measure.name for measure in measures)])
    for row in rows:
        out.writerow([plain_cell(row.key), *(measure.value(row) for measure in measures)])
    return stream.getvalue()
