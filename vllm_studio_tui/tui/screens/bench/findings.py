"""What follows from a benchmark: how many users it carries, what binds, what it is compared with, and the sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vllm_studio_tui.kit.sanitize import clean_line
from vllm_studio_tui.tui.look.sizes import Size, margin
from vllm_studio_tui.tui.paint.ink import Row, wrap
from vllm_studio_tui.tui.screens.bench import words as say
from vllm_studio_tui.tui.screens.bench.facts import Facts

if TYPE_CHECKING:
    from vllm_studio_tui.domain.bench import BenchResult


def limit_section(facts: Facts, width: int) -> list[Row]:
    """Draw how many users each of the two carries, and what ends it."""
    known, glyphs = facts.known, facts.glyphs
    assert known.shown is not None
    head = Row()
    head.put(0, "FIND MY LIMIT", "dim bold")
    rows = [head]
    rates = known.shown.plan.arrivals != "closed"
    good = say.limits_words((facts.limits[0], facts.limits[1]), " and ")
    if not good:
        return [*rows, *_lines("No limit was set: how long a first token may take, how fast a user reads.", width),
                _key("e", "sets them")]  # fmt: skip
    ttft, speed = facts.limits
    parts = [f"{speed:g} tok/s a user"] if speed is not None else []
    parts += [f"TTFT p95 under {say.milliseconds(ttft)}"] if ttft is not None else []
    rows += [*_lines(f"at {' and '.join(parts)} this run carries", width), Row()]
    before, after = say.short_names(known.shown, known.against)
    coming = [one.load for one in facts.steps if one.waits is not None or one.live]
    for result, name, sign, style in (
        (known.shown, after, glyphs.state("ready")[0], "accent"),
        (known.against, before, glyphs.pending, "dim"),
    ):
        limit = known.limits.get(result.id) if result is not None else None
        if result is None or limit is None:
            continue
        row = Row()
        at = row.run(0, [(f"{sign} ", style), (f"{name} " if name else "", "dim")])
        words = say.limit_words(limit, rates=rates, coming=coming if result is known.shown else ())
        first, _, rest = words.partition(" ")
        if first.isdigit():
            at = row.put(at, f"{first} ", "fg bold")
            words = rest
        row.put(at, words, "fg", max(0, width - at))
        rows.append(row)
    return rows


def binds_section(facts: Facts, width: int) -> list[Row]:
    """Draw what ends the growth inside of the engine, where its figures tell."""
    known = facts.known
    limit = known.limits.get(known.shown.id) if known.shown is not None else None
    if limit is None or not limit.engine:
        return []
    head = Row()
    head.put(0, "WHAT BINDS", "dim bold")
    rows = [head]
    for low, high, text in limit.engine[:4]:
        span = f"{low:g}" if low == high else f"{low:g} to {high:g}"
        for index, line in enumerate(wrap(clean_line(text), max(8, width - 11))[:2]):
            row = Row()
            if not index:
                row.put(0, span, "dim")
            row.put(11, line, "fg")
            rows.append(row)
    return rows


def against_section(facts: Facts, width: int, height: int) -> list[Row]:
    """List the results of this recipe: the shown one, the one beside it, and others that could be."""
    known, glyphs = facts.known, facts.glyphs
    assert known.shown is not None
    head = Row()
    head.put(0, "AGAINST", "dim bold")
    rows = [head]
    notes = _pairing(facts, width)
    room = max(1, height - 3 - len(notes))
    for result in related(facts)[:room]:
        row = Row(key=f"result:{result.id}")
        sign, style = "  ", "dim"
        if result.id == known.shown.id:
            sign, style = f"{glyphs.state('ready')[0]} ", "accent"
        elif known.against is not None and result.id == known.against.id:
            sign = f"{glyphs.pending} "
        at = row.put(0, f"{glyphs.passed} " if result.id in facts.marks else sign,
                     "accent bold" if result.id in facts.marks else style)  # fmt: skip
        name = str(result.revision) if result.revision is not None else ""
        at = row.put(2, name, "fg" if style == "accent" else "dim", 6) + 2 if name else 2
        row.put(at, say.when_words(result, facts.now), "dim", max(0, width - at))
        rows.append(row)
    rows += notes
    keys = Row()
    keys.run(0, [("space", "fg bold"), (" mark two   ", "dim"), ("enter", "fg bold"), (" open one", "dim")])
    if len(rows) + 2 <= height:
        rows += [Row(), keys]
    return rows


def related(facts: Facts) -> list[BenchResult]:
    """Return the results that may be compared with the shown one: itself, the one beside it, those of its recipe."""
    known = facts.known
    shown = known.shown
    if shown is None:
        return []
    first = [one for one in (shown, known.against) if one is not None]
    ids = {one.id for one in first}
    return [*first, *(one for one in known.results if one.id not in ids and say.name_of(one) == say.name_of(shown))]


def _pairing(facts: Facts, width: int) -> list[Row]:
    """Say what the two have not in common: it may be the reason of a change."""
    comparison = facts.known.comparison
    if comparison is None:
        return []
    different = [clean_line(one, limit=200) for one in comparison.differences]
    if not different:
        return _lines("prompts, seed and engine are the same: the steps are paired", width)
    return [row for one in different[:3] for row in _lines(one, width)[:2]]


def verdict_rows(facts: Facts, most: int = 2) -> list[Row]:
    """Draw the sentence that the comparison comes to."""
    comparison, x = facts.known.comparison, margin(facts.size)
    if comparison is None:
        return []
    text = clean_line(comparison.regression or comparison.verdict, limit=600)
    rows = []
    for index, line in enumerate(wrap(text, max(10, facts.width - x - 2))[:most] if text else []):
        row = Row()
        first, colon, rest = line.partition(":") if index == 0 else ("", "", line)
        style = "warn" if comparison.regression else "fg"
        row.run(x, [(f"{first}{colon}", f"{style} bold"), (rest, style)] if rest or not colon else [(line, style)])
        rows.append(row)
    return rows


def definition_row(facts: Facts) -> Row:
    row, x = Row(), margin(facts.size)
    step = facts.chosen
    energy = step is not None and step.after is not None and step.after.energy_j is not None
    words = say.DEFINITIONS + (f"; energy of {facts.gpus or 'its GPUs'}." if energy else ".")
    row.put(x, words, "faint", max(0, facts.width - x - 2))
    return row


def limit_line(facts: Facts) -> Row:
    """Draw in one line how many users both carry."""
    known, row = facts.known, Row()
    assert known.shown is not None
    good = say.limits_words(facts.limits, " and ")
    limit = known.limits.get(known.shown.id)
    x, room = margin(facts.size), facts.width - (2 if facts.size >= Size.BASE else 0)
    if not good or limit is None:
        return row
    rates = known.shown.plan.arrivals != "closed"
    coming = [one.load for one in facts.steps if one.waits is not None or one.live]
    x = row.put(x, say.limit_words(limit, rates=rates, coming=coming), "fg", max(0, room - x))
    other = known.limits.get(known.against.id) if known.against is not None else None
    before, _ = say.short_names(known.shown, known.against)
    most = None if other is None else other.rate if rates else other.users
    beside = f" ({before}: {most:g})" if most is not None else ""
    for tail in (f" at {good}{beside}", f" at {good}", beside):
        if x + len(tail) <= room:
            row.put(x, tail, "dim")
            break
    return row


def _lines(text: str, width: int) -> list[Row]:
    rows = []
    for line in wrap(text, max(8, width)):
        row = Row()
        row.put(0, line, "dim")
        rows.append(row)
    return rows


def _key(key: str, words: str) -> Row:
    row = Row()
    row.run(0, [(key, "fg bold"), (f" {words}", "dim")])
    return row
