"""Find the metric table of an engine, and the samples of its /metrics that the table needs.

The tables are the engines' own (`Backend.metrics`). A new metric is one row in each engine that has it.
"""

from __future__ import annotations

from collections.abc import Iterable

from vllm_studio_tui.domain.metric_spec import MetricSpec, SlotsSource


def specs_of(backend: str) -> tuple[MetricSpec, ...]:
    """Return the metric table of a backend, which is empty where it has no /metrics.

    Where none is known, the rows of all engines are returned: the names carry the engine's prefix.
    """
    from vllm_studio_tui.backends import registry  # not before there is an engine to ask

    found = registry.find(backend)
    if found is not None and found.metrics is not None:
        return found.metrics
    return tuple(row for one in registry.backends().values() for row in one.metrics or ())


def slots_of(backend: str) -> SlotsSource | None:
    """Return where a backend's engines tell of the requests that they work on; of an unknown one where any does."""
    from vllm_studio_tui.backends import registry  # not before there is an engine to ask

    found = registry.find(backend)
    if found is not None and found.metrics is not None:
        return found.slots
    return next((one.slots for one in registry.backends().values() if one.slots is not None), None)


def sample_names(specs: Iterable[MetricSpec]) -> frozenset[str]:
    """Return every sample that the rows need, with the creation times that tell a restart."""
    names: set[str] = set()
    for spec in specs:
        for name in spec.names:
            if spec.kind == "histogram":
                names.update(f"{name}_{part}" for part in ("bucket", "sum", "count", "created"))
            else:
                names.add(name)
        names.update(name for group in spec.over for name in group)
        names.update((*spec.seconds, *spec.running, *spec.plus))
    names.update(f"{name.removesuffix('_total')}_created" for name in list(names) if name.endswith("_total"))
    return frozenset(names)
