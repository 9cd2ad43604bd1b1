"""The monitor's table of engines: speeds, requests, cache and latencies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vllm_studio_tui.domain.engine_metrics import EngineMetrics
from vllm_studio_tui.domain.run import ANSWERING, State
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.tui.look.sizes import Size, margin
from vllm_studio_tui.tui.paint import charts
from vllm_studio_tui.tui.paint.glyphs import Glyphs
from vllm_studio_tui.tui.paint.ink import Row
from vllm_studio_tui.tui.paint.run_line import words
from vllm_studio_tui.tui.paint.run_parts import RunFacts, left
from vllm_studio_tui.tui.paint.run_words import stage_word
from vllm_studio_tui.tui.paint.table import Column, Parts, fixed, put_heads, put_values


@dataclass(frozen=True, slots=True)
class _Line:
    """What the columns need to draw a run that answers requests."""

    facts: RunFacts
    metrics: EngineMetrics
    glyphs: Glyphs
    now: float

    @property
    def style(self) -> str:
        return "dim" if self.facts.age is not None else "fg"

    def number(self, text: str, style: str | None = None) -> Parts:
        return [(text, style or self.style)]

    def count(self, value: int | float | None, *, warn: bool = False) -> Parts:
        return self.number(self.glyphs.unknown if value is None else str(value), "warn" if warn and value else None)


def _output(line: _Line) -> Parts:
    text = numbers.rate(line.metrics.generation_tokens_per_second, line.glyphs.unknown)
    return line.number(text, "fg bold" if line.facts.age is None else None)


def _input(line: _Line) -> Parts:
    return line.number(numbers.rate(line.metrics.prompt_tokens_per_second, line.glyphs.unknown))


def _share(value: Callable[[EngineMetrics], float | None]) -> Callable[[_Line], Parts]:
    return lambda line: line.number(numbers.percent(value(line.metrics), line.glyphs.unknown))


def _latency(value: Callable[[EngineMetrics], float | None]) -> Callable[[_Line], Parts]:
    return lambda line: line.number(numbers.latency(value(line.metrics), line.glyphs.unknown))


def _up(line: _Line) -> Parts:
    ready = line.facts.run.status.ready_at
    return [(numbers.duration(line.now - ready), "dim")] if ready is not None else []


#: The layouts of the table of engines.
FULL, WIDE, BASE = "full", "wide", "base"

#: The columns of the table, to the right of the names.
ENGINE_COLUMNS: tuple[Column[_Line], ...] = (
    Column("out tok/s", _output, room={FULL: (22, 9), WIDE: (22, 9), BASE: (20, 9)}, right=True),
    Column("in tok/s", _input, room={FULL: (3, 8)}, right=True),
    Column("run", lambda line: line.count(line.metrics.running),
                   room={FULL: (4, 3), WIDE: (4, 3), BASE: (2, 3)}, right=True),
    Column("wait", lambda line: line.count(line.metrics.waiting, warn=True),
                   room={FULL: (3, 4), WIDE: (3, 4), BASE: (1, 4)}, right=True),
    Column("KV bar", lambda line: charts.bar(line.glyphs, line.metrics.kv_cache_usage, 10), title="",
                   room={FULL: (3, 10), WIDE: (3, 10), BASE: (2, 10)}),
    Column("KV cache", _share(lambda metrics: metrics.kv_cache_usage),
                   room={FULL: (0, 5), WIDE: (0, 5), BASE: (0, 5)}, right=True),
    Column("hits", _share(lambda metrics: metrics.prefix_cache_hit_rate), room={FULL: (4, 4)}, right=True),
    Column("TTFT p50", _latency(lambda metrics: metrics.ttft.p50), room={FULL: (4, 8)}, right=True),
    Column("TTFT p95", _latency(lambda metrics: metrics.ttft.p95),
                   room={FULL: (4, 8), WIDE: (4, 8), BASE: (3, 8)}, right=True),
    Column("ITL p95", _latency(lambda metrics: metrics.itl.p95),
                   room={FULL: (4, 7), WIDE: (5, 7), BASE: (3, 7)}, right=True),
    Column("preempted", lambda line: line.count(line.metrics.preemptions, warn=True),
                   room={FULL: (3, 9)}, right=True),
    Column("up", _up, room={FULL: (5, 5), WIDE: (7, 5)}, right=True),
)  # fmt: skip


def engines(facts: Sequence[RunFacts], glyphs: Glyphs, width: int, size: Size, now: float) -> list[Row]:
    """Draw the headings and a row for each engine."""
    x = margin(size)
    full = size >= Size.WIDE
    head = Row()
    head.put(x, "ENGINES", "dim bold")
    layout = {Size.FULL: FULL, Size.WIDE: WIDE}.get(size, BASE)
    cells = fixed(ENGINE_COLUMNS, layout, x)
    rows = [put_heads(cells, head)]
    for run_facts in facts:
        run, metrics = run_facts.run, run_facts.metrics or EngineMetrics()
        row = Row(key=f"run:{run.run_id}")
        mark, colour = glyphs.state(run.state)
        row.put(x, mark, colour)
        row.put(x + 2, run.name, "fg bold", 18 if full else 16)
        if run.state not in ANSWERING or (run.state is State.UNHEALTHY and run_facts.metrics is None):
            start = x + 22
            after = row.put(start, _word(run), "fg", 16) + 2
            if run.status.progress is not None:
                charts.put_bar(row, after, glyphs, run.status.progress, 16, "accent")
                after = row.put(after + 17, numbers.percent(run.status.progress), "fg bold") + 2
            rest = left(run_facts, now)
            if rest is not None:
                row.put(after, f"about {numbers.about(rest)} left", "dim", max(0, width - after - 1))
            elif run.state not in (State.STARTING, State.LOADING):
                row.put(after, words(run_facts, now), "dim", max(0, width - after - 1))
            rows.append(row)
            continue
        put_values(cells, row, _Line(run_facts, metrics, glyphs, now), glyphs)
        rows.append(row)
    if len(rows) == 1:
        none = Row()
        none.put(x, "Nothing runs yet.", "dim")
        rows.append(none)
    return rows


def _word(run: RunView) -> str:
    """Return the stage of a run that starts, the state of one that has ended."""
    return str(run.state) if run.status.final else stage_word(run.status.stage) or str(run.state)
