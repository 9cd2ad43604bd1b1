"""`usage`: tokens, requests, latency and energy over time."""

from __future__ import annotations

import csv
import sys
from typing import TYPE_CHECKING

import typer

from vllm_studio_tui.cli.opening import open_studio
from vllm_studio_tui.cli.output import emit, note, safe, say, table
from vllm_studio_tui.domain.errors import UsageError
from vllm_studio_tui.domain.usage import BY, Price, UsageQuery, UsageReport, UsageRow
from vllm_studio_tui.kit.iso_time import iso_time

if TYPE_CHECKING:
    from vllm_studio_tui.domain.metrics import Percentiles

DASH = "–"


def amount(value: float | None) -> str:
    """A count that reads at a glance: 950, 12.3k, 4.56M, 7.89G."""
    if value is None:
        return DASH
    for size, unit, digits in ((1e9, "G", 2), (1e6, "M", 2), (1e4, "k", 1)):
        if value >= size:
            return f"{value / (1e3 if unit == 'k' else size):.{digits}f}{unit}"
    return f"{value:.0f}"


def energy(value: float | None, *, estimated: bool = False) -> str:
    """Watt hours; a leading ~ where a part is estimated."""
    if value is None:
        return DASH
    text = f"{value / 1000:.2f} kWh" if value >= 1000 else f"{value:.1f} Wh" if value >= 1 else f"{value:.3f} Wh"
    return f"~{text}" if estimated else text


def money(value: float | None, price: Price, *, estimated: bool = False) -> str:
    """An amount of money; small ones with as many digits as show something."""
    if value is None:
        return DASH
    digits = 2 if value >= 1 or value == 0 else 4 if value >= 0.001 else 6
    return f"{'~' if estimated else ''}{value:.{digits}f} {price.currency}"


def seconds(value: float | None) -> str:
    """Seconds with as many digits as mean something."""
    if value is None:
        return DASH
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s" if value < 100 else f"{value:.0f} s"


def share(value: float | None) -> str:
    return DASH if value is None else f"{value * 100:.1f} %"


def summary_line(report: UsageReport) -> str:
    """A whole report in one line."""
    totals = report.totals
    prompt, completion = amount(totals.prompt_tokens), amount(totals.completion_tokens)
    about = "~" if totals.tokens_estimated else ""
    parts = [
        f"{about}{amount(totals.total_tokens)} tokens ({prompt} prompt, {about}{completion} completion)",
        f"{amount(totals.requests)} request{'' if totals.requests == 1 else 's'}",
        f"energy {energy(totals.energy_wh, estimated=totals.energy_estimated)}"
        if totals.energy_wh is not None
        else "energy not measured",
    ]
    if report.price is not None and totals.energy_wh is not None:
        parts.append(f"cost {money(report.price.of(totals), report.price, estimated=totals.energy_estimated)}")
    if totals.ttft.p50 is not None:
        parts.append(f"ttft {seconds(totals.ttft.p50)}")
    if totals.tokens_per_second is not None:
        parts.append(f"{totals.tokens_per_second:.1f} tok/s")
    return "usage: " + " · ".join(parts)


def register(app: typer.Typer) -> None:
    @app.command("usage")
    def usage(
        days: int | None = typer.Option(None, "--days", min=1, max=36_500, help="The last N days (UTC), today too."),
        by: str = typer.Option("model", "--by", help=f"One of {', '.join(BY)}."),
        as_json: bool = typer.Option(False, "--json", help="One JSON document."),
        as_csv: bool = typer.Option(False, "--csv", help="The rows as CSV."),
    ) -> None:
        """What was used: tokens, requests, latency, energy."""
        if by not in BY:
            raise UsageError(f"usage cannot be divided by {by}", advice=f"Choose one of {', '.join(BY)}.")
        if as_json and as_csv:
            raise UsageError("--json and --csv exclude each other", advice="Choose one.")
        with open_studio() as studio:
            if studio.storage_warning:
                note(f"warning: {studio.storage_warning}")
            made = studio.usage.report(UsageQuery(days, by))
        if made.missing:
            note(made.missing)
        if as_json:
            emit(made.to_json())
        elif as_csv:
            _write_csv(made)
        else:
            _show(made)


def _write_csv(made: UsageReport) -> None:
    name = made.query.by
    price = made.price
    priced = [] if price is None else [f"cost_{price.currency.lower()}"]
    rows = [{name: row.key, **_flat(row), **{one: price.of(row) for one in priced if price}} for row in made.rows]
    writer = csv.DictWriter(sys.stdout, [name, *_flat(UsageRow("")), *priced], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        # A spreadsheet takes text that begins with one of these for a formula.
        label = str(row[name])
        row[name] = safe(f"'{label}" if label[:1] in ("=", "+", "-", "@", "\t", "\r") else label, sys.stdout)
        writer.writerow(row)


def _flat(row: UsageRow) -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in row.to_json().items():
        if isinstance(value, dict):
            flat.update({f"{key}_{part}": inner for part, inner in value.items()})
        else:
            flat[key] = value
    return flat


def _show(made: UsageReport) -> None:
    totals = made.totals
    if not totals.requests and not totals.total_tokens and totals.energy_wh is None:
        say("Nothing used yet." if made.since is None else f"Nothing used since {iso_time(made.since)}.")
        return
    label = f"last {made.query.days} days" if made.query.days else "all time"
    say(summary_line(made).replace("usage:", f"{label}:", 1))
    if totals.hit_rate is not None:
        say(f"prefix cache: {share(totals.hit_rate)} of {amount(totals.cache_prompt_tokens)} prompt tokens")
    if totals.seen:
        stopped = f", {totals.stopped} stopped" if totals.stopped else ""
        failed = f", {totals.failed} failed or cut off" if totals.failed else ""
        say(f"seen here: {totals.seen} requests, {share(totals.success_rate)} succeeded{stopped}{failed}")
        say(f"time to first token: {_line(totals.ttft)}")
        say(f"whole answers: {_line(totals.latency)}")
    if totals.kwh_per_million_tokens is not None:
        say(f"energy per million tokens: {totals.kwh_per_million_tokens:.3g} kWh")
    say()
    head = [made.query.by.upper(), "TOKENS", "PROMPT", "COMPLETION", "REQUESTS", "TTFT P50", "TOK/S", "CACHE", "ENERGY"]
    if made.price is not None:
        head.append("COST")
    table(head, [_cells(row, made.price) for row in made.rows], right=range(1, len(head)))
    notes = {
        "TOKENS, COMPLETION: a part is counted by letters: no engine told the tokens of answers that were cut.":
            any(row.tokens_estimated for row in made.rows),
        "ENERGY: a part of this is an equal share of GPUs that several runs had at once.":
            any(row.energy_estimated for row in made.rows),
    }  # fmt: skip
    if any(notes.values()):
        say()
    for text, holds in notes.items():
        if holds:
            say(f"~ {text}")


def _line(values: Percentiles) -> str:
    return f"p50 {seconds(values.p50)}, p95 {seconds(values.p95)}, p99 {seconds(values.p99)}"


def _cells(row: UsageRow, price: Price | None) -> list[str]:
    cost = [] if price is None else [money(price.of(row), price, estimated=row.energy_estimated)]
    about = "~" if row.tokens_estimated else ""
    return [
        (f"{row.key}  {row.title[:40]}" if row.title else row.key) or DASH,
        about + amount(row.total_tokens),
        amount(row.prompt_tokens),
        about + amount(row.completion_tokens),
        amount(row.requests),
        seconds(row.ttft.p50),
        DASH if row.tokens_per_second is None else f"{row.tokens_per_second:.1f}",
        share(row.hit_rate),
        energy(row.energy_wh, estimated=row.energy_estimated),
        *cost,
    ]
