"""From the folder of a benchmark into the database: its result, its requests, each counted once."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from vllm_studio_tui.domain.bench import BenchPlan, BenchRequest, BenchResult, BenchStep, percentiles
from vllm_studio_tui.domain.usage import CompletedRequest
from vllm_studio_tui.services.bench.folder import COLUMNS, BenchFolder, request_from, result_document, result_of
from vllm_studio_tui.store.benchmarks import BenchmarkRows
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.requests import RequestRows

#: Requests that are written in one transaction.
BATCH = 500
CANCELLED = "cancelled"


def keep(db: Database, folder: BenchFolder) -> BenchResult | None:
    """Keep a benchmark whose process has ended, and remove its folder. Nothing is kept twice, whoever else does it.

    Raises:
        StoreError: It cannot be kept now; its folder stays.
    """
    result = folder.result()
    if result is None:
        shutil.rmtree(folder.path, ignore_errors=True)  # it ended before it had begun
        return None
    requests = list(folder.requests())
    if result.state == "running":  # its process was killed
        steps = [*result.steps, *_unfinished(result, requests)]
        result = replace(result, state="interrupted", steps=tuple(steps), error="its process was killed")
    by_step: dict[tuple[int, int], list[BenchRequest]] = {}
    for one in requests:
        by_step.setdefault((one.step, one.repeat), []).append(one)
    rows = RequestRows(db)
    ledger = [_ledger_row(result, place, one) for place, one in enumerate(requests)]
    for begin in range(0, len(ledger), BATCH):
        rows.record_all(ledger[begin : begin + BATCH], None)
    BenchmarkRows(db).put(result_document(result), {place: columns(them) for place, them in by_step.items()})
    shutil.rmtree(folder.path, ignore_errors=True)
    return result


def columns(requests: Iterable[BenchRequest]) -> dict[str, list[Any]]:
    """Return requests column by column, which takes a third of the room."""
    found: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    for one in requests:
        for name in COLUMNS:
            value = getattr(one, name)
            found[name].append(round(value, 6) if isinstance(value, float) else value)
    return found


def requests_of(kept: Mapping[tuple[int, int], Mapping[str, Any]]) -> list[BenchRequest]:
    """Return the requests that were kept by `columns`. Any value is taken."""
    found: list[BenchRequest] = []
    for (step, repeat), them in kept.items():
        lists = {name: value for name, value in them.items() if name in COLUMNS and isinstance(value, list)}
        for place in range(max(map(len, lists.values()), default=0)):
            values = {name: value[place] for name, value in lists.items() if place < len(value)}
            found.append(request_from({**values, "step": step, "repeat": repeat}))
    return found


def _ledger_row(result: BenchResult, place: int, one: BenchRequest) -> CompletedRequest:
    finish = "stopped" if one.error == CANCELLED else "failed" if one.error else "stop"
    return CompletedRequest(
        result.at + one.sent + (one.e2e or 0.0),
        "bench",
        finish,
        id=f"{result.id}-{place}",
        run_id=result.run_id,
        recipe_id=result.recipe_id,
        model=result.model,
        prompt_tokens=one.prompt_tokens,
        completion_tokens=one.output_tokens,
        cached_tokens=one.cached_tokens,
        ttft=one.ttft,
        total_seconds=one.e2e,
        tokens_per_second=1 / one.tpot if one.tpot else None,
        error=one.error,
        streamed=True,
    )


def _unfinished(result: BenchResult, requests: Sequence[BenchRequest]) -> list[BenchStep]:
    """Return the step that was being measured, from what is on record of its requests."""
    place = len(result.steps)
    here = [one for one in requests if one.step == place and one.counted and one.error != CANCELLED]
    loads = result.plan.loads
    made = step_of_requests(result.plan, loads[place] if place < len(loads) else 0, here)
    return [] if made is None else [made]


def step_of_requests(
    plan: BenchPlan, load: float, counted: Sequence[BenchRequest], seconds: float | None = None
) -> BenchStep | None:
    """Return a step from its requests alone: without gaps between chunks. None where no request ended well.

    Args:
        seconds: How long was measured; None: from the first that was sent to the last that ended.
    """
    well = [one for one in counted if one.error is None and one.e2e is not None]
    if not well:
        return None
    if seconds is None:
        begin, end = min(one.sent for one in well), max(one.sent + (one.e2e or 0.0) for one in well)
        seconds = max(1e-9, end - begin)
    good = sum(one.good(plan.limits) for one in well)
    tpot = percentiles(value for one in well if (value := one.tpot) is not None)
    closed = plan.arrivals == "closed"
    out, came = sum(one.output_tokens or 0 for one in well), sum(one.prompt_tokens or 0 for one in well)
    return BenchStep(
        concurrency=round(load) if closed else None,
        rate=None if closed else float(load),
        requests=len(well),
        errors=len(counted) - len(well),
        duration=seconds,
        input_tokens_per_second=came / seconds,
        output_tokens_per_second=out / seconds,
        requests_per_second=len(well) / seconds,
        goodput=good / seconds,
        good=good / len(counted),
        user_speed=1 / tpot.mean if tpot.mean else None,
        ttft=percentiles(one.ttft for one in well if one.ttft is not None),
        first_answer=percentiles(one.first_answer for one in well if one.first_answer is not None),
        tpot=tpot,
        e2e=percentiles(one.e2e for one in well if one.e2e is not None),
        tokens_in=came,
        tokens_out=out,
    )


def known(rows: BenchmarkRows, bench_id: str) -> BenchResult | None:
    """Return a result that is kept."""
    return result_of(rows.get(bench_id))
