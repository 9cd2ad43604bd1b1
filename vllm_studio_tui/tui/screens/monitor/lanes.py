"""The charts of the monitor: which there are, in groups by run, and their rows on a common time axis."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.custom_metric import CustomMetric, custom_series
from vllm_studio_tui.domain.engine_metrics import EngineMetrics
from vllm_studio_tui.domain.run import ANSWERING, State
from vllm_studio_tui.domain.series import GpuSeries, HostSeries, RunSeries, TotalSeries
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.ring import average
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.tui.look.sizes import Size, margin
from vllm_studio_tui.tui.paint import charts
from vllm_studio_tui.tui.paint.events import Event
from vllm_studio_tui.tui.paint.glyphs import Glyphs
from vllm_studio_tui.tui.paint.gpu_owners import owners
from vllm_studio_tui.tui.paint.ink import Row

if TYPE_CHECKING:
    from vllm_studio_tui.services.watching.snapshot import Snapshot

#: The highest value of a chart without a scale of its own stands at this share of its height.
HEADROOM = 0.8
#: Lanes that the first group keeps more than the others where there is not room for all.
FIRST = 3
#: Cells of the column of a value.
VALUE = 10


@dataclass(frozen=True, slots=True)
class Lane:
    """The chart of a value over time.

    Attributes:
        series: The names of its series; of several, `together` makes one value.
        top: The value of the highest column; None: somewhat more than the largest value.
        limit: Columns over it are drawn as a warning.
    """

    label: str
    series: tuple[str, ...]
    form: Callable[[float | None], str]
    top: float | None = None
    limit: float | None = None
    together: Callable[[Sequence[float]], float] = sum


@dataclass(frozen=True, slots=True)
class Group:
    """Lanes that belong together: to a run, or to the host. The most useful come first."""

    title: str
    lanes: tuple[Lane, ...]
    state: State | None = None


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
        lanes = _engine(run.run_id, snapshot.engine(run.run_id)) if run.state in ANSWERING else ()
        lanes += _gpus([(gpu.index, gpu.uuid) for gpu in here])
        if lanes:
            made.append(Group(run.name if titles else "", lanes, run.state))
    rest = [lane for gpu in left.values() for lane in _gpus([(gpu.index, gpu.uuid)])[:1]]
    if rest:
        made.append(Group("other GPUs" if titles else "", tuple(rest)))
    host = [
        Lane("host CPU", (HostSeries.CPU,), _percent, 100.0),
        Lane("host memory", (HostSeries.MEMORY,), numbers.percent, 1.0, 0.95),
    ]
    if snapshot.tick.gpus.gpus:
        host.insert(0, Lane("power of all", (TotalSeries.POWER,), numbers.power))
    return [*made, Group("", tuple(host))]


def _engine(run_id: str, metrics: EngineMetrics | None) -> tuple[Lane, ...]:
    def lane(label: str, series: RunSeries, form: Callable[[float | None], str]) -> Lane:
        return Lane(label, (series.of(run_id),), form)

    return (
        lane("output tok/s", RunSeries.OUTPUT, numbers.rate),
        Lane("KV cache", (RunSeries.KV_CACHE.of(run_id),), numbers.percent, 1.0, 0.95),
        lane("TTFT p95", RunSeries.TTFT, numbers.latency),
        *(_custom(run_id, one.metric) for one in (metrics.custom if metrics is not None else ())),
        lane("running", RunSeries.RUNNING, _whole),
        lane("waiting", RunSeries.WAITING, _whole),
        lane("ITL p95", RunSeries.ITL, numbers.latency),
        lane("prompt tok/s", RunSeries.INPUT, numbers.rate),
    )


def _custom(run_id: str, metric: CustomMetric) -> Lane:
    """Return the chart of a metric that was added: whoever adds one wants to see it, so it comes early."""
    series = (custom_series(run_id, metric.name),)
    return Lane(metric.label, series, lambda value: metric.text(value, "–"), 1.0 if metric.unit == "ratio" else None)


def _gpus(gpus: Sequence[tuple[int, str]]) -> tuple[Lane, ...]:
    """Return the charts of the GPUs of a run, given by index and UUID: mean use, power together."""
    if not gpus:
        return ()
    which = " ".join(str(index) for index, _ in gpus) if len(gpus) <= 4 else f"{gpus[0][0]}-{gpus[-1][0]}"
    use = tuple(GpuSeries.UTILIZATION.of(uuid) for _, uuid in gpus)
    power = tuple(GpuSeries.POWER.of(uuid) for _, uuid in gpus)
    return (
        Lane(f"GPU {which} util", use, _percent, 100.0, together=average),
        Lane(f"GPU {which} power", power, numbers.power),
    )


def that_fit(wanted: Sequence[Group], known: Callable[[str], bool], room: int) -> list[Group]:
    """Return what fits into some rows: groups lose their last lanes, the first one least, then the last groups go.

    Args:
        known: Whether there is a series of this name.
    """
    found = []
    for group in wanted:
        lanes = tuple(lane for lane in group.lanes if any(map(known, lane.series)))
        if lanes:
            found.append(Group(group.title, lanes, group.state))

    def rows(some: Sequence[Group]) -> int:
        return sum(len(group.lanes) + bool(group.title) for group in some)

    while found and rows(found) > room:
        at = max(reversed(range(len(found))), key=lambda index: len(found[index].lanes) - (0 if index else FIRST))
        longest = found[at]
        if len(longest.lanes) > 1:
            found[at] = Group(longest.title, longest.lanes[:-1], longest.state)
        elif len(found) > 1:
            found.pop()
        elif longest.title:
            found[0] = Group("", longest.lanes, longest.state)
        else:
            found[0] = Group("", longest.lanes[:room])
            break
    return found


@dataclass(frozen=True, slots=True)
class Axis:
    """The time axis of the charts.

    Attributes:
        span: Its seconds.
        at: The time at its right end, in seconds since the epoch.
        now: The present.
        cursor: A column counted from the right; None for no cursor.
        held: The picture stands still.
    """

    span: float
    at: float
    now: float
    cursor: int | None = None
    held: bool = False


def rows(
    shown: Sequence[Group],
    over: Callable[[str, int], list[float | None]],
    events: Sequence[Event],
    axis: Axis,
    glyphs: Glyphs,
    width: int,
    size: Size,
) -> list[Row]:
    """Draw charts on a common time axis, with the marks of events and the column of the cursor.

    Args:
        over: Returns the values of a series by column, the newest last.
    """
    x = margin(size)
    start = x + 20 if size >= Size.BASE else x + 18
    second = VALUE if size >= Size.WIDE or axis.cursor is not None else 0
    count = max(1, width - start - VALUE - 1 - second)
    column = None if axis.cursor is None else count - 1 - min(axis.cursor, count - 1)
    made = [_head(axis, x, start, count, column)]
    for group in shown:
        if group.title:
            row = Row()
            at = x
            if group.state is not None:
                mark, colour = glyphs.state(group.state)
                at = row.put(x, mark, colour) + 1
            row.put(at, group.title, "fg bold", start + count - at)
            made.append(row)
        made += [_lane(lane, over, glyphs, x, start, count, column) for lane in group.lanes]
    happened, times = Row(), Row()
    happened.put(x, "events", "dim")
    happened.put(start, glyphs.hairline * count, "track")
    for event in reversed(list(events)):
        offset = (axis.at - event.at) / axis.span
        if 0 <= offset < 1:
            mark, colour = glyphs.state(event.state)
            happened.put(start + count - 1 - int(offset * count), mark, colour)
    times.put(start, numbers.moment(axis.at - axis.span, axis.now), "faint")
    times.put_right(start + count, numbers.moment(axis.at, axis.now), "faint")
    if column is not None:
        for row in [*made[1:], happened]:
            row.put(start + column, glyphs.inside, "accent")
    return [*made, happened, times]


def _head(axis: Axis, x: int, start: int, count: int, column: int | None) -> Row:
    row = Row()
    span = numbers.duration(axis.span).removesuffix("00s").removesuffix("00m")
    after = row.run(x, [("TIME", "dim bold"), (f"  {span}", "faint")])
    if axis.held:
        row.put(after + 2, f"held at {numbers.moment(axis.at, axis.now)}", "warn")
    else:
        row.put_right(start + count + VALUE, "now", "faint")
    if column is not None:
        moment = axis.at - axis.span * (count - column - 0.5) / count
        row.put_right(start + count + 2 * VALUE, time.strftime("%H:%M:%S", time.localtime(moment)), "accent")
    return row


def _lane(
    lane: Lane,
    over: Callable[[str, int], list[float | None]],
    glyphs: Glyphs,
    x: int,
    start: int,
    count: int,
    column: int | None,
) -> Row:
    values = _combined([over(name, count) for name in lane.series], lane.together)
    known = [value for value in values if value is not None]
    top = lane.top if lane.top is not None else max(known, default=0.0) / HEADROOM
    row = Row()
    (parts,) = charts.columns(glyphs, values, 1, top, limit=lane.limit)
    row.run(start, parts)
    row.put(x, lane.label, "dim", start - x - 1)
    row.put_right(start + count + VALUE, lane.form(values[-1]) if values else glyphs.unknown, "fg bold")
    if column is not None:
        row.put_right(start + count + 2 * VALUE, lane.form(values[column]) if column < len(values) else "", "accent")
    return row


def _combined(
    series: Sequence[Sequence[float | None]], together: Callable[[Sequence[float]], float]
) -> list[float | None]:
    """Return one value for each column: unknown where no series knows it."""
    if len(series) == 1:
        return list(series[0])
    found: list[float | None] = []
    for values in zip(*series, strict=True):
        known = [value for value in values if value is not None]
        made = together(known) if known else None
        found.append(made if made is not None and math.isfinite(made) else None)
    return found
