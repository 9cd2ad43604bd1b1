"""Percentiles from a histogram's buckets, by linear interpolation as Prometheus' `histogram_quantile` does it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from vllm_studio_tui.domain.engine_metrics import Percentiles

#: More observations than that are a fault of whoever counted.
MOST = 1e15

Buckets = Sequence[tuple[float, float]]


def increase(before: Buckets, after: Buckets) -> list[tuple[float, float]]:
    """Return cumulative counts of what was observed between two scrapes; an edge that is new counts from zero."""
    counts = dict(before)
    return [(edge, count - counts.get(edge, 0.0)) for edge, count in after]


def percentiles(buckets: Buckets, total: float | None = None) -> Percentiles:
    """Return percentiles of cumulative buckets with ascending edges, in the unit of the edges.

    A percentile is interpolated between the edges of the first bucket that reaches its share. Where that is the
    infinite one, only `over`, the last finite edge, is known; where it is the first one, only that it lies below
    `under`. Without observations everything but `count` is None.

    Args:
        total: The sum of all observations, for the mean.
    """
    if not buckets:
        return Percentiles()
    count = buckets[-1][1]
    if not count >= 1:
        return Percentiles(count=0)
    if count > MOST:
        return Percentiles()
    p50, p95, p99 = (_quantile(buckets, count, share) for share in (0.50, 0.95, 0.99))
    finite = [edge for edge, _ in buckets if math.isfinite(edge)]
    return Percentiles(
        p50,
        p95,
        p99,
        count=round(count),
        mean=None if total is None else total / count,
        over=finite[-1] if finite and None in (p50, p95, p99) else None,
        under=finite[0] if finite and p50 is not None and p50 <= finite[0] else None,
    )


def _quantile(buckets: Buckets, count: float, share: float) -> float | None:
    rank = share * count
    edge, reached = 0.0, 0.0
    for upper, cumulative in buckets:
        if cumulative >= rank:
            if not math.isfinite(upper):
                return None
            lower = min(edge, upper)  # a first edge below zero has no lower one
            return lower + (upper - lower) * (rank - reached) / (cumulative - reached)
        edge, reached = upper, max(reached, cumulative)
    return None
