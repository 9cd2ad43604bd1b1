"""The columns of the table of GPUs. A new column is one more entry of `COLUMNS`."""

from __future__ import annotations

from dataclasses import dataclass

from vllm_studio_tui.domain.gpus import Gpu, Throttle
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.tui.look.sizes import Size
from vllm_studio_tui.tui.paint import charts
from vllm_studio_tui.tui.paint.glyphs import Glyphs
from vllm_studio_tui.tui.paint.table import Column, Parts

#: The layouts of the table, the one with the most columns first. DETAIL is that of the monitor at full size.
DETAIL, WIDE, BASE, COMPACT = "detail", "wide", "base", "compact"
USED_BY = "used by"
#: Where the first column begins.
START = {Size.FULL: 3, Size.WIDE: 3, Size.BASE: 2, Size.COMPACT: 1}
#: Degrees Celsius from which a temperature is shown as a warning.
HOT = 87
#: Marks a GPU that is slowed down or in trouble, where there is no room for words.
SLOW_MARK = "!"
#: Why a GPU is slowed down.
SLOWED = {
    Throttle.POWER_CAP: "power limit",
    Throttle.HARDWARE: "hardware",
    Throttle.HARDWARE_THERMAL: "heat",
    Throttle.SOFTWARE_THERMAL: "heat",
    Throttle.POWER_BRAKE: "power brake",
}


@dataclass(frozen=True, slots=True)
class GpuLine:
    """What the columns need to draw a GPU."""

    gpu: Gpu
    glyphs: Glyphs
    layout: str
    stale: bool
    trouble: str | None = None

    @property
    def style(self) -> str:
        return "dim" if self.stale else "fg"

    @property
    def narrow(self) -> bool:
        return self.layout in (BASE, COMPACT)

    def bar(self, share: float | None) -> Parts:
        return charts.bar(self.glyphs, share, 10 if self.narrow else 14 if self.layout == DETAIL else 18)


def _utilization(line: GpuLine) -> Parts:
    gpu = line.gpu
    if gpu.lost is not None and line.layout == COMPACT:
        return [("lost", line.style)]
    text = line.glyphs.unknown if gpu.utilization is None else f"{'~' if line.stale else ''}{gpu.utilization}%"
    return [(text, line.style)]


def _memory(line: GpuLine) -> Parts:
    gpu = line.gpu
    text = numbers.memory(gpu.memory_used, gpu.memory_total, tight=line.narrow, unknown=line.glyphs.unknown)
    return [(text, line.style)]


def _power(line: GpuLine) -> Parts:
    gpu, unknown = line.gpu, line.glyphs.unknown
    if line.narrow:
        return [(numbers.power(gpu.power_draw, unknown), line.style)]
    drawn = unknown if gpu.power_draw is None else f"{gpu.power_draw:.0f}"
    limit = f" / {gpu.power_limit:.0f} W" if gpu.power_limit is not None else " W"
    return [(f"{drawn}{limit}", line.style)]


def _temperature(line: GpuLine) -> Parts:
    degrees = line.gpu.temperature
    text = line.glyphs.unknown if degrees is None else f"{degrees}{line.glyphs.degree}"
    return [(text, "warn" if (degrees or 0) >= HOT else line.style)]


def _link(line: GpuLine) -> Parts:
    """Return what goes over PCIe both ways."""
    known = [one for one in (line.gpu.pcie_rx, line.gpu.pcie_tx) if one is not None]
    return [(numbers.throughput(sum(known) if known else None, line.glyphs.unknown), line.style)]


def _slowed(line: GpuLine) -> Parts:
    if not line.gpu.throttle:
        return [(line.glyphs.unknown, "faint")]
    return [(SLOWED[line.gpu.throttle[0]], "warn")]


def _share(used: float | None, total: float | None) -> float | None:
    return used / total if used is not None and total else None


#: The table of GPUs, at every size.
COLUMNS: tuple[Column[GpuLine], ...] = (
    Column("index", lambda line: [(str(line.gpu.index), "fg bold")], title="",
           room={DETAIL: (0, 2), WIDE: (0, 2), BASE: (0, 2), COMPACT: (0, 2)}),
    Column("util", _utilization,
           room={DETAIL: (1, 5), WIDE: (1, 5), BASE: (0, 5), COMPACT: (0, 5)}, right=True),
    Column("util bar", lambda line: line.bar(_share(line.gpu.utilization, 100)), title="",
           room={DETAIL: (1, 14), WIDE: (1, 18), BASE: (1, 10), COMPACT: (1, 10)}),
    Column("memory", _memory,
           room={DETAIL: (2, 20), WIDE: (4, 20), BASE: (0, 14), COMPACT: (0, 11)}, right=True),
    Column("memory bar", lambda line: line.bar(_share(line.gpu.memory_used, line.gpu.memory_total)), title="",
           room={DETAIL: (2, 14), WIDE: (2, 18), BASE: (2, 10), COMPACT: (2, 10)}),
    Column("power", _power,
           room={DETAIL: (3, 12), WIDE: (4, 12), BASE: (0, 6), COMPACT: (0, 6)}, right=True),
    Column("temp", _temperature,
           room={DETAIL: (2, 5), WIDE: (3, 4), BASE: (0, 7), COMPACT: (0, 7)}, right=True),
    Column("slow", lambda line: [(SLOW_MARK, "warn")] if line.gpu.throttle or line.trouble else [], title="",
           room={COMPACT: (1, 1)}),
    Column("clock",
           lambda line: [(line.glyphs.unknown if line.gpu.sm_clock is None else f"{line.gpu.sm_clock}",
                                  line.style)],
           room={DETAIL: (2, 6)}, right=True),
    Column("PCIe", _link, room={DETAIL: (2, 9)}, right=True),
    Column("slowed", _slowed, room={DETAIL: (2, 11)}),
    # Drawn by `draw_owners`: it takes the rest of the row.
    Column(USED_BY, lambda line: [], room={DETAIL: (4, 0), WIDE: (4, 0), BASE: (2, 0)}),
)  # fmt: skip
