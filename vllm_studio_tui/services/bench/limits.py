"""How many users an engine carries at a given speed and time to the first token, and what ends it."""

from __future__ import annotations

from collections.abc import Sequence

from vllm_studio_tui.domain.bench import BenchResult, BenchStep
from vllm_studio_tui.domain.bench_compare import BenchLimit
from vllm_studio_tui.services.bench.search import broken

#: Shares of the KV cache from which it counts as full, and of a linear growth from which more users cost nothing.
FULL, LINEAR, FLAT = 0.95, 0.85, 1.15
#: By how many times more users than at the step before something can be said.
MORE = 1.4
WORDS = {
    "ttft": "the time to the first token",
    "speed": "the speed that a user sees",
    "errors": "errors",
    "saturation": "over-saturation: requests wait for ever longer",
}


def limit_of(result: BenchResult, ttft: float | None = None, speed: float | None = None) -> BenchLimit:
    """Return the most users of the steps of a benchmark that keep to limits.

    Args:
        ttft, speed: As in `BenchApi.limit`.
    """
    own_ttft, own_tpot = result.plan.limits
    ttft, tpot = ttft or own_ttft, 1 / speed if speed else own_tpot
    steps = sorted((one for one in result.steps if one.requests or one.errors), key=lambda one: one.load)
    full = max((one.power_cap for one in steps if one.power_cap is not None), default=None)
    steps = [one for one in steps if one.power_cap == full]  # of a sweep those with most power
    if not steps:
        return BenchLimit(words="Nothing was measured.")
    good: BenchStep | None = None
    bad: BenchStep | None = None
    binds = ""
    for one in steps:
        binds = broken(one, ttft, tpot)
        if binds:
            bad = one
            break
        good = one
    by_rate = steps[0].rate is not None
    unit = "requests a second" if by_rate else "users"
    asked = _asked(ttft, tpot)
    if good is None:
        assert bad is not None
        words = f"Not even {bad.load:g} {unit}{asked}: {WORDS[binds]} binds."
    elif bad is None:
        words = f"{good.load:g} {unit} or more{asked}: no step broke a limit."
    else:
        between = _between(good, bad, binds, ttft, tpot)
        about = f", about {between} by a straight line between" if between not in (None, good.load) else ""
        words = f"{good.load:g} {unit}{asked}; at {bad.load:g} {WORDS[binds]} binds{about}."
    return BenchLimit(
        None if good is None or by_rate else good.concurrency,
        None if good is None else (good.rate if by_rate else good.requests_per_second),
        None if bad is None or by_rate else bad.concurrency,
        binds,
        words,
        tuple(engine_binds(steps)),
    )


def _asked(ttft: float | None, tpot: float | None) -> str:
    parts = []
    if tpot is not None:
        parts.append(f"{1 / tpot:.4g} tok/s a user")
    if ttft is not None:
        parts.append(f"TTFT p95 under {ttft * 1000:.4g} ms")
    return f" at {' and '.join(parts)}" if parts else ""


def _between(good: BenchStep, bad: BenchStep, binds: str, ttft: float | None, tpot: float | None) -> int | None:
    """Return the users at which the limit is reached, on a straight line from step to step."""
    limit, low, high = {
        "ttft": (ttft, good.ttft.p95, bad.ttft.p95),
        "speed": (tpot, good.tpot.mean, bad.tpot.mean),
    }.get(binds, (None, None, None))
    if limit is None or low is None or high is None or high <= low or good.rate is not None:
        return None
    return int(good.load + (bad.load - good.load) * max(0.0, min(1.0, (limit - low) / (high - low))))


def engine_binds(steps: Sequence[BenchStep]) -> list[tuple[int, int, str]]:
    """Return what binds inside of the engine, by ranges of users, as far as its own figures tell."""
    found: list[tuple[int, int, str]] = []
    last: BenchStep | None = None
    for one in steps:
        users = one.concurrency or 0
        words = _inside(one, last)
        last = one
        if words and found and found[-1][2] == words:
            found[-1] = (found[-1][0], users, words)
        elif words:
            found.append((users, users, words))
    return found


def _inside(step: BenchStep, last: BenchStep | None) -> str:
    if step.preemptions:
        return "the KV cache is full: requests are set back"
    if step.kv is not None and step.kv >= FULL:
        return "the KV cache is full"
    if step.waiting and step.waiting > 0.1 * (step.concurrency or 1):
        return "the engine lets no more run at once"
    speed = step.output_tokens_per_second
    if last is None or not speed or not last.output_tokens_per_second or step.load <= last.load:
        return "one answer at a time: memory bandwidth" if (step.concurrency or 0) == 1 else ""
    if step.load < MORE * last.load:
        return ""  # so few more that noise would speak
    grown, users = speed / last.output_tokens_per_second, step.load / last.load
    if grown >= 1 + LINEAR * (users - 1):
        return "more users cost nothing: memory bandwidth"
    if grown <= 1 + (FLAT - 1) * (users - 1):
        return "the engine gives no more: compute"
    return "more users take from each other"
