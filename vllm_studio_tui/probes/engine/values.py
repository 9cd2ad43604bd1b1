"""Values of the rows of a metric table, from one scrape or from what came between two of them."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import reduce

from vllm_studio_tui.domain.engine_metrics import Percentiles
from vllm_studio_tui.domain.metric_spec import MetricSpec
from vllm_studio_tui.kit import prometheus
from vllm_studio_tui.kit.prometheus import Labels, Samples
from vllm_studio_tui.kit.sanitize import clean_line
from vllm_studio_tui.probes.engine.quantiles import MOST, increase, percentiles

#: Fields that count things.
_COUNTS = frozenset(
    {"running", "waiting", "preemptions", "prompt_tokens_total", "generation_tokens_total"}
    | {"cached_tokens_total", "requests_total", "preemptions_total"}
    | {"ended_requests_total", "ended_preemptions_total", "kv_tokens_used", "kv_tokens_total"}
)
#: Fields that are shares, 0-1.
_SHARES = frozenset({"kv_cache_usage", "prefix_cache_hit_rate", "spec_acceptance"})
#: Parts that are told of one row at most.
_PARTS = 16

Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]
Value = float | int | str | Percentiles | Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Scrape:
    """What an engine told at one moment, and the counters of it by name and labels."""

    at: float
    samples: Samples
    series: Series


def value_of(
    spec: MetricSpec, now: Scrape, previous: Scrape | None, base: Scrape | None, *, busy: bool
) -> Value | None:
    """Return the value of one row of a table, in the type and range of its field."""
    if spec.kind in ("parts", "part_deltas"):
        return _parts(spec, now, base if spec.kind == "part_deltas" else None)
    if spec.kind == "state":
        return _state(spec, now)
    value = raw_value(spec, now, previous, base, busy=busy)
    return value if isinstance(value, Percentiles) else fit(spec, value)


def raw_value(
    spec: MetricSpec, now: Scrape, previous: Scrape | None, base: Scrape | None, *, busy: bool
) -> float | Percentiles | None:
    """Return the number of one row; speeds are since the `previous` scrape, other increases since `base`."""
    if spec.kind == "histogram":
        return _histogram(spec, now, base)
    if spec.kind == "mean":
        return prometheus.mean(chosen(spec, now.samples), spec.names)
    if spec.kind == "ratio":
        return _ratio(spec, now, base)
    if spec.kind == "weighted":
        return _weighted(spec, now, base)
    if spec.kind == "delta":
        return difference(spec, now, base)
    if spec.kind == "rate":
        return _rate(spec, now, previous, busy=busy)
    if spec.kind == "product":
        found = products(spec, now).values()
        return math.fsum(found) if found else None
    return sum_of(spec, now)


def fit(spec: MetricSpec, value: float | None) -> float | int | None:
    """Return the value in the type and range of its field; None for one that cannot be."""
    if value is None or not math.isfinite(value) or (spec.positive and value <= 0):
        return None
    if spec.field in _SHARES:
        return min(1.0, value) if -1e-9 <= value <= 1.01 else None
    if value < 0:
        return None
    return round(value) if spec.field in _COUNTS else value


# --- one scrape -----------------------------------------------------------------------------------------


def chosen(spec: MetricSpec, samples: Samples) -> Samples:
    """Return the samples of the row's names that count: with its labels, and one of each set of twins."""
    if spec.labels is None and not spec.twins:
        return samples
    found = {name: samples[name] for name in spec.names if name in samples}
    if spec.labels is not None:
        label, values = spec.labels
        found = {name: [one for one in rows if one[0].get(label) in values] for name, rows in found.items()}
    return {name: _without_twins(rows, spec.twins) for name, rows in found.items()} if spec.twins else found


def _without_twins(rows: list[tuple[Labels, float]], twins: tuple[str, ...]) -> list[tuple[Labels, float]]:
    first: dict[tuple[tuple[str, str], ...], tuple[tuple[str, ...], tuple[Labels, float]]] = {}
    for one in rows:
        labels = one[0]
        key = tuple(sorted((name, value) for name, value in labels.items() if name not in twins))
        place = tuple(labels.get(name, "").rjust(6) for name in twins)
        if key not in first or place < first[key][0]:
            first[key] = (place, one)
    return [one for _, one in first.values()]


def sum_of(spec: MetricSpec, scrape: Scrape) -> float | None:
    """Return a counter or gauge, summed over its labels, with what belongs to it."""
    found = prometheus.total(chosen(spec, scrape.samples), spec.names)
    if found is None or not spec.plus:
        return found
    return found + (prometheus.total(scrape.samples, spec.plus) or 0.0)


def products(spec: MetricSpec, scrape: Scrape) -> dict[str, float]:
    """Return the product of the row's labels of each sample, by rank."""
    found: dict[str, float] = {}
    for name in spec.names:
        for labels, value in chosen(spec, scrape.samples).get(name, ()):
            numbers = [_number(labels.get(factor)) for factor in spec.factors]
            if value > 0 and all(one is not None for one in numbers):
                made = reduce(lambda one, other: one * (other or 0.0), numbers, 1.0)
                if 0 < made < MOST:
                    found[labels.get(spec.rank, "")] = made
        if found:
            break
    return found


def by_rank(spec: MetricSpec, scrape: Scrape) -> dict[str, float]:
    """Return a gauge by data-parallel rank; empty where its samples tell none."""
    samples = chosen(spec, scrape.samples)
    found: dict[str, float] = {}
    for name in spec.names:
        for labels, value in samples.get(name, ()):
            if (rank := labels.get(spec.rank)) is not None and math.isfinite(value):
                found[rank] = found.get(rank, 0.0) + value
        if name in samples:
            break
    return found


def _parts(spec: MetricSpec, now: Scrape, base: Scrape | None) -> Mapping[str, int] | None:
    after, before = _by_part(spec, now), _by_part(spec, base) if base is not None else {}
    if after is None:
        return None
    grown = {part: value - (before or {}).get(part, 0.0) for part, value in after.items()}
    return {part: round(value) for part, value in grown.items() if 0 < value < MOST and round(value) > 0}


def _by_part(spec: MetricSpec, scrape: Scrape) -> dict[str, float] | None:
    samples = chosen(spec, scrape.samples)
    rows = next((samples[name] for name in spec.names if name in samples), None)
    if rows is None:
        return None
    found: dict[str, float] = {}
    for labels, value in rows:
        part = clean_line(labels.get(spec.by, spec.title))[:40]
        if math.isfinite(value) and part and (part in found or len(found) < _PARTS):
            found[part] = found.get(part, 0.0) + value
    return found


def _state(spec: MetricSpec, now: Scrape) -> str | None:
    samples = chosen(spec, now.samples)
    for name in spec.names:
        for labels, value in samples.get(name, ()):
            if value > 0 and (state := clean_line(labels.get(spec.by, ""))[:40]):
                return state
    return None


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


# --- two scrapes ----------------------------------------------------------------------------------------


def difference(spec: MetricSpec, now: Scrape, base: Scrape | None) -> float | None:
    """Return the increase of a counter, since the engine's start without a base."""
    value = sum_of(spec, now)
    if value is None or base is None:
        return value
    # A label set that was not there before began at zero.
    return value - (sum_of(spec, base) or 0.0)


def gain_of(specs: Collection[MetricSpec], field: str, now: Scrape, previous: Scrape | None) -> float | None:
    """Return the increase of the counter behind a field; None when it is unknown."""
    if previous is None:
        return None
    for spec in specs:
        if spec.field == field and (gain := difference(spec, now, previous)) is not None:
            return gain
    return None


def _rate(spec: MetricSpec, now: Scrape, previous: Scrape | None, *, busy: bool) -> float | None:
    if previous is None:
        return None
    gain = difference(spec, now, previous)
    # A counter that moves at the end of a request says nothing while one runs.
    if gain is None or (spec.at_end and gain == 0 and busy):
        return None
    took = now.at - previous.at
    if spec.seconds and gain > 0:
        # What came now was made since the request began; others that ran beside it were as fast.
        spent = difference(MetricSpec(spec.field, "delta", spec.seconds), now, previous) or 0.0
        beside = prometheus.total(previous.samples, spec.running) or 0.0
        took = max(took, spent / max(1.0, beside))
    return gain / took


def _ratio(spec: MetricSpec, now: Scrape, base: Scrape | None) -> float | None:
    above, below = ratio_parts(spec, now, base)
    return None if above is None or below is None or below <= 0 else spec.base + above / below


def ratio_parts(spec: MetricSpec, now: Scrape, base: Scrape | None) -> tuple[float | None, float | None]:
    """Return what stands above and below the line of a ratio."""
    above = difference(spec, now, base)
    below = 0.0
    for names in spec.over:
        part = difference(MetricSpec(spec.field, "delta", names, twins=spec.twins), now, base)
        if part is None:
            return above, None
        below += part
    return above, below


def _weighted(spec: MetricSpec, now: Scrape, base: Scrape | None) -> float | None:
    weight = MetricSpec(spec.field, "delta", spec.over[0])

    def whole(scrape: Scrape) -> tuple[float, float] | None:
        value, times = sum_of(spec, scrape), sum_of(weight, scrape)
        return None if value is None or times is None else (value * times, times)

    after, before = whole(now), whole(base) if base is not None else (0.0, 0.0)
    if after is None or before is None or not after[1] - before[1] > 0:
        return None
    return (after[0] - before[0]) / (after[1] - before[1])


def _histogram(spec: MetricSpec, now: Scrape, base: Scrape | None) -> Percentiles:
    for name in spec.names:
        buckets = _buckets(spec, name, now)
        if not buckets:
            continue
        of_sum = MetricSpec(spec.field, "total", (f"{name}_sum",), labels=spec.labels, twins=spec.twins)
        total = sum_of(of_sum, now)
        if base is not None:
            buckets = increase(_buckets(spec, name, base), buckets)
            total = None if total is None else total - (sum_of(of_sum, base) or 0.0)
        return percentiles(buckets, total)
    return Percentiles()


def _buckets(spec: MetricSpec, name: str, scrape: Scrape) -> list[tuple[float, float]]:
    if spec.labels is None and not spec.twins:
        return prometheus.buckets(scrape.samples, name)
    of_buckets = MetricSpec(spec.field, "total", (f"{name}_bucket",), labels=spec.labels, twins=spec.twins)
    return prometheus.buckets(chosen(of_buckets, scrape.samples), name)


# --- whether the engine began anew ----------------------------------------------------------------------


def series_of(samples: Samples, counting: Collection[str]) -> Series:
    """Return the counters, which cannot decrease within one process, and the creation times, by name and labels.

    Args:
        counting: Names among which counters are looked for.
    """
    return {
        (name, tuple(sorted(labels.items()))): value
        for name, rows in samples.items()
        if name in counting and name.endswith(("_total", "_count", "_bucket", "_created"))
        for labels, value in rows
    }


def restarted(before: Series, after: Series) -> bool:
    """Return whether the counters began anew: one went down or away, or was created at another time."""
    for key, value in before.items():
        later = after.get(key)
        if key[0].endswith("_created"):
            if later is not None and later != value:
                return True
        elif value > 0 and (later is None or later < value):
            return True
    return False
