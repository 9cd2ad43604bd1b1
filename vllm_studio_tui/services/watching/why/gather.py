"""Gather what a scene is made of: series around a moment, the engine's facts, who asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from vllm_studio_tui.backends import registry
from vllm_studio_tui.domain.run import ANSWERING
from vllm_studio_tui.domain.series import GpuSeries, HostSeries, RunSeries
from vllm_studio_tui.services.watching.why.scene import AskedFor, EngineFacts, Line, Scene

if TYPE_CHECKING:
    from vllm_studio_tui.domain.gpus import Gpu
    from vllm_studio_tui.domain.timeline import Take
    from vllm_studio_tui.runs.read import RunView
    from vllm_studio_tui.services.watching.snapshot import Snapshot
    from vllm_studio_tui.store.requests import AskedBy

#: By how far back the moment lies, in seconds: seconds of a column, and how many lie before and after it. What is kept
#: has a sample of 10 s for a day, of a minute for a week, then of ten minutes.
GRIDS = (
    (1500.0, 5.0, 240, 60), (80_000.0, 10.0, 240, 60), (600_000.0, 60.0, 120, 30), (float("inf"), 600.0, 72, 12),
)  # fmt: skip
#: A moment so near is now: what holds at present is part of it.
PRESENT = 20.0
#: Bytes a second of a PCIe lane one way, by generation, as far as data gets of it.
LANE = {1: 0.25e9, 2: 0.5e9, 3: 0.985e9, 4: 1.97e9, 5: 3.94e9, 6: 7.56e9}

ENGINE: Mapping[str, RunSeries] = {
    "out": RunSeries.OUTPUT, "prompt": RunSeries.INPUT, "prefill": RunSeries.PREFILL, "cached": RunSeries.CACHED,
    "hits": RunSeries.HITS, "running": RunSeries.RUNNING, "waiting": RunSeries.WAITING, "kv": RunSeries.KV_CACHE,
    "preempt": RunSeries.PREEMPTIONS, "ttft": RunSeries.TTFT, "ttft50": RunSeries.TTFT50, "itl": RunSeries.ITL,
    "queue": RunSeries.QUEUE,
    "step": RunSeries.STEP, "cpu": RunSeries.CPU,
}  # fmt: skip
#: Of several GPUs: how their values become one.
GPUS: Mapping[str, tuple[GpuSeries, Callable[[Sequence[float]], float]]] = {
    "gpu": (GpuSeries.UTILIZATION, lambda values: sum(values) / len(values)),
    "power": (GpuSeries.POWER, sum),
    "temperature": (GpuSeries.TEMPERATURE, max),
    "clock": (GpuSeries.CLOCK, min),
    "pcie": (GpuSeries.PCIE, max),
    "throttle": (GpuSeries.THROTTLE, max),
    "gpu_memory": (GpuSeries.MEMORY, max),
}
HOST: Mapping[str, HostSeries] = {
    "host_cpu": HostSeries.CPU, "host_memory": HostSeries.MEMORY, "swap": HostSeries.SWAP,
}  # fmt: skip


class Over(Protocol):
    """What has series as columns, see `Timeline.over`."""

    def __call__(
        self, names: Sequence[str], since: float, until: float, columns: int, *, take: Take = "mean"
    ) -> Mapping[str, Sequence[float | None]]: ...


def scene_at(over: Over, run: RunView, gpus: Sequence[Gpu], at: float, now: float, facts: EngineFacts) -> Scene:
    """Return what was measured of a run around a moment."""
    step, before, after = next(grid[1:] for grid in GRIDS if now - at <= grid[0])
    after = min(after, int(max(0.0, now - at) / step))
    until = at + after * step
    columns = before + after + 1
    engine = {name: series.of(run.run_id) for name, series in ENGINE.items()}
    host = {name: str(series) for name, series in HOST.items()}
    of_gpus = {name: [series.of(gpu.uuid) for gpu in gpus] for name, (series, _) in GPUS.items()}
    names = [*engine.values(), *host.values(), *(one for some in of_gpus.values() for one in some)]
    found = over(names, until - columns * step, until, columns)
    lines: dict[str, Line] = {name: found.get(series, ()) for name, series in {**engine, **host}.items()}
    for name, (_, together) in GPUS.items():
        lines[name] = _together([found.get(one, ()) for one in of_gpus[name]], columns, together)
    # An engine that preempts has room again at once, and places are free for a moment where two answers end together:
    # of such a column the mean never tells that it was full.
    most = {name: engine[name] for name in ("kv", "running")}
    peaks = over(list(most.values()), until - columns * step, until, columns, take="max")
    lines |= {f"{name}_most": peaks.get(series, ()) for name, series in most.items()}
    # The last column is the one that holds `until`.
    return Scene(lines, until - columns * step, step, columns - 1 - after, facts)


def _together(lines: Sequence[Line], columns: int, together: Callable[[Sequence[float]], float]) -> Line:
    made: list[float | None] = []
    for column in range(columns):
        known = [value for line in lines if column < len(line) and (value := line[column]) is not None]
        made.append(together(known) if known else None)
    return made


def gpus_of(run: RunView, snapshot: Snapshot | None) -> list[Gpu]:
    """Return the GPUs that a run claims or has processes on."""
    if snapshot is None:
        return []
    claims = run.spec.gpus if run.spec is not None else ()
    return [
        gpu
        for gpu in snapshot.tick.gpus.gpus
        if gpu.is_one_of(claims) or any(one.run_id == run.run_id for one in gpu.processes)
    ]


def facts_of(run: RunView, gpus: Sequence[Gpu], snapshot: Snapshot | None, *, present: bool) -> EngineFacts:
    """Return what is known of a run's engine besides its values over time."""
    recipe: Mapping[str, object] = run.spec.recipe if run.spec is not None else {}
    backend = registry.find(run.backend) if run.backend else None
    rules = backend.memory if backend is not None else None
    engine = snapshot.engine(run.run_id) if snapshot is not None else None
    limits = [gpu.power_limit for gpu in gpus]
    seats = _count(recipe.get("max_num_seqs")) or (rules.users if rules is not None and rules.users > 1 else None)
    plain = recipe.get("kv_cache_dtype", "auto") == "auto"
    live = present and run.state in ANSWERING
    return EngineFacts(
        seats=seats,
        batched=_count(recipe.get("max_num_batched_tokens")),
        kv_tokens=engine.kv_tokens_total if engine is not None else None,
        small_cache=rules.small_cache if rules is not None and plain else "",
        gpus=len(gpus),
        power_limit=sum(one for one in limits if one is not None) if limits and None not in limits else None,
        link=min((one for gpu in gpus if (one := _link(gpu)) is not None), default=None),
        throttled=tuple(dict.fromkeys(str(one) for gpu in gpus for one in gpu.throttle)) if live else (),
        sleep=engine.sleep if live and engine is not None and engine.sleep not in (None, "awake") else "",
        imbalance=_times(engine.imbalance) if live and engine is not None else None,
        ranks=len(engine.ranks) if engine is not None else 0,
        others=_others(run, gpus) if live else (),
        silent=(engine.error or "") if live and engine is not None else "",
    )


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _link(gpu: Gpu) -> float | None:
    lane = LANE.get(gpu.pcie_generation or 0)
    return lane * gpu.pcie_width if lane is not None and gpu.pcie_width else None


def _others(run: RunView, gpus: Sequence[Gpu]) -> tuple[tuple[str, float], ...]:
    """Return who else computes on these GPUs: their run, or user and program, and percent of one GPU."""
    found: dict[str, float] = {}
    for gpu in gpus:
        for one in gpu.processes:
            if one.run_id == run.run_id or not one.sm:
                continue
            name = one.run_id or " ".join(part for part in (one.user, one.command) if part) or f"process {one.pid}"
            found[name] = max(found.get(name, 0.0), float(one.sm))
    return tuple(sorted(found.items(), key=lambda each: each[1], reverse=True))


def asked_for(rows: Iterable[AskedBy]) -> AskedFor:
    """Return what several keys asked, together."""
    every = list(rows)
    number = sum(one.number for one in every)
    if not number:
        return AskedFor()
    known = sum(one.prompts_known for one in every)
    busiest = max(every, key=lambda one: one.number)
    waits = [one.longest for one in every if one.longest is not None]
    return AskedFor(
        number,
        sum(one.prompt_tokens for one in every) / known if known else None,
        max(waits, default=None),
        busiest.name,
        busiest.number / number,
        busiest.has_key,
    )


def _times(imbalance: float | None) -> float | None:
    """Return what the busiest rank has as a multiple of the mean."""
    return None if imbalance is None else 1 + imbalance
