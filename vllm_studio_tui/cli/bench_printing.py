"""Benchmarks in words and tables."""

from __future__ import annotations

import math
import sys

from vllm_studio_tui.cli.output import note, say, table
from vllm_studio_tui.domain.bench import BenchPlan, BenchProgress, BenchResult, BenchStep
from vllm_studio_tui.domain.bench_compare import BenchChange, BenchComparison, BenchLimit
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.sanitize import clean_line
from vllm_studio_tui.services.protocols import BenchApi

DASH = "–"
#: Figures of a comparison: title, name, how a value is shown.
_COLUMNS = (
    ("out tok/s", "output_tokens_per_second"),
    ("a user", "user_speed"),
    ("TTFT p95", "ttft_p95"),
    ("ITL p95", "itl_p95"),
    ("J/1k", "joules_per_1k"),
    ("good", "good"),
)


def follow(bench: BenchApi, begun: BenchResult, *, quiet: bool) -> bool:
    """Show where a benchmark is until it has ended; return whether it was interrupted by a person."""
    live = sys.stderr.isatty() and not quiet
    shown = 0
    try:
        for progress in bench.follow(begun.id):
            if live:
                sys.stderr.write(f"\r\x1b[K{progress_line(progress)}")
                sys.stderr.flush()
            elif not quiet and progress.step > shown:
                shown = progress.step
                note(progress_line(progress))
    except KeyboardInterrupt:
        note("stops: what was measured is kept" if not live else "\r\x1b[Kstops: what was measured is kept")
        bench.stop(begun.id)
        return True
    finally:
        if live:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
    return False


def progress_line(now: BenchProgress) -> str:
    """Return where a benchmark is, on a line."""
    if not now.step:
        return now.words or "begins"
    step, so_far = f"step {now.step}" + (f" of {now.of}" if now.of else ""), now.so_far
    parts = [step, f"{now.load:g} {unit_of(so_far)}", now.words or f"{now.share:.0%}"]
    if so_far.output_tokens_per_second is not None:
        parts += [f"{so_far.output_tokens_per_second:.1f} tok/s", f"TTFT p50 {_seconds(so_far.ttft.p50)}"]
    if so_far.errors:
        parts.append(f"{so_far.errors} errors")
    if now.seconds_left:
        parts.append(f"about {numbers.duration(now.seconds_left)} left")
    return "  ".join(parts)


def unit_of(step: BenchStep) -> str:
    """Return what a load is counted in."""
    return "a second" if step.rate is not None else "users"


def plan_words(plan: BenchPlan) -> str:
    """Return a plan in a line."""
    if plan.prompts_file:
        lengths = f"prompts of {plan.prompts_file}, answers up to {plan.output_tokens}"
    else:
        spread = f" ±{plan.spread:.0%}" if plan.spread else ""
        lengths = f"prompts of {plan.prompt_tokens}{spread}, answers of {plan.output_tokens}{spread} tokens"
    how = {"closed": "each user asks as soon as answered", "constant": "even arrivals", "poisson": "Poisson arrivals"}
    long = f"{plan.requests} requests" if plan.requests is not None else f"{plan.duration:g} s"
    parts = [lengths, how[plan.arrivals], f"{long} a step after {plan.warmup:g} s of warm-up"]
    if plan.repeats > 1:
        parts.append(f"{plan.repeats} repeats")
    ttft, tpot = plan.limits
    if ttft is not None or tpot is not None:
        limits = [f"TTFT under {_seconds(ttft)}"] if ttft is not None else []
        limits += [f"TPOT under {_seconds(tpot)}"] if tpot is not None else []
        parts.append("good: " + ", ".join(limits))
    return "; ".join(parts)


def say_result(one: BenchResult) -> None:
    """Print a benchmark for a person."""
    engine = " ".join(filter(None, (one.engine or one.source, one.engine_version)))
    say(f"{one.id}  {one.title}  {engine}  {one.state}".rstrip())
    say(f"  {plan_words(one.plan)}")
    if one.gpus:
        say(f"  GPUs {', '.join(one.gpus)}")
    for words in one.notes:
        say(f"  {words}")
    if one.error:
        say(f"  {one.error}")
    if not one.steps:
        return
    say()
    limits = one.plan.limits != (None, None)
    energy = any(step.energy_j is not None for step in one.steps)
    head = [unit_of(one.steps[0]), "requests", "errors", "out tok/s", "in tok/s", "a user", "TTFT p50", "p95"]
    head += ["ITL p50", "p95", "TPOT", "E2E p50", "p95"]
    head += ["cap"] * bool(one.plan.power_caps) + ["good/s", "good"] * limits + ["W", "J/1k"] * energy
    rows = []
    for step in sorted(one.steps, key=lambda each: (each.power_cap or 0, each.load)):
        row = [f"{step.load:g}", str(step.requests), str(step.errors), _number(step.output_tokens_per_second)]
        row += [_number(step.input_tokens_per_second), _number(step.user_speed)]
        row += [_seconds(step.ttft.p50), _seconds(step.ttft.p95), _seconds(step.itl.p50), _seconds(step.itl.p95)]
        row += [_seconds(step.tpot.mean), _seconds(step.e2e.p50), _seconds(step.e2e.p95)]
        row += [_number(step.power_cap, 0)] * bool(one.plan.power_caps)
        row += [_number(step.goodput, 2), numbers.exact_percent(step.good, unknown=DASH)] * limits
        row += [_number(step.power, 0), _number(step.joules_per_1k, 0)] * energy
        rows.append(row)
    table(head, rows, right=tuple(range(len(head))))
    for step in one.steps:
        for words, count in step.problems.items():
            say(f"  {step.load:g} {unit_of(step)}: {count} x {clean_line(words)}")


def say_comparison(one: BenchComparison) -> None:
    """Print a comparison for a person."""
    say(f"{one.before_title} ({one.before})  ->  {one.after_title} ({one.after})")
    for words in one.differences:
        say(f"  {clean_line(words)}")
    known = [(title, name) for title, name in _COLUMNS if any(_known(row.changes.get(name)) for row in one.rows)]
    rows = []
    for row in one.rows:
        cells = [f"{row.load:g}"]
        for _, name in known:
            change = row.changes.get(name)
            cells += [_figure(name, change.before if change else None), _figure(name, change.after if change else None)]
            cells.append(_change(change))
        rows.append(cells)
    head = [one.by, *(cell for title, _ in known for cell in (title, "now", "change"))]
    if rows and known:
        table(head, rows, right=tuple(range(len(head))))
    say(one.verdict)
    if one.regression is not None:
        say(f"Slower since an upgrade: {clean_line(one.regression)}.")


def say_limit(one: BenchLimit) -> None:
    """Print how many users an engine carries."""
    say(one.words)
    for low, high, words in one.engine:
        say(f"  {f'{low} users' if low == high else f'{low} to {high} users':<18} {words}")


def _known(change: BenchChange | None) -> bool:
    return change is not None and change.before is not None and change.after is not None


def _figure(name: str, value: float | None) -> str:
    if name.endswith("_p95"):
        return _seconds(value)
    return numbers.exact_percent(value, unknown=DASH) if name == "good" else _number(value)


def _change(change: BenchChange | None) -> str:
    if change is None or change.change is None:
        return DASH
    if change.spread is None:
        return f"{change.change:+.1%} ?"
    return f"{change.change:+.1%}{' (noise)' if change.noise else ''}"


def _number(value: float | None, places: int = 1) -> str:
    return numbers.fixed(value, places, unknown=DASH)


def _seconds(value: float | None) -> str:
    if value is not None and value < 0.1:
        return f"{value * 1000:.1f} ms"
    return numbers.seconds(value, math.inf, DASH)
