"""The processes of the stage: trees that stand still, and signals that are only kept."""

from __future__ import annotations

from collections.abc import Callable

from vllm_studio_tui.domain.gpus import GpuReport
from vllm_studio_tui.domain.processes import Process
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.services.watching.processes import Processes
from vllm_studio_tui.services.watching.snapshot import Snapshot

GIB = 1024**3
DAY = 86_400.0


def trees(snapshot: Snapshot) -> list[Process]:
    """A run with a core and two workers, one with two, and a process of somebody else below its parent."""
    if not snapshot.tick.gpus.gpus or len(snapshot.runs) < 2:
        return []
    runs = [run.run_id for run in snapshot.runs[:2]]
    ready, loading = (*runs, "no run", "no run")[:2]

    def one(
        run_id: str | None,
        pid: int,
        parent: int,
        command: str,
        cpu: float,
        *,
        gpu: int | None = None,
        held: float = 0.0,
    ) -> Process:
        on = (gpu,) if gpu is not None else ()
        here = snapshot.tick.gpus.gpus
        sm = here[gpu].utilization if gpu is not None and gpu < len(here) else None
        seconds = 2 * DAY if run_id == ready else 252.0 if run_id == loading else 6 * DAY
        user, container = ("root", None) if run_id else ("alice", "notebooks")
        return Process(
            pid, parent, pid * 10, 1.0, command, tuple(command.split()), user, container, run_id, run_id is not None,
            on, int(held * GIB) or None, sm, cpu, int(1.2 * GIB), seconds, "S",
        )  # fmt: skip

    found = [
        one(ready, 48120, 1, "vllm serve Qwen/Qwen3-32B", 41.0),
        one(ready, 48266, 48120, "VLLM::EngineCore", 97.0),
        one(ready, 48812, 48266, "VLLM::Worker_TP0", 99.0, gpu=0, held=71.2),
        one(ready, 48813, 48266, "VLLM::Worker_TP1", 99.0, gpu=1, held=71.2),
        one(loading, 51220, 1, "sglang.launch_server --tp 2", 20.0),
        one(loading, 51301, 51220, "sglang::scheduler_TP0", 84.0, gpu=2, held=31.4),
        one(loading, 51302, 51220, "sglang::scheduler_TP1", 84.0, gpu=3, held=31.4),
        one(None, 60400, 1, "jupyter lab --port 8888", 0.0),
        one(None, 60412, 60400, "python3 train.py", 3.0, gpu=3, held=0.6),
    ]
    return [process for process in found if process.run_id is None or process.run_id in runs]


class StillProcesses(Processes):
    """Processes that are not there.

    Attributes:
        sent: The signals that were sent, by process.
    """

    def __init__(self, places: Places, latest: Callable[[], Snapshot | None], snapshot: Snapshot) -> None:
        super().__init__(places, latest, GpuReport)  # type: ignore[arg-type]
        self.there = trees(snapshot)
        self.sent: list[tuple[int, str]] = []
        self._snapshot = snapshot

    def _look(self) -> list[Process]:
        self._runs = {run.run_id: run for run in self._snapshot.runs}
        return self.there

    def environment(self, pid: int, start: int) -> list[tuple[str, str]]:
        return [("CUDA_VISIBLE_DEVICES", "0,1"), ("HF_TOKEN", "***")]

    def _refusal(self, one: Process) -> str | None:
        return None

    def _deliver(self, one: Process, name: str) -> str | None:
        self.sent.append((one.pid, name))
        return None
