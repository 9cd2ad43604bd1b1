"""Sheets of the bench screen: all figures of a step, and what was found, in sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vllm_studio_tui.domain.bench import LATENCIES
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.sanitize import clean_line
from vllm_studio_tui.tui.paint.ink import Ink, Row, wrap
from vllm_studio_tui.tui.screens.bench import words as say
from vllm_studio_tui.tui.screens.bench.steps import compared_words, signed
from vllm_studio_tui.tui.sheets.dialogs import Pages

if TYPE_CHECKING:
    from vllm_studio_tui.domain.bench import BenchStep
    from vllm_studio_tui.tui.screens.bench.facts import Facts, StepLine

NAMES = {
    "ttft": "TTFT", "first_answer": "first of the answer", "itl": "ITL", "tpot": "TPOT", "e2e": "whole answer",
}  # fmt: skip
MEANINGS = (
    ("TTFT", "from sending until the first token of any kind, a thought included"),
    ("first of the answer", "until the first token that is not thought"),
    ("ITL", "between two tokens of one answer"),
    ("TPOT", "an answer's time after its first token, for each token after it"),
    ("a user", "tokens a second that one user sees: 1 / mean TPOT"),
    ("good", "the share of requests that met all limits; one that failed met none"),
    ("in the noise", "repeats, or parts of a step, differ as much among themselves"),
)


def step_sheet(facts: Facts, key: str) -> Pages:
    """Return a sheet with all figures of a step."""
    line = next((one for one in facts.steps if one.key == key), facts.chosen)

    def paint(ink: Ink, width: int) -> list[Row]:
        return _step_rows(facts, line, width) if line is not None else []

    return Pages(paint)


def _step_rows(facts: Facts, line: StepLine, width: int) -> list[Row]:
    shown = facts.known.shown
    assert shown is not None
    head = Row()
    end = head.put(2, say.load_words(line.load, shown.plan), "fg bold") + 2
    head.put(end, say.title_of(shown), "dim", max(0, width - end - 2))
    step = line.after
    rows = [head, Row()]
    if step is None:
        rows.append(_pair("state", "not measured yet" if line.waits is not None else "not measured", width))
        return rows
    rows += _latencies(step, facts.glyphs.unknown, width)
    rows.append(Row())
    for name, value in _figures(step):
        rows.append(_pair(name, value, width))
    if step.problems:
        rows += [Row(), _pair("errors", "", width)]
        rows += [
            _pair(f"  {count}", clean_line(text, limit=300), width) for text, count in list(step.problems.items())[:6]
        ]
    changes = [(name, one) for name, one in line.changes.items() if one.change is not None]
    if changes:
        title = Row()
        title.put(2, f"AGAINST  {compared_words(facts)}", "dim bold", max(0, width - 4))
        rows += [Row(), title]
        for name, one in changes:
            assert one.change is not None
            spread = ""
            if one.spread is not None:
                spread = f"   between {signed(one.spread[0])} and {signed(one.spread[1])}"
            word = "in the noise" if one.better is None else "better" if one.better else "worse"
            rows.append(_pair(CHANGED.get(name, name), f"{signed(one.change)}{spread}   {word}", width))
    return rows


CHANGED = {
    "output_tokens_per_second": "out", "user_speed": "a user", "ttft_p95": "TTFT p95", "itl_p95": "ITL p95",
    "e2e_p95": "whole p95", "joules_per_1k": "J / 1k tok", "good": "good",
}  # fmt: skip


def _latencies(step: BenchStep, unknown: str, width: int) -> list[Row]:
    head = Row()
    for index, part in enumerate(("mean", "p50", "p95", "p99", "count")):
        head.put_right(32 + index * 9, part, "faint")
    rows = [head]
    for name in LATENCIES:
        found = getattr(step, name)
        row = Row()
        row.put(2, NAMES[name], "dim")
        for index, part in enumerate(("mean", "p50", "p95", "p99")):
            row.put_right(32 + index * 9, numbers.latency(getattr(found, part), unknown), "fg")
        row.put_right(32 + 4 * 9, numbers.count(found.count, unknown), "dim")
        rows.append(row)
    return rows


def _figures(step: BenchStep) -> list[tuple[str, str]]:
    rate, count, percent = numbers.rate, numbers.count, numbers.percent
    found: list[tuple[str, str | None]] = [
        ("requests", f"{step.requests} in {step.duration:.1f} s" + (f", {step.errors} failed" if step.errors else "")),
        ("out", f"{count(step.output_tokens_per_second)} tok/s"),
        ("in", f"{count(step.input_tokens_per_second)} tok/s"),
        ("a user", f"{rate(step.user_speed)} tok/s"),
        ("requests a second", rate(step.requests_per_second)),
        ("good", f"{percent(step.good)}, {rate(step.goodput)} a second" if step.good is not None else None),
        ("tokens", f"{count(step.tokens_in)} in, {count(step.tokens_out)} out"),
        ("of a cache", percent(step.cached) if step.cached is not None else None),
        ("power", numbers.power(step.power) if step.power is not None else None),
        ("energy", f"{count(step.joules_per_1k)} J / 1k tok" if step.joules_per_1k is not None else None),
        ("KV cache", f"{percent(step.kv)} at most" if step.kv is not None else None),
        ("waiting", f"{step.waiting} at most" if step.waiting is not None else None),
        ("preempted", str(step.preemptions) if step.preemptions is not None else None),
        ("power cap", f"{step.power_cap} W a GPU" if step.power_cap is not None else None),
        ("saturated", "what was asked waited ever longer" if step.saturated else None),
    ]
    return [(name, value) for name, value in found if value is not None]


def _pair(name: str, value: str, width: int) -> Row:
    row = Row()
    row.put(2, name, "dim", 20)
    row.put(23, value, "fg", max(0, width - 25))
    return row


def why_sheet(facts: Facts) -> Pages:
    """Return a sheet that says what was found, what else may be the reason, and what the words mean."""

    def paint(ink: Ink, width: int) -> list[Row]:
        return _why_rows(facts, width)

    return Pages(paint)


def _why_rows(facts: Facts, width: int) -> list[Row]:
    known = facts.known
    shown = known.shown
    assert shown is not None
    rows: list[Row] = []

    def part(title: str, sentences: list[str]) -> None:
        texts = [clean_line(one, limit=800) for one in sentences if one]
        if not texts:
            return
        head = Row()
        head.put(2, title, "dim bold")
        rows.extend([*([Row()] if rows else []), head])
        for text in texts:
            for line in wrap(text, max(10, width - 4)):
                row = Row()
                row.put(2, line, "fg")
                rows.append(row)

    comparison = known.comparison
    part(
        say.title_of(shown).upper(), [shown.error or "", *shown.notes, f"Measured {say.when_words(shown, facts.now)}."]
    )
    if comparison is not None:
        part("COMPARISON", [comparison.regression or "", comparison.verdict, *known.changed])
        part("WHAT ELSE IS NOT THE SAME", list(comparison.differences))
    limits = [known.limits[one.id] for one in (shown, known.against) if one is not None and one.id in known.limits]
    part("FIND MY LIMIT", [one.words for one in limits])
    part("SET-UP", [f"{name}: {value}" for name, value in say.setup_rows(shown)[1:]])
    part("WHAT THE FIGURES MEAN", [f"{name}: {meaning}." for name, meaning in MEANINGS])
    return rows
