"""Recording rules that give the metrics of all engines the same names.

What an engine calls a thing is in its own table (`Backend.metrics`), from which the monitor reads too. Of all names
that mean the same, the first that exists counts, then what the studio's own exposition tells of the engine.

A counter is recorded as a rate, never as itself: the rate of a recorded sum would take the restart of one engine for
a restart of all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from vllm_studio_tui.backends import registry
from vllm_studio_tui.domain.metric_spec import MetricSpec

#: What tells one engine from another, whoever scraped it.
BY = "instance, run, recipe, model, backend"
QUANTILES = (0.5, 0.95, 0.99)
#: Windows of speeds, and of what is rarer.
SHORT, LONG = "1m", "5m"


@dataclass(frozen=True, slots=True)
class Record:
    """A metric under a name that is the same for every engine.

    Attributes:
        name: Of the recorded series.
        field: The attribute of `EngineMetrics` whose rows make it.
        own: What the studio's exposition has of it, without prefix; empty: nothing.
        rate: The rows are of a counter, of which the increase per second is recorded.
    """

    name: str
    field: str
    own: str = ""
    rate: bool = False


RECORDS = (
    Record("vllm_studio:requests_running", "running", "engine_requests_running"),
    Record("vllm_studio:requests_waiting", "waiting", "engine_requests_waiting"),
    Record("vllm_studio:kv_cache_usage:ratio", "kv_cache_usage", "engine_kv_cache_usage_ratio"),
    Record("vllm_studio:prompt_tokens:rate1m", "prompt_tokens_per_second", "engine_prompt_tokens_total", rate=True),
    Record(
        "vllm_studio:generation_tokens:rate1m",
        "generation_tokens_per_second",
        "engine_generation_tokens_total",
        rate=True,
    ),
    Record("vllm_studio:requests:rate1m", "requests_total", "engine_requests_total", rate=True),
    Record("vllm_studio:preemptions:rate1m", "preemptions", rate=True),
    Record("vllm_studio:prompt_tokens", "prompt_tokens_total", "engine_prompt_tokens_total"),
    Record("vllm_studio:generation_tokens", "generation_tokens_total", "engine_generation_tokens_total"),
    Record("vllm_studio:prefix_cache_hits:ratio", "prefix_cache_hit_rate"),
    Record("vllm_studio:speculative_acceptance:ratio", "spec_acceptance"),
    Record("vllm_studio:time_to_first_token_seconds:quantile", "ttft"),
    Record("vllm_studio:inter_token_latency_seconds:quantile", "itl"),
    Record("vllm_studio:request_seconds:quantile", "e2e"),
)


def recording_rules() -> list[dict[str, object]]:
    """Return the rules as a rule file has them."""
    rules: list[dict[str, object]] = []
    for record in RECORDS:
        rows = _rows(record)
        if any(row.kind == "histogram" for row in rows):
            rules.extend({**_rule(record, rows, one), "labels": {"quantile": f"{one:g}"}} for one in QUANTILES)
        else:
            rules.append(_rule(record, rows))
    return rules


def _rule(record: Record, rows: list[MetricSpec], quantile: float = 0.0) -> dict[str, object]:
    parts = list(dict.fromkeys(part for row in rows for part in _expressions(row, record, quantile)))
    if record.own:
        name = f"vllm_studio_{record.own}"
        parts.append(_rate(name, SHORT) if record.rate else f"sum by ({BY}) ({name})")
    return {"record": record.name, "expr": "\nor ".join(parts)}


def _rows(record: Record) -> list[MetricSpec]:
    """Return the rows of all engines; what counts goes before a gauge of a speed, which may keep its last value."""
    every = registry.backends().values()
    rows = [row for one in every for row in one.metrics or () if row.field == record.field]
    return sorted(rows, key=lambda row: row.kind == "gauge") if record.rate else rows


def _expressions(row: MetricSpec, record: Record, quantile: float) -> Iterator[str]:
    """Yield an expression for each name that a row may have in some version of its engine."""
    chosen = _selector(row)
    if row.kind == "ratio":
        above = " or ".join(_rate(name, LONG, chosen) for name in row.names)
        below = " + ".join(f"({' or '.join(_rate(name, LONG) for name in group)})" for group in row.over)
        yield _known(f"({above}) / ({below})")
        return
    for name in row.names:
        if row.kind == "histogram":
            buckets = f"sum by ({BY}, le) (rate({name}_bucket{chosen}[{LONG}]))"
            yield _known(f"histogram_quantile({quantile:g}, {buckets})")
        elif row.kind == "mean":
            yield f"avg by ({BY}) ({name}{chosen})" + (" > 0" if row.positive else "")
        elif record.rate and row.kind != "gauge":
            yield _rate(name, SHORT, chosen)
        else:
            for more in row.plus:
                yield f"sum by ({BY}) ({name}{chosen}) + sum by ({BY}) ({more})"
            yield f"sum by ({BY}) ({name}{chosen})"


def _rate(name: str, window: str, chosen: str = "") -> str:
    return f"sum by ({BY}) (rate({name}{chosen}[{window}]))"


def _known(expression: str) -> str:
    """Return an expression without a value where it would be none: a share of nothing, a quantile of no request."""
    return f"({expression}) >= 0"


def _selector(row: MetricSpec) -> str:
    if row.labels is None:
        return ""
    label, values = row.labels
    return f'{{{label}=~"{"|".join(sorted(values))}"}}'
