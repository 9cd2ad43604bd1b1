"""The owners of GPUs, the last column of the table: the runs that claim a GPU, and the processes on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len

from vllm_studio_tui.domain.gpus import Gpu, GpuReport
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.tui.paint.glyphs import Glyphs
from vllm_studio_tui.tui.paint.gpu_columns import DETAIL, SLOWED, GpuLine
from vllm_studio_tui.tui.paint.ink import Row


@dataclass(frozen=True, slots=True)
class Owner:
    """A user of a GPU; `run` is None where it is a process that no run owns."""

    words: str
    run: RunView | None = None
    state: State | None = None


def owners(report: GpuReport, runs: Sequence[RunView]) -> dict[int, list[Owner]]:
    """Return, by GPU index, the runs that claim it or have processes on it, and the processes that no run owns."""
    by_id = {run.run_id: run for run in runs}
    found: dict[int, list[Owner]] = {}
    for gpu in report.gpus:
        here: dict[str, Owner] = {}
        for process in gpu.processes:
            run = by_id.get(process.run_id or "")
            if run is not None:
                here[run.run_id] = Owner(run.name, run, run.state)
            else:
                name = process.user or "somebody"
                here[f"pid {process.pid}"] = Owner(f"{name}, pid {process.pid}")
        for run in runs:
            claimed = run.spec.gpus if run.spec is not None and run.live else ()
            if run.run_id not in here and gpu.is_one_of(claimed):
                here[run.run_id] = Owner(run.name, run, run.state)
        found[gpu.index] = list(here.values())
    return found


def draw_owners(row: Row, line: GpuLine, whose: Sequence[Owner], join: str, x: int, width: int, *, marks: bool) -> None:
    """Draw the owners of a GPU from column `x` on, with what is wrong with it, and why it is slowed down."""
    gpu, glyphs = line.gpu, line.glyphs
    room = width - x - 3
    if room < 4:
        return
    row.put(x, join, "track")
    x += 2
    if gpu.lost is not None:
        row.put(x, f"not answering: {gpu.lost}", "err", room)
        return
    if line.trouble is not None:
        x = row.put(x, line.trouble, "warn", room) + 2
        room = width - x - 3
        if room < 4:
            return
    names = ", ".join(owner.words for owner in whose) or ("free" if gpu.free else _held(gpu))
    if gpu.mig_devices:
        names = f"{len(gpu.mig_devices)} part{'s' if len(gpu.mig_devices) > 1 else ''} (MIG), {names}"
    colour = "faint" if gpu.free and not whose else "fg" if whose and whose[0].run is not None else "dim"
    if join in (glyphs.join_last, glyphs.join_middle):
        names = ""  # the row above names the run
    # The detailed layout has a column for it.
    slow = f"slowed: {SLOWED[gpu.throttle[0]]}" if gpu.throttle and line.layout != DETAIL else ""
    if slow and len(slow) + 4 + cell_len(names) > room:
        # Not enough room for both: the slowdown is the more important part.
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
    """Return what is known of a GPU that no run has and that is not free."""
    if gpu.memory_used is None:
        return "memory unknown"
    return f"{numbers.gib(gpu.memory_used)} GiB in use"


def brackets(gpus: Sequence[Gpu], whose: Mapping[int, Sequence[Owner]], glyphs: Glyphs) -> list[str]:
    """Return for each GPU the part of a bracket that joins neighbouring GPUs of the same run."""

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
