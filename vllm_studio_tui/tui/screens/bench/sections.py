"""The parts of the bench screen: its head, the set-up, and the figures of a step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.sanitize import clean_line
from vllm_studio_tui.tui.look.sizes import Size, margin
from vllm_studio_tui.tui.paint import charts
from vllm_studio_tui.tui.paint.ink import Row
from vllm_studio_tui.tui.screens.bench import words as say
from vllm_studio_tui.tui.screens.bench.facts import Facts, StepLine

if TYPE_CHECKING:
    from vllm_studio_tui.domain.bench import BenchResult, BenchStep

#: Cells of a name in the left column, and of a number.
NAME, NUMBER = 12, 7


def head_rows(facts: Facts) -> list[Row]:
    """Draw what is measured, how far it is, and against what."""
    shown = facts.known.shown
    assert shown is not None
    row, x, width, size = Row(), margin(facts.size), facts.width, facts.size
    sign, colour = say.state_of(shown, facts.glyphs)
    end = width - 2 if size >= Size.BASE else width
    right = _how_far(facts, shown)
    for text, style in reversed(right):
        end = row.put_right(end, text, style)
    at = row.run(x, [(sign, colour), (" ", "")])
    room = end - 2
    at = row.put(at, say.name_of(shown), "fg bold", max(0, min(32, room - at)))
    state = "measuring" if facts.live else shown.state
    if size >= Size.WIDE:
        at = max(at + 2, x + 19)
        at = row.put(at, state, "accent" if facts.live else "dim", max(0, room - at)) + 3
    else:
        at += 2
    for part in _head_words(facts, shown):
        if at + len(part) <= room:
            at = row.put(at, part, "dim") + 3
    return [row]


def _head_words(facts: Facts, shown: BenchResult) -> list[str]:
    against, plan, size = facts.known.against, shown.plan, facts.size
    revision = f"revision {shown.revision}" if shown.revision is not None else ""
    if against is not None:
        before, after = say.short_names(shown, against)
        same = shown.recipe_id == against.recipe_id and shown.revision != against.revision
        revision = f"revision {after} against {before}" if same else f"{revision}, {after} against {before}".strip(", ")
    kind = (
        "search for the limit" if plan.search else "sweep of users" if plan.arrivals == "closed" else "sweep of rates"
    )
    first = [f"{kind}, {revision}" if revision and size >= Size.WIDE else revision or kind]
    version = say.engine_of(shown)
    return [clean_line(part, limit=90) for part in (*first, version, facts.gpus or ", ".join(shown.gpus)) if part]


def _how_far(facts: Facts, shown: BenchResult) -> list[tuple[str, str]]:
    progress, size = facts.progress, facts.size
    if progress is None:
        if shown.state in ("failed", "interrupted") and shown.error and size >= Size.WIDE:
            return [(clean_line(shown.error, limit=60), "err")]
        took = shown.ended_at - shown.at if shown.ended_at is not None else None
        words = f", took {numbers.duration(took)}" if took is not None and size >= Size.BASE else ""
        return [(f"{say.when_words(shown, facts.now)}{words}", "dim")]
    parts = []
    if progress.step:
        of = f" of {progress.of}" if progress.of else ""
        parts = [("step ", "dim"), (str(progress.step), "fg"), (of, "fg")]
    if progress.seconds_left is not None and size >= Size.BASE:
        about = numbers.about(progress.seconds_left)
        gap = "   about " if size >= Size.WIDE else ", about "
        parts += [(gap if parts else "about ", "dim"), (about, "fg"), (" left", "dim")]
    return parts or [("beginning", "dim")]


def setup_section(facts: Facts, width: int) -> list[Row]:
    """Draw the plan; the load that is measured now stands out."""
    shown = facts.known.shown
    assert shown is not None
    head = Row()
    head.put(0, "SET-UP", "dim bold")
    rows = [head]
    for name, value in say.setup_rows(shown):
        row = Row()
        row.put(0, name, "dim")
        if name in ("users", "a second") and not shown.plan.search:
            _put_loads(row, facts, shown, width)
        else:
            row.put(NAME, value, "fg", max(0, width - NAME))
        rows.append(row)
    if facts.others is not None:
        row = Row()
        words = "request" if facts.others == 1 else "requests"
        row.run(0, [("others use this engine: ", "dim"), (f"{facts.others} {words}", "warn" if facts.others else "fg")])
        rows += [Row(), row]
    for note in shown.notes[:2]:
        row = Row()
        row.run(0, [(f"{facts.glyphs.warning} ", "warn"), (clean_line(note, limit=200), "dim")])
        rows.append(row)
    return [_cut(row, width) for row in rows]


def _put_loads(row: Row, facts: Facts, shown: BenchResult, width: int) -> None:
    """Draw the loads of a plan, around that which is measured now where there are many."""
    loads = list(shown.plan.loads)
    now = facts.progress.load if facts.progress is not None and facts.progress.step else None
    at, texts = NAME, [f"{load:g}" for load in loads]
    while len(texts) > 1 and sum(len(one) + 1 for one in texts) > width - NAME - 2:
        del texts[0 if now is not None and loads.index(now) > len(loads) // 2 else -1]
        del loads[0 if now is not None and loads.index(now) > len(loads) // 2 else -1]
    for load, text in zip(loads, texts, strict=True):
        at = row.put(at, text, "accent bold" if load == now else "fg") + 1


def _cut(row: Row, width: int) -> Row:
    row.pieces = [(x, text[: max(0, width - x)], style) for x, text, style in row.pieces if x < width]
    return row


def now_section(facts: Facts, width: int, height: int) -> list[Row]:
    """Draw the figures of the step that goes on, else of the one under the cursor."""
    line, shown = facts.chosen, facts.known.shown
    assert shown is not None
    head = Row()
    rows = [head]
    progress = facts.progress
    if progress is not None:
        load = say.load_words(progress.load, shown.plan) if progress.step else ""
        at = head.put(0, "NOW", "dim bold") + 2
        step = (f"step {progress.step}, {load}" if width >= 28 else load) if progress.step else "beginning"
        head.put(at, progress.words or step, "dim", max(0, width - at))
        bar = Row()
        end = charts.put_bar(bar, 0, facts.glyphs, progress.share, min(30, width - 6), "accent")
        bar.put_right(end + 5, numbers.percent(progress.share), "fg bold")
        rows.append(bar)
    elif line is not None:
        head.run(0, [("STEP  ", "dim bold"), (say.load_words(line.load, shown.plan), "dim")])
    else:
        head.put(0, "STEP", "dim bold")
    figures = figure_rows(facts, line)
    room = height - len(rows)
    if len(figures) > room:  # energy and what is good go first
        for name in ("KV cache", "energy", "good", "ITL p50", "TTFT p50", "power", "errors", "ITL p95"):
            if len(figures) <= room:
                break
            figures = [one for one in figures if one[0] != name]
    end = NAME + NUMBER if width >= 30 else 17
    for name, value, unit, style in figures[: max(0, room)]:
        row = Row()
        row.put(0, name, "dim")
        row.put_right(end, value, style)
        if end + 1 + len(unit) <= width:
            row.put(end + 1, unit, "dim")
        rows.append(row)
    return rows


def figure_rows(facts: Facts, line: StepLine | None) -> list[tuple[str, str, str, str]]:
    """Return the figures of a step: name, value, unit, style. What nobody can know here is left out."""
    step = line.after if line is not None else None
    unknown = facts.glyphs.unknown

    def one(name: str, value: str | None, unit: str = "", style: str = "fg bold") -> tuple[str, str, str, str]:
        return (name, unknown, "", "faint") if value is None else (name, value, unit, style)

    def latency(seconds: float | None) -> tuple[str | None, str]:
        text = numbers.latency(seconds) if seconds is not None else None
        number, _, unit = (text or "").partition(" ")
        return (number or None), unit

    rows = [
        one("out", _text(step, "output_tokens_per_second", say.speed), "tok/s"),
        one("a user", _text(step, "user_speed", numbers.rate), "tok/s"),
    ]
    limits = facts.limits
    for name, kind, part in (
        ("TTFT p50", "ttft", "p50"),
        ("TTFT p95", "ttft", "p95"),
        ("ITL p50", "itl", "p50"),
        ("ITL p95", "itl", "p95"),
    ):
        seconds = getattr(getattr(step, kind), part) if step is not None else None
        number, unit = latency(seconds)
        over = name == "TTFT p95" and limits[0] is not None and seconds is not None and seconds > limits[0]
        rows.append(one(name, number, unit, "warn bold" if over else "fg bold"))
    requests = step.requests if step is not None else 0
    rows.append(one("good", _text(step, "good", numbers.percent), f"of {requests}" if requests else ""))
    errors = step.errors if step is not None else 0
    rows.append(one("errors", str(errors), "", "err bold" if errors else "fg bold"))
    if step is not None and step.power is not None:
        watts, _, unit = numbers.power(step.power).partition(" ")
        rows.append(one("power", watts, unit))
    if step is not None and step.joules_per_1k is not None:
        rows.append(one("energy", numbers.count(step.joules_per_1k), "J / 1k tok"))
    if step is not None and step.kv is not None:
        rows.append(one("KV cache", numbers.percent(step.kv)))
    return rows


def _text(step: BenchStep | None, name: str, words: object) -> str | None:
    value = getattr(step, name) if step is not None else None
    return words(value) if value is not None else None  # type: ignore[operator]
