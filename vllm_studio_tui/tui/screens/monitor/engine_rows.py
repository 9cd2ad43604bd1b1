"""The monitor's table of engines: speeds, requests, cache and latencies, those of others below those of runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.engine_metrics import EngineMetrics, Percentiles
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
from vllm_studio_tui.tui.paint.table import Column, Parts, fixed, put_heads, put_values, start_of

if TYPE_CHECKING:
    from vllm_studio_tui.domain.sample import EngineHere

#: The width from which on the longest bar has room.
LONGEST = 159


@dataclass(frozen=True, slots=True)
class _Line:
    """What the columns need to draw an engine that answers requests."""

    state: tuple[str, str]
    metrics: EngineMetrics
    glyphs: Glyphs
    since: float | None = None
    fresh: bool = True
    style: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "style", "fg" if self.fresh else "dim")

    def number(self, text: str, style: str | None = None) -> Parts:
        return [(text, style or self.style)]

    def count(self, value: int | None, *, warn: bool = False) -> Parts:
        return self.number(numbers.count(value, self.glyphs.unknown), "warn" if warn and value else None)


def _output(line: _Line) -> Parts:
    text = numbers.rate(line.metrics.generation_tokens_per_second, line.glyphs.unknown)
    return line.number(text, "fg bold" if line.fresh else None)


def _input(line: _Line) -> Parts:
    return line.number(numbers.rate(line.metrics.prompt_tokens_per_second, line.glyphs.unknown))


def _share(value: Callable[[EngineMetrics], float | None]) -> Callable[[_Line], Parts]:
    return lambda line: line.number(numbers.percent(value(line.metrics), line.glyphs.unknown))


def _tokens(line: _Line) -> Parts:
    used, room = line.metrics.kv_tokens_used, line.metrics.kv_tokens_total
    if used is None and room is None:
        return line.number(line.glyphs.unknown)
    both = [numbers.count(one, "?") for one in ((used, room) if room is not None else (used,))]
    return line.number("/".join(both))


def _preempted(line: _Line) -> Parts:
    """Return those of the last minute; what there was in the engine's whole life says nothing of now."""
    since_start = "preemptions" in line.metrics.since_start
    return line.count(None if since_start else line.metrics.preemptions, warn=True)


def _latency(
    of: Callable[[EngineMetrics], Percentiles], share: str, word: Callable[[float, str], str] = numbers.latency
) -> Callable[[_Line], Parts]:
    """Return what draws a percentile: of one at an end of the engine's buckets no more than is known."""

    def draw(line: _Line) -> Parts:
        told = of(line.metrics)
        sign, value = told.bounded(getattr(told, share) if told.count != 0 else None)
        return line.number(line.glyphs.unknown if value is None else sign + _edge(sign, value, word))

    return draw


def _edge(sign: str, value: float, word: Callable[[float, str], str]) -> str:
    """Return a latency, an edge of the buckets as round as it is."""
    text = word(value, "")
    return text.replace(".00", "").replace(".0", "") if sign else text


def in_ms(seconds: float, unknown: str) -> str:
    """Return a latency in at most six cells; without a unit it is milliseconds."""
    return numbers.latency(seconds, unknown).removesuffix(" ms")


def shortest(seconds: float, unknown: str) -> str:
    """Return a latency in at most four cells; without a unit it is milliseconds."""
    if seconds < 0.9995:
        return in_ms(seconds, unknown)
    return f"{seconds:.1f}s" if seconds < 9.95 else f"{seconds:.0f}s" if seconds < 99.5 else f"{seconds / 60:.0f}m"


#: The layouts of the table of engines.
LONG, FULL, WIDE, BASE, COMPACT = "long", "full", "wide", "base", "compact"

_TTFT: Callable[[EngineMetrics], Percentiles] = lambda metrics: metrics.ttft  # noqa: E731
_ITL: Callable[[EngineMetrics], Percentiles] = lambda metrics: metrics.itl  # noqa: E731

#: The columns of the table, to the right of the names.
ENGINE_COLUMNS: tuple[Column[_Line], ...] = (
    Column("state", lambda line: [line.state], title="", room={LONG: (19, 9), FULL: (19, 9)}),
    Column("out tok/s", _output, room={LONG: (2, 9), FULL: (2, 9), WIDE: (22, 9)}, right=True),
    Column("out", _output, room={BASE: (20, 7), COMPACT: (17, 7)}, right=True),
    Column("prompt", _input, room={LONG: (2, 8), FULL: (2, 8)}, right=True),
    Column("hits", _share(lambda metrics: metrics.prefix_cache_hit_rate),
                   room={LONG: (3, 4), FULL: (3, 4)}, right=True),
    Column("run", lambda line: line.count(line.metrics.running),
                   room={LONG: (2, 4), FULL: (2, 4), WIDE: (3, 4), BASE: (3, 4), COMPACT: (2, 4)}, right=True),
    Column("wait", lambda line: line.count(line.metrics.waiting, warn=True),
                   room={LONG: (2, 4), FULL: (2, 4), WIDE: (3, 4), BASE: (2, 4), COMPACT: (2, 4)}, right=True),
    Column("KV bar", lambda line: [line.state], title="KV cache",
                   draw=lambda line, width: charts.bar(line.glyphs, line.metrics.kv_cache_usage, width),
                   room={LONG: (3, 20), FULL: (3, 11), WIDE: (3, 10), BASE: (3, 10), COMPACT: (2, 6)}),
    Column("KV cache", _share(lambda metrics: metrics.kv_cache_usage), title="",
                   room={LONG: (0, 5), FULL: (0, 5), WIDE: (0, 5), BASE: (0, 5), COMPACT: (0, 5)}, right=True),
    Column("tokens", _tokens, room={LONG: (1, 12), FULL: (1, 12), WIDE: (1, 12)}, right=True),
    Column("preempt", _preempted,
                   room={LONG: (1, 7), FULL: (1, 7)}, right=True),
    Column("TTFT p50", _latency(_TTFT, "p50"), room={LONG: (1, 10), FULL: (1, 10)}, right=True),
    Column("TTFT p95 beside", _latency(_TTFT, "p95", in_ms), title="p95",
                   room={LONG: (1, 6), FULL: (1, 6)}, right=True),
    Column("TTFT p95", _latency(_TTFT, "p95"), room={WIDE: (3, 8), BASE: (1, 8), COMPACT: (1, 8)}, right=True),
    Column("ITL p50", _latency(_ITL, "p50", shortest), room={LONG: (2, 7), FULL: (2, 7)}, right=True),
    Column("ITL p95 beside", _latency(_ITL, "p95", shortest), title="p95",
                   room={LONG: (0, 5), FULL: (0, 5)}, right=True),
    Column("ITL p95", _latency(_ITL, "p95"), room={WIDE: (3, 8), BASE: (2, 8)}, right=True),
    Column("up", lambda line: [] if line.since is None else [(_up(line.since), "dim")],
                   room={LONG: (0, 6), FULL: (0, 6), WIDE: (3, 6)}, right=True),
)  # fmt: skip


def _up(seconds: float) -> str:
    """Return for how long it is up, in so few cells that a gap stands before it."""
    words = numbers.duration(seconds)
    return words if len(words) < 6 else numbers.short_age(seconds)


def engines(
    facts: Sequence[RunFacts],
    glyphs: Glyphs,
    width: int,
    size: Size,
    now: float,
    foreign: Sequence[tuple[EngineHere, EngineMetrics | None]] = (),
) -> list[Row]:
    """Draw the headings and a row for each engine.

    Args:
        foreign: Engines that no run started, with what they report; None: nothing yet.
    """
    x = margin(size)
    full = size == Size.FULL
    layout = (LONG if width >= LONGEST else FULL) if full else {Size.WIDE: WIDE, Size.BASE: BASE}.get(size, COMPACT)
    cells = fixed(ENGINE_COLUMNS, layout, x)
    names = 18 if size == Size.WIDE else 16 if size >= Size.BASE else 14
    head = Row()
    head.put(x, "ENGINES", "dim bold")
    rows = [put_heads(cells, head)]
    for one in facts:
        run = one.run
        row = Row(key=f"run:{run.run_id}")
        mark, colour = glyphs.state(run.state)
        row.put(x, mark, colour)
        row.put(x + 2, run.name, "fg bold", names)
        if run.state not in ANSWERING or (run.state is State.UNHEALTHY and one.metrics is None):
            _put_start(row, one, glyphs, (x + 19, x + 30) if full else (0, x + names + 3), start_of(cells, "KV bar"),
                       width, now)  # fmt: skip
        else:
            metrics, ready = one.metrics or EngineMetrics(), run.status.ready_at
            if metrics.error is not None:  # dashes alone would not say why
                words, colour = _state(run.state, metrics)
                after = row.put(x + 19 if full else x + names + 3, words, colour)
                row.put(after + 3, metrics.error, "dim", max(0, width - after - 4))
                rows.append(row)
                continue
            line = _Line(
                _state(run.state, metrics), metrics, glyphs, None if ready is None else now - ready, one.age is None
            )
            put_values(cells, row, line, glyphs)
        rows.append(row)
    for here, told in foreign:
        row = Row()
        row.put(x, glyphs.state(State.READY)[0], "dim")
        row.put(x + 2, here.name, "fg", names)
        if told is not None and told.error is not None:
            row.put(x + 19 if full else x + names + 3, f"not ours   {told.error}", "dim", max(0, width - x - names - 4))
        else:
            put_values(cells, row, _Line(("not ours", "dim"), told or EngineMetrics(), glyphs), glyphs)
        rows.append(row)
    if len(rows) == 1:
        none = Row()
        none.put(x, "Nothing runs yet.", "dim")
        rows.append(none)
    return rows


def _state(state: State, metrics: EngineMetrics) -> tuple[str, str]:
    if metrics.sleep not in (None, "awake"):
        return "asleep", "warn"
    return str(state), "warn" if state is State.UNHEALTHY else "dim"


def _put_start(
    row: Row, facts: RunFacts, glyphs: Glyphs, columns: tuple[int, int], bar: int, width: int, now: float
) -> None:
    """Draw how far a run is that does not answer, or why it has ended.

    Args:
        columns: Where its state begins, 0 for nowhere, and where its stage does.
    """
    run, (state, stage) = facts.run, columns
    if state:
        row.put(state, str(run.state), "fg", stage - state - 1)
    progress, rest = run.status.progress, left(facts, now)
    starting = run.state in (State.STARTING, State.LOADING)
    if progress is None and rest is None and not starting:
        after = stage if state else row.put(stage, _word(run), "fg", 16) + 2
        row.put(after, words(facts, now), "dim", max(0, width - after - 1))
        return
    after = row.put(stage, _word(run), "fg", max(8, min(40, bar - stage - 1))) + 2
    if progress is not None:
        after = max(after, bar)
        long = 20 if width >= LONGEST else 10
        charts.put_bar(row, after, glyphs, progress, long, "accent")
        row.put_right(after + long + 5, numbers.percent(progress), "fg bold")
        after += long + 7
    if rest is not None:
        row.put(after, f"about {numbers.about(rest)} left", "dim", max(0, width - after - 1))


def _word(run: RunView) -> str:
    """Return the stage of a run that starts, the state of one that has ended."""
    return str(run.state) if run.status.final else stage_word(run.status.stage) or str(run.state)
