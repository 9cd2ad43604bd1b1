"""What data-parallel ranks of one engine have to do, beside each other."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

from vllm_studio_tui.domain.engine_metrics import RankLoad
from vllm_studio_tui.domain.metric_spec import MetricSpec
from vllm_studio_tui.kit import prometheus
from vllm_studio_tui.probes.engine.values import Scrape, by_rank, chosen, products

#: Ranks that are told.
_MOST = 1024


def ranks_of(specs: Collection[MetricSpec], now: Scrape) -> tuple[RankLoad, ...]:
    """Return the ranks by number; empty where there is only one."""
    running, waiting, kv = (_known(specs, field, now) for field in ("running", "waiting", "kv_cache_usage"))
    names = {int(one) for one in (*running, *waiting, *kv) if one.isascii() and one.isdigit() and len(one) < 6}
    if len(names) < 2:
        return ()
    return tuple(
        RankLoad(one, _count(running, one), _count(waiting, one), _share(kv.get(str(one))))
        for one in sorted(names)[:_MOST]
    )


def imbalance_of(ranks: Sequence[RankLoad]) -> float | None:
    """Return how much more the busiest rank has to do than the average one; None where none has anything to do."""
    loads = [(one.running or 0) + (one.waiting or 0) for one in ranks]
    return max(loads) * len(loads) / sum(loads) - 1 if sum(loads) else None


def kv_tokens_of(specs: Collection[MetricSpec], now: Scrape) -> int | None:
    """Return the tokens that the KV cache holds, where the engine tells its share and its size and not the tokens."""
    rows = (one for one in specs if one.field == "kv_tokens_total" and one.kind == "product")
    sizes = next((found for one in rows if (found := products(one, now))), {})
    share = next((one for one in specs if one.field == "kv_cache_usage"), None)
    if not sizes or share is None:
        return None
    shares = by_rank(share, now)
    if sizes.keys() == shares.keys():  # ranks may have caches of several sizes
        used = math.fsum(sizes[rank] * shares[rank] for rank in sizes)
    else:
        mean = prometheus.mean(chosen(share, now.samples), share.names)
        used = -1.0 if mean is None else mean * math.fsum(sizes.values())
    return round(used) if 0 <= used <= 1.01 * math.fsum(sizes.values()) else None


def _known(specs: Collection[MetricSpec], field: str, now: Scrape) -> Mapping[str, float]:
    for spec in specs:
        if spec.field == field and spec.rank and (found := by_rank(spec, now)):
            return found
    return {}


def _count(values: Mapping[str, float], rank: int) -> int | None:
    value = values.get(str(rank))
    return round(value) if value is not None and 0 <= value < 1e15 else None


def _share(value: float | None) -> float | None:
    return min(1.0, value) if value is not None and -1e-9 <= value <= 1.01 else None
