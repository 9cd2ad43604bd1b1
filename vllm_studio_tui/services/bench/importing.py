"""Results of other programs: the JSON of `vllm bench serve` and of guidellm."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from vllm_studio_tui.domain.bench import BenchPlan, BenchResult, BenchStep, percentiles
from vllm_studio_tui.domain.bench_plan import as_list
from vllm_studio_tui.domain.engine_metrics import Percentiles
from vllm_studio_tui.domain.errors import UsageError
from vllm_studio_tui.kit import safe_json
from vllm_studio_tui.kit.outside_values import as_number
from vllm_studio_tui.kit.sanitize import clean_line

#: Bytes of a file.
MOST = 256 << 20


def read_results(raw: bytes, source: str) -> list[BenchResult]:
    """Return the results of a file.

    Raises:
        UsageError: It is none of the two.
    """
    if len(raw) > MOST:
        raise UsageError(f"{clean_line(source)} is too large", cause=f"More than {MOST >> 20} MB.")
    found: list[BenchResult] = []
    for data in _documents(raw, source):
        if "benchmarks" in data and isinstance(data["benchmarks"], list):
            from vllm_studio_tui.services.bench.guidellm import guidellm_result

            found.append(guidellm_result(data, _digest(raw)))
        elif "request_throughput" in data and ("completed" in data or "num_prompts" in data):
            found.append(_vllm(data, _digest(raw, len(found))))
        else:
            raise _unknown(source)
    if not found:
        raise _unknown(source)
    return found


def _unknown(source: str) -> UsageError:
    return UsageError(
        f"{clean_line(source)} is no result of a benchmark that is known",
        cause="It is neither of `vllm bench serve --save-result` nor of guidellm.",
        advice="Name the JSON file that one of these wrote.",
    )


def _documents(raw: bytes, source: str) -> list[Mapping[str, Any]]:
    """Return the documents of a file: one, or one on each line, as `--append-result` writes them."""
    try:
        whole = safe_json.loads(raw)
        return [one for one in (whole if isinstance(whole, list) else [whole]) if isinstance(one, dict)]
    except ValueError:
        pass
    found: list[Mapping[str, Any]] = []
    for line in raw.splitlines():
        if line.strip():
            try:
                one = safe_json.loads(line)
            except ValueError as error:
                raise UsageError(f"{clean_line(source)} is no JSON", cause=clean_line(str(error))) from None
            if isinstance(one, dict):
                found.append(one)
    return found


def _digest(raw: bytes, place: int = 0) -> str:
    """Return an id by which the same file is known again."""
    return f"import-{hashlib.sha256(raw).hexdigest()[:12]}" + (f"-{place}" if place else "")


def _vllm(data: Mapping[str, Any], bench_id: str) -> BenchResult:
    completed = int(as_number(data.get("completed")) or 0)
    failed = as_number(data.get("failed"))
    errors = int(failed) if failed is not None else sum(1 for one in as_list(data.get("errors")) if one)
    duration = as_number(data.get("duration")) or 0.0
    rate = as_number(data.get("request_rate"))  # "inf" is written as text
    users = as_number(data.get("max_concurrency"))
    tokens_in, tokens_out = (as_number(data.get(name)) for name in ("total_input_tokens", "total_output_tokens"))
    closed = rate is None
    good = as_number(data.get("request_goodput"))
    per_second = as_number(data.get("request_throughput"))
    tpot = _milliseconds(data, "tpot", completed)
    gaps = [n for one in as_list(data.get("itls")) for gap in as_list(one) if (n := as_number(gap)) is not None]
    lengths = [as_list(data.get(name)) for name in ("input_lens", "output_lens")]
    step = BenchStep(
        concurrency=int(users) if users else completed + errors if closed else None,
        rate=rate,
        requests=completed,
        errors=errors,
        duration=duration,
        input_tokens_per_second=tokens_in / duration if tokens_in is not None and duration else None,
        output_tokens_per_second=as_number(data.get("output_throughput")),
        requests_per_second=per_second,
        goodput=per_second if good is None else good,
        good=good / per_second if good is not None and per_second else None,
        user_speed=1 / tpot.mean if tpot.mean else None,
        ttft=_milliseconds(data, "ttft", completed, data.get("ttfts")),
        itl=percentiles(gaps) if gaps else _milliseconds(data, "itl", None),
        tpot=tpot,
        e2e=_milliseconds(data, "e2el", completed),
        tokens_in=None if tokens_in is None else int(tokens_in),
        tokens_out=None if tokens_out is None else int(tokens_out),
    )
    burst = as_number(data.get("burstiness"))
    plan = BenchPlan(
        prompt_tokens=_typical(lengths[0], tokens_in, completed),
        output_tokens=_typical(lengths[1], tokens_out, completed),
        concurrency=(step.concurrency,) if closed and step.concurrency else (),
        rate=() if rate is None else (rate,),
        arrivals="closed" if closed else "poisson" if burst in (None, 1.0) else "constant",
        requests=int(as_number(data.get("num_prompts")) or completed),
        duration=None,
        warmup=0.0,
        endpoint="chat" if "chat" in str(data.get("endpoint_type") or data.get("backend")) else "completions",
    )
    return BenchResult(
        bench_id,
        _moment(data.get("date")),
        model=_text(data.get("model_id")),
        engine=_text(data.get("backend") or data.get("endpoint_type")),
        plan=plan,
        steps=(step,),
        source="vllm bench serve",
        name=_text(data.get("label")) or "",
    )


def _milliseconds(data: Mapping[str, Any], name: str, count: int | None, raw: object = None) -> Percentiles:
    """Return a latency of `vllm bench serve`: which percentiles there are was its user's choice."""
    values = [n for one in as_list(raw) if (n := as_number(one)) is not None and n > 0]
    if values:
        return percentiles(values)

    def seconds(which: str) -> float | None:
        found = as_number(data.get(f"{which}_{name}_ms"))
        return None if found is None else found / 1000

    return Percentiles(seconds("median") or seconds("p50"), seconds("p95"), seconds("p99"), count, seconds("mean"))


def _typical(lengths: list[object], total: float | None, count: int) -> int:
    known = sorted(int(n) for one in lengths if (n := as_number(one)) is not None)
    if known:
        return max(1, known[len(known) // 2])
    return max(1, round(total / count)) if total and count else 1


def _moment(value: object) -> float:
    """Return a moment as the file has it: `20251127-223000`, ISO 8601 or seconds; now where it has none."""
    if isinstance(value, str):
        for form in ("%Y%m%d-%H%M%S", "%Y-%m-%d %H:%M:%S"):
            try:
                return time.mktime(time.strptime(value[:40], form))
            except (ValueError, OverflowError):
                continue
        try:
            return datetime.fromisoformat(value[:40]).timestamp()
        except (ValueError, OverflowError):
            return time.time()
    found = as_number(value)
    return found if found is not None and math.isfinite(found) else time.time()


def _text(value: object) -> str | None:
    return clean_line(value)[:300] if isinstance(value, str) and value else None
