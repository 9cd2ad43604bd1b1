"""Runs as rows: state, stage or speed, and the cause of a failure, in the same columns in all rows."""

from __future__ import annotations

from vllm_studio_tui.domain.engine_metrics import EngineMetrics
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.runs.elsewhere import elsewhere_words, trouble_of
from vllm_studio_tui.runs.not_ready import waiting_for
from vllm_studio_tui.tui.look.sizes import Size
from vllm_studio_tui.tui.paint import charts
from vllm_studio_tui.tui.paint.glyphs import Glyphs
from vllm_studio_tui.tui.paint.ink import Row, fit
from vllm_studio_tui.tui.paint.run_line import line, words
from vllm_studio_tui.tui.paint.run_loading import draw_loading
from vllm_studio_tui.tui.paint.run_parts import RunFacts, head, starts
from vllm_studio_tui.tui.paint.run_strip import strip_row
from vllm_studio_tui.tui.paint.run_trouble import trouble_rows
from vllm_studio_tui.tui.paint.run_words import engine_word, where


def rows(facts: RunFacts, glyphs: Glyphs, width: int, size: Size, now: float, *, tight: bool = False) -> list[Row]:
    """Draw a run on one row, or on two to five where there is room."""
    if size <= Size.STRIP:
        return [strip_row(facts, glyphs, width, now)]
    if size == Size.COMPACT or tight:
        return [line(facts, glyphs, width, size, now)]
    if facts.run.state in (State.FAILED, State.UNHEALTHY):
        return trouble_rows(facts, glyphs, width, size, now)
    return _two(facts, glyphs, width, size, now)


def _two(facts: RunFacts, glyphs: Glyphs, width: int, size: Size, now: float) -> list[Row]:
    run = facts.run
    _, name_x, _, body = starts(size, facts.names)
    first = head(facts, glyphs, size)
    second = Row(key=first.key)
    wide = size >= Size.WIDE
    trouble = waiting_for(run, now) or trouble_of(run)
    far = elsewhere_words(run)
    if wide:
        second.put(name_x, run.model or engine_word(run), "dim", body - name_x - 2)
        if not trouble:
            named = (where(run), engine_word(run)) if far else (engine_word(run), where(run))
            second.put(body, "   ".join(part for part in named if part), "dim", 44)
    else:
        text = (run.state is State.READY and far) or (
            f"{engine_word(run)} :{run.port}" if run.port else engine_word(run)
        )
        second.put(name_x, text, "dim", body - name_x - 1)
    if run.state is State.READY:
        _ready(facts, glyphs, width, size, now, first, second, body)
    elif run.state in (State.STARTING, State.LOADING):
        draw_loading(facts, glyphs, width, size, now, first, second, body)
    else:
        first.put(body, words(facts, now), "fg", max(0, width - body - 2))
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
    counts = kv if size >= Size.WIDE else body
    if words := trouble_of(run):  # it goes before the figures that have no room beside it
        second.run(body, [(f"{glyphs.warning} ", "warn"), (fit(words, width - body - 4), "warn")])
        second = Row()
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
