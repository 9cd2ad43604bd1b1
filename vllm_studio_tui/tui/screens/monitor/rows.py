"""The monitor as rows: engines, GPUs, processes, and charts of the history on a common time axis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.gpus import GpuProcess
from vllm_studio_tui.domain.run import ANSWERING
from vllm_studio_tui.domain.sample import Host
from vllm_studio_tui.domain.series import GpuSeries, HostSeries, RunSeries, TotalSeries
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.tui.look.sizes import Size, margin
from vllm_studio_tui.tui.paint import charts
from vllm_studio_tui.tui.paint.events import Event
from vllm_studio_tui.tui.paint.glyphs import Glyphs
from vllm_studio_tui.tui.paint.ink import Row
from vllm_studio_tui.tui.paint.table import Column, lay_out, natural_widths, put_heads, put_values

if TYPE_CHECKING:
    from vllm_studio_tui.services.watching.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Lane:
    """The chart of a value over time.

    Attributes:
        top: The value of the highest column; None: the largest value.
        limit: Columns over it are drawn as a warning.
    """

    label: str
    series: str
    form: Callable[[float | None], str]
    top: float | None = None
    limit: float | None = None


def whole(value: float | None) -> str:
    return numbers.count(value)


def lanes(snapshot: Snapshot) -> list[Lane]:
    """Return the charts, the most useful first: total output, the busiest engine, GPUs by run, power, the host."""
    out = [Lane("output tok/s", TotalSeries.OUTPUT, numbers.rate), Lane("requests", TotalSeries.RUNNING, whole)]
    ready = [run for run in snapshot.runs if run.state in ANSWERING]

    def speed(run_id: str) -> float:
        engine = snapshot.engine(run_id)
        return engine.generation_tokens_per_second or 0.0 if engine is not None else 0.0

    if ready:
        busiest = max(ready, key=lambda run: speed(run.run_id))
        out.append(Lane("KV cache", RunSeries.KV_CACHE.of(busiest.run_id), numbers.percent, 1.0, 0.95))
        out.append(Lane("TTFT p95", RunSeries.TTFT.of(busiest.run_id), numbers.latency))
    out += [
        Lane(f"GPU {gpu.index} util", GpuSeries.UTILIZATION.of(gpu.uuid), _percent, 100.0)
        for gpu in snapshot.tick.gpus.gpus[:8]
    ]
    if snapshot.tick.gpus.gpus:
        out.append(Lane("power all", TotalSeries.POWER, numbers.power))
    out.append(Lane("host CPU", HostSeries.CPU, _percent, 100.0))
    out.append(Lane("host memory", HostSeries.MEMORY, numbers.percent, 1.0, 0.95))
    return out


def _percent(value: float | None) -> str:
    return numbers.percent(value / 100 if value is not None else None)


@dataclass(frozen=True, slots=True)
class _Process:
    """A process on a GPU, and the run that owns it."""

    process: GpuProcess
    gpu: int
    run: str | None
    glyphs: Glyphs


PROCESS_COLUMNS: tuple[Column[_Process], ...] = (
    Column("GPU", lambda one: [(str(one.gpu), "fg bold")], 3, right=True),
    Column("pid", lambda one: [(str(one.process.pid), "fg")], 6, right=True),
    Column("user", lambda one: [(one.process.user or one.glyphs.unknown, "dim")], 6, grow=3, drop=2),
    Column("memory", lambda one: [(numbers.size(one.process.gpu_memory, one.glyphs.unknown), "fg")], 8, right=True),
    Column("run", lambda one: [(one.run or "not ours", "fg" if one.run else "faint")], 10, grow=1),
    Column("command", lambda one: [(one.process.command or "", "dim")], 10, grow=4, drop=1),
)


def processes(snapshot: Snapshot, glyphs: Glyphs, width: int, size: Size, room: int) -> list[Row]:
    """Draw the processes on GPUs, with the runs that own them."""
    x = margin(size)
    head = Row()
    head.put(x, "PROCESSES", "dim bold")
    rows = [head]
    names = {run.run_id: run.name for run in snapshot.every}
    found = [
        (process, gpu.index) for gpu in snapshot.tick.gpus.gpus for process in gpu.processes
    ]  # fmt: skip
    found.sort(key=lambda item: -(item[0].gpu_memory or 0))
    seen = [_Process(process, index, names.get(process.run_id or ""), glyphs) for process, index in found]
    cells = lay_out(PROCESS_COLUMNS, natural_widths(PROCESS_COLUMNS, seen), width - x - 2, x)
    rows.append(put_heads(cells, Row()))
    rows += [
        put_values(cells, Row(key=f"pid:{one.process.pid}:{one.gpu}"), one, glyphs) for one in seen[: max(0, room - 2)]
    ]
    if not found:
        none = Row()
        none.put(x, "No process is seen on a GPU.", "dim")
        rows.append(none)
    return rows


def history(
    wanted: Sequence[Lane],
    over: Callable[[str, int], list[float | None]],
    known: Callable[[str], bool],
    events: Sequence[Event],
    glyphs: Glyphs,
    width: int,
    size: Size,
    room: int,
    *,
    span: float,
    at: float,
    now: float,
    cursor: int | None,
    held: bool,
) -> list[Row]:
    """Draw charts on a common time axis, with the marks of events and the column of the cursor.

    Args:
        over: Returns the values of a series by column, the newest last.
        at: The time at the right edge, in seconds since the epoch.
        cursor: A column counted from the right; None for no cursor.
    """
    x = margin(size)
    start = x + 20 if size >= Size.BASE else x + 18
    second = 10 if size >= Size.WIDE or cursor is not None else 0
    count = max(1, width - start - 11 - second)
    tall = size == Size.FULL and room >= 22
    head = Row()
    title = f"{numbers.duration(span).removesuffix('00s').removesuffix('00m')}"
    after = head.run(x, [("TIME", "dim bold"), (f"  {title}", "faint")])
    if held:
        head.put(after + 2, f"held at {numbers.moment(at, now)}", "warn")
    head.put_right(start + count + 10, "now" if not held else "", "faint")
    column = None if cursor is None else count - 1 - min(cursor, count - 1)
    if column is not None:
        moment = at - span * (count - column - 0.5) / count
        import time

        head.put_right(start + count + 20, time.strftime("%H:%M:%S", time.localtime(moment)), "accent")
    rows = [head]
    lines = 3 if tall else 1
    most = max(1, (room - 3) // lines)
    for lane in [lane for lane in wanted if known(lane.series)][:most]:
        values = over(lane.series, count)
        numbers_at = [lane.form(values[-1]) if values else glyphs.unknown]
        if column is not None:
            numbers_at.append(lane.form(values[column]) if column < len(values) else glyphs.unknown)
        if tall:
            drawn = charts.columns(glyphs, values, 2, lane.top, limit=lane.limit)
            made = [Row(), Row()]
            for row, parts in zip(made, drawn, strict=True):
                row.run(start, parts)
            last = made[-1]
            rows += [*made, Row()]
        else:
            last = Row()
            last.run(start, charts.spark(glyphs, values, lane.top))
            rows.append(last)
        last.put(x, lane.label, "dim", start - x - 1)
        last.put_right(start + count + 10, numbers_at[0], "fg bold")
        if column is not None:
            last.put_right(start + count + 20, numbers_at[1], "accent")
    axis, times = Row(), Row()
    axis.put(x, "events", "dim")
    axis.put(start, glyphs.hairline * count, "track")
    for event in reversed(list(events)):
        offset = (at - event.at) / span
        if 0 <= offset < 1:
            mark, colour = glyphs.state(event.state)
            axis.put(start + count - 1 - int(offset * count), mark, colour)
    times.put(start, numbers.moment(at - span, now), "faint")
    times.put_right(start + count, numbers.moment(at, now), "faint")
    if column is not None:
        for row in [*rows[1:], axis]:
            row.put(start + column, glyphs.inside, "accent")
    return [*rows, axis, times][: max(1, room)]


def host_row(host: Host, glyphs: Glyphs, width: int, size: Size) -> Row:
    """Draw CPU, load and memory of the host."""
    x = margin(size)
    row = Row()
    x = row.put(x, "HOST", "dim bold") + 2
    cpu = host.cpu / 100 if host.cpu is not None else None
    x = row.put(x, "cpu", "dim") + 1
    charts.put_bar(row, x, glyphs, cpu, 10)
    x = row.put_right(x + 15, numbers.percent(cpu, glyphs.unknown), "fg") + 7
    if host.memory_total:
        x = row.put(x, "memory", "dim") + 1
        share = host.memory_used / host.memory_total if host.memory_used is not None else None
        charts.put_bar(row, x, glyphs, share, 10)
        x = row.put(x + 11, numbers.memory(host.memory_used, host.memory_total), "fg") + 3
    if host.load is not None and width - x > 24:
        x = row.run(x, [("load ", "dim"), (f"{host.load[0]:.2f} {host.load[1]:.2f} {host.load[2]:.2f}", "fg")]) + 3
    if host.cores and width - x > 12:
        row.run(x, [(f"{host.cores}", "fg"), (" cores", "dim")])
    return row
