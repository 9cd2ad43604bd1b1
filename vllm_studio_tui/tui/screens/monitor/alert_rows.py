"""The rules of alerts as rows: those that speak first, then those that spoke today, then the quiet ones."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len

from vllm_studio_tui.domain.alerts import Alert, AlertRule
from vllm_studio_tui.tui.paint.glyphs import Glyphs
from vllm_studio_tui.tui.paint.ink import Row
from vllm_studio_tui.tui.screens.monitor.time_view import moment


def alert_rows(
    rules: Sequence[AlertRule], spoke: Sequence[Alert], now: Sequence[Alert], glyphs: Glyphs, at: float
) -> list[list[tuple[str, str]]]:
    """Return mark, moment, words and what stands at the right, of each line, the head first.

    Args:
        rules: All that there are.
        spoke: What was said in the last day.
        now: What is said now.
    """
    firing = {(one.rule, one.subject) for one in now}
    over = [one for one in spoke if not one.firing and (one.rule, one.subject) not in firing]
    latest: dict[str, Alert] = {}
    for one in sorted(over, key=lambda one: one.since):
        latest[one.rule] = one
    said = {one.rule for one in now} | set(latest)
    enabled = [rule for rule in rules if rule.enabled]
    count = f"{len(said)} of {len(enabled)} rules spoke today" if rules else ""
    lines = [[("ALERTS", "dim bold"), (f"  {count}", "dim")]]
    lines += [
        _line(_mark(one, glyphs), _moment(one.since, at), _words(one), _right(one), "fg")
        for one in sorted(now, key=lambda one: (one.severity != "trouble", -one.since))
    ]
    for one in sorted(latest.values(), key=lambda one: -one.since):
        if one.rule in {alert.rule for alert in now}:
            continue
        ended = f"over {moment(one.until, at)}" if one.until is not None else ""
        lines.append(_line(_mark(one, glyphs), _moment(one.since, at), _words(one), ended, "fg"))
    lines += [
        _line((glyphs.pending, "faint"), glyphs.unknown, rule.words or rule.name, "", "dim")
        for rule in enabled
        if rule.name not in said
    ]
    return [[(glyphs.plain(text), style) for text, style in line] for line in lines]


def _mark(one: Alert, glyphs: Glyphs) -> tuple[str, str]:
    return (glyphs.failed, "err") if one.severity == "trouble" else (glyphs.warning, "warn")


def _words(one: Alert) -> str:
    """Return what is said, without the reason: its run has that."""
    return (one.words or one.rule).partition(": ")[0]


def _right(one: Alert) -> str:
    """Return the value where it is a figure, else what it is about."""
    return one.now if one.now and len(one.now) <= 9 and one.now[0].isdigit() else one.subject


def _moment(at: float, now: float) -> str:
    return moment(at, now)


def _line(mark: tuple[str, str], when: str, words: str, right: str, style: str) -> list[tuple[str, str]]:
    return [mark, (when, "dim"), (words, style), (right, "dim")]


def put_alerts(rows: list[Row], lines: Sequence[Sequence[tuple[str, str]]], x: int, width: int, room: int) -> list[Row]:
    """Draw lines of alerts beside rows that are there, from column `x` on; what has no row is counted."""
    shown = list(lines[:room])
    hidden = len(lines) - len(shown)
    for number, parts in enumerate(shown):
        if number == len(rows):
            rows.append(Row())
        row = rows[number]
        if number == 0:
            at = row.run(x, parts)
            if hidden and at + 10 < width:
                row.put_right(width - 2, f"{hidden} more", "faint")
            continue
        (mark, colour), (when, faint), (words, style), (right, dim) = parts
        row.put(x, mark, colour)
        row.put(x + 2, when, faint, 6)
        end = width - 2
        if right and end - x > 24:
            end = row.put_right(end, right if cell_len(right) <= 18 else right[:17], dim) - 1
        row.put(x + 9, words, style, max(0, end - x - 9))
        row.span = row.span or (0, x - 1)
    return rows
