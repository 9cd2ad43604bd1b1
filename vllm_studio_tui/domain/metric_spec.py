"""One row of an engine's metric table: which samples of its /metrics make which of our metrics."""

from __future__ import annotations

from dataclasses import dataclass

#: How a value comes about: `gauge` is summed over labels, `mean` averaged over them; `total` is a counter as it
#: is, `delta` its increase, `rate` its increase per second; `ratio` is one increase over another; `weighted` a mean
#: of the engine's whole life, made one of the interval by the counter that it is a mean over; `histogram` gives
#: percentiles of the increase. By a label: `parts` is a gauge for each of its values, `part_deltas` an increase for
#: each, `state` the one that has a sample above zero. `product` multiplies numbers that are labels of one sample.
KINDS = frozenset(
    {"gauge", "mean", "total", "delta", "rate", "ratio", "weighted", "histogram"}
    | {"parts", "part_deltas", "state", "product"}
)


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """One row of a metric table.

    Names come and go with engine versions: of each tuple the first that exists counts, and of several rows for one
    field the first that gives a value.

    Attributes:
        field: The attribute of `EngineMetrics`.
        kind: One of `KINDS`.
        names: Sample names, for a histogram without `_bucket`; the first that exists counts.
        over: For a ratio, the names whose increases are summed below the line; for `weighted` the counter.
        labels: Only samples with one of these values under this label, as (label, values).
        at_end: The counter moves when a request ends: no increase while one runs tells nothing.
        seconds: For a counter that moves when a request ends: the seconds that it took, which may be more than
            the interval.
        running: The gauge that tells how many requests share those seconds.
        plus: The names of what the engine counts apart and that belongs to it; added where it exists.
        positive: Zero means that the engine does not use this.
        by: The label whose values tell the parts.
        title: What a value is called that has no such label.
        factors: The labels whose numbers are multiplied.
        rank: The label that tells data-parallel ranks.
        twins: Labels of processes that tell the same of one rank: of such samples one counts.
        base: What is added to a ratio.
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
    by: str = ""
    title: str = ""
    factors: tuple[str, ...] = ()
    rank: str = ""
    twins: tuple[str, ...] = ()
    base: float = 0.0


@dataclass(frozen=True, slots=True)
class SlotsSource:
    """Where an engine tells of the requests that it works on, whose tokens it counts when they end.

    The answer is a JSON list of slots as llama.cpp's `/slots` has it. Of it only numbers are read: it may hold prompts.

    Attributes:
        path: Beside /metrics.
        generated, prompt: The counters that have the tokens of an answer, or of a prompt, only at its end.
        cached: The counter of what of the prompts was in a cache.
        running: The gauge of requests that it works on: without any it is not asked.
    """

    path: str
    generated: str
    prompt: str
    cached: str
    running: tuple[str, ...]


def prefixed(prefix: str, *names: str) -> tuple[str, ...]:
    """Return sample names with their engine's prefix before them."""
    return tuple(f"{prefix}:{name}" for name in names)
