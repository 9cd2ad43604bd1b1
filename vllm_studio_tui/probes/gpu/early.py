"""Read the GPUs while the screens are still being imported, and draw their rows where a person waits for just these.

The process that reads is begun first of all and handed to the sampler, so that it is made once. Until the screens are
there, its first answer stands on the terminal's other screen as plain rows.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vllm_studio_tui.domain.gpus import Gpu, GpuReport
    from vllm_studio_tui.probes.gpu.client import GpuWorker

#: Seconds that the first answer is waited for, and that the imports of the screens stand back for it.
PATIENCE = 1.0
#: The terminal's other screen, from its first place on; and back.
_ENTER, _LEAVE = "\x1b[?1049h\x1b[H\x1b[2J", "\x1b[?1049l"
#: The row of the first GPU, and the column in which rows begin.
_TOP, _LEFT = 5, 4


class _Early:
    """The process that reads, until the sampler takes it, and whether its rows may be, or have been, drawn."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.worker: GpuWorker | None = None
        self.may_draw = False
        self.drawn = False
        #: Nobody will take it any more.
        self.over = False
        self.answered = threading.Event()


_early = _Early()


def begin(*, draw: bool) -> None:
    """Have the GPUs read, in a thread of its own.

    Args:
        draw: Put their rows on the terminal once they are known.
    """
    _early.may_draw = draw and sys.stdout.isatty() and os.environ.get("TERM", "") not in ("", "dumb", "unknown")
    threading.Thread(target=_read, name="early GPUs", daemon=True).start()


def wait() -> None:
    """Let it come first, for a moment: what is imported next takes the processor and the interpreter from it."""
    if _early.may_draw:
        _early.answered.wait(PATIENCE)


def take() -> GpuWorker | None:
    """Hand over the process that reads; None where none was begun, or somebody has it."""
    with _early.lock:
        _early.over = True
        worker, _early.worker = _early.worker, None
        return worker


def give_way() -> None:
    """Draw nothing any more: the screens begin, on the same other screen."""
    with _early.lock:
        _early.may_draw = _early.drawn = False


def end() -> None:
    """Leave the terminal's other screen where no screens came, and end a process that nobody took."""
    with _early.lock:
        drawn, _early.may_draw, _early.drawn, _early.over = _early.drawn, False, False, True
        worker, _early.worker = _early.worker, None
        if drawn:
            _write(_LEAVE)
    if worker is not None:
        worker.close(gently=False)


def _read() -> None:
    try:
        _read_them()
    finally:
        _early.answered.set()


def _read_them() -> None:
    from vllm_studio_tui.probes.gpu.spawning import spawn

    try:
        begun = spawn()
    except OSError:
        return  # the sampler will say why
    from vllm_studio_tui.probes.gpu.client import GpuWorker

    worker = GpuWorker(patience=PATIENCE, begun=begun)
    with _early.lock:
        over, _early.worker = _early.over, None if _early.over else worker
    if over:
        worker.close(gently=False)
        return
    report = worker.read_now(processes=False)  # who uses them takes longer, and is not in these rows
    with _early.lock:
        if _early.may_draw and report.gpus:
            _early.drawn = True
            _write(picture(report, *_size()))


def _size() -> tuple[int, int]:
    try:
        size = os.get_terminal_size(sys.stdout.fileno())
        return size.columns, size.lines
    except (OSError, ValueError):
        return 80, 24


def _write(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        os.write(sys.stdout.fileno(), text.encode())


def picture(report: GpuReport, columns: int, rows: int) -> str:
    """Return what draws the rows of GPUs, each at its place: nothing that the driver wrote is in it."""
    top = min(_TOP, max(1, rows - len(report.gpus)))
    left = _LEFT if columns >= 60 else 1
    lines = [_row(gpu)[: max(0, columns - left)] for gpu in report.gpus[:rows]]
    head = f"\x1b[{top - 1};{left}HGPUS{'  SIMULATED' if report.simulated else ''}" if top > 1 else ""
    return _ENTER + head + "".join(f"\x1b[{top + at};{left}H{line}" for at, line in enumerate(lines))


def _row(gpu: Gpu) -> str:
    from vllm_studio_tui.kit import numbers

    if gpu.lost is not None:
        return f"{gpu.index:<3}  does not answer"
    use = numbers.fixed(gpu.utilization, 0, "%", "-")
    memory = numbers.memory(gpu.memory_used, gpu.memory_total, unknown="-")
    drawn, limit = numbers.fixed(gpu.power_draw, 0, unknown="-"), numbers.fixed(gpu.power_limit, 0, unknown="-")
    heat = numbers.fixed(gpu.temperature, 0, " C", "-")
    return f"{gpu.index:<3} {use:>5}   {memory:>20}   {drawn:>5} / {limit} W   {heat:>6}"
