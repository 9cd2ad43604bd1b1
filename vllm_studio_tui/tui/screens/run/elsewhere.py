"""Where a run runs that runs elsewhere: what its system says of it, and its ranks, pods or replicas."""

from __future__ import annotations

from typing import Any

from vllm_studio_tui.runs.elsewhere import (
    elsewhere_words,
    in_trouble,
    is_elsewhere,
    sorted_parts,
    told_why,
    trouble_of,
    warned,
)
from vllm_studio_tui.tui.look.sizes import Size, margin
from vllm_studio_tui.tui.paint.ink import Row, cut_lines
from vllm_studio_tui.tui.screens.run.facts import PageFacts
from vllm_studio_tui.tui.screens.run.sections import heading

#: The widest that a column of the parts is drawn.
NAME, WHERE, STATE = 28, 24, 18


def elsewhere_rows(page: PageFacts, x: int, width: int, most: int) -> list[Row]:
    """Draw its handle and state, and a row for each part, those in trouble first; empty for a run of this machine.

    Args:
        most: Parts that have a row; the others are counted, by how many of them are in trouble.
    """
    run = page.run
    if not is_elsewhere(run) or most < 0:
        return []
    state = run.status.job_state or ""
    words = "   ".join(part for part in (elsewhere_words(run), state) if part)
    rows = [heading(x, "ELSEWHERE", words or "not submitted yet", width)]
    for line in cut_lines(run.status.stage or "", max(10, width - 2), 2) if told_why(run) else ():
        rows.append(Row())
        rows[-1].put(x + 2, line, "fg")
    parts = sorted_parts(run.status.parts)
    shown = parts if len(parts) <= most else parts[: max(0, most - 1)]
    columns = [_column(shown, name, widest) for name, widest in (("name", NAME), ("where", WHERE), ("state", STATE))]
    rows += [_part(page, one, columns, x, width) for one in shown]
    if len(shown) < len(parts) and most:
        rest = parts[len(shown) :]
        bad = sum(1 for one in rest if in_trouble(one))
        row = Row()
        at = row.put(x + 2, f"{len(rest)} {'more' if shown else 'parts'}", "faint")
        row.put(at + 2, f"{bad} of them in trouble" if bad else "", "warn")
        rows.append(row)
    return rows


def _column(parts: list[Any], name: str, widest: int) -> int:
    """Return the cells of a column with the gap behind it; none where no part has a value there."""
    longest = max((len(str(one.get(name) or "")) for one in parts), default=0)
    return min(widest, longest) + 2 if longest else 0


def _part(page: PageFacts, part: Any, columns: list[int], x: int, width: int) -> Row:
    bad = in_trouble(part)
    row = Row()
    row.put(x, page.glyphs.warning if bad else "", "warn")
    at, end = x + 2, x + width
    for name, room, style in zip(
        ("name", "where", "state"), columns, ("fg", "dim", "warn" if bad else "fg"), strict=True
    ):
        if room and at < end:
            row.put(at, str(part.get(name) or page.glyphs.unknown), style, max(0, min(room - 1, end - at)))
        at += room
    words = str(part.get("words") or "") or (f"its run there: {part['run_id']}" if part.get("run_id") else "")
    if at < end:
        row.put(at, words, "fg" if part.get("words") else "faint", end - at)
    return row


def trouble_rows(page: PageFacts, most: int = 2) -> list[Row]:
    """Draw what is wrong elsewhere although it goes on; empty where nothing is."""
    words = trouble_of(page.run)
    if not words or most < 1:
        return []
    x = 0 if page.size <= Size.STRIP else margin(page.size)
    rows = []
    for index, text in enumerate(cut_lines(words, max(10, page.width - x - 4), most)):
        row = Row(plane="warnbg", bar="warn")
        row.put(x, page.glyphs.warning if index == 0 else "", "warn")
        row.put(x + 2, text, "fg bold" if warned(page.run) else "fg")
        rows.append(row)
    return rows
