"""The plot of the bench screen: output of all against the speed that a user sees."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vllm_studio_tui.tui.paint.ink import Row
from vllm_studio_tui.tui.paint.scatter import Line, Point, scatter
from vllm_studio_tui.tui.screens.bench import words as say
from vllm_studio_tui.tui.screens.bench.facts import Facts, StepLine

if TYPE_CHECKING:
    from vllm_studio_tui.domain.bench import BenchResult, BenchStep


def plot_section(facts: Facts, width: int, height: int, *, titled: bool) -> list[Row]:
    """Draw output of all against the speed that a user sees, the earlier result beside it."""
    known, glyphs = facts.known, facts.glyphs
    assert known.shown is not None
    mine, theirs = (glyphs.state("ready")[0], glyphs.pending)
    points: list[Point] = []
    was: list[Point] = []
    for line in facts.steps:
        if (point := _point(line.after, line)) is not None:
            live = (glyphs.state("loading")[0], "accent bold") if line.live else ("", "")
            points.append(Point(point.x, point.y, point.label, *live))
        if (point := _point(line.before, line)) is not None:
            was.append(point)
    rows: list[Row] = []
    if titled:
        title = Row()
        end = title.put(0, "OUTPUT AND SPEED", "dim bold") + 2
        title.put(end, "up: tok/s of all; right: tok/s a user sees", "dim", max(0, width - end))
        rows.append(title)
    speed = facts.limits[1]
    legend = _legend(facts, mine, theirs, width) if titled else None
    drawn = scatter(
        glyphs,
        [Line(tuple(was), theirs, "dim", "faint", below=True), Line(tuple(points), mine)],
        width,
        height - len(rows) - (legend is not None),
        limit=speed,
        limit_words=f"{speed:g} tok/s: the limit" if speed is not None else "",
        unit="" if titled else "tok/s a user",
    )
    if not drawn:
        waiting = Row()
        waiting.put(2, "The first point comes with the first step." if facts.live else "No step was measured.", "faint")
        return [*rows, Row(), waiting]
    return [*rows, *drawn, *([legend] if legend is not None else [])]


def _point(step: BenchStep | None, line: StepLine) -> Point | None:
    if step is None or step.user_speed is None or step.output_tokens_per_second is None:
        return None
    return Point(step.user_speed, step.output_tokens_per_second, f"{line.load:g}")


def _legend(facts: Facts, mine: str, theirs: str, width: int) -> Row:
    known, row = facts.known, Row()
    assert known.shown is not None
    before, after = _names(known.shown, known.against)
    x = row.run(6, [(f"{mine} ", "accent"), (after, "fg")]) + 3
    if before:
        x = row.run(x, [(f"{theirs} ", "dim"), (before, "dim")]) + 3
    by = "number: users" if known.shown.plan.arrivals == "closed" else "number: requests a second"
    if x + len(by) <= width:
        row.put(x, by, "faint")
    return row


def _names(shown: BenchResult, against: BenchResult | None) -> tuple[str, str]:
    """Return what the points of both are called, the earlier one first."""
    if against is None:
        return "", say.title_of(shown)
    if say.name_of(shown) != say.name_of(against):
        return say.name_of(against), say.name_of(shown)
    before, after = say.short_names(shown, against)
    revisions = shown.revision != against.revision
    return (f"revision {before}", f"revision {after}") if revisions else (before, after)
