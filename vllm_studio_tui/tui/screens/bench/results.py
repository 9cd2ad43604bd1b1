"""The table of all results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.sanitize import clean_line
from vllm_studio_tui.tui.paint.table import Column, Parts
from vllm_studio_tui.tui.screens.bench import words as say
from vllm_studio_tui.tui.widgets.table import Table

if TYPE_CHECKING:
    from vllm_studio_tui.domain.bench import BenchResult, BenchStep
    from vllm_studio_tui.domain.bench_compare import BenchLimit
    from vllm_studio_tui.tui.paint.glyphs import Glyphs


class ResultsTable(Table["BenchResult"]):
    """The table; it says when marks change: what `v` does depends on them."""

    def action_mark(self) -> None:
        super().action_mark()
        self.post_message(self.Listed().set_sender(self))


def best_of(result: BenchResult) -> BenchStep | None:
    """Return the step of a result that wrote most."""
    return max(result.steps, key=lambda one: one.output_tokens_per_second or 0.0, default=None)


def words_of(result: BenchResult) -> str:
    """Return what a filter looks through."""
    parts = (say.name_of(result), result.model, result.engine, result.engine_version, result.state, result.source,
             result.name, " ".join(result.gpus), f"revision {result.revision}")  # fmt: skip
    return " ".join(str(part) for part in parts if part)


def columns_of(glyphs: Glyphs, now: float, limits: Mapping[str, BenchLimit]) -> list[Column[BenchResult]]:
    """Return the columns of the table."""

    def text(value: object, style: str = "dim") -> Parts:
        return [(clean_line(str(value), limit=60), style)] if value not in (None, "") else [(glyphs.unknown, "faint")]

    def best(value: Callable[[BenchStep], Any], words: Callable[[Any], str], style: str = "fg") -> Any:
        def parts(result: BenchResult) -> Parts:
            step = best_of(result)
            found = value(step) if step is not None else None
            return [(glyphs.unknown, "faint")] if found is None else [(words(found), style)]

        return parts

    def order(value: Callable[[BenchStep], Any]) -> Callable[[BenchResult], Any]:
        return lambda result: value(step) if (step := best_of(result)) is not None else None

    def carries(result: BenchResult) -> Parts:
        limit = limits.get(result.id)
        most = None if limit is None else limit.rate if result.plan.arrivals != "closed" else limit.users
        if limit is None or most is None:
            return [(glyphs.unknown, "faint")]
        return [(f"{most:g}" + ("" if limit.binds else "+"), "fg")]

    return [
        Column("of", lambda one: [(say.name_of(one), "fg")], 10, title="recipe", grow=1, order=say.name_of),
        Column("rev", lambda one: text(one.revision, "fg"), 3, right=True, drop=5,
               order=lambda one: one.revision),
        Column("when", lambda one: [(numbers.day_time(one.at, now), "dim")], 12,
               order=lambda one: one.at, falling=True),
        Column("state", lambda one: [(one.state, "err" if one.state == "failed" else "dim")], 7, drop=8,
               order=lambda one: one.state),
        Column("steps", lambda one: [(say.loads_words(one.plan), "dim")], 8, grow=2, drop=9),
        Column("out tok/s", best(lambda one: one.output_tokens_per_second, say.speed, "fg bold"), right=True,
               drop=1, order=order(lambda one: one.output_tokens_per_second), falling=True),
        Column("at", best(lambda one: one.load, lambda load: f"{load:g}", "dim"), 4, right=True, drop=4),
        Column("a user", best(lambda one: one.user_speed, numbers.rate), right=True, drop=3,
               order=order(lambda one: one.user_speed), falling=True),
        Column("TTFT p95", best(lambda one: one.ttft.p95, numbers.latency), right=True, drop=2,
               order=order(lambda one: one.ttft.p95)),
        Column("carries", carries, right=True, drop=6),
        Column("engine", lambda one: text(say.engine_of(one)), 8,
               grow=3, drop=7, order=lambda one: (one.engine or "", one.engine_version or "")),
        Column("measured by", lambda one: text("" if one.source == "studio" else one.source), 6, grow=4, drop=10),
    ]  # fmt: skip
