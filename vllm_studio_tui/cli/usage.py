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
from vllm_studio_tui.domain.usage_words import name_of, weekly_growth
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.iso_time import iso_time
from vllm_studio_tui.kit.spreadsheets import plain_cell

if TYPE_CHECKING:
    from vllm_studio_tui.domain.engine_metrics import Percentiles

DASH = "–"


def _estimate(text: str, estimated: bool) -> str:
    """Return a figure with a leading ~ where a part of it is estimated; unknown ones stay as they are."""
    return f"~{text}" if estimated and text != DASH else text


def summary_line(report: UsageReport) -> str:
    """Return a whole report in one line."""
    totals = report.totals
    prompt, completion = numbers.rounded_count(totals.prompt_tokens), numbers.rounded_count(totals.completion_tokens)
    about = "~" if totals.tokens_estimated else ""
    parts = [
        f"{about}{numbers.rounded_count(totals.total_tokens)} tokens ({prompt} prompt, {about}{completion} completion)",
        f"{numbers.rounded_count(totals.requests)} request{'' if totals.requests == 1 else 's'}",
        f"energy {_estimate(numbers.watt_hours(totals.energy_wh), totals.energy_estimated)}"
        if totals.energy_wh is not None
        else "energy not measured",
    ]
    if report.price is not None and totals.energy_wh is not None:
        parts.append(f"cost {_cost(totals, report.price)}")
    if totals.ttft.p50 is not None:
        parts.append(f"ttft {numbers.seconds(totals.ttft.p50)}")
    if totals.tokens_per_second is not None:
        parts.append(numbers.fixed(totals.tokens_per_second, 1, " tok/s"))
    return "usage: " + " · ".join(parts)


def register(app: typer.Typer) -> None:
    @app.command("usage")
    def usage(
        days: int | None = typer.Option(None, "--days", min=1, max=36_500, help="The last N days, today too."),
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
    priced = [] if price is None else [f"cost_{price.currency.lower()}", f"cost_{price.currency.lower()}_per_million"]
    rows = [
        {name: row.key, **_flat(row), **dict(zip(priced, (price.of(row), price.of_a_million(row)), strict=True))}
        if price is not None
        else {name: row.key, **_flat(row)}
        for row in made.rows
    ]
    writer = csv.DictWriter(sys.stdout, [name, *_flat(UsageRow("")), *priced], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        row[name] = safe(plain_cell(str(row[name])), sys.stdout)
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
        hits, looked_up = (
            numbers.exact_percent(totals.hit_rate, " %"),
            numbers.rounded_count(totals.cache_prompt_tokens),
        )
        say(f"prefix cache: {hits} of {looked_up} prompt tokens")
    if totals.seen:
        stopped = f", {totals.stopped} stopped" if totals.stopped else ""
        failed = f", {totals.failed} failed or cut off" if totals.failed else ""
        succeeded = numbers.exact_percent(totals.success_rate, " %")
        say(f"seen here: {totals.seen} requests, {succeeded} succeeded{stopped}{failed}")
        say(f"time to first token: {_line(totals.ttft)}")
        say(f"whole answers: {_line(totals.latency)}")
    if (kinds := _kinds(totals)) and totals.total_tokens:
        say(f"tokens: {kinds}")
    if totals.kwh_per_million_tokens is not None:
        priced = ""
        if made.price is not None:
            priced = f", {numbers.money(made.price.of_a_million(totals), made.price.currency)}"
        say(f"energy per million tokens, read and written: {totals.kwh_per_million_tokens:.3g} kWh{priced}")
    say()
    by = made.query.by
    head = [by.upper(), "TOKENS", "PROMPT", "COMPLETION", "REQUESTS", "TTFT P50", "TOK/S", "CACHE", "ENERGY", "TOK/WH"]
    if made.price is not None:
        head += ["COST", "PER M"]
    rows = [_cells(row, by, made.price) for row in made.rows]
    if by == "week":
        head.append("CHANGE")
        grown = weekly_growth(made.rows)
        for cells, row in zip(rows, made.rows, strict=True):
            cells.append(f"{grown[row.key]:+.0%}" if row.key in grown else DASH)
    table(head, rows, right=range(1, len(head)))
    notes = {
        "TOKENS, COMPLETION: a part is estimated: the engine did not report the tokens of answers that were cut off.":
            any(row.tokens_estimated for row in made.rows),
        "ENERGY: a part of this is an equal share of GPUs that several runs had at once.":
            any(row.energy_estimated for row in made.rows),
    }  # fmt: skip
    if any(notes.values()):
        say()
    for text, holds in notes.items():
        if holds:
            say(f"~ {text}")


def _kinds(row: UsageRow) -> str:
    """Return the kinds of tokens in words; empty where nothing is known but the sums."""
    kinds = row.kinds
    if kinds["cached"] is None and kinds["thinking"] is None:
        return ""
    words = {"computed": "computed", "cached": "from the cache", "untold": "of prompts whose engine does not say which",
             "thinking": "thought", "answer": "answered"}  # fmt: skip
    return ", ".join(f"{numbers.rounded_count(kinds[name])} {text}" for name, text in words.items() if kinds[name])


def _line(values: Percentiles) -> str:
    return f"p50 {numbers.seconds(values.p50)}, p95 {numbers.seconds(values.p95)}, p99 {numbers.seconds(values.p99)}"


def _cost(row: UsageRow, price: Price) -> str:
    return _estimate(numbers.money(price.of(row), price.currency), row.energy_estimated)


def _name(row: UsageRow, by: str) -> str:
    name = name_of(row, by)
    return (f"{name}  {row.title[:40]}" if row.title else name) or DASH


def _cells(row: UsageRow, by: str, price: Price | None) -> list[str]:
    cost = []
    if price is not None:
        million = _estimate(numbers.money(price.of_a_million(row), price.currency), row.energy_estimated)
        cost = [_cost(row, price), million]
    about = "~" if row.tokens_estimated else ""
    return [
        _name(row, by),
        about + numbers.rounded_count(row.total_tokens),
        numbers.rounded_count(row.prompt_tokens),
        about + numbers.rounded_count(row.completion_tokens),
        numbers.rounded_count(row.requests),
        numbers.seconds(row.ttft.p50),
        numbers.fixed(row.tokens_per_second, 1),
        numbers.exact_percent(row.hit_rate, " %"),
        _estimate(numbers.watt_hours(row.energy_wh), row.energy_estimated),
        _estimate(numbers.rounded_count(row.tokens_per_watt_hour), row.energy_estimated),
        *cost,
    ]
