"""GPUs as rows: a title, and a table of utilization, memory, power, temperature and owners."""

from __future__ import annotations

from collections.abc import Sequence

from vllm_studio_tui.domain.gpus import GpuReport
from vllm_studio_tui.domain.xids import trouble_of
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.tui.look.sizes import Size
from vllm_studio_tui.tui.paint import charts
from vllm_studio_tui.tui.paint.glyphs import Glyphs
from vllm_studio_tui.tui.paint.gpu_columns import (
    BASE,
    COLUMNS,
    COMPACT,
    DETAIL,
    SLOW_MARK,
    START,
    USED_BY,
    WIDE,
    GpuLine,
)  # fmt: skip
from vllm_studio_tui.tui.paint.gpu_owners import Owner, brackets, draw_owners, owners
from vllm_studio_tui.tui.paint.ink import Row
from vllm_studio_tui.tui.paint.table import fixed, put_heads, put_values, start_of


def head(report: GpuReport, glyphs: Glyphs, x: int, width: int, size: Size) -> Row:
    """Draw the title: how many GPUs of which kind, the driver, the power."""
    row = Row()
    at = row.put(x, "GPUS", "dim bold") + 2
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
    """Say why no GPU is shown."""
    row = Row()
    at = row.put(x, "GPUS", "dim bold") + 2
    if report is not None and report.error is None:
        row.put(at, "reading", "faint")  # the driver has not answered yet
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
) -> list[Row]:
    """Draw a row for each GPU; two in a row where there are more than eight and room for it, and at small sizes."""
    if size <= Size.STRIP:
        return _pairs(report, glyphs, width)
    whose = owners(report, runs)
    if len(report.gpus) > 8 and width >= 72 and not detail:
        return _pairs(report, glyphs, width, indent=2 if size >= Size.BASE else 1)
    marks = brackets(report.gpus, whose, glyphs)
    stale = report.stale is not None
    layout = _layout(size, detail)
    return [
        _row(
            GpuLine(gpu, glyphs, layout, stale or gpu.stale is not None, trouble_of(gpu, report.at)),
            whose[gpu.index],
            mark,
            width,
            size,
        )
        for gpu, mark in zip(report.gpus, marks, strict=True)
    ]


def heads(size: Size, *, detail: bool = False) -> Row:
    """Draw the headings of the columns; for FULL and WIDE."""
    return put_heads(fixed(COLUMNS, _layout(size, detail), START[size]), Row(), left=True)


def _layout(size: Size, detail: bool) -> str:
    if size >= Size.WIDE:
        return DETAIL if detail and size == Size.FULL else WIDE
    return BASE if size == Size.BASE else COMPACT


def _row(line: GpuLine, whose: Sequence[Owner], bracket: str, width: int, size: Size) -> Row:
    cells = fixed(COLUMNS, line.layout, START[size])
    row = put_values(cells, Row(), line, line.glyphs)
    if line.layout != COMPACT:
        start = start_of(cells, USED_BY)
        # In the wide layouts the bracket is drawn before the column.
        start -= 2 if line.layout in (WIDE, DETAIL) else 0
        draw_owners(row, line, whose, bracket, start, width, marks=size >= Size.WIDE)
    return row


def _pairs(report: GpuReport, glyphs: Glyphs, width: int, *, indent: int = 0) -> list[Row]:
    """Draw two GPUs in a row."""
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
            bar = half - 14 - len(number)
            charts.put_bar(row, x + len(number) + 1, glyphs, share, bar)
            end = x + len(number) + 1 + max(0, bar)
            use = glyphs.unknown if gpu.utilization is None else f"{gpu.utilization}%"
            row.put_right(end + 5, "lost" if gpu.lost is not None else use, "err" if gpu.lost is not None else "fg")
            if gpu.throttle or trouble_of(gpu, report.at):
                row.put(end + 5, SLOW_MARK, "warn")
            text = glyphs.unknown if gpu.memory_used is None else f"{gpu.memory_used / numbers.GIB:.0f}G"
            row.put_right(end + 11, text, "dim")
        rows.append(row)
    return rows
