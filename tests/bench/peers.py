"""Our monitor beside nvitop, in terminals of one size, reading the same eight GPUs at the same time.

The GPUs are those of `nvml_library.c`: every value of each changes every second. nvitop is looked for as
VLLM_STUDIO_BENCH_NVITOP, else on the PATH (`pip install nvitop`, in an environment of its own).
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import psutil

from tests import nvml_library
from tests.bench.figure import Figure
from tests.terminal.pty_screen import Terminal, environment, studio


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
        terminals = {
            "theirs": Terminal([nvitop, "--interval", "1"], environment(home, **library), emulate=False),
            "ours": Terminal(studio("--screen", "monitor"), environment(home, **library), emulate=False),
        }
        try:
            time.sleep(6.0)  # both have started
            before = {name: (cpu(one.process.pid), len(one.raw)) for name, one in terminals.items()}
            time.sleep(seconds)
            share = {name: (cpu(one.process.pid) - before[name][0]) / seconds * 100 for name, one in terminals.items()}
            written = {name: (len(one.raw) - before[name][1]) / seconds for name, one in terminals.items()}
        finally:
            for one in terminals.values():
                one.close()
    return [
        Figure("monitor beside nvitop, 8 GPUs: CPU", share["ours"], "%", share["theirs"], 1.0),
        Figure("monitor beside nvitop, 8 GPUs: written", written["ours"], "B/s", written["theirs"], 1.0),
    ]


def cpu(pid: int) -> float:
    """Return the CPU seconds of a process and of those that it started."""
    process = psutil.Process(pid)
    return sum(sum(one.cpu_times()[:2]) for one in (process, *process.children(recursive=True)))
