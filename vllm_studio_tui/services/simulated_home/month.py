"""A month of samples of the simulated home: what would be kept had somebody watched it all the time.

Written as the coarser levels of what is kept, which are all that is left of a month. What an engine gives and what
GPUs draw in a step is the integral that its counters and their energy come from: the time axis and the usage agree.
"""

from __future__ import annotations

import contextlib
import math
import os
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

from vllm_studio_tui.domain.series import GpuSeries, HostSeries, RunSeries, TotalSeries
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.probes.host import HostReader
from vllm_studio_tui.services.simulated_home.plan import mark_of
from vllm_studio_tui.services.watching.sample_keeper import MEBIBYTE, samples_file
from vllm_studio_tui.services.watching.simulated_past import HOST_BUSY, HOST_IDLE, latencies
from vllm_studio_tui.simulation import gpus
from vllm_studio_tui.simulation.holders import Holder
from vllm_studio_tui.simulation.kinds import CONTEXT, kind_here
from vllm_studio_tui.simulation.traffic import Flow, Sums
from vllm_studio_tui.store.sample_blocks import STEPS, TIERS, Block, Step, Tier
from vllm_studio_tui.store.sample_writer import SampleWriter

#: The levels that are written, and how much of each: of the finer one a day, which is looked at most.
LEVELS = ((TIERS[1], TIERS[0].keep), (TIERS[2], TIERS[2].keep))
#: What of an engine is exact, as what has flowed and what flows.
EXACT: Mapping[RunSeries, tuple[Callable[[Sums], float], Callable[[Flow], float]]] = {
    RunSeries.OUTPUT: (attrgetter("output"), attrgetter("output")),
    RunSeries.INPUT: (attrgetter("prompt"), attrgetter("prompt")),
    RunSeries.CACHED: (attrgetter("cached"), attrgetter("cached")),
    RunSeries.RUNNING: (attrgetter("running"), attrgetter("running")),
}
#: What is only seen, of what flows and the tokens that the cache has room for.
SAMPLED: Mapping[RunSeries, Callable[[Flow, int], float]] = {
    RunSeries.WAITING: lambda flow, _: flow.waiting,
    RunSeries.KV_CACHE: lambda flow, tokens: flow.kv_tokens / tokens,
    RunSeries.HITS: lambda flow, _: flow.cached / flow.prompt if flow.prompt else 0.0,
}
#: Of the times to the first token (0) and between tokens (1).
LATENCIES: Mapping[RunSeries, tuple[int, str]] = {
    RunSeries.TTFT50: (0, "p50"),
    RunSeries.TTFT: (0, "p95"),
    RunSeries.ITL50: (1, "p50"),
    RunSeries.ITL: (1, "p95"),
}
#: How busy a GPU is while a model is loaded onto it.
LOADING = 0.03
UNKNOWN: Step = (math.nan, math.nan, math.nan)


def write_missing(places: Places, size: int, recipes: Mapping[str, str], now: float) -> bool:
    """Write the samples of the month before a moment, in a simulated home that has none; return whether it did.

    Args:
        size: MiB that samples may take.
        recipes: The recipe of each run.

    Raises:
        StudioError, OSError: They could not be kept.
    """
    path = samples_file(places)
    if size <= 0 or path.exists() or not mark_of(places).exists():
        return False
    until = now // TIERS[-1].step * TIERS[-1].step
    host = HostReader().read()
    memory = host.memory_used / host.memory_total if host.memory_used is not None and host.memory_total else None
    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        with contextlib.closing(SampleWriter(new, size * MEBIBYTE)) as writer:
            writer.put(_blocks([one for one in gpus.HOLDERS.all() if one.run], memory, until), recipes, until)
        if path.exists():  # another program keeps samples already
            return False
        new.replace(path)
    finally:
        for ending in ("", "-wal", "-shm"):
            new.with_name(f"{new.name}{ending}").unlink(missing_ok=True)
    return True


def _blocks(holders: Sequence[Holder], memory: float | None, until: float) -> Iterator[tuple[Tier, int, str, Block]]:
    for tier, keep in LEVELS:
        level = _Level(tier, until - keep, until, memory)
        for holder in holders:
            level.add(holder)
        for name, series in level.all():
            for start, block in series.blocks():
                yield tier, start, name, block


class _Series:
    """A series on the grid of a level: at rest, but for the steps that are put."""

    def __init__(self, tier: Tier, since: float, until: float, rest: Step = UNKNOWN) -> None:
        self._tier = tier
        self._begin = int(since // tier.block) * tier.block
        count = math.ceil((until - self._begin) / tier.block) * STEPS
        known = min(count, math.ceil((until - self._begin) / tier.step))
        self._values = [[one] * known + [math.nan] * (count - known) for one in rest]

    def put(self, at: float, step: Step) -> None:
        index = int(at - self._begin) // self._tier.step
        for column, value in zip(self._values, step, strict=True):
            column[index] = value

    def add(self, at: float, step: Step) -> None:
        """Add to what it is there, which may be unknown."""
        index = int(at - self._begin) // self._tier.step
        for column, value in zip(self._values, step, strict=True):
            before = column[index]
            column[index] = value if math.isnan(before) else before + value

    def blocks(self) -> Iterator[tuple[int, Block]]:
        for first in range(0, len(self._values[0]), STEPS):
            values = array("f")
            for column in self._values:
                values.extend(column[first : first + STEPS])
            if any(one == one for one in values[:STEPS]):  # noqa: PLR0124, RUF100
                yield self._begin + first * self._tier.step, Block(values)


@dataclass(frozen=True, slots=True)
class _Part:
    """What an engine did in a step, or in the part of it in which it was there.

    Attributes:
        here: Seconds in which it held its GPUs; `served` those in which it could be asked.
        sums: What flowed in these.
        flows: Moments of it; `loud` is one at the height of a burst, `share` how much of the time is like that.
    """

    at: int
    here: float
    served: float
    sums: Sums
    flows: tuple[Flow, ...]
    loud: Flow | None
    share: float

    @property
    def busy(self) -> Step:
        """Return how busy it kept its GPUs, 0-1."""
        return self.step([one.load for one in self.flows] or [LOADING], self.loud.load if self.loud else None)

    def step(self, values: Sequence[float], loud: float | None = None) -> Step:
        """Return the step of what was so at each of its moments, but in a burst."""
        quiet = math.fsum(values) / len(values)
        if loud is None:
            return quiet, min(values), max(values)
        return quiet + (loud - quiet) * self.share, min(*values, loud), max(*values, loud)


class _Level:
    """All series of one level."""

    def __init__(self, tier: Tier, since: float, until: float, memory: float | None) -> None:
        self._tier, self._since, self._until = tier, since, until
        self._all: dict[str, _Series] = {}
        power, draws, many = gpus.POWER_IDLE, gpus.IDLE_SWING, gpus.count_here()
        for index in range(many):
            for series, rest in (
                (GpuSeries.UTILIZATION, _still(0.0)),
                (GpuSeries.MEMORY, _still(_held(index, 0))),
                (GpuSeries.POWER, (power, power - draws, power + draws)),
                (GpuSeries.TEMPERATURE, _still(gpus.warmth(power))),
                (GpuSeries.CLOCK, _still(float(gpus.CLOCK_IDLE))),
                (GpuSeries.PCIE, _still(_pcie(0.0))),
                (GpuSeries.THROTTLE, _still(0.0)),
            ):
                self._begin(series.of(gpus.uuid(index)), rest)
        self._begin(TotalSeries.OUTPUT)
        self._begin(TotalSeries.RUNNING)
        self._begin(TotalSeries.POWER, (many * power, many * (power - draws), many * (power + draws)))
        self._begin(HostSeries.CPU, _still(HOST_BUSY * HOST_IDLE))
        if memory is not None:
            self._begin(HostSeries.MEMORY, _still(memory))

    def _begin(self, name: str, rest: Step = UNKNOWN) -> None:
        self._all[name] = _Series(self._tier, self._since, self._until, rest)

    def all(self) -> Iterable[tuple[str, _Series]]:
        return self._all.items()

    def add(self, holder: Holder) -> None:
        """Put in what an engine did."""
        parts = list(self._parts(holder))
        if not parts:
            return
        for rank, index in enumerate(holder.gpus):
            if GpuSeries.POWER.of(gpus.uuid(index)) in self._all:  # else it is of a machine with more GPUs
                self._add_gpu(holder, rank, index, parts)
        cpu, host = HOST_BUSY * (1 - HOST_IDLE), self._all[HostSeries.CPU]
        for part in parts:
            busy = part.busy
            host.add(part.at, (cpu * busy[0] * part.here / self._tier.step, cpu * busy[1], cpu * busy[2]))
        if any(one.served for one in parts):
            self._add_engine(holder, [one for one in parts if one.served])

    def _parts(self, holder: Holder) -> Iterator[_Part]:
        """Yield what an engine did in each step of the level."""
        tier, served, ready = self._tier, holder.served, holder.ready
        begin = max(holder.began, float(int(self._since // tier.block) * tier.block))
        end = self._until if holder.ended is None else min(self._until, holder.ended)
        if begin >= end:
            return
        before, last = served.until(begin), served.at(begin)
        for at in range(int(begin // tier.step) * tier.step, math.ceil(end), tier.step):
            since, until = max(at, begin), min(at + tier.step, end)
            sums, now = served.until(until), served.at(until)
            lasted = max(0.0, until - max(since, ready))
            high = served.height(max(since, ready), until) if lasted else None
            flows = tuple(one for one in (last, now) if one.output > 0)
            loud = served.at(high) if high is not None else None
            done = _between(before, sums)
            share = min(1.0, done.burst / lasted) if loud is not None else 0.0
            yield _Part(at, until - since, lasted if flows else 0.0, done, flows, loud, share)
            before, last = sums, now

    def _add_engine(self, holder: Holder, parts: Sequence[_Part]) -> None:
        ended = parts[-1].at + self._tier.step
        names = (*EXACT, *SAMPLED, *LATENCIES)
        made = {series: _Series(self._tier, parts[0].at, ended) for series in names}
        self._all |= {series.of(holder.run): one for series, one in made.items()}
        out, running = self._all[TotalSeries.OUTPUT], self._all[TotalSeries.RUNNING]
        tokens = max(1, holder.served.layout.tokens)
        seen = [one for part in parts for one in (*part.flows, part.loud) if one is not None]
        usual = _latencies(holder, min(seen, key=lambda one: one.burst))
        rare = _latencies(holder, max(seen, key=lambda one: one.burst))
        for part in parts:
            loud = part.loud
            for series, (whole, value) in EXACT.items():
                values = [value(one) for one in part.flows] + ([value(loud)] if loud is not None else [])
                step = (whole(part.sums) / part.served, min(values), max(values))
                made[series].put(part.at, step)
                if series is RunSeries.OUTPUT:
                    out.add(part.at, step)
                elif series is RunSeries.RUNNING:
                    running.add(part.at, step)
            quiet = [one for one in part.flows if not one.burst] or part.flows
            for series, sampled in SAMPLED.items():
                most = None if loud is None else sampled(loud, tokens)
                made[series].put(part.at, part.step([sampled(one, tokens) for one in quiet], most))
            for series, took in usual.items():
                made[series].put(part.at, part.step([took], None if loud is None else rare[series]))

    def _add_gpu(self, holder: Holder, rank: int, index: int, parts: Sequence[_Part]) -> None:
        served, whole = holder.served, float(self._tier.step)
        names = (GpuSeries.UTILIZATION, GpuSeries.MEMORY, GpuSeries.TEMPERATURE, GpuSeries.CLOCK, GpuSeries.PCIE)
        use, held, heat, clock, pcie = (self._all[one.of(gpus.uuid(index))] for one in names)
        power, total = self._all[GpuSeries.POWER.of(gpus.uuid(index))], self._all[TotalSeries.POWER]
        full = _held(index, holder.memory(holder.ready + 1.0) or holder.memory(holder.ready - 1.0))
        for part in parts:
            all_of_it = part.here > 0.99 * whole
            watts = [CONTEXT + served.watts(one, rank) for one in part.flows] or [CONTEXT]
            if part.loud is not None:
                watts.append(CONTEXT + served.watts(part.loud, rank))
            joules = CONTEXT * part.here + served.joules(part.sums, part.served, rank)
            more = (joules / whole, min(watts) if all_of_it else 0.0, max(watts))
            power.add(part.at, more)
            total.add(part.at, more)
            heat.put(part.at, _each(gpus.warmth, [gpus.POWER_IDLE + one for one in more]))
            busy = part.busy
            off = 2 * rank if busy[0] > 0.1 else 0
            percent = [max(0.0, one * 100 - off) for one in busy]
            percent[0] *= part.here / whole
            percent[1] = percent[1] if all_of_it else 0.0
            use.put(part.at, (percent[0], percent[1], percent[2]))
            pcie.put(part.at, _each(_pcie, percent))
            clock.put(part.at, _still(float(gpus.CLOCK_BUSY)))
            middle = max(holder.began, part.at + whole / 2)
            held.put(part.at, _still(full if part.served else _held(index, holder.memory(middle))))


def _latencies(holder: Holder, flow: Flow) -> dict[RunSeries, float]:
    """Return the times to the first token and between tokens while that flows."""
    both = latencies(holder, flow)
    found = ((name, getattr(both[place], which)) for name, (place, which) in LATENCIES.items())
    return {name: value for name, value in found if value is not None}


def _held(index: int, engine: int) -> float:
    """Return the share of a GPU's memory that is held, by an engine that holds so many bytes and by others."""
    stranger = gpus.STRANGER_BYTES if index == gpus.STRANGER_GPU else 0
    return (gpus.DRIVER_BYTES + stranger + engine) / kind_here().memory


def _pcie(percent: float) -> float:
    """Return bytes a second both ways: half as many come as go."""
    return 1500.0 * gpus.traffic_kb(percent)


def _each(of: Callable[[float], float], values: Sequence[float]) -> Step:
    return of(values[0]), of(values[1]), of(values[2])


def _still(value: float) -> Step:
    return value, value, value


def _between(before: Sums, after: Sums) -> Sums:
    return Sums(
        after.output - before.output,
        after.prompt - before.prompt,
        after.cached - before.cached,
        after.requests - before.requests,
        after.running - before.running,
        after.burst - before.burst,
    )
