"""Two benchmarks, step by step: what changed, and whether that is more than noise.

Means are compared by Welch's t-test over repeats, where both were repeated, else over single requests or equal parts of
the time. A 95th percentile has the interval between the two values whose ranks enclose it with 95 %. What lies within
the 95 % interval of its own change around nothing is noise. docs/reference/benchmark.md says it for people.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from vllm_studio_tui.domain.bench import BenchPlan, BenchRequest, BenchResult, BenchStep
from vllm_studio_tui.domain.bench_compare import FIGURES, BenchChange, BenchComparison, BenchPair

#: 97.5 % quantiles of Student's t by degrees of freedom; beyond the last one that of the normal distribution.
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.16, 2.145, 2.131, 2.12)
_NORMAL = 1.96
#: Requests that a 95th percentile needs before its interval means anything.
FEWEST = 20
#: A change of the whole that is told as a regression, where it is beyond noise.
TOLD = 0.01

#: A mean or a percentile with its standard error.
Estimate = tuple[float, float | None, float]


def compare(
    before: BenchResult, after: BenchResult, was: Sequence[BenchRequest] = (), now: Sequence[BenchRequest] = ()
) -> BenchComparison:
    """Return what changed from one benchmark to the other.

    Args:
        was, now: What was measured of the requests of each.
    """
    rows: list[BenchPair] = []
    old = {_key(one): (place, one) for place, one in enumerate(before.steps)}
    new = {_key(one): (place, one) for place, one in enumerate(after.steps)}
    for key in sorted({*old, *new}):
        first, second = old.get(key), new.get(key)
        changes: dict[str, BenchChange] = {}
        if first is not None and second is not None:
            samples = (
                [one for one in was if one.step == first[0] and one.counted and one.error is None],
                [one for one in now if one.step == second[0] and one.counted and one.error is None],
            )
            for figure, sign in FIGURES.items():
                changes[figure] = _change(figure, sign, first[1], second[1], *samples, before.plan, after.plan)
        rows.append(
            BenchPair(key[0], None if first is None else first[1], None if second is None else second[1], changes)
        )
    differences = tuple(_differences(before, after))
    closed = before.plan.arrivals == "closed"
    made = BenchComparison(
        before.id,
        after.id,
        before.title,
        after.title,
        tuple(rows),
        "users" if closed else "requests a second",
        differences=differences,
    )
    total = _overall(rows)
    verdict = _verdict(rows, total, made.by)
    return BenchComparison(
        made.before,
        made.after,
        made.before_title,
        made.after_title,
        made.rows,
        made.by,
        verdict,
        differences,
        _regression(before, after, total),
    )


def _key(step: BenchStep) -> tuple[float, int]:
    return step.load, step.power_cap or 0


def figure_of(step: BenchStep, name: str) -> float | None:
    """Return a figure of `FIGURES`."""
    latency = {"ttft_p95": step.ttft, "itl_p95": step.itl, "e2e_p95": step.e2e}.get(name)
    value: float | None = latency.p95 if latency is not None else getattr(step, name)
    return value


def _change(
    name: str,
    sign: int,
    before: BenchStep,
    after: BenchStep,
    was: Sequence[BenchRequest],
    now: Sequence[BenchRequest],
    plan: BenchPlan,
    plan_after: BenchPlan,
) -> BenchChange:
    first, second = figure_of(before, name), figure_of(after, name)
    if first is None or second is None:
        return BenchChange(first, second)
    if not first:
        return BenchChange(first, second, None, None, noise=first == second)
    change = second / first - 1
    interval = _interval(name, before, after, (was, plan), (now, plan_after))
    if interval is None:
        return BenchChange(first, second, change)
    noise = interval[0] <= 0 <= interval[1]
    return BenchChange(first, second, change, interval, noise, None if noise else (change > 0) == (sign > 0))


def _interval(
    name: str,
    before: BenchStep,
    after: BenchStep,
    was: tuple[Sequence[BenchRequest], BenchPlan],
    now: tuple[Sequence[BenchRequest], BenchPlan],
) -> tuple[float, float] | None:
    """Return the 95 % interval of the relative change."""
    pair = before.values.get(name, ()), after.values.get(name, ())
    if min(map(len, pair)) >= 3:
        return _relative(_mean(pair[0]), _mean(pair[1]))
    estimates = [_ESTIMATES[name](*one) if name in _ESTIMATES else None for one in (was, now)]
    first, second = estimates
    return None if first is None or second is None else _relative(first, second)


def _relative(first: Estimate | None, second: Estimate | None) -> tuple[float, float] | None:
    """Return the interval of the change from one estimate to another, as a share of the first."""
    if first is None or second is None or first[1] is None or second[1] is None or not first[0]:
        return None
    change = second[0] / first[0] - 1
    a, b = (first[1] * second[0] / first[0] ** 2) ** 2, (second[1] / first[0]) ** 2
    error = math.sqrt(a + b)
    freedom = (a + b) ** 2 / (a**2 / max(1.0, first[2]) + b**2 / max(1.0, second[2])) if a + b > 0 else math.inf
    reach = student(freedom) * error
    return change - reach, change + reach


def student(freedom: float) -> float:
    """Return the 97.5 % quantile of Student's t, from below where the degrees are no whole number."""
    place = math.floor(freedom) if math.isfinite(freedom) else len(_T) + 1
    if place <= len(_T):
        return _T[max(0, place - 1)]
    return _NORMAL + 2.5 / freedom if math.isfinite(freedom) else _NORMAL


def _mean(values: Sequence[float]) -> Estimate | None:
    number = len(values)
    if number < 2:
        return None
    mean = math.fsum(values) / number
    spread = math.fsum((one - mean) ** 2 for one in values) / (number - 1)
    return mean, math.sqrt(spread / number), number - 1


def _p95(values: Sequence[float]) -> Estimate | None:
    """Return the 95th percentile, and its error by the ranks that enclose it."""
    number = len(values)
    if number < FEWEST:
        return None
    ordered = sorted(values)
    place = 0.95 * (number - 1)
    reach = _NORMAL * math.sqrt(number * 0.95 * 0.05)
    low, high = max(0, math.floor(place - reach)), min(number - 1, math.ceil(place + reach))
    low_share = (place - low) / reach
    # Above there is often no rank left; then what is below says how it spreads.
    below = (ordered[round(place)] - ordered[low]) / (_NORMAL * max(low_share, 1e-9))
    above = (ordered[high] - ordered[round(place)]) / _NORMAL
    return ordered[round(place)], max(below, above), number - 1


def _tpots(requests: Sequence[BenchRequest]) -> list[float]:
    return [value for one in requests if (value := one.tpot) is not None]


def _speed(requests: Sequence[BenchRequest], _: BenchPlan) -> Estimate | None:
    mean = _mean(_tpots(requests))
    if mean is None or not mean[0] or mean[1] is None:
        return None
    return 1 / mean[0], mean[1] / mean[0] ** 2, mean[2]


def _good(requests: Sequence[BenchRequest], plan: BenchPlan) -> Estimate | None:
    return _mean([float(one.good(plan.limits)) for one in requests])


_ESTIMATES: dict[str, Callable[[Sequence[BenchRequest], BenchPlan], Estimate | None]] = {
    "user_speed": _speed,
    "ttft_p95": lambda them, _: _p95([one.ttft for one in them if one.ttft is not None]),
    "itl_p95": lambda them, _: _p95(_tpots(them)),
    "e2e_p95": lambda them, _: _p95([one.e2e for one in them if one.e2e is not None]),
    "good": _good,
}


def _overall(rows: Sequence[BenchPair]) -> tuple[float, tuple[float, float]] | None:
    """Return the mean change of tokens a second over the steps of both, and its interval."""
    found = [one.main for one in rows if one.main.change is not None and one.main.spread is not None]
    if not found:
        return None
    change = math.fsum(one.change or 0.0 for one in found) / len(found)
    reach = math.sqrt(math.fsum(((one.spread[1] - one.spread[0]) / 2) ** 2 for one in found if one.spread)) / len(found)
    return change, (change - reach, change + reach)


def _verdict(rows: Sequence[BenchPair], total: tuple[float, tuple[float, float]] | None, by: str) -> str:
    pairs = [one for one in rows if one.before is not None and one.after is not None]
    if not pairs:
        return "No step was measured in both."
    better = [one.load for one in pairs if one.main.better is True]
    worse = [one.load for one in pairs if one.main.better is False]
    if not better and not worse:
        if all(one.main.spread is None for one in pairs):
            return "Too little was measured to tell a change from noise."
        first = "All changes of tokens a second are in the noise."
    elif better and worse:
        first = f"Better at {_list(better)} {by}, worse at {_list(worse)}."
    else:
        at, word = (better, "Better") if better else (worse, "Worse")
        first = (
            f"{word} at {_list(at)} of {len(pairs)} steps ({by})." if len(pairs) > 1 else f"{word} beyond the noise."
        )
    if total is not None:
        first += f" Over all steps {total[0]:+.1%} tokens a second ({total[1][0]:+.1%} to {total[1][1]:+.1%})."
    slow = [one.load for one in pairs if (c := one.changes.get("ttft_p95")) is not None and c.better is False]
    return f"{first} First tokens come later at {_list(slow)}." if slow else first


def _list(loads: Sequence[float]) -> str:
    return ", ".join(f"{one:g}" for one in loads)


def _differences(before: BenchResult, after: BenchResult) -> list[str]:
    found: list[str] = []
    pairs = (
        ("recipe", before.recipe_id, after.recipe_id),
        ("revision", before.revision, after.revision),
        ("model", before.model, after.model),
        ("engine", before.engine, after.engine),
        ("engine version", before.engine_version, after.engine_version),
        ("GPUs", ", ".join(before.gpus), ", ".join(after.gpus)),
        ("measured by", before.source, after.source),
    )
    found += [f"{name}: {old or 'unknown'} -> {new or 'unknown'}" for name, old, new in pairs if old != new]
    old_plan, new_plan = before.plan.to_json(), after.plan.to_json()
    for name in old_plan:
        if name not in ("concurrency", "rate", "search", "repeats") and old_plan[name] != new_plan[name]:
            found.append(f"{name.replace('_', ' ')}: {old_plan[name]} -> {new_plan[name]}")
    return found


def same_plan(before: BenchPlan, after: BenchPlan) -> bool:
    """Return whether two plans ask an engine the same, at loads that may differ."""
    names = ("prompt_tokens", "output_tokens", "spread", "arrivals", "prompts_file", "shared_prefix", "endpoint")
    return all(getattr(before, name) == getattr(after, name) for name in names)


def _regression(before: BenchResult, after: BenchResult, total: tuple[float, tuple[float, float]] | None) -> str | None:
    """Return that an engine became slower with its version, where nothing else changed and it is beyond noise."""
    versions = before.engine_version, after.engine_version
    if None in versions or versions[0] == versions[1] or before.engine != after.engine:
        return None
    alike = before.recipe_id == after.recipe_id and before.revision == after.revision and before.model == after.model
    if not alike or before.gpus != after.gpus or not same_plan(before.plan, after.plan):
        return None
    if total is None or total[1][1] >= 0 or total[0] > -TOLD:
        return None
    return (
        f"{after.engine or 'the engine'} {versions[1]} is {-total[0]:.1%} slower than {versions[0]} at the same recipe "
        f"and plan ({total[1][0]:+.1%} to {total[1][1]:+.1%})"
    )
