"""GPUs as rows: utilization, memory, power, temperature, and whose they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len

from vllm_studio_tui.domain.metrics import Gpu, GpuReport, Throttle
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.tui.look.sizes import Size
from vllm_studio_tui.tui.paint import charts
from vllm_studio_tui.tui.paint.glyphs import Glyphs
from vllm_studio_tui.tui.paint.ink import Row

#: Degrees from which a GPU is warm enough to say so.
HOT = 87
SLOWED = {
    Throttle.POWER_CAP: "power limit",
    Throttle.HARDWARE: "hardware slowdown",
    Throttle.HARDWARE_THERMAL: "heat",
    Throttle.SOFTWARE_THERMAL: "heat",
    Throttle.POWER_BRAKE: "power brake",
}
#: Stands beside the figures of a GPU that is slowed down, where there is no room for words.
SLOW_MARK = "!"


@dataclass(frozen=True, slots=True)
class Owner:
    """Who uses a GPU. `run` where it is ours."""

    words: str
    run: RunView | None = None
    state: State | None = None


def owners(report: GpuReport, runs: Sequence[RunView]) -> dict[int, list[Owner]]:
    """By GPU index: the runs that claim it or have processes on it, and processes that are not ours."""
    by_id = {run.run_id: run for run in runs}
    found: dict[int, list[Owner]] = {}
    for gpu in report.gpus:
        here: dict[str, Owner] = {}
        for process in gpu.processes:
            run = by_id.get(process.run_id or "")
            if run is not None:
                here[run.run_id] = Owner(run.name, run, run.state)
            elif not report.simulated:
                name = process.user or "somebody"
                here[f"pid {process.pid}"] = Owner(f"used by {name} {process.pid}")
        for run in runs:
            claimed = run.spec.gpus if run.spec is not None and run.live else ()
            if run.run_id not in here and (str(gpu.index) in claimed or gpu.uuid in claimed):
                here[run.run_id] = Owner(run.name, run, run.state)
        found[gpu.index] = list(here.values())
    return found


def head(report: GpuReport, glyphs: Glyphs, x: int, width: int, size: Size) -> Row:
    """The section's title: how many of which, the driver, the power."""
    row = Row()
    at = row.put(x, "GPUS", "dim bold") + 2
    if report.simulated:
        at = row.put(at, "SIMULATED", "warn bold") + 2
    names = list(dict.fromkeys(gpu.name for gpu in report.gpus))
    if names:
        kinds = "   ".join(f"{sum(gpu.name == name for gpu in report.gpus)} x {_short(name)}" for name in names[:3])
        at = row.put(at, kinds, "dim", max(0, width - at - 30)) + 3
    if report.driver and size >= Size.WIDE:
        at = row.put(at, f"driver {report.driver}", "dim") + 3
    drawn = [gpu.power_draw for gpu in report.gpus if gpu.power_draw is not None]
    limits = [gpu.power_limit for gpu in report.gpus if gpu.power_limit is not None]
    if drawn:
        text = numbers.power(sum(drawn))
        if limits and len(limits) == len(report.gpus):
            text = f"{_in_kw(sum(drawn))} of {_in_kw(sum(limits))} kW"
        at = row.put(at, text, "dim") + 3
    if report.stale is not None:
        row.put(
            at, f"readings stopped {numbers.duration(report.stale)} ago, starting the reader again", "warn", width - at
        )
    return row


def _in_kw(watts: float) -> str:
    return f"{watts / 1000:.2f}"


def _short(name: str) -> str:
    return name.removeprefix("NVIDIA ").removeprefix("GeForce ").strip()


def none_row(report: GpuReport | None, x: int, width: int) -> Row:
    row = Row()
    at = row.put(x, "GPUS", "dim bold") + 2
    if report is not None and report.error is None:
        row.put(at, "reading", "faint")  # the first answer of the driver is not there yet
        return row
    why = report.error if report is not None and report.error else "No NVIDIA GPU seen"
    row.put(at, f"{why}. The rest works: see doctor.", "dim", max(0, width - at - 1))
    return row


def table(
    report: GpuReport,
    runs: Sequence[RunView],
    glyphs: Glyphs,
    width: int,
    size: Size,
    *,
    detail: bool = False,
    names: bool = False,
) -> list[Row]:
    """One row a GPU; more than eight in two columns where there is room, in strips two a row."""
    if size <= Size.STRIP:
        return _pairs(report, glyphs, width)
    whose = owners(report, runs)
    if len(report.gpus) > 8 and width >= 72 and not detail:
        return _pairs(report, glyphs, width, indent=2 if size >= Size.BASE else 1)
    marks = _joins(report.gpus, whose, glyphs)
    stale = report.stale is not None
    return [
        _row(
            gpu, whose[gpu.index], marks[index], glyphs, width, size,
            stale=stale or gpu.stale is not None, detail=detail, name=names,
        )
        for index, gpu in enumerate(report.gpus)
    ]  # fmt: skip


def heads(width: int, size: Size, *, detail: bool = False) -> Row:
    """The heads of the columns at full and wide size."""
    row = Row()
    if size >= Size.WIDE:
        row.put(6, "util", "faint")
        row.put(34, "memory", "faint")
        row.put(78, "power", "faint")
        row.put(93, "temp", "faint")
        x = 101
        if detail and size == Size.FULL:
            row.put(101, "clock", "faint")
            row.put(110, "fan", "faint")
            x = 118
        row.put(x, "used by", "faint")
    return row


def _row(
    gpu: Gpu,
    whose: Sequence[Owner],
    join: str,
    glyphs: Glyphs,
    width: int,
    size: Size,
    *,
    stale: bool,
    detail: bool,
    name: bool,
) -> Row:
    row = Row()
    value = "dim" if stale else "fg"
    tilde = "~" if stale else ""
    share = gpu.utilization / 100 if gpu.utilization is not None else None
    memory = gpu.memory_used / gpu.memory_total if gpu.memory_used is not None and gpu.memory_total else None
    unknown = glyphs.unknown
    use = unknown if gpu.utilization is None else f"{tilde}{gpu.utilization}%"
    if gpu.lost is not None and size < Size.BASE:
        use = "lost"
    temperature = unknown if gpu.temperature is None else f"{gpu.temperature}{glyphs.degree}"
    heat = "warn" if (gpu.temperature or 0) >= HOT else value
    if size >= Size.WIDE:
        row.put(3, str(gpu.index), "fg bold")
        row.put_right(11, use, value)
        charts.put_bar(row, 12, glyphs, share, 18)
        row.put_right(54, numbers.memory(gpu.memory_used, gpu.memory_total, unknown=unknown), value)
        charts.put_bar(row, 56, glyphs, memory, 18)
        draw = unknown if gpu.power_draw is None else f"{gpu.power_draw:.0f}"
        limit = f" / {gpu.power_limit:.0f} W" if gpu.power_limit is not None else " W"
        row.put_right(90, f"{draw}{limit}", value)
        row.put_right(97, temperature, heat)
        x = 101
        if detail and size == Size.FULL:
            row.put_right(108, unknown if gpu.sm_clock is None else f"{gpu.sm_clock}", value)
            row.put_right(113, unknown if gpu.fan is None else f"{gpu.fan}%", value)
            x = 118
        _owners(row, gpu, whose, join, glyphs, x - 2, width, marks=True)
        return row
    start = 2 if size == Size.BASE else 1
    row.put(start, str(gpu.index), "fg bold")
    row.put_right(start + 7, use, value)
    charts.put_bar(row, start + 8, glyphs, share, 10)
    row.put_right(start + 32 if size == Size.BASE else start + 29,
                  numbers.memory(gpu.memory_used, gpu.memory_total, tight=True, unknown=unknown), value)  # fmt: skip
    x = start + 34 if size == Size.BASE else start + 31
    charts.put_bar(row, x, glyphs, memory, 10)
    row.put_right(x + 16, numbers.power(gpu.power_draw, unknown), value)
    row.put_right(x + 23, temperature, heat)
    if gpu.throttle and size < Size.BASE:
        row.put(x + 24, SLOW_MARK, "warn")
    if size == Size.BASE:
        _owners(row, gpu, whose, join, glyphs, x + 25, width, marks=False)
    return row


def _owners(
    row: Row, gpu: Gpu, whose: Sequence[Owner], join: str, glyphs: Glyphs, x: int, width: int, *, marks: bool
) -> None:
    room = width - x - 3
    if room < 4:
        return
    row.put(x, join, "track")
    x += 2
    if gpu.lost is not None:
        row.put(x, f"not answering: {gpu.lost}", "err", room)
        return
    if gpu.trouble is not None:
        x = row.put(x, gpu.trouble, "warn", room) + 2
        room = width - x - 3
        if room < 4:
            return
    names = ", ".join(owner.words for owner in whose) or ("free" if gpu.free else _held(gpu))
    colour = "faint" if gpu.free and not whose else "fg" if whose and whose[0].run is not None else "dim"
    if join in (glyphs.join_last, glyphs.join_middle):
        names = ""  # its run is named above
    slow = f"slowed: {SLOWED[gpu.throttle[0]]}" if gpu.throttle else ""
    if slow and len(slow) + 4 + cell_len(names) > room:
        # Not enough room for both: that it is slow is the news.
        x = row.put(x, "slowed", "warn") + 2
        room, slow = width - x - 3, ""
    if names and marks and whose and whose[0].state is not None:
        mark, shade = glyphs.state(whose[0].state)
        x = row.put(x, mark, shade) + 1
        room -= 2
    if names and room >= 2:
        x = row.put(x, names, colour, room) + 2
    row.put(x, slow, "warn")


def _held(gpu: Gpu) -> str:
    """Of a GPU that no run has and that is not free, what is known."""
    if gpu.memory_used is None:
        return "memory not told"
    return f"{numbers.gib(gpu.memory_used)} GiB in use"


def _joins(gpus: Sequence[Gpu], whose: Mapping[int, Sequence[Owner]], glyphs: Glyphs) -> list[str]:
    """Brackets that join neighbouring GPUs of one run."""

    def key(index: int) -> str | None:
        if not 0 <= index < len(gpus):
            return None
        here = whose[gpus[index].index]
        return here[0].run.run_id if len(here) == 1 and here[0].run is not None else None

    marks = []
    for index in range(len(gpus)):
        own = key(index)
        above, below = own is not None and key(index - 1) == own, own is not None and key(index + 1) == own
        if above and below:
            marks.append(glyphs.join_middle)
        elif below:
            marks.append(glyphs.join_first)
        elif above:
            marks.append(glyphs.join_last)
        else:
            marks.append(" ")
    return marks


def _pairs(report: GpuReport, glyphs: Glyphs, width: int, *, indent: int = 0) -> list[Row]:
    """Two GPUs a row."""
    half = (width - indent) // 2
    rows = []
    gpus = report.gpus
    count = (len(gpus) + 1) // 2
    for line in range(count):
        row = Row()
        for column, index in enumerate((line * 2, line * 2 + 1)):
            if index >= len(gpus):
                continue
            gpu = gpus[index]
            x = indent + column * half
            number = str(gpu.index)
            row.put(x, number, "fg bold")
            share = gpu.utilization / 100 if gpu.utilization is not None else None
            bar = half - 16 - len(number)
            charts.put_bar(row, x + len(number) + 1, glyphs, share, bar)
            end = x + len(number) + 1 + max(0, bar)
            use = glyphs.unknown if gpu.utilization is None else f"{gpu.utilization}%"
            row.put_right(end + 5, "lost" if gpu.lost is not None else use, "err" if gpu.lost is not None else "fg")
            if gpu.throttle:
                row.put(end + 5, SLOW_MARK, "warn")
            text = glyphs.unknown if gpu.memory_used is None else f"{gpu.memory_used / numbers.GIB:.0f}G"
            row.put_right(end + 11, text, "dim")
        rows.append(row)
    return rows
