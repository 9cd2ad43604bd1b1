"""`metrics [RUN]`: what an engine reports: requests, speeds, cache, latencies."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.engine_metrics import EngineMetrics, Percentiles
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.sanitize import clean_line

if TYPE_CHECKING:
    import typer

    from vllm_studio_tui.runs.read import RunView
    from vllm_studio_tui.services.protocols import RunsApi

DASH = "-"


def chosen_run(runs: RunsApi, name: str | None) -> RunView:
    """Return the live run of this name, or the only live run.

    Raises:
        NotFound: There is none.
        UsageError: There are several and none was named.
    """
    from vllm_studio_tui.domain.errors import NotFound, UsageError

    if name is not None:
        return runs.find(name)
    live = runs.live()
    if not live:
        raise NotFound("No run is live", advice="Launch a recipe: vllm-studio launch ID")
    if len(live) > 1:
        known = ", ".join(run.run_id for run in live)
        raise UsageError("Several runs are live: name one", cause=known)
    return live[0]


def show(run: RunView, m: EngineMetrics) -> None:
    """Print the metrics for a person."""
    from vllm_studio_tui.cli.output import say, table

    say(f"{run.recipe_id}  {run.run_id}  {run.backend or DASH}  {run.state}")
    if m.error:
        return  # printed on stderr
    rows = (
        ("requests", f"{_count(m.running)} running, {_count(m.waiting)} waiting"),
        ("generation", numbers.fixed(m.generation_tokens_per_second, 1, " tok/s", DASH)),
        ("prompt", numbers.fixed(m.prompt_tokens_per_second, 1, " tok/s", DASH)),
        ("KV cache", _share(m.kv_cache_usage)),
        ("prefix cache hits", _share(m.prefix_cache_hit_rate) + _mark(m, "prefix_cache_hit_rate")),
    )
    own = [
        (clean_line(one.metric.label), one.metric.text(one.value, DASH) + _since(one.since_start)) for one in m.custom
    ]
    for name, value in (*rows, *own):
        say(f"{name:<18} {value}")
    say()
    table(
        ("latency", "p50", "p95", "p99", "count", ""),
        [
            (title, *_latency(p), _count(p.count), _mark(m, field).strip())
            for title, field, p in (
                ("first token", "ttft", m.ttft),
                ("between tokens", "itl", m.itl),
                ("whole request", "e2e", m.e2e),
            )
        ],
        right=(1, 2, 3, 4),
    )


def _count(value: int | None) -> str:
    return numbers.fixed(value, 0, unknown=DASH)


def _share(value: float | None) -> str:
    return numbers.exact_percent(value, unknown=DASH)


def _mark(m: EngineMetrics, field: str) -> str:
    return _since(field in m.since_start)


def _since(start: bool) -> str:
    return "  since its start" if start else ""


def _latency(p: Percentiles) -> tuple[str, ...]:
    unknown = DASH if p.over is None else f">{p.over:g} s"
    return tuple(numbers.seconds(value, math.inf, unknown) for value in (p.p50, p.p95, p.p99))


def watch(readings: Iterable[EngineMetrics], show_one: Callable[[EngineMetrics], None]) -> None:
    """Show each reading until it is interrupted."""
    clear = sys.stdout.isatty()
    for metrics in readings:
        if clear:
            sys.stdout.write("\x1b[H\x1b[J")
        show_one(metrics)
        sys.stdout.flush()


def register(app: typer.Typer) -> None:
    """Add the command `metrics`."""
    import typer

    @app.command("metrics")
    def metrics(
        run_name: str | None = typer.Argument(None, metavar="[RUN]", help="A run or recipe; the only live one."),
        once: bool = typer.Option(False, "--once", help="Measure once (the default)."),
        watching: bool = typer.Option(False, "--watch", "-w", help="Measure again until interrupted."),
        as_json: bool = typer.Option(False, "--json", help="Print JSON; with --watch one object a line."),
        interval: float = typer.Option(1.0, "--interval", min=0.2, help="Seconds between two scrapes."),
    ) -> None:
        """Show an engine's requests, speeds, cache use and latencies."""
        from vllm_studio_tui.cli.opening import open_studio
        from vllm_studio_tui.cli.output import emit_line, note
        from vllm_studio_tui.domain.errors import EngineUnreachable, UsageError
        from vllm_studio_tui.runs.json_documents import metrics_document

        if once and watching:
            raise UsageError("--once and --watch exclude each other")
        with open_studio() as studio:
            run = chosen_run(studio.runs, run_name)
            for problem in studio.runs.metric_problems():
                note(clean_line(problem))

            def show_one(m: EngineMetrics) -> None:
                if watching and m.error is not None and not as_json:
                    note(m.error)
                if as_json:
                    emit_line(metrics_document(run, m))
                else:
                    show(run, m)

            if not watching:
                measured = studio.runs.measure(run, interval)
                show_one(measured)
                if measured.error is not None:
                    raise EngineUnreachable(f"No metrics of {run.run_id}", cause=measured.error)
                return
            try:
                watch(studio.runs.readings(run, interval), show_one)
            except KeyboardInterrupt:
                raise typer.Exit(130) from None
