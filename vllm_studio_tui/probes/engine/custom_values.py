"""Metrics that were added: which of them an engine has, and the rows of a metric table that make them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from vllm_studio_tui.domain.custom_metric import OF_HISTOGRAM, OVER_TIME, CustomMetric, CustomValue
from vllm_studio_tui.domain.engine_metrics import Percentiles
from vllm_studio_tui.domain.metric_spec import MetricSpec


def rows_of(metrics: Sequence[CustomMetric], backend: str) -> list[tuple[CustomMetric, MetricSpec]]:
    """Return the metrics that engines of this backend may have, each with how it is read."""
    return [(one, _spec(one)) for one in metrics if one.engine is None or one.engine == backend]


def _spec(one: CustomMetric) -> MetricSpec:
    kind = "histogram" if one.kind in OF_HISTOGRAM else one.kind
    return MetricSpec(one.name, kind, one.names, over=(one.over,) if one.over else ())


def values_of(
    rows: Sequence[tuple[CustomMetric, MetricSpec]],
    read: Callable[[MetricSpec], float | Percentiles | None],
    *,
    since_start: bool,
) -> tuple[CustomValue, ...]:
    """Return what each metric is now.

    Args:
        since_start: There is no earlier scrape to compare with.
    """
    return tuple(
        CustomValue(one, _scaled(one, read(spec)), since_start and one.kind in OVER_TIME) for one, spec in rows
    )


def filled(values: Sequence[CustomValue], life: Sequence[CustomValue]) -> tuple[CustomValue, ...]:
    """Return the values, with those of the engine's whole life for what an interval tells nothing of."""
    whole = {one.metric.name: one for one in life if one.since_start}
    return tuple(one if one.value is not None else whole.get(one.metric.name, one) for one in values)


def _scaled(one: CustomMetric, value: float | Percentiles | None) -> float | None:
    if isinstance(value, Percentiles):
        value = value.mean if one.kind == "average" else getattr(value, one.kind, None)
    if value is None or (value < 0 and one.kind not in ("gauge", "mean")):
        return None  # what only grows became less: the engine began anew
    value *= one.scale
    return value if math.isfinite(value) else None
