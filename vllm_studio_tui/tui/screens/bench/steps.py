"""The table of steps: each load with its figures, and beside them those of an earlier result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from vllm_studio_tui.kit import numbers
from vllm_studio_tui.tui.look.sizes import Size, margin
from vllm_studio_tui.tui.paint.ink import Row
from vllm_studio_tui.tui.paint.table import Cell, Column, Parts, lay_out, natural_widths, put_heads, put_values
from vllm_studio_tui.tui.screens.bench.facts import Facts, StepLine, figure
from vllm_studio_tui.tui.screens.bench.words import short_names, speed

if TYPE_CHECKING:
    from vllm_studio_tui.domain.bench import BenchStep
    from vllm_studio_tui.tui.paint.glyphs import Glyphs

#: Figures that stand in pairs: name, heading, how it is written, how early its pair is left out.
PAIRS: tuple[tuple[str, str, Callable[[float], str], int], ...] = (
    ("output_tokens_per_second", "out", speed, 0),
    ("user_speed", "a user", numbers.rate, 2),
    ("ttft_p95", "TTFT", numbers.latency, 3),
    ("joules_per_1k", "J/1k", numbers.count, 5),
    ("good", "good", numbers.percent, 6),
)
#: Headings where there is room.
LONG = {"out": "out tok/s", "TTFT": "TTFT p95"}
Value = Callable[["BenchStep"], float | None]
#: Figures of one result alone: heading, value, how it is written, how early it is left out.
ALONE: tuple[tuple[str, Value, Callable[[float], str], int], ...] = (
    ("out tok/s", lambda one: one.output_tokens_per_second, speed, 0),
    ("a user", lambda one: one.user_speed, numbers.rate, 1),
    ("TTFT p50", lambda one: one.ttft.p50, numbers.latency, 5),
    ("TTFT p95", lambda one: one.ttft.p95, numbers.latency, 2),
    ("ITL p50", lambda one: one.itl.p50, numbers.latency, 8),
    ("ITL p95", lambda one: one.itl.p95, numbers.latency, 4),
    ("whole p95", lambda one: one.e2e.p95, numbers.latency, 9),
    ("in tok/s", lambda one: one.input_tokens_per_second, speed, 11),
    ("req/s", lambda one: one.requests_per_second, numbers.rate, 10),
    ("KV", lambda one: one.kv, numbers.percent, 13),
    ("J/1k", lambda one: one.joules_per_1k, numbers.count, 7),
    ("good", lambda one: one.good, numbers.percent, 6),
    ("errors", lambda one: float(one.errors), numbers.count, 3),
)


def step_rows(facts: Facts, lines: Sequence[StepLine], x: int, width: int) -> list[Row]:
    """Draw the headings and a row for each step."""
    cells = _placed(columns_of(facts), lines, x, width - 2 if facts.size >= Size.BASE else width)
    rows = [put_heads(cells, Row())]
    for line in lines:
        row = Row(key=line.key)
        put_values(cells, row, line, facts.glyphs)
        if words := _waiting(line):
            _put_waiting(row, cells, words)
        rows.append(row)
    return rows


def _placed(columns: list[Column[StepLine]], lines: Sequence[StepLine], x: int, end: int) -> tuple[Cell[StepLine], ...]:
    """Place the columns that there is room for; of a pair both and their change, or none of them."""
    while True:
        cells = lay_out(columns, natural_widths(columns, lines), end - x, x)
        kept = {cell.column.name for cell in cells}
        halved = {
            name.partition(" ")[0] for name in (one.name for one in columns)
            if name not in kept and name.partition(" ")[2] in ("before", "after", "change")
        }  # fmt: skip
        halved.discard("output_tokens_per_second")
        left = [one for one in columns if one.name in kept and one.name.partition(" ")[0] not in halved]
        if len(left) == len(kept):
            return cells
        columns = left


def _waiting(line: StepLine) -> str:
    """Return why a step has no figures, in a word."""
    if line.after is not None and not line.live and not line.after.requests and not line.after.errors:
        return "none ended"  # the step was shorter than an answer
    return "next" if line.waits == 0 else ""


def _put_waiting(row: Row, cells: Sequence[Cell[StepLine]], words: str) -> None:
    """Say that a step is the next, in the place of its change."""
    cell = next((one for one in cells if one.column.name in ("output_tokens_per_second change", "out tok/s")), None)
    if cell is not None:
        start = cell.end + 2 if cell.column.name == "out tok/s" else cell.end - len(words)
        row.put(start, words, "faint")


def columns_of(facts: Facts) -> list[Column[StepLine]]:
    """Return the columns: those of one result, or pairs of two with what changed."""
    shown = facts.known.shown
    assert shown is not None
    first = "users" if shown.plan.arrivals == "closed" else "a second"
    columns: list[Column[StepLine]] = [
        Column(
            "load", lambda line: [(f"{line.load:g}", "fg bold" if line.after else "dim")], 5, title=first, right=True
        )
    ]
    if shown.plan.power_caps:
        columns.append(Column("cap", _cap, 6, right=True))
    if facts.known.comparison is None:
        told = [line.after for line in facts.steps if line.after is not None]
        kept = [one for one in ALONE if not told or any(one[1](step) is not None for step in told)]
        return [*columns, *(_alone(*one, facts.glyphs) for one in kept)]
    before, after = short_names(shown, facts.known.against)
    sides = [step for line in facts.steps for step in (line.before, line.after)]
    for index, (name, head, words, drop) in enumerate(PAIRS):
        if all(figure(step, name) is None for step in sides):
            continue  # neither engine nor GPUs tell
        wide = facts.size >= Size.FULL
        head = LONG.get(head, head) if facts.size >= Size.WIDE else head
        columns.append(_side(name, f"{head} {before}", words, "before", drop, facts, gap=3 if wide and index else 2))
        columns.append(_side(name, after, words, "after", drop, facts, gap=3 if wide else 2))
        if name != "good":
            columns.append(_change(name, drop, facts))
        if name == "output_tokens_per_second":
            columns.append(Column("noise", _noise, 12, title="", drop=8))
    return columns


def _cap(line: StepLine) -> Parts:
    step = line.known
    return [(f"{step.power_cap} W", "dim")] if step is not None and step.power_cap else []


def _alone(head: str, value: Value, words: Callable[[float], str], drop: int, glyphs: Glyphs) -> Column[StepLine]:
    def parts(line: StepLine) -> Parts:
        found = value(line.after) if line.after is not None else None
        if found is None:
            return [(glyphs.unknown, "faint")]
        if head == "errors":
            return [(words(found), "err" if found else "dim")]
        return [(words(found), "fg bold" if head == "out tok/s" else "fg")]

    return Column(head, parts, right=True, drop=drop, gap=3)


def _side(
    name: str, head: str, words: Callable[[float], str], side: str, drop: int, facts: Facts, gap: int
) -> Column[StepLine]:
    unknown = facts.glyphs.unknown
    style = "dim" if side == "before" else "fg bold" if name == "output_tokens_per_second" else "fg"

    def parts(line: StepLine) -> Parts:
        found = figure(line.before if side == "before" else line.after, name)
        return [(unknown, "faint")] if found is None else [(words(found), style)]

    return Column(f"{name} {side}", parts, 5, title=head, right=True, drop=drop, gap=gap)


def _change(name: str, drop: int, facts: Facts) -> Column[StepLine]:
    def parts(line: StepLine) -> Parts:
        return change_parts(line, name)

    head = "change" if facts.size >= Size.WIDE else "chg"
    return Column(f"{name} change", parts, 5, title=head, right=True, drop=drop, gap=2)


def change_parts(line: StepLine, name: str) -> Parts:
    """Return by how much a figure changed: in green and amber only where that is more than noise."""
    found = line.changes.get(name)
    if found is None or found.change is None:
        return []
    style = "dim" if found.better is None else "ok" if found.better else "warn"
    return [(signed(found.change), style)]


def signed(share: float) -> str:
    """Return a change as whole percent with its sign."""
    shown = round(share * 100)
    return f"{share * 100:+.0f}%" if abs(shown) < 1000 else f"{'+' if share > 0 else '-'}999%"


def _noise(line: StepLine) -> Parts:
    found = line.changes.get("output_tokens_per_second")
    if found is None or found.change is None:
        return []
    if line.live:
        return [("so far", "faint")]
    return [("in the noise", "faint")] if found.noise else []


def table_head(facts: Facts, width: int) -> Row:
    """Draw the title of the table, and what it compares."""
    known, x = facts.known, margin(facts.size)
    row = Row()
    if known.comparison is None or known.shown is None or known.against is None:
        row.put(x, "STEPS", "dim bold")
        return row
    end = row.put(x, "COMPARISON", "dim bold") + 2
    row.put(end, compared_words(facts), "dim", max(0, width - end - 2))
    return row


def compared_words(facts: Facts) -> str:
    """Return what is compared with what, and what the noise is from."""
    known = facts.known
    assert known.shown is not None
    assert known.against is not None
    shown, against = known.shown, known.against
    if shown.recipe_id == against.recipe_id and shown.revision != against.revision:
        words = f"revision {shown.revision} against {against.revision}"
    else:
        before, after = short_names(shown, against)
        words = f"{after} against {before}"
    if known.changed:
        words += ": " + ", ".join(known.changed[:2])
    repeats = min(shown.plan.repeats, against.plan.repeats)
    return words + (f"; spread of {repeats} repeats" if repeats > 1 else "; spread of parts of each step")
