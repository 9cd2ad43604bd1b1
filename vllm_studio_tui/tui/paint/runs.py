"""Runs as rows: state, stage or speed, and the cause of a failure, in the same columns in all rows."""

from __future__ import annotations

from vllm_studio_tui.domain.engine_metrics import EngineMetrics
from vllm_studio_tui.domain.run import ANSWERING, State
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.runs.not_ready import waiting_for
from vllm_studio_tui.tui.look.sizes import Size
from vllm_studio_tui.tui.paint import charts
from vllm_studio_tui.tui.paint.glyphs import Glyphs
from vllm_studio_tui.tui.paint.ink import Row
from vllm_studio_tui.tui.paint.run_failed import failed_rows
from vllm_studio_tui.tui.paint.run_loading import before_stages, draw_loading, tone
from vllm_studio_tui.tui.paint.run_parts import RunFacts, head, left, starts
from vllm_studio_tui.tui.paint.run_words import engine_word, stage_word, where


def rows(facts: RunFacts, glyphs: Glyphs, width: int, size: Size, now: float, *, tight: bool = False) -> list[Row]:
    """Draw a run on one row, or on two to five where there is room."""
    if size <= Size.STRIP:
        return [_strip(facts, glyphs, width)]
    if size == Size.COMPACT or tight:
        return [_line(facts, glyphs, width, size, now)]
    if facts.run.state is State.FAILED:
        return failed_rows(facts, glyphs, width, size, now)
    return _two(facts, glyphs, width, size, now)


def _two(facts: RunFacts, glyphs: Glyphs, width: int, size: Size, now: float) -> list[Row]:
    run = facts.run
    _, name_x, _, body = starts(width, size)
    first = head(facts, glyphs, width, size)
    second = Row(key=first.key)
    wide = size >= Size.WIDE
    trouble = waiting_for(run, now)
    if wide:
        second.put(name_x, run.model or "", "dim", body - name_x - 2)
    if wide and not trouble:
        facts_text = "   ".join(part for part in (engine_word(run), where(run)) if part)
        second.put(body, facts_text, "dim", 44)
    else:
        text = f"{engine_word(run)} :{run.port}" if run.port else engine_word(run)
        second.put(name_x, text, "dim", body - name_x - 1)
    if run.state in ANSWERING:
        _ready(facts, glyphs, width, size, now, first, second, body)
    elif run.state in (State.STARTING, State.LOADING):
        draw_loading(facts, glyphs, width, size, now, first, second, body)
    else:
        first.put(body, _words(facts, now), "fg", max(0, width - body - 2))
    return [first, second]


def _ready(
    facts: RunFacts, glyphs: Glyphs, width: int, size: Size, now: float, first: Row, second: Row, body: int
) -> None:
    metrics, run = facts.metrics or EngineMetrics(), facts.run
    stale = facts.age is not None
    value = "dim" if stale else "fg bold"
    speed = numbers.rate(metrics.generation_tokens_per_second, glyphs.unknown)
    first.put_right(
        body + 5, f"~{speed}" if stale and metrics.generation_tokens_per_second is not None else speed, value
    )
    first.put(body + 6, "tok/s", "dim")
    full = size == Size.FULL
    kv = 84 if full else 70 if size == Size.WIDE else 58
    spark = kv - body - 15 if size >= Size.WIDE else kv - body - 14
    x = body + 12
    if spark >= 6:
        recent = list(facts.speeds)[-spark:]
        first.run(x, charts.spark(glyphs, [None] * (spark - len(recent)) + recent, facts.peak))
    if metrics.kv_cache_usage is not None:
        first.put(kv, "KV", "dim")
        room = 20 if full else 12
        colour = "warn" if metrics.kv_cache_usage > 0.95 else "data"
        charts.put_bar(first, kv + 3, glyphs, metrics.kv_cache_usage, room, colour)
        first.put_right(kv + 3 + room + 6, numbers.percent(metrics.kv_cache_usage), value)
    if run.state is State.UNHEALTHY:
        words = run.status.heard if run.status.stranger else None
        x = body if size < Size.WIDE else kv
        second.put(x, words or "no health answer, still running", "warn", width - x - 1)
        return
    counts = kv if size >= Size.WIDE else body
    if metrics.running is not None:
        after = second.run(counts, [(f"{metrics.running}", "fg"), (" running   ", "dim")])
        if metrics.waiting is not None:
            colour = "warn" if metrics.waiting else "fg"
            second.run(after, [(f"{metrics.waiting}", colour), (" waiting", "dim")])
    elif stale:
        second.put(counts, f"no answer for {numbers.duration(facts.age)}", "dim")
    elif metrics.error:
        second.put(counts, "no metrics", "faint")
    if full:
        _pair(first, 118, "TTFT p95", numbers.latency(metrics.ttft.p95, glyphs.unknown), value)
        _pair(first, 138, "ITL p95", numbers.latency(metrics.itl.p95, glyphs.unknown), value, width)
        hits = metrics.prefix_cache_hit_rate
        if hits is not None:
            _pair(second, 118, "cache hits", numbers.percent(hits), "fg")
        up = now - run.status.ready_at if run.status.ready_at else None
        if up is not None:
            second.run(138, [("up ", "dim"), (numbers.duration(up), "fg")])
    elif size == Size.BASE and metrics.ttft.p95 is not None:
        _pair(second, 58, "TTFT p95", numbers.latency(metrics.ttft.p95), "fg", width)
    elif size == Size.WIDE:
        _pair(first, 98, "TTFT p95", numbers.latency(metrics.ttft.p95, glyphs.unknown), value, width)
        up = now - run.status.ready_at if run.status.ready_at else None
        if up is not None:
            second.run(98, [("up ", "dim"), (numbers.duration(up), "fg")])


def _pair(row: Row, x: int, label: str, text: str, style: str, width: int = 400) -> None:
    if x + len(label) + 1 + len(text) < width:
        row.run(x, [(f"{label} ", "dim"), (text, style)])


def _words(facts: RunFacts, now: float) -> str:
    """Return the words for a run that neither loads nor serves."""
    status = facts.run.status
    if facts.run.state is State.STOPPING:
        return "asked to end"
    if facts.run.state is State.BACKOFF:
        wait = max(0.0, (status.next_start_at or now) - now)
        why = status.title or "it ended"
        return f"{why}; again in {numbers.duration(wait)} (attempt {status.attempt + 1})"
    if facts.run.state is State.EXITED:
        ran = numbers.duration(status.ended_at - status.started_at) if status.ended_at and status.started_at else ""
        return f"{status.title or 'ended'} after {ran}" if ran else status.title or "ended"
    return status.title or ""


def _line(facts: RunFacts, glyphs: Glyphs, width: int, size: Size, now: float) -> Row:
    """Draw a run on one row."""
    mark_x, name_x, state_x, body = starts(width, size)
    run, status = facts.run, facts.run.status
    mark, colour = glyphs.state(run.state)
    row = Row(key=facts.key or run.run_id)
    row.put(mark_x, mark, colour)
    row.put(name_x, run.name, "fg bold", state_x - name_x - 1)
    if body > state_x:
        row.put(state_x, str(run.state), colour, body - state_x - 1)
    metrics = facts.metrics or EngineMetrics()
    if run.state is State.READY:
        x = row.put(body, f"{numbers.rate(metrics.generation_tokens_per_second, glyphs.unknown):>5}", "fg bold")
        x = row.put(x + 1, "tok/s", "dim") + 2
        if metrics.running is not None:
            x = row.run(x, [(f"{metrics.running}", "fg"), (" run", "dim")]) + 2
        if metrics.kv_cache_usage is not None and width - x > 12:
            text = numbers.percent(metrics.kv_cache_usage)
            row.put(x, "KV", "dim")
            charts.put_bar(row, x + 3, glyphs, metrics.kv_cache_usage, min(10, width - x - 11))
            row.put_right(width - 2, f"{text:>4}", "fg bold")
    elif run.state in (State.LOADING, State.STARTING):
        if status.stranger and status.heard:
            row.put(body, status.heard, "warn", width - body - 2)
            return row
        # Where there is room the state is shown before it: do not repeat the word.
        silent = before_stages(run) if body > state_x else "starting"
        x = row.put(body, stage_word(status.stage) or silent, "fg", width - body - 2) + 2
        rest = left(facts, now)
        tail = f"~{numbers.about(rest)}" if rest is not None else ""
        if status.progress is None:
            row.put(x, waiting_for(run, now), tone(run, now), max(0, width - x - 4 - len(tail)))
        if status.progress is not None:
            room = min(16, width - x - 8 - len(tail))
            charts.put_bar(row, x, glyphs, status.progress, room, "accent")
            row.put_right(width - 2 - (len(tail) + 2 if tail else 0), numbers.percent(status.progress), "fg bold")
        if tail:
            row.put_right(width - 2, tail, "dim")
    elif run.state is State.FAILED:
        fix = "   f fix" if facts.fix else ""
        after = row.put(body, status.title or "failed", "fg", max(4, width - body - 2 - len(fix)))
        if fix:
            row.run(after, [("   f", "fg bold"), (" fix", "dim")])
    else:
        row.put(body, _words(facts, now), "fg", width - body - 2)
    return row


def _strip(facts: RunFacts, glyphs: Glyphs, width: int) -> Row:
    run, status = facts.run, facts.run.status
    mark, colour = glyphs.state(run.state)
    row = Row(key=facts.key or run.run_id)
    row.put(0, mark, colour)
    row.put(2, run.name, "fg bold", min(18, width // 2 - 3))
    x = min(21, width // 2)
    metrics = facts.metrics or EngineMetrics()
    if run.state is State.READY:
        x = row.run(
            x, [(numbers.rate(metrics.generation_tokens_per_second, glyphs.unknown), "fg bold"), (" tok/s", "dim")]
        )
        if metrics.kv_cache_usage is not None and width - x >= 10:
            text = numbers.percent(metrics.kv_cache_usage)
            row.put_right(width, text, "fg bold")
            row.put_right(width - len(text) - 1, "KV", "dim")
    elif run.state in (State.LOADING, State.STARTING):
        after = row.put(x, stage_word(status.stage) or "starting", "fg", max(0, width - x - 6))
        if status.progress is not None and width - after >= 6:
            charts.put_bar(row, after + 1, glyphs, status.progress, width - after - 7, "accent")
            row.put_right(width, numbers.percent(status.progress), "fg bold")
    else:
        row.put(x, status.title or str(run.state), "fg", max(0, width - x))
    return row
