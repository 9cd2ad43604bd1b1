"""A metric of an engine that somebody added: what it is called, and which samples of /metrics make it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from vllm_studio_tui.kit import numbers


def _plain(value: float | None, unknown: str) -> str:
    """Format a number of no known kind: below a hundred with what it has of two decimals."""
    if value is None or not abs(value) < 99.995:
        return numbers.count(value, unknown)
    return f"{value:.2f}".rstrip("0").rstrip(".")


#: What a value is, and how it is shown.
UNITS: Mapping[str, Callable[[float | None, str], str]] = {
    "": _plain,
    "seconds": numbers.latency,
    "ratio": numbers.percent,
    "bytes": numbers.size,
    "watts": numbers.power,
    "per second": numbers.rate,
}
#: How a value comes about: those of `MetricSpec`, and what can be asked of a histogram.
PLAIN = ("gauge", "mean", "total", "delta", "rate", "ratio")
OF_HISTOGRAM = ("p50", "p95", "p99", "average")
KINDS = (*PLAIN, *OF_HISTOGRAM)
#: Kinds that are over an interval, or over the engine's life without one.
OVER_TIME = ("delta", "ratio", *OF_HISTOGRAM)
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}\Z")
_SAMPLE = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:.]{0,199}\Z")


@dataclass(frozen=True, slots=True)
class CustomMetric:
    """One row of a table of metrics.

    Attributes:
        name: What JSON and Prometheus call it: a-z, 0-9 and underscore.
        names: Samples of the engine's /metrics, of a histogram without `_bucket`; the first that exists counts.
        title: What people call it; empty: its name.
        unit: One of `UNITS`.
        kind: One of `KINDS`: `gauge` is summed over labels, `mean` averaged; `total` is a counter as it is, `delta`
            its increase over a minute, `rate` its increase per second; `ratio` is one increase over another;
            percentiles and the average are those of a histogram over a minute.
        over: For a ratio, the counter below the line; the first that exists counts.
        engine: The backend whose engines have it; None: any.
        scale: What the value is multiplied by.

    Raises:
        ValueError: One of them cannot be used; the text names it.
    """

    name: str
    names: tuple[str, ...]
    title: str = ""
    unit: str = ""
    kind: str = "gauge"
    over: tuple[str, ...] = ()
    engine: str | None = None
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.match(self.name):
            raise ValueError("its name is not a-z, 0-9 and underscore, with a letter first, at most 40")
        for field, rows in (("names", self.names), ("over", self.over)):
            if not isinstance(rows, tuple) or not all(isinstance(one, str) and _SAMPLE.match(one) for one in rows):
                raise ValueError(f"{field} is no list of names of samples")
        if not self.names:
            raise ValueError("names is empty")
        if not isinstance(self.title, str) or len(self.title) > 40 or not self.title.isprintable():
            raise ValueError("title is no text of at most 40 characters")
        for field, value, known in (("unit", self.unit, tuple(UNITS)), ("kind", self.kind, KINDS)):
            if value not in known:
                raise ValueError(f"{field} is none of {', '.join(one or 'empty' for one in known)}")
        if (self.kind == "ratio") != bool(self.over):
            raise ValueError("over belongs to the kind ratio, which needs it")
        if self.engine is not None and not isinstance(self.engine, str):
            raise ValueError("engine is no text")
        if isinstance(self.scale, bool) or not isinstance(self.scale, int | float) or not math.isfinite(self.scale):
            raise ValueError("scale is no number")

    @property
    def label(self) -> str:
        return self.title or self.name

    def text(self, value: float | None, unknown: str) -> str:
        """Return a value as people read it."""
        if value is None or not math.isfinite(value):
            return unknown
        # What is larger than anything that there is has no use for a unit.
        return numbers.count(value, unknown) if abs(value) > 1e15 else UNITS[self.unit](value, unknown)


@dataclass(frozen=True, slots=True)
class CustomValue:
    """What such a metric is now.

    Attributes:
        value: None: unknown.
        since_start: It is over the engine's whole life instead of an interval.
    """

    metric: CustomMetric
    value: float | None
    since_start: bool = False


def custom_series(run_id: str, name: str) -> str:
    """Return the name of the series in the history of one run."""
    return f"run/{run_id}/custom/{name}"
