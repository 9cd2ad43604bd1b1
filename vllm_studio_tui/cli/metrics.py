"""`metrics [RUN]`: what an engine reports: requests, speeds, cache, latencies."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.engine_metrics import EngineMetrics, Percentiles, WindowSpeeds
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.sanitize import clean_line

if TYPE_CHECKING:
    import typer

    from vllm_studio_tui.runs.foreign import Foreign
    from vllm_studio_tui.runs.read import RunView
    from vllm_studio_tui.services.protocols import RunsApi

DASH = "-"


def chosen(runs: RunsApi, name: str | None) -> RunView | Foreign:
    """Return the live run of this name, the engine that `foreign:PID` means, or the only live run.

    Raises:
        NotFound: There is none.
        UsageError: There are several and none was named.
    """
    from vllm_studio_tui.domain.errors import NotFound, UsageError
    from vllm_studio_tui.domain.sample import FOREIGN

    if name is not None and name.startswith(FOREIGN):
        number = name.removeprefix(FOREIGN)
        if not (number.isascii() and number.isdigit() and len(number) < 10):
            raise UsageError(f"{name[:40]!r} names no process", advice="Write foreign:PID; see `foreign list`.")
        return runs.foreign_of(int(number))
    if name is not None:
        return runs.find(name)
    live = runs.live()
    if not live:
        raise NotFound("No run is live", advice="Launch a recipe: vllm-studio launch ID")
    if len(live) > 1:
        known = ", ".join(run.run_id for run in live)
        raise UsageError("Several runs are live: name one", cause=known)
    return live[0]


def heading(run: RunView | Foreign) -> str:
    """Return the line that says whose metrics these are."""
    from vllm_studio_tui.runs.foreign import Foreign

    if isinstance(run, Foreign):
        return f"{clean_line(run.model or DASH)}  {run.key}  {run.backend}  of {run.user}"
    return f"{run.recipe_id}  {run.run_id}  {run.backend or DASH}  {run.state}"


def show(run: RunView | Foreign, m: EngineMetrics) -> None:
    """Print the metrics for a person."""
    from vllm_studio_tui.cli.output import say, table

    say(heading(run))
    if m.error:
        return  # printed on stderr
    rows = (
        ("requests", f"{_count(m.running)} running, {_count(m.waiting)} waiting{_parts(m.waiting_by_reason)}"),
        *_ended(m),
        ("generation", numbers.fixed(m.generation_tokens_per_second, 1, " tok/s", DASH)),
        ("prompt", numbers.fixed(m.prompt_tokens_per_second, 1, " tok/s", DASH) + _computed(m)),
        ("KV cache", _share(m.kv_cache_usage) + _tokens(m)),
        ("prefix cache hits", _share(m.prefix_cache_hit_rate) + _mark(m, "prefix_cache_hit_rate")),
        *_rare(m),
    )
    own = [
        (clean_line(one.metric.label), one.metric.text(one.value, DASH) + _since(one.since_start)) for one in m.custom
    ]
    for name, value in (*rows, *own):
        say(f"{name:<18} {value}")
    _say_windows(m)
    _say_ranks(m)
    say()
    latencies = (
        ("first token", "ttft", m.ttft),
        ("between tokens", "itl", m.itl),
        ("per output token", "tpot", m.tpot),
        ("whole request", "e2e", m.e2e),
        ("queue", "queue", m.queue),
        ("prefill", "prefill", m.prefill),
        ("decode", "decode", m.decode),
    )
    table(
        ("latency", "mean", "p50", "p95", "p99", "count", ""),
        [
            (title, numbers.seconds(p.mean, math.inf, DASH), *_latency(p), _count(p.count), _mark(m, field).strip())
            for title, field, p in latencies
            if p.count is not None or field in ("ttft", "itl", "e2e")
        ],
        right=(1, 2, 3, 4, 5),
    )


def _parts(counts: Mapping[str, int]) -> str:
    words = ", ".join(f"{count} {name}" for name, count in counts.items())
    return f" ({words})" if words else ""


def _ended(m: EngineMetrics) -> list[tuple[str, str]]:
    if not m.outcomes:
        return []
    words = ", ".join(f"{count} {name}" for name, count in sorted(m.outcomes.items(), key=lambda one: -one[1]))
    return [("ended", words + _mark(m, "outcomes"))]


def _computed(m: EngineMetrics) -> str:
    """Return of the prompts' speed what was computed and what came from a cache."""
    computed, cached = m.prompt_computed_per_second, m.prompt_cached_per_second
    if computed is None or cached is None or not m.prompt_tokens_per_second:
        return ""
    return f"  ({computed:.1f} computed, {cached:.1f} cached)"


def _tokens(m: EngineMetrics) -> str:
    if m.kv_tokens_used is None:
        return "" if m.kv_tokens_total is None else f"  of {m.kv_tokens_total} tokens"
    return f"  {m.kv_tokens_used}" + ("" if m.kv_tokens_total is None else f" of {m.kv_tokens_total}") + " tokens"


def _rare(m: EngineMetrics) -> list[tuple[str, str]]:
    """Return what only some engines tell, or only at times."""
    rows = []
    if m.preemptions is not None:
        rows.append(("preempted", f"{m.preemptions}{_mark(m, 'preemptions')}"))
    if m.tokens_per_step is not None:
        rows.append(("tokens a step", f"{m.tokens_per_step:.1f}{_mark(m, 'tokens_per_step')}"))
    if m.spec_acceptance is not None:
        longer = "" if m.spec_length is None else f", {m.spec_length:.2f} tokens a step"
        rows.append(("guessed ahead", f"{_share(m.spec_acceptance)} taken{longer}{_mark(m, 'spec_acceptance')}"))
    if m.sleep not in (None, "awake"):
        rows.append(("asleep", m.sleep or ""))
    return rows


def _say_windows(m: EngineMetrics) -> None:
    """Print speeds over the windows that the engine was really watched for."""
    from vllm_studio_tui.cli.output import say, table

    whole = {seconds: one for seconds, one in m.windows.items() if one.seconds >= 0.8 * seconds}
    if not whole:
        return
    kinds: tuple[tuple[str, Callable[[WindowSpeeds], str]], ...] = (
        ("generation tok/s", lambda one: numbers.fixed(one.generation_tokens_per_second, 1, unknown=DASH)),
        ("prompt tok/s", lambda one: numbers.fixed(one.prompt_tokens_per_second, 1, unknown=DASH)),
        ("requests/s", lambda one: numbers.fixed(one.requests_per_second, 2, unknown=DASH)),
        ("preempted", lambda one: _count(one.preemptions)),
        ("prefix cache hits", lambda one: _share(one.prefix_cache_hit_rate)),
    )
    rows = [(title, *(word(one) for one in whole.values())) for title, word in kinds]
    say()
    table(
        ("over the last", *(f"{seconds} s" for seconds in whole)),
        [row for row in rows if set(row[1:]) != {DASH}],
        right=tuple(range(1, len(whole) + 1)),
    )


def _say_ranks(m: EngineMetrics) -> None:
    from vllm_studio_tui.cli.output import say, table

    if not m.ranks:
        return
    say()
    table(
        ("rank", "running", "waiting", "KV cache"),
        [(str(one.rank), _count(one.running), _count(one.waiting), _share(one.kv)) for one in m.ranks],
        right=(0, 1, 2, 3),
    )
    if m.imbalance is not None:
        say(f"The busiest rank has {numbers.exact_percent(m.imbalance, unknown=DASH)} more to do than the average.")


def _count(value: int | None) -> str:
    return numbers.fixed(value, 0, unknown=DASH)


def _share(value: float | None) -> str:
    return numbers.exact_percent(value, unknown=DASH)


def _mark(m: EngineMetrics, field: str) -> str:
    return _since(field in m.since_start)


def _since(start: bool) -> str:
    return "  since its start" if start else ""


def _latency(p: Percentiles) -> tuple[str, ...]:
    def word(value: float | None) -> str:
        sign, known = p.bounded(value)
        if sign and known is not None:
            return f"{sign}{known:g} s" if known >= 1 or sign == ">" else f"{sign}{1000 * known:g} ms"
        return numbers.seconds(known, math.inf, DASH)

    return tuple(word(value) for value in (p.p50, p.p95, p.p99))


def _way_out(error: str) -> str:
    """Return what to do about an engine of somebody else that tells nothing."""
    if "401" in error or "403" in error:
        return "It wants a key: attach it, and give its recipe a reference to one (api_key)."
    if "404" in error or "501" in error:
        return "Whoever started it can begin it with its metrics: SGLang --enable-metrics, llama.cpp --metrics."
    return ""


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
        run_name: str | None = typer.Argument(
            None, metavar="[RUN]", help="A run or recipe; the only live one. foreign:PID: an engine of somebody else."
        ),
        once: bool = typer.Option(False, "--once", help="Measure once (the default)."),
        watching: bool = typer.Option(False, "--watch", "-w", help="Measure again until interrupted."),
        as_json: bool = typer.Option(False, "--json", help="Print JSON; with --watch one object a line."),
        interval: float = typer.Option(1.0, "--interval", min=0.2, help="Seconds between two scrapes."),
    ) -> None:
        """Show an engine's requests, speeds, cache use and latencies."""
        from vllm_studio_tui.cli.opening import open_studio
        from vllm_studio_tui.cli.output import emit_line, note
        from vllm_studio_tui.domain.errors import EngineUnreachable, UsageError
        from vllm_studio_tui.runs.foreign import Foreign
        from vllm_studio_tui.runs.json_documents import foreign_metrics_document, metrics_document

        if once and watching:
            raise UsageError("--once and --watch exclude each other")
        with open_studio() as studio:
            run = chosen(studio.runs, run_name)
            name = run.key if isinstance(run, Foreign) else run.run_id
            for problem in studio.runs.metric_problems():
                note(clean_line(problem))

            def show_one(m: EngineMetrics) -> None:
                if watching and m.error is not None and not as_json:
                    note(m.error)
                if as_json:
                    emit_line(
                        foreign_metrics_document(run, m) if isinstance(run, Foreign) else metrics_document(run, m)
                    )
                else:
                    show(run, m)

            if not watching:
                measured = studio.runs.measure(run, interval)
                show_one(measured)
                if measured.error is not None:
                    raise EngineUnreachable(
                        f"No metrics of {name}", cause=measured.error,
                        advice=_way_out(measured.error) if isinstance(run, Foreign) else "",
                    )  # fmt: skip
                return
            try:
                watch(studio.runs.readings(run, interval), show_one)
            except KeyboardInterrupt:
                raise typer.Exit(130) from None
