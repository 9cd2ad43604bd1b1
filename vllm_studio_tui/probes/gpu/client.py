"""Start, ask and replace the worker process that reads the GPUs."""

from __future__ import annotations

import asyncio
import json
import os
import select
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from vllm_studio_tui.domain.gpus import GpuReport
from vllm_studio_tui.probes.gpu import protocol
from vllm_studio_tui.probes.gpu.nvml import simulated

COMMAND = (sys.executable, "-P", "-m", "vllm_studio_tui.probes.gpu.worker")
#: At most so many replacements in so many seconds; beyond that one in `SLOWLY` seconds.
REPLACEMENTS = 3
WINDOW = 600.0
SLOWLY = 300.0
#: The longest time that one is given to answer.
MOST = 600.0


class GpuWorker:
    """Reads the GPUs through a worker process, which may hang or die: it is replaced, and reports only grow stale.

    `read` is for an event loop and never blocks it; `read_now` is the same for a plain thread. Neither raises for
    what the driver does. When nothing new comes in time, the last report is given with `stale` and `error` set.

    Args:
        patience: Seconds one `read` waits for an answer.
        give_up: Seconds without an answer after which the process is killed and replaced. The next one gets twice
            as long, and one that was slow to answer is given that time again: a driver may be slow, not dead.
        command: The worker; for tests.
    """

    def __init__(
        self,
        *,
        patience: float = 2.0,
        give_up: float = 15.0,
        command: Sequence[str] = COMMAND,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._patience = patience
        self._give_up = self._allowed = give_up
        self._command = tuple(command)
        self._monotonic = monotonic
        self._process: subprocess.Popen[bytes] | None = None
        self._dead: list[subprocess.Popen[bytes]] = []
        self._starts: deque[float] = deque()
        self._buffer = b""
        self._number = 0
        self._asked: float | None = None
        self._last: tuple[float, GpuReport] | None = None
        self._closed = False
        self._thread: ThreadPoolExecutor | None = None

    @property
    def waiting(self) -> bool:
        """Return whether the last request has not been answered yet."""
        return self._asked is not None

    @property
    def pid(self) -> int | None:
        """Return the worker's process id; None without a worker."""
        return self._process.pid if self._process else None

    async def read(self, processes: bool = True) -> GpuReport:
        """Return the GPUs now, or the last report, within about `patience` seconds."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "gpus")
        return await asyncio.get_running_loop().run_in_executor(self._thread, self.read_now, processes)

    def read_now(self, processes: bool = True) -> GpuReport:
        """Read as `read` does, in the caller's thread. One thread at a time."""
        deadline = self._monotonic() + self._patience
        for _ in range(2):  # a worker found dead is replaced within the same reading
            if not self._ready(processes):
                continue
            report = self._answer(deadline)
            if report is not None:
                self._last = (self._monotonic(), report)
                return report
            if self._process is not None:
                break
        if self._asked is not None and self._monotonic() - self._asked >= self._allowed:
            self._allowed = min(2 * self._allowed, MOST)
            self._drop()
        return self._stale()

    def close(self) -> None:
        """End the worker: its input closes, and it is killed if that does not help."""
        self._closed = True
        if self._thread is not None:
            self._thread.shutdown(wait=True)
            self._thread = None
        process, self._process = self._process, None
        if process is None:
            return
        _close_pipes(process)
        try:
            process.wait(1.0)
        except subprocess.TimeoutExpired:
            process.kill()
            try:
                process.wait(1.0)
            except subprocess.TimeoutExpired:
                return  # it hangs inside the kernel; init gets it when we go

    def _ready(self, processes: bool) -> bool:
        """Make sure that a worker has a request to answer."""
        self._dead = [process for process in self._dead if process.poll() is None]
        if self._process is not None and self._process.poll() is not None:
            self._drop()
        if self._process is None and not self._start():
            return False
        if self._asked is not None:
            return True  # still owes an answer: a second question would not make it faster
        process = self._process
        if process is None or process.stdin is None:
            return False
        self._number += 1
        line = json.dumps({"n": self._number, "processes": processes}).encode() + b"\n"
        try:
            os.write(process.stdin.fileno(), line)
        except OSError:
            self._drop()
            return False
        self._asked = self._monotonic()
        return True

    def _start(self) -> bool:
        now = self._monotonic()
        while self._starts and now - self._starts[0] > WINDOW:
            self._starts.popleft()
        # The first start is no replacement.
        if len(self._starts) > REPLACEMENTS and now - self._starts[-1] < SLOWLY:
            return False
        if self._closed:
            return False
        self._starts.append(now)
        try:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # the terminal's ctrl+c and hang-up are ours to handle
            )
        except OSError:
            return False
        self._buffer = b""
        self._asked = None
        return True

    def _answer(self, deadline: float) -> GpuReport | None:
        """Return the answer to the last request, if it comes before the deadline."""
        process = self._process
        if process is None or process.stdout is None:
            return None
        fd = process.stdout.fileno()
        poll = select.poll()  # not select(): it fails on descriptors over 1023
        poll.register(fd, select.POLLIN)
        while True:
            line, found, rest = self._buffer.partition(b"\n")
            if found:
                self._buffer = rest
                try:
                    number, report = protocol.load(line)
                except ValueError:
                    continue
                if number == self._number:
                    if self._asked is not None:
                        took = self._monotonic() - self._asked
                        self._allowed = min(max(self._give_up, 2 * took), MOST)
                    self._asked = None
                    return report
                continue
            left = deadline - self._monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                return None
            try:
                piece = os.read(fd, 65536)
            except OSError:
                piece = b""
            if not piece or len(self._buffer) > protocol.MAX_LINE:
                self._drop()
                return None
            self._buffer += piece

    def _drop(self) -> None:
        """Kill the worker without waiting: a process inside a hanging call takes its time to go."""
        process, self._process = self._process, None
        self._asked = None
        self._buffer = b""
        if process is not None:
            process.kill()
            _close_pipes(process)
            if process.poll() is None:
                self._dead.append(process)

    def _stale(self) -> GpuReport:
        if self._last is None:
            return GpuReport(time.time(), error="The GPU reader has not answered yet", simulated=simulated())
        at, report = self._last
        age = self._monotonic() - at
        return replace(report, stale=age, error=f"The GPU reader has not answered for {age:.0f} s")


def _close_pipes(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            try:
                pipe.close()
            except OSError:
                continue
