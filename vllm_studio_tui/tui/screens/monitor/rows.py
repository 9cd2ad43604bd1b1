"""Rows of the monitor: the host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vllm_studio_tui.domain.sample import Host
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.tui.look.sizes import Size, margin
from vllm_studio_tui.tui.paint import charts
from vllm_studio_tui.tui.paint.glyphs import Glyphs
from vllm_studio_tui.tui.paint.ink import Row

if TYPE_CHECKING:
    pass


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
