"""What charts would show of simulated engines and GPUs had they been watched for a day."""

from __future__ import annotations

from dataclasses import replace

from vllm_studio_tui.domain.engine_metrics import EngineMetrics, Percentiles
from vllm_studio_tui.domain.gpus import Gpu
from vllm_studio_tui.domain.sample import Tick
from vllm_studio_tui.probes.engine.quantiles import percentiles
from vllm_studio_tui.services.watching.history import COARSE_SAMPLES, COARSE_SECONDS, FINE_SECONDS, History
from vllm_studio_tui.simulation import exposition, gpus
from vllm_studio_tui.simulation.holders import Holder
from vllm_studio_tui.simulation.traffic import Flow, Parts, itl_parts, ttft_parts

#: Seconds between two samples of the last half hour.
EVERY = 2.0
#: Percent of the host's processors that are busy while everything serves, and the part of it while nothing does.
HOST_BUSY, HOST_IDLE = 14.0, 0.4
#: What there is room for in memory.
A_DAY = COARSE_SAMPLES * COARSE_SECONDS


def fill(history: History, now: Tick, seconds: float) -> None:
    """Record what was so in as many seconds before a sample."""
    at = now.at - seconds
    holders = [one for one in gpus.HOLDERS.all() if one.run and (one.ended is None or one.ended > at)]
    while at < now.at - EVERY / 2:
        history.record(_tick(now, holders, at))
        at += COARSE_SECONDS * 1.0001 if at < now.at - FINE_SECONDS - COARSE_SECONDS else EVERY


def _tick(now: Tick, holders: list[Holder], at: float) -> Tick:
    seen = tuple(_gpu(one, at) for one in now.gpus.gpus)
    engines = {one.run: _engine(one, at) for one in holders if one.here(at) and at >= one.ready}
    load = sum(one.load(at) for one in holders if one.run in engines)
    busy = HOST_BUSY if now.host.cpu is None else now.host.cpu  # the first reading has none
    host = replace(now.host, cpu=min(100.0, busy * (HOST_IDLE + (1 - HOST_IDLE) * load)))
    return replace(now, at=at, gpus=replace(now.gpus, at=at, gpus=seen), host=host, engines=engines)


def _gpu(gpu: Gpu, at: float) -> Gpu:
    index = gpu.index
    return replace(
        gpu,
        utilization=gpus.utilization(index, at),
        memory_used=gpus.memory_used(index, at),
        power_draw=gpus.power_w(index, at),
    )


def _engine(holder: Holder, at: float) -> EngineMetrics:
    traffic = holder.served
    flow = traffic.at(at)
    ttft, itl = latencies(holder, flow)
    return EngineMetrics(
        running=round(flow.running),
        waiting=round(flow.waiting),
        kv_cache_usage=flow.kv_tokens / max(1, traffic.layout.tokens),
        generation_tokens_per_second=flow.output,
        prompt_tokens_per_second=flow.prompt,
        ttft=ttft,
        itl=itl,
    )


#: By run and burst.
_KNOWN: dict[tuple[str, float], tuple[Percentiles, Percentiles]] = {}


def latencies(holder: Holder, flow: Flow) -> tuple[Percentiles, Percentiles]:
    """Return TTFT and ITL as the histograms show them: they change with a burst, and hardly else."""
    burst = round(flow.burst, 1)
    found = _KNOWN.get((holder.run, burst))
    if found is None:
        layout, rates = holder.layout, holder.served.rates(flow)
        ttft = _percentiles(exposition.TTFT, ttft_parts(layout, rates))
        found = ttft, _percentiles(exposition.ITL, itl_parts(layout, rates))
        _KNOWN[holder.run, burst] = found
    return found


def _percentiles(edges: tuple[float, ...], parts: Parts) -> Percentiles:
    """Return the percentiles that a histogram with these edges shows; of whole observations there are many."""
    counts = [(edge, 1e6 * sum(one.below(edge) for one in parts)) for edge in edges]
    return percentiles([*counts, (float("inf"), 1e6 * sum(one.number for one in parts))])
