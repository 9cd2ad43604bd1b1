"""A run as a row of the strip: its mark, its name, and what one has to know of it now."""

from __future__ import annotations

from rich.cells import cell_len

from vllm_studio_tui.domain.engine_metrics import EngineMetrics
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.runs.elsewhere import shown_state, told_why, trouble_of, warned
from vllm_studio_tui.runs.unhealthy import unhealthy_since, why_unhealthy
from vllm_studio_tui.tui.paint import charts
from vllm_studio_tui.tui.paint.glyphs import Glyphs
from vllm_studio_tui.tui.paint.ink import Row
from vllm_studio_tui.tui.paint.run_loading import before_stages
from vllm_studio_tui.tui.paint.run_parts import RunFacts, stalls
from vllm_studio_tui.tui.paint.run_words import stage_word


def strip_row(facts: RunFacts, glyphs: Glyphs, width: int, now: float) -> Row:
    """Draw a run on a row of about forty cells; its age or its figure stands at the right."""
    run, status = facts.run, facts.run.status
    silent = stalls(facts)
    mark, colour = glyphs.state(State.UNHEALTHY if silent else shown_state(run))
    row = Row(key=facts.key or run.run_id)
    row.put(0, mark, colour)
    warns = warned(run)
    troubled = silent or warns or run.state in (State.FAILED, State.UNHEALTHY, State.BACKOFF)
    sentence = troubled or told_why(run)
    # A sentence needs more room than figures do.
    if sentence or run.state is State.LOADING:
        # A name takes what the sentence, or the stage with a short bar, leaves.
        said = _said(facts) if sentence else f"{stage_word(status.stage)} ━━━━━━ 100%"
        least = max(width // 3 - 2, width - cell_len(said) - len(_age(facts, now) if troubled else "") - 5)
    else:
        least = width // 2 - 3
    room = min(facts.names or 18, max(8, least))
    row.put(2, run.name, "fg bold", room)
    x = 2 + room + 1
    if run.state is State.READY and not silent and not warns:
        _ready(row, facts, glyphs, x, width)
    elif run.state in (State.LOADING, State.STARTING) and (trouble := trouble_of(run)):
        row.put(x, trouble, "warn", max(0, width - x))
    elif told_why(run):
        row.put(x, _said(facts), "fg", max(0, width - x))
    elif run.state in (State.LOADING, State.STARTING):
        after = row.put(x, stage_word(status.stage) or "starting", "fg", max(0, width - x - 6))
        if status.progress is not None and width - after >= 6:
            charts.put_bar(row, after + 1, glyphs, status.progress, width - after - 7, "accent")
            row.put_right(width, numbers.percent(status.progress), "fg bold")
    else:
        tail = _age(facts, now)
        row.put_right(width, tail, "fg bold" if facts.fix and tail == "f fix" else "dim")
        row.put(x, _said(facts), colour if troubled else "fg", max(0, width - x - len(tail) - (2 if tail else 0)))
    return row


def _ready(row: Row, facts: RunFacts, glyphs: Glyphs, x: int, width: int) -> None:
    metrics = facts.metrics or EngineMetrics()
    speed = numbers.rate(metrics.generation_tokens_per_second, glyphs.unknown)
    x = row.run(x, [(speed, "fg bold"), (" tok/s", "dim")]) + 2
    end = width
    if metrics.running is not None and width - x >= 16:
        end = row.put_right(width, f"{metrics.running} run", "dim") - 2
    if metrics.kv_cache_usage is not None and end - x >= 7:
        text = numbers.percent(metrics.kv_cache_usage)
        start = row.put_right(end, text, "fg bold")
        row.put_right(start - 1, "KV", "dim")


def _said(facts: RunFacts) -> str:
    """Return what is wrong with a run, in words."""
    if stalls(facts):
        return "no answer"
    if trouble := trouble_of(facts.run):
        return trouble
    if told_why(facts.run):
        return facts.run.status.stage or before_stages(facts.run)
    return why_unhealthy(facts.run) or facts.run.status.title or str(facts.run.state)


def _age(facts: RunFacts, now: float) -> str:
    """Return the key that repairs it, or since when it is so."""
    run = facts.run
    if facts.fix and run.state is State.FAILED:
        return "f fix"
    if stalls(facts):
        return numbers.short_age(facts.age or 0.0)
    if run.state is State.BACKOFF and run.status.next_start_at:
        return f"in {numbers.duration(max(0.0, run.status.next_start_at - now))}"
    since = unhealthy_since(run) if run.state is State.UNHEALTHY else run.status.ended_at
    return numbers.short_age(now - since) if since is not None and now > since else ""
