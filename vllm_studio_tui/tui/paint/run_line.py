"""A run on one row: names whole, and what belongs together beside each other."""

from __future__ import annotations

from vllm_studio_tui.domain.engine_metrics import EngineMetrics
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.runs.elsewhere import elsewhere_words, told_why, trouble_of
from vllm_studio_tui.runs.not_ready import waiting_for
from vllm_studio_tui.runs.unhealthy import unhealthy_since, why_unhealthy
from vllm_studio_tui.tui.look.sizes import Size
from vllm_studio_tui.tui.paint import charts
from vllm_studio_tui.tui.paint.glyphs import Glyphs
from vllm_studio_tui.tui.paint.ink import Row
from vllm_studio_tui.tui.paint.run_loading import before_stages, tone
from vllm_studio_tui.tui.paint.run_parts import RunFacts, head, left, starts
from vllm_studio_tui.tui.paint.run_words import stage_word


def line(facts: RunFacts, glyphs: Glyphs, width: int, size: Size, now: float) -> Row:
    """Draw a run on one row."""
    row = head(facts, glyphs, size)
    body = starts(size, facts.names)[3]
    end = width - 2
    state = facts.run.state
    if state is State.READY:
        _ready(row, facts, glyphs, body, end, now)
    elif state in (State.LOADING, State.STARTING):
        _loading(row, facts, glyphs, body, end, now, worded=size > Size.COMPACT)
    elif state is State.FAILED:
        _with_key(row, facts.run.status.title or "failed", body, end, f"fix: {facts.fix}" if facts.fix else "")
    else:
        row.put(body, words(facts, now), "fg", end - body)
    return row


def _ready(row: Row, facts: RunFacts, glyphs: Glyphs, x: int, end: int, now: float) -> None:
    """Draw speed, requests, cache and latencies, in columns that are the same in every row; the last give way first."""
    metrics, status = facts.metrics or EngineMetrics(), facts.run.status
    value = "dim" if facts.age is not None else "fg bold"
    speed = numbers.rate(metrics.generation_tokens_per_second, glyphs.unknown)
    row.put_right(x + 5, f"~{speed}" if facts.age is not None and len(speed) < 5 else speed, value)
    row.put(x + 6, "tok/s", "dim")
    x += 13
    if words := trouble_of(facts.run):
        row.put(x, f"{glyphs.warning} {words}", "warn", max(0, end - x))
        return
    roomy = end - x > 60
    for number, word, style in (
        (metrics.running, "running" if roomy else "run", "fg"),
        (metrics.waiting, "waiting", "warn" if metrics.waiting else "fg"),
    ):
        if word == "waiting" and not roomy:
            break
        if x + 4 + len(word) > end:
            return
        if number is not None:
            row.put_right(x + 3, numbers.count(number), style)
            row.put(x + 4, word, "dim")
        x += 6 + len(word)
    bar = 10 if end - x >= 18 else 0
    if x + 8 + bar > end:
        return
    if metrics.kv_cache_usage is not None:
        row.put(x, "KV", "dim")
        colour = "warn" if metrics.kv_cache_usage > 0.95 else "data"
        charts.put_bar(row, x + 3, glyphs, metrics.kv_cache_usage, bar, colour)
        row.put_right(x + 3 + bar + 5, numbers.percent(metrics.kv_cache_usage), value)
    x += bar + 11
    up = now - status.ready_at if status.ready_at else None
    for label, text, room in (
        ("TTFT p95", numbers.latency(metrics.ttft.p95, glyphs.unknown), 17),
        ("ITL p95", numbers.latency(metrics.itl.p95, glyphs.unknown), 16),
        ("up", numbers.duration(up, glyphs.unknown), 9),
    ):
        if x + room > end:
            return
        row.put(x, label, "dim")
        row.put_right(x + room, text, "faint" if text == glyphs.unknown else value if label != "up" else "fg")
        x += room + 3
    row.put(x, elsewhere_words(facts.run), "dim", max(0, end - x))


def _loading(row: Row, facts: RunFacts, glyphs: Glyphs, x: int, end: int, now: float, *, worded: bool) -> None:
    run, status = facts.run, facts.run.status
    if trouble := status.heard if status.stranger else trouble_of(run):
        row.put(x, trouble, "warn", end - x)
        return
    rest = left(facts, now)
    tail = f"~{numbers.about(rest)}" if rest is not None else ""
    if not tail and status.started_at is not None:
        tail = numbers.duration(now - status.started_at)
    stop = row.put_right(end, tail, "dim") - 2 if tail and end - x > len(tail) + 20 else end
    # Where there is room the state is shown before it: do not repeat the word.
    silent = before_stages(run) if worded else "starting"
    x = row.put(x, stage_word(status.stage) or silent, "fg", stop - x) + 2
    if status.progress is None or told_why(run):
        row.put(x, waiting_for(run, now) or elsewhere_words(run), tone(run, now), max(0, stop - x))
        return
    bar = min(16, stop - x - 6)
    charts.put_bar(row, x, glyphs, status.progress, bar, "accent")
    at = x + bar + 1 if bar >= 4 else x
    if at + 4 <= stop:
        row.put_right(at + 4, numbers.percent(status.progress), "fg bold")


def _with_key(row: Row, text: str, x: int, end: int, fix: str) -> None:
    """Draw a sentence, and behind it the key that repairs it: with what it does, else alone."""
    for words in (fix, "fix"):
        key = f"   f {words}"
        if fix and x + min(len(text), 30) + len(key) <= end:
            after = row.put(x, text, "fg", end - x - len(key))
            row.run(after, [("   f", "fg bold"), (f" {words}", "dim")])
            row.link(after + 3, after + len(key), "dashboard.fix")
            return
    row.put(x, text, "fg", end - x)


def words(facts: RunFacts, now: float) -> str:
    """Return the words for a run that neither loads nor serves."""
    status, state = facts.run.status, facts.run.state
    if state is State.UNHEALTHY:
        since = unhealthy_since(facts.run)
        why = why_unhealthy(facts.run)
        return f"{why}, for {numbers.duration(now - since)}" if since is not None else why
    if state is State.STOPPING:
        return "asked to end"
    if state is State.BACKOFF:
        wait = max(0.0, (status.next_start_at or now) - now)
        return f"{status.title or 'it ended'}; again in {numbers.duration(wait)} (attempt {status.attempt + 1})"
    if state is State.EXITED:
        ran = numbers.duration(status.ended_at - status.started_at) if status.ended_at and status.started_at else ""
        return f"{status.title or 'ended'} after {ran}" if ran else status.title or "ended"
    return status.title or ""
