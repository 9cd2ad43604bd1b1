"""Which charts the monitor has: in groups by run, and which of them are shown where there is not room for all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.custom_metric import CustomMetric, custom_series
from vllm_studio_tui.domain.engine_metrics import EngineMetrics
from vllm_studio_tui.domain.run import ANSWERING, State
from vllm_studio_tui.domain.series import GpuSeries, HostSeries, RunSeries, TotalSeries
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.ring import average
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.tui.paint.gpu_owners import owners

if TYPE_CHECKING:
    from vllm_studio_tui.services.watching.snapshot import Snapshot

#: Lanes that the first group keeps more than the others where there is not room for all.
FIRST = 3


@dataclass(frozen=True, slots=True)
class Lane:
    """The chart of a value over time.

    Attributes:
        series: The names of its series; of several, `together` makes one value.
        top: The value of the highest column; None: somewhat more than the largest value.
        limit: Columns over it are drawn as a warning.
        rank: Where there is not room for all lanes of a group, those with the highest go first.
        worse: 1: more is worse; -1: less is; 0: neither.
        least: A difference that is smaller says nothing.
        alarms: Columns at the multiple of what is usual are drawn as a warning.
    """

    label: str
    series: tuple[str, ...]
    form: Callable[[float | None], str]
    top: float | None = None
    limit: float | None = None
    together: Callable[[Sequence[float]], float] = sum
    rank: float = 9.0
    worse: int = 0
    least: float = 0.0
    alarms: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """Lanes that belong together: to a run, or to the host.

    Attributes:
        run_id: The run; empty for those of the host and of other GPUs.
    """

    title: str
    lanes: tuple[Lane, ...]
    state: State | None = None
    run_id: str = ""


def _whole(value: float | None) -> str:
    return numbers.count(value)


def _percent(value: float | None) -> str:
    return numbers.percent(value / 100 if value is not None else None)


def groups(snapshot: Snapshot, *, titles: bool = True) -> list[Group]:
    """Return the charts of each run that answers, the busiest first, of those that load, of other GPUs, of the host.

    Args:
        titles: Name the runs also where one alone answers: its charts need no name.
    """
    owned = owners(snapshot.tick.gpus, snapshot.runs)

    def speed(run: RunView) -> float:
        engine = snapshot.engine(run.run_id)
        return engine.generation_tokens_per_second or 0.0 if engine is not None else 0.0

    shown = sorted((run for run in snapshot.runs if run.state in ANSWERING), key=speed, reverse=True)
    titles = titles or len(shown) > 1
    shown += [run for run in snapshot.runs if run.live and run.state not in ANSWERING]
    made, left = [], {gpu.index: gpu for gpu in snapshot.tick.gpus.gpus}
    for run in shown:
        here = [gpu for gpu in left.values() if any(owner.run is run for owner in owned[gpu.index])]
        for gpu in here:
            del left[gpu.index]
        answers = run.state in ANSWERING
        lanes = _engine(run.run_id, snapshot.engine(run.run_id)) if answers else ()
        lanes += _gpus([(gpu.index, gpu.uuid) for gpu in here], answers=answers)
        if lanes:
            made.append(Group(run.name if titles else "", lanes, run.state, run.run_id))
    rest = [lane for gpu in left.values() for lane in _gpus([(gpu.index, gpu.uuid)], answers=False)[:1]]
    if rest:
        made.append(Group("other GPUs" if titles else "", tuple(rest)))
    host = [
        Lane("host CPU", (HostSeries.CPU,), _percent, 100.0, rank=1),
        Lane("host memory", (HostSeries.MEMORY,), numbers.percent, 1.0, 0.95, rank=2),
    ]
    if snapshot.tick.gpus.gpus:
        host.insert(0, Lane("power of all", (TotalSeries.POWER,), numbers.power, rank=3))
    return [*made, Group("", tuple(host))]


def _engine(run_id: str, metrics: EngineMetrics | None) -> tuple[Lane, ...]:
    def lane(label: str, series: RunSeries, form: Callable[[float | None], str], rank: float) -> Lane:
        return Lane(label, (series.of(run_id),), form, rank=rank)

    custom = metrics.custom if metrics is not None else ()
    return (
        replace(lane("output tok/s", RunSeries.OUTPUT, numbers.rate, 0), worse=-1, least=1.0),
        lane("prompt tok/s", RunSeries.INPUT, numbers.rate, 8),
        lane("running", RunSeries.RUNNING, _whole, 7),
        replace(lane("waiting", RunSeries.WAITING, _whole, 3), worse=1, least=2.0),
        Lane("KV cache", (RunSeries.KV_CACHE.of(run_id),), numbers.percent, 1.0, 0.95, rank=1),
        replace(lane("TTFT p95", RunSeries.TTFT, numbers.latency, 2), worse=1, least=0.05, alarms=True),
        *(_custom(run_id, one.metric) for one in custom),
        replace(lane("ITL p95", RunSeries.ITL, numbers.latency, 5), worse=1, least=0.002, alarms=True),
    )


def _custom(run_id: str, metric: CustomMetric) -> Lane:
    """Return the chart of a metric that was added: whoever adds one wants to see it, so it goes late."""
    top = 1.0 if metric.unit == "ratio" else None
    series = (custom_series(run_id, metric.name),)
    return Lane(metric.label, series, lambda value: metric.text(value, "–"), top, rank=2.5)


def _gpus(gpus: Sequence[tuple[int, str]], *, answers: bool) -> tuple[Lane, ...]:
    """Return the charts of the GPUs of a run, given by index and UUID: mean use, power together.

    Args:
        answers: The run has charts of its own beside them.
    """
    if not gpus:
        return ()
    which = " ".join(str(index) for index, _ in gpus) if len(gpus) <= 4 else f"{gpus[0][0]}-{gpus[-1][0]}"
    use = tuple(GpuSeries.UTILIZATION.of(uuid) for _, uuid in gpus)
    power = tuple(GpuSeries.POWER.of(uuid) for _, uuid in gpus)
    return (
        Lane(f"GPU {which} util", use, _percent, 100.0, together=average, rank=6 if answers else 0),
        Lane(f"GPU {which} power", power, numbers.power, rank=4),
    )


def that_fit(wanted: Sequence[Group], known: Callable[[str], bool], room: int) -> list[Group]:
    """Return what fits into some rows: groups lose lanes by their rank, the first one least, then the last groups go.

    Args:
        known: Whether there is a series of this name.
    """
    found = []
    for group in wanted:
        lanes = tuple(lane for lane in group.lanes if any(map(known, lane.series)))
        if lanes:
            found.append(replace(group, lanes=lanes))

    def rows(some: Sequence[Group]) -> int:
        return sum(len(group.lanes) + bool(group.title) for group in some)

    while found and rows(found) > room:
        at = max(reversed(range(len(found))), key=lambda index: len(found[index].lanes) - (0 if index else FIRST))
        longest = found[at]
        if len(longest.lanes) > 1:
            found[at] = _without_one(longest)
        elif len(found) > 1:
            found.pop()
        elif longest.title:
            found[0] = replace(longest, title="")
        else:
            found[0] = replace(longest, lanes=longest.lanes[:room])
            break
    return found


def _without_one(group: Group) -> Group:
    """Return a group without the lane that is missed least; of several the last."""
    last = max(range(len(group.lanes)), key=lambda index: (group.lanes[index].rank, index))
    return replace(group, lanes=tuple(lane for index, lane in enumerate(group.lanes) if index != last))
