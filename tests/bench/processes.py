"""What a look at the processes costs: 60 of one run, read as the monitor does, beside psutil's cached objects."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Callable

import psutil

from tests.bench.figure import Figure
from vllm_studio_tui.domain.processes import as_tree
from vllm_studio_tui.kit.process import start_ticks
from vllm_studio_tui.probes import process_table
from vllm_studio_tui.probes.process_table import OnGpus, ProcessTable, RunRoots

COUNT, LOOKS = 60, 200
FIELDS = ["ppid", "name", "username", "cmdline", "cpu_percent", "memory_info", "create_time", "status"]


def processes(looks: int = LOOKS) -> list[Figure]:
    """Measure a look at a tick, and one at all processes, in CPU time of this process."""
    some = [subprocess.Popen(["sleep", "600"]) for _ in range(COUNT)]
    try:
        runs = [RunRoots("run", tuple((one.pid, start_ticks(one.pid) or 0) for one in some))]
        using = {one.pid: OnGpus((index % 8,), 1 << 30) for index, one in enumerate(some)}
        table = ProcessTable()
        as_tree(table.read(using, runs))
        known = [psutil.Process(one.pid) for one in some]
        for one in known:
            one.as_dict(FIELDS)
        last = process_table._last_pid
        process_table._last_pid = lambda: table._last_pid  # nobody is born: no look at all processes
        tick = cost(lambda: as_tree(table.read(using, runs)), looks)
        process_table._last_pid = last
        cached = cost(lambda: [one.as_dict(FIELDS) for one in known], looks)
        everything = cost(lambda: table._scan(using, runs), looks // 4)
        whole = cost(lambda: list(psutil.process_iter(FIELDS)), looks // 4)
    finally:
        for started in some:
            started.kill()
            started.wait()
    return [
        Figure(f"a tick's look at {COUNT} processes, CPU", tick * 1000, "ms", cached * 1000, 0.5),
        Figure("a look at all processes, CPU", everything * 1000, "ms", whole * 1000, 0.5),
    ]


def cost(work: Callable[[], object], times: int) -> float:
    """Return the median CPU time of a piece of work."""
    taken = []
    for _ in range(times):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return statistics.median(taken)
