"""Rows of the monitor: processes on GPUs, and the host."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.gpus import GpuProcess
from vllm_studio_tui.domain.sample import Host
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.tui.look.sizes import Size, margin
from vllm_studio_tui.tui.paint import charts
from vllm_studio_tui.tui.paint.glyphs import Glyphs
from vllm_studio_tui.tui.paint.ink import Row
from vllm_studio_tui.tui.paint.table import Column, lay_out, natural_widths, put_heads, put_values

if TYPE_CHECKING:
    from vllm_studio_tui.services.watching.snapshot import Snapshot


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
    whole: Counter[int] = Counter()
    for process, _ in found:
        whole[process.pid] += process.gpu_memory or 0
    # A process on several GPUs stands together in their order: what it has on each differs by little, and changes.
    found.sort(key=lambda item: (-whole[item[0].pid], item[0].pid, item[1]))
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
