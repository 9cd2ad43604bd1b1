"""Results of guidellm: each of its benchmarks is a step. Its older files call some things otherwise: both are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from vllm_studio_tui.domain.bench import BenchPlan, BenchRequest, BenchResult, BenchStep, percentiles
from vllm_studio_tui.domain.bench_plan import as_list
from vllm_studio_tui.domain.engine_metrics import Percentiles
from vllm_studio_tui.kit.outside_values import as_number
from vllm_studio_tui.kit.sanitize import clean_line

#: Its kinds of load whose requests come by themselves.
_RATES = {"constant": "constant", "poisson": "poisson", "async": "constant"}
#: Requests of a file that are read.
MOST = 200_000


def guidellm_result(data: Mapping[str, Any], bench_id: str) -> BenchResult:
    """Return the result of a file of guidellm. Any value is taken."""
    found = [one for one in as_list(data.get("benchmarks")) if isinstance(one, Mapping)]
    read = [_step(one) for one in found]
    kinds = {arrivals for arrivals, _ in read}
    arrivals = kinds.pop() if len(kinds) == 1 else "closed"
    steps = tuple(sorted((step for _, step in read), key=lambda one: one.load))
    asked = _asked(data, found)
    first = [n for one in found if (n := as_number(one.get("start_time"))) is not None]
    ended = [n for one in found if (n := as_number(one.get("end_time"))) is not None]
    plan = replace(
        BenchPlan(concurrency=(), duration=None, warmup=0.0, arrivals=arrivals),
        prompt_tokens=_whole(asked.get("prompt_tokens"), steps, "tokens_in"),
        output_tokens=_whole(asked.get("output_tokens"), steps, "tokens_out"),
        concurrency=tuple(one.concurrency or 1 for one in steps) if arrivals == "closed" else (),
        rate=tuple(one.load for one in steps) if arrivals != "closed" else (),
        requests=max((one.requests + one.errors for one in steps), default=0) or None,
        endpoint="chat" if "chat" in str(asked.get("request_format", "chat")) else "completions",
    )
    return BenchResult(
        bench_id,
        min(first, default=0.0),
        model=_text(asked.get("model")),
        plan=plan,
        steps=steps,
        ended_at=max(ended, default=None),
        source="guidellm",
        base_url=_text(asked.get("target")),
    )


def _step(one: Mapping[str, Any]) -> tuple[str, BenchStep]:
    config, metrics = _map(one.get("config")), _map(one.get("metrics"))
    strategy = _map(config.get("strategy")) or _map(_map(one.get("args")).get("strategy"))
    kind = str(strategy.get("type_", ""))
    totals = _map(metrics.get("request_totals")) or _map(one.get("request_totals"))
    duration = as_number(one.get("duration")) or 0.0
    done = _requests(_map(one.get("requests")).get("successful"))
    requests = int(as_number(totals.get("successful")) or len(done))
    rate = as_number(strategy.get("rate")) if kind in _RATES else None
    concurrency = as_number(strategy.get("streams")) or _mean(metrics, "request_concurrency") or 1
    in_tokens, out_tokens = (sum(getattr(r, name) or 0 for r in done) for name in ("prompt_tokens", "output_tokens"))
    in_tokens = in_tokens or round((_mean(metrics, "prompt_token_count") or 0.0) * requests)
    out_tokens = out_tokens or round((_mean(metrics, "output_token_count") or 0.0) * requests)
    # By their ITL: their own time for a token counts the first one among the rest.
    tpot = percentiles(value for r in done if (value := r.tpot) is not None)
    if not tpot.count:
        tpot = _milliseconds(metrics, "inter_token_latency_ms")
    per_second = requests / duration if duration else _mean(metrics, "requests_per_second")
    return _RATES.get(kind, "closed"), BenchStep(
        concurrency=max(1, round(concurrency)),
        rate=rate,
        requests=requests,
        errors=int(as_number(totals.get("errored")) or 0),
        duration=duration,
        input_tokens_per_second=in_tokens / duration if duration else None,
        output_tokens_per_second=out_tokens / duration if duration else _mean(metrics, "output_tokens_per_second"),
        requests_per_second=per_second,
        goodput=per_second,
        user_speed=1 / tpot.mean if tpot.mean else None,
        ttft=_milliseconds(metrics, "time_to_first_token_ms"),
        first_answer=_milliseconds(metrics, "time_to_first_output_token_ms"),
        itl=_milliseconds(metrics, "inter_token_latency_ms"),
        tpot=tpot,
        e2e=_latency(_map(metrics.get("request_latency")), 1.0),
        tokens_in=in_tokens or None,
        tokens_out=out_tokens or None,
    )


def _requests(listed: object) -> list[BenchRequest]:
    found: list[BenchRequest] = []
    for one in as_list(listed)[:MOST]:
        if isinstance(one, Mapping):
            ttft = as_number(one.get("time_to_first_token_ms"))
            tokens = [as_number(one.get(name)) for name in ("prompt_tokens", "output_tokens")]
            whole = [None if n is None else int(n) for n in tokens]
            first = None if ttft is None else ttft / 1000
            sent, e2e = as_number(one.get("request_start_time")) or 0.0, as_number(one.get("request_latency"))
            found.append(BenchRequest(0, 0, sent, first, first, e2e, whole[0], whole[1]))
    return found


def _asked(data: Mapping[str, Any], found: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what was asked: model, target and lengths, wherever this version of its file has them."""
    spec = _map(_map(data.get("config")).get("spec")) or _map(data.get("args"))
    backend = _map(spec.get("backend"))
    for one in found[:1]:
        backend = backend or _map(_map(one.get("config")).get("backend"))
    lengths = next((one for one in as_list(spec.get("data")) if isinstance(one, Mapping)), {})
    return {**spec, **backend, **lengths}


def _whole(value: object, steps: tuple[BenchStep, ...], name: str) -> int:
    asked = as_number(value)
    if asked is not None and asked >= 1:
        return int(asked)
    tokens, requests = sum(getattr(one, name) or 0 for one in steps), sum(one.requests for one in steps)
    return max(1, round(tokens / requests)) if requests else 1


def _milliseconds(metrics: Mapping[str, Any], name: str) -> Percentiles:
    return _latency(_map(metrics.get(name)), 0.001)


def _latency(metric: Mapping[str, Any], unit: float) -> Percentiles:
    told = _map(metric.get("successful")) or metric
    shares = _map(told.get("percentiles"))
    values = [shares.get("p50", told.get("median")), shares.get("p95"), shares.get("p99"), told.get("mean")]
    p50, p95, p99, mean = (None if (n := as_number(one)) is None else n * unit for one in values)
    count = as_number(told.get("count"))
    return Percentiles(p50, p95, p99, None if count is None else int(count), mean)


def _mean(metrics: Mapping[str, Any], name: str) -> float | None:
    metric = _map(metrics.get(name))
    return as_number((_map(metric.get("successful")) or metric).get("mean"))


def _map(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str | None:
    return clean_line(value)[:300] if isinstance(value, str) and value else None
