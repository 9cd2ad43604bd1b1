"""`metrics [RUN]`: what an engine reports: requests, speeds, cache, latencies."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.engine_metrics import EngineMetrics, Percentiles
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.sanitize import clean_line

if TYPE_CHECKING:
    import typer

    from vllm_studio_tui.kit.paths import Places
    from vllm_studio_tui.runs.read import RunView

DASH = "-"
#: Seconds over which `--watch` takes latencies and shares.
WINDOW = 60.0


def chosen_run(places: Places, name: str | None) -> RunView:
    """Return the live run of this name, or the only live run.

    Raises:
        NotFound: There is none.
        UsageError: There are several and none was named.
    """
    from vllm_studio_tui.domain.errors import NotFound, UsageError
    from vllm_studio_tui.runs.find import find_run
    from vllm_studio_tui.runs.read import live_runs

    if name is not None:
        return find_run(places, name)
    runs = live_runs(places)
    if not runs:
        raise NotFound("No run is live", advice="Launch a recipe: vllm-studio launch ID")
    if len(runs) > 1:
        known = ", ".join(run.run_id for run in runs)
        raise UsageError("Several runs are live: name one", cause=known)
    return runs[0]


def api_key_of(run: RunView) -> str | None:
    """Return the API key of a run's engine, or None.

    Raises:
        StudioError: Its reference names nothing.
    """
    import os

    from vllm_studio_tui.domain.errors import StudioError
    from vllm_studio_tui.kit.secrets import resolve

    ref = run.spec.api_key_ref if run.spec else None
    if ref is None:
        return None
    try:
        return resolve(ref, os.environ)
    except ValueError as error:
        raise StudioError("The engine's API key cannot be read", cause=str(error)) from error


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


def watch(
    read: Callable[[], EngineMetrics],
    show_one: Callable[[EngineMetrics], None],
    interval: float,
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Show a scrape every `interval` seconds until it is interrupted; an engine that is away is waited for."""
    clear = sys.stdout.isatty()
    while True:
        metrics = read()
        if clear:
            sys.stdout.write("\x1b[H\x1b[J")
        show_one(metrics)
        sys.stdout.flush()
        sleep(interval)


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
        from vllm_studio_tui.cli.output import emit_line, note
        from vllm_studio_tui.config.custom_metrics import custom_metrics
        from vllm_studio_tui.domain.errors import EngineUnreachable, StudioError, UsageError
        from vllm_studio_tui.kit.paths import Places
        from vllm_studio_tui.probes.engine.reader import EngineProbe, read_once
        from vllm_studio_tui.runs.json_documents import metrics_document

        if once and watching:
            raise UsageError("--once and --watch exclude each other")
        run = chosen_run(Places.of(), run_name)
        base_url, backend = run.base_url, run.backend
        if base_url is None or backend is None:
            raise StudioError(f"{run.run_id} does not say where its engine is", advice="Launch it again.")
        if run.status.stranger:
            raise EngineUnreachable(f"No metrics of {run.run_id}", cause=run.status.heard or "")
        key = api_key_of(run)
        custom, problems = custom_metrics(Places.of())
        for problem in problems:
            note(clean_line(problem))

        def show_one(m: EngineMetrics) -> None:
            if as_json:
                emit_line(metrics_document(run, m))
            else:
                show(run, m)

        if not watching:
            measured = read_once(base_url, backend, key, interval, custom=custom)
            show_one(measured)
            if measured.error is not None:
                raise EngineUnreachable(f"No metrics of {run.run_id}", cause=measured.error)
            return
        probe = EngineProbe(backend, window=WINDOW, custom=custom)

        def read() -> EngineMetrics:
            m = probe.read(base_url, key)
            if m.error is not None and not as_json:
                note(m.error)
            return m

        try:
            watch(read, show_one, interval)
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
