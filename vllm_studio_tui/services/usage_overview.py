"""Usage as the original's page read it: our report, and by its names what is known of that; unknown is null."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.domain.usage import UsageQuery, UsageReport, UsageRow

if TYPE_CHECKING:
    from vllm_studio_tui.domain.engine_metrics import Percentiles
    from vllm_studio_tui.services.protocols import UsageApi

HOUR, DAY, WEEK = 3600.0, 86_400.0, 7 * 86_400.0
#: Days and hours that are told of as the busiest.
BUSIEST = 5


def overview(usage: UsageApi, query: UsageQuery, now: float | None = None) -> dict[str, Any]:
    """Return what was used. Blocking.

    Raises:
        StoreError: The database cannot be read.
    """
    now = time.time() if now is None else now
    spans = ((now - WEEK, None), (now - 2 * WEEK, now - WEEK), (now - HOUR, None), (now - DAY, None),
             (now - 2 * DAY, now - DAY))  # fmt: skip
    others = (UsageQuery(since=since, until=until, every=False) for since, until in spans)
    made = usage.reports([query, *others], now=now)
    report, week, week_before, hour, day, day_before = made
    hours = _by_hour(report)
    told = report.to_json()
    return {
        **told,
        "missing": report.missing or None,
        "totals": {**told["totals"], **_success(report.totals)},
        "latency": _milliseconds(report.totals.latency),
        "ttft": _milliseconds(report.totals.ttft),
        "tokens_per_request": _per_request(report.totals),
        "cache": {**told["cache"], "miss_tokens": _missed(report)},
        "week_over_week": {
            "this_week": _span(week),
            "last_week": _span(week_before),
            "change_pct": {
                "requests": _change(week.totals.requests, week_before.totals.requests),
                "tokens": _change(week.totals.total_tokens, week_before.totals.total_tokens),
            },
        },
        "recent_activity": {
            "last_hour_requests": hour.totals.requests,
            "last_24h_requests": day.totals.requests,
            "prev_24h_requests": day_before.totals.requests,
            "last_24h_tokens": day.totals.total_tokens,
            "change_24h_pct": _change(day.totals.requests, day_before.totals.requests),
        },
        "by_model": [
            {**entry, **_row(row)} for entry, row in zip(told["by_model"], report.by_model, strict=True)
        ],
        "daily": [
            {**entry, **_success(row), "requests": row.requests, "avg_latency_ms": _ms(row.latency.mean)}
            for entry, row in zip(told["daily"], report.daily, strict=True)
        ],
        "hourly_pattern": hours,
        "peak_days": [
            {"date": row.key, "requests": row.requests, "tokens": row.total_tokens}
            for row in sorted(report.daily, key=lambda row: row.requests or 0, reverse=True)[:BUSIEST]
        ],
        "peak_hours": [
            {"hour": one["hour"], "requests": one["requests"]}
            for one in sorted(hours, key=lambda one: one["requests"], reverse=True)[:BUSIEST]
        ],
    }  # fmt: skip


def _by_hour(report: UsageReport) -> list[dict[str, int]]:
    """Return the hours of the day in which anything was used."""
    found = []
    for hour, cells in enumerate(zip(*report.heatmap, strict=True)):
        requests, tokens = sum(one.requests for one in cells), sum(one.tokens for one in cells)
        if requests or tokens:
            ok = sum(one.seen - one.failed for one in cells)
            found.append({"hour": hour, "requests": requests, "successful": ok, "tokens": tokens})
    return found


def _row(row: UsageRow) -> dict[str, Any]:
    """Return what the original told of each model."""
    return {
        "requests": row.requests,
        **_success(row),
        "tokens": row.total_tokens,
        "avg_tokens": _part(row.total_tokens, row.requests),
        "avg_latency_ms": _ms(row.latency.mean),
        "p50_latency_ms": _ms(row.latency.p50),
        "avg_ttft_ms": _ms(row.ttft.mean),
        "tokens_per_sec": row.tokens_per_second,
    }


def _success(row: UsageRow) -> dict[str, Any]:
    """Return how the requests ended that we saw ourselves; of others only their number is known."""
    ok = row.seen - row.failed
    return {"successful_requests": ok, "failed_requests": row.failed, "successful": ok}


def _span(report: UsageReport) -> dict[str, Any]:
    row = report.totals
    return {"requests": row.requests, "tokens": row.total_tokens, "successful": row.seen - row.failed}


def _per_request(row: UsageRow) -> dict[str, float | None]:
    return {
        "avg": _part(row.total_tokens, row.requests),
        "avg_prompt": _part(row.prompt_tokens, row.requests),
        "avg_completion": _part(row.completion_tokens, row.requests),
    }


def _missed(report: UsageReport) -> int | None:
    row = report.totals
    if row.cache_hit_tokens is None or row.cache_prompt_tokens is None:
        return None
    return max(0, row.cache_prompt_tokens - row.cache_hit_tokens)


def _milliseconds(values: Percentiles) -> dict[str, float | None]:
    return {
        f"{name}_ms": _ms(getattr(values, "mean" if name == "avg" else name)) for name in ("avg", "p50", "p95", "p99")
    }


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000


def _part(value: int | None, of: int | None) -> float | None:
    return value / of if value is not None and of else None


def _change(now: int | None, before: int | None) -> float | None:
    """Return by how many percent a figure has grown; None where there was nothing before."""
    return (now - before) / before * 100 if now is not None and before else None
