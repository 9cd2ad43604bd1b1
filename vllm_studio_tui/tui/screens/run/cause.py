"""Why a run failed or does not answer, and the change of its recipe that answers that, as a diff."""

from __future__ import annotations

from vllm_studio_tui.domain.run import State
from vllm_studio_tui.runs.unhealthy import what_comes, why_unhealthy
from vllm_studio_tui.tui.look.sizes import Size, margin
from vllm_studio_tui.tui.paint.diff import diff_rows, note_rows
from vllm_studio_tui.tui.paint.ink import Row, cut_lines
from vllm_studio_tui.tui.paint.run_words import stage_word
from vllm_studio_tui.tui.screens.run.facts import PageFacts
from vllm_studio_tui.tui.screens.run.sections import FIX

NO_TITLE = "It ended, and nothing says why"


def cause_rows(page: PageFacts, most: int = 99) -> list[Row]:
    """Draw what happened, in the engine's own words, on which line, and what to do; empty for a healthy run.

    Args:
        most: Rows that there is room for; a text that has more lines says so at its end.
    """
    if not page.troubled or most < 1:
        return []
    run, status, x = page.run, page.run.status, margin(page.size)
    unhealthy = run.state is State.UNHEALTHY
    title = _sentence(why_unhealthy(run) if unhealthy else status.title or NO_TITLE)
    advice = what_comes(run, page.now) if unhealthy else status.advice or ""
    found = page.diagnosis
    words = found.cause if found is not None and found.cause and found.cause.lower() != title.lower() else ""
    line = found.line_number if found is not None else None
    end = page.width - (3 if page.size >= Size.WIDE else 1)
    roomy = page.size >= Size.WIDE
    rows = []
    exit_words = _exit(page)
    room = end - x - (len(exit_words) + 3 if roomy and exit_words else 0)
    for index, text in enumerate(cut_lines(title, room, min(2, most))):
        row = Row()
        row.put(x, text, "fg bold")
        if index == 0 and roomy and exit_words:
            row.put_right(end, exit_words, "dim")
        rows.append(row)
    if roomy:
        rows.append(Row())
    strip = page.size <= Size.STRIP
    lines = 3 if roomy or strip else 2
    if words:  # in a strip what to do goes before the engine's own words
        rows += _labelled("cause", words, x, end, min(1 if strip and advice else lines, most - len(rows)), labels=roomy)
    if roomy and not words and status.evidence:
        rows += _labelled("last", status.evidence[-1], x, end, 2, labels=True)
    if line is not None and roomy:
        rows += _labelled("evidence", f"line {line} of its log", x, end, 1, labels=True)
    if advice:
        rows += _labelled("advice", advice, x, end, min(lines, most - len(rows)), labels=roomy)
    for row in rows:
        row.plane, row.bar = ("warnbg", "warn") if run.state is not State.FAILED else ("errbg", "err")
    return rows


def _exit(page: PageFacts) -> str:
    status = page.run.status
    if page.run.state not in (State.FAILED, State.BACKOFF):
        return ""
    parts = []
    if status.exit_signal is not None:
        parts.append(f"signal {status.exit_signal}")
    elif status.exit_code is not None:
        parts.append(f"exit {status.exit_code}")
    reached = max(status.marks.items(), key=lambda one: one[1], default=None)
    if reached is not None and status.ready_at is None:
        parts.append(f"in stage {stage_word(reached[0])}")
    return " ".join(parts)


def _labelled(label: str, text: str, x: int, end: int, most: int, *, labels: bool) -> list[Row]:
    if most < 1:
        return []
    start = x + 11 if labels else x
    rows = []
    for index, line in enumerate(cut_lines(text, end - start, most)):
        row = Row()
        if labels and index == 0:
            row.put(x, label, "dim")
        row.put(start, line, "fg" if label != "advice" or labels else "dim")
        rows.append(row)
    return rows


def fix_rows(page: PageFacts, x: int, width: int, *, notes: bool) -> list[Row]:
    """Draw the chosen change of the recipe as a diff, with the keys that take it or show another. Empty without one."""
    if not page.fixes:
        return []
    glyphs, count = page.glyphs, len(page.fixes)
    chosen = page.fixes[page.chosen % count]
    title = Row(key=FIX)
    at = title.put(x, "FIX", "dim bold") + 2
    if count > 1:
        at = title.put(at, f"{glyphs.left} {page.chosen % count + 1} of {count} {glyphs.right}", "accent") + 2
    title.put(at, chosen.title, "fg bold", max(0, x + width - at))
    rows = [title, *diff_rows(chosen.change.fields, x, width, most=8)]
    if notes and chosen.notes:
        rows += note_rows(chosen.notes, glyphs, x, width)
    keys = Row()
    if not page.read_only:
        at = keys.run(x, [("enter", "accent bold"), (" save and run", "fg")])
        keys.link(x, at, "run.open")
        for key, word, action in (("f", "all of it", "run.fix"), ("e", "edit first", "run.edit")):
            if at + len(word) + 5 > x + width:
                break
            start = at + 3
            at = keys.run(start, [(key, "fg bold"), (f" {word}", "dim")])
            keys.link(start, at, action)
        if count > 1 and at + 18 <= x + width:
            keys.run(at + 3, [(glyphs.left_right, "fg bold"), (" another fix", "dim")])
        rows.append(keys)
    for row in rows:
        row.key = FIX
    return rows


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
