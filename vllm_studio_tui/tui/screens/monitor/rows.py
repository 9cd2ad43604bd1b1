"""Rows of the monitor: processes on GPUs, and the host."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.gpus import GpuProcess
from vllm_studio_tui.domain.sample import Host
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.tui.look.sizes import Size, margin
from vllm_studio_tui.tui.paint import charts
from vllm_studio_tui.tui.paint.glyphs import Glyphs
from vllm_studio_tui.tui.paint.ink import Ink, Row, cut_lines
from vllm_studio_tui.tui.paint.table import Column, lay_out, natural_widths, put_heads, put_values

if TYPE_CHECKING:
    from vllm_studio_tui.services.watching.snapshot import Snapshot

#: The beginning of the keys of processes.
PROCESS = "pid:"


@dataclass(frozen=True, slots=True)
class Seen:
    """A process on GPUs, and the run that owns it.

    Attributes:
        process: With the memory that it has on all of them.
        gpus: Their indices.
        run: The name of the run; None for a process of somebody else.
    """

    process: GpuProcess
    gpus: tuple[int, ...]
    run: str | None
    glyphs: Glyphs

    @property
    def key(self) -> str:
        return f"{PROCESS}{self.process.pid}"

    @property
    def where(self) -> str:
        """The GPUs, in few cells."""
        first, last = self.gpus[0], self.gpus[-1]
        if len(self.gpus) > 3 and self.gpus == tuple(range(first, last + 1)):
            return f"{first}-{last}"
        return " ".join(map(str, self.gpus))


PROCESS_COLUMNS: tuple[Column[Seen], ...] = (
    Column("GPU", lambda one: [(one.where, "fg bold")], 5, right=True),
    Column("pid", lambda one: [(str(one.process.pid), "fg")], 6, right=True),
    Column("user", lambda one: [(one.process.user or one.glyphs.unknown, "dim")], 6, grow=3, drop=2),
    Column("memory", lambda one: [(numbers.size(one.process.gpu_memory, one.glyphs.unknown), "fg")], 8, right=True),
    Column("run", lambda one: [(one.run or "not ours", "fg" if one.run else "faint")], 10, grow=1),
    Column("command", lambda one: [(one.process.command or "", "dim")], 10, grow=4, drop=1),
)


def seen_processes(snapshot: Snapshot, glyphs: Glyphs) -> list[Seen]:
    """Return the processes on GPUs, those that have the most memory first."""
    names = {run.run_id: run.name for run in snapshot.every}
    found: dict[int, list[tuple[GpuProcess, int]]] = {}
    for gpu in snapshot.tick.gpus.gpus:
        for process in gpu.processes:
            found.setdefault(process.pid, []).append((process, gpu.index))
    made = []
    for parts in found.values():
        known = [one.gpu_memory for one, _ in parts if one.gpu_memory is not None]
        whole = replace(parts[0][0], gpu_memory=sum(known) if known else None)
        made.append(Seen(whole, tuple(index for _, index in parts), names.get(whole.run_id or ""), glyphs))
    return sorted(made, key=lambda one: (-(one.process.gpu_memory or 0), one.process.pid))


def processes(
    snapshot: Snapshot, glyphs: Glyphs, width: int, size: Size, room: int, *, whole: bool = False
) -> list[Row]:
    """Draw the processes on GPUs, with the runs that own them; with `whole` their commands whole, below each."""
    x = margin(size)
    head = Row()
    head.put(x, "PROCESSES", "dim bold")
    rows = [head]
    seen = seen_processes(snapshot, glyphs)
    columns = PROCESS_COLUMNS[:-1] if whole else PROCESS_COLUMNS
    cells = lay_out(columns, natural_widths(columns, seen), width - x - 2, x)
    rows.append(put_heads(cells, Row()))
    for one in seen:
        rows.append(put_values(cells, Row(key=one.key), one, glyphs))
        for line in cut_lines(one.process.command or "", width - x - 9, 3) if whole else ():
            row = Row(key=one.key)
            row.put(x + 7, line, "dim")
            rows.append(row)
    if not seen:
        none = Row()
        none.put(x, "No process is seen on a GPU.", "dim")
        rows.append(none)
    return rows if whole else rows[:room]


def details(one: Seen, ink: Ink, width: int) -> list[Row]:
    """Draw all that is known of a process."""
    process = one.process
    title = Row()
    title.put(3, f"Process {process.pid}", "fg bold")
    rows = [title, Row()]
    for name, text in (
        ("run", one.run or "none: the studio did not start it"),
        ("user", process.user or ink.glyphs.unknown),
        ("GPU", one.where),
        ("memory", numbers.size(process.gpu_memory, ink.glyphs.unknown)),
        ("command", process.command or ink.glyphs.unknown),
    ):
        for index, line in enumerate(cut_lines(text, max(8, width - 15), 8)):
            row = Row()
            row.put(3, name if index == 0 else "", "dim")
            row.put(12, line, "fg")
            rows.append(row)
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
