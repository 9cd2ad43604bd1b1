"""The page of a run as rows."""

from __future__ import annotations

from vllm_studio_tui.domain.run import State
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.tui.look.sizes import Size, margin
from vllm_studio_tui.tui.paint import runs
from vllm_studio_tui.tui.paint.glyphs import Glyphs
from vllm_studio_tui.tui.paint.ink import Row, wrap
from vllm_studio_tui.tui.paint.run_parts import RunFacts
from vllm_studio_tui.tui.paint.run_words import stage_word


def page_rows(facts: RunFacts, glyphs: Glyphs, width: int, size: Size, now: float) -> list[Row]:
    """Draw the page of a run."""
    rows = runs.rows(facts, glyphs, width, size, now)
    for row in rows:
        row.key = None
    if size <= Size.STRIP:
        return rows
    x = margin(size)
    out = [Row(), *rows, Row()]
    status = facts.run.status
    for line in status.evidence if facts.run.state is State.FAILED else ():
        for text in wrap(line, width - x - 2):
            row = Row()
            row.put(x, text, "dim")
            out.append(row)
    if status.marks:
        row = Row()
        at = row.put(x, "STAGES", "dim bold") + 2
        for name, after in sorted(status.marks.items(), key=lambda mark: mark[1]):
            at = row.run(at, [(stage_word(name), "fg"), (f" after {numbers.duration(after)}", "dim")]) + 3
        out += [Row(), row]
    if facts.run.base_url:
        row = Row()
        row.run(x, [("ENDPOINT", "dim bold"), (f"  {facts.run.base_url}", "fg")])
        out += [Row(), row]
    return out
