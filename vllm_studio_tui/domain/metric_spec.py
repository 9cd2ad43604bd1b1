"""One row of an engine's metric table: which samples of its /metrics make which of our metrics."""

from __future__ import annotations

from dataclasses import dataclass

#: How a value comes about: `gauge` is summed over labels, `mean` averaged over them; `total` is a counter as it
#: is, `delta` its increase, `rate` its increase per second; `ratio` is one increase over another; `histogram`
#: gives percentiles of the increase.
KINDS = frozenset({"gauge", "mean", "total", "delta", "rate", "ratio", "histogram"})


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """One row of a metric table.

    Names come and go with engine versions: of each tuple the first that exists counts, and of several rows for one
    field the first that gives a value.

    Attributes:
        field: The attribute of `EngineMetrics`.
        kind: One of `KINDS`.
        names: Sample names, for a histogram without `_bucket`; the first that exists counts.
        over: For a ratio, the names whose increases are summed below the line.
        labels: Only samples with one of these values under this label, as (label, values).
        at_end: The counter moves when a request ends: no increase while one runs tells nothing.
        seconds: For a counter that moves when a request ends: the seconds that it took, which may be more than
            the interval.
        running: The gauge that tells how many requests share those seconds.
        plus: For a total, the names of what the engine counts apart and that belongs to it; added where it exists.
        positive: Zero means that the engine does not use this.
    """

    field: str
    kind: str
    names: tuple[str, ...]
    over: tuple[tuple[str, ...], ...] = ()
    labels: tuple[str, frozenset[str]] | None = None
    at_end: bool = False
    seconds: tuple[str, ...] = ()
    running: tuple[str, ...] = ()
    plus: tuple[str, ...] = ()
    positive: bool = False


def prefixed(prefix: str, *names: str) -> tuple[str, ...]:
    """Return sample names with their engine's prefix before them."""
    return tuple(f"{prefix}:{name}" for name in names)
