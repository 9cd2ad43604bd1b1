"""Our monitor beside nvitop, in terminals of one size, reading the same eight GPUs at the same time.

The GPUs are those of `nvml_library.c`: every value of each changes every second. nvitop is looked for as
VLLM_STUDIO_BENCH_NVITOP, else on the PATH (`pip install nvitop`, in an environment of its own).
"""

from __future__ import annotations

import os
import re
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import psutil

from tests import nvml_library
from tests.bench.figure import Figure
from tests.terminal.pty_screen import Terminal, environment, studio

#: The memory of a GPU, as either program writes it: only a row that was read has it.
_A_ROW = re.compile(rb"[0-9.]+(?:MiB|GiB)? / [0-9.]+ ?(?:MiB|GiB|G)")

#: Seconds after which both have started and do what they do for hours, on a busy machine too.
SETTLED = 18.0


def monitors(seconds: float) -> list[Figure]:
    """CPU and bytes a second of both; nothing where there is no nvitop or no C compiler."""
    nvitop = os.environ.get("VLLM_STUDIO_BENCH_NVITOP") or shutil.which("nvitop")
    with tempfile.TemporaryDirectory(prefix="vllm-studio-nvml-") as folder:
        library = nvml_library.build(Path(folder))
        if nvitop is None or library is None:
            print("no nvitop, or no C compiler: the monitor is not measured beside it", file=sys.stderr)
            return []
        home = Path(folder) / "home"
        home.mkdir()
        commands = {"theirs": [nvitop, "--interval", "1"], "ours": studio("--screen", "monitor")}
        first = first_rows(commands, environment(home, **library))
        terminals = {
            name: Terminal(argv, environment(home, **library), emulate=False) for name, argv in commands.items()
        }
        try:
            time.sleep(SETTLED)
            before = {name: (cpu(one.process.pid), len(one.raw)) for name, one in terminals.items()}
            time.sleep(seconds)
            share = {name: (cpu(one.process.pid) - before[name][0]) / seconds * 100 for name, one in terminals.items()}
            written = {name: (len(one.raw) - before[name][1]) / seconds for name, one in terminals.items()}
        finally:
            for one in terminals.values():
                one.close()
    return [
        Figure("monitor beside nvitop: first row of a GPU", first["ours"], "ms", first["theirs"], 1.0),
        Figure("monitor beside nvitop, 8 GPUs: CPU", share["ours"], "%", share["theirs"], 1.0),
        Figure("monitor beside nvitop, 8 GPUs: written", written["ours"], "B/s", written["theirs"], 1.0),
    ]


def first_rows(commands: Mapping[str, list[str]], environ: dict[str, str], runs: int = 5) -> dict[str, float]:
    """Return the median milliseconds from the start until a row of a GPU is on the screen; they start in turn."""
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(runs + 1):
        for name, argv in commands.items():
            begin = time.monotonic()
            terminal = Terminal(argv, environ, emulate=False)
            try:
                while not _A_ROW.search(terminal.raw) and time.monotonic() - begin < 30:
                    time.sleep(0.001)
                taken[name].append((time.monotonic() - begin) * 1000)
            finally:
                terminal.close()
    return {name: statistics.median(times[1:]) for name, times in taken.items()}


def cpu(pid: int) -> float:
    """Return the CPU seconds of a process and of those that it started."""
    process = psutil.Process(pid)
    return sum(sum(one.cpu_times()[:2]) for one in (process, *process.children(recursive=True)))
