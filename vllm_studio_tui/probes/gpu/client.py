"""Start, ask and replace the worker process that reads the GPUs."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.gpus import GpuReport
from vllm_studio_tui.probes.gpu import protocol
from vllm_studio_tui.probes.gpu.spawning import COMMAND, spawn

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

#: At most so many replacements in so many seconds; beyond that one in `SLOWLY` seconds.
REPLACEMENTS = 3
WINDOW = 600.0
SLOWLY = 300.0
#: The longest time that one is given to answer.
MOST = 600.0
#: Seconds that the exit of a worker whose pipes are closed is waited for.
ENDING = 0.5
#: What is kept of what a worker prints beside its answers: why it ended stands at the end.
SAID = 4096


class GpuWorker:
    """Reads the GPUs through a worker process, which may hang or die: it is replaced, and reports only grow stale.

    `read` is for an event loop and never blocks it; `read_now` is the same for a plain thread. Neither raises for
    what the driver does. When nothing new comes in time, the last report is given with `stale` and `error` set.

    Args:
        patience: Seconds one `read` waits for an answer.
        give_up: Seconds without an answer after which the process is killed and replaced. The next one gets twice
            as long, and one that was slow to answer is given that time again: a driver may be slow, not dead.
        command: The worker; for tests.
        begun: One that was started already, with where its words come from.
    """

    def __init__(
        self,
        *,
        patience: float = 2.0,
        give_up: float = 15.0,
        command: Sequence[str] = COMMAND,
        begun: tuple[subprocess.Popen[bytes], int] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._patience = patience
        self._give_up = self._allowed = give_up
        self._command = tuple(command)
        self._monotonic = monotonic
        self._process: subprocess.Popen[bytes] | None = begun[0] if begun else None
        self._dead: list[subprocess.Popen[bytes]] = []
        self._starts: deque[float] = deque([monotonic()] if begun else [])
        self._buffer = b""
        self._said = b""
        self._errors: int | None = begun[1] if begun else None
        #: How the last worker ended, where it ended by itself.
        self._ended: str | None = None
        self._number = 0
        self._asked: float | None = None
        self._last: tuple[float, GpuReport] | None = None
        self._closed = False
        self._thread: ThreadPoolExecutor | None = None
        self._reading = threading.Lock()

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
        import asyncio  # it takes long, and the first reading is before the screens are there
        from concurrent.futures import ThreadPoolExecutor

        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "gpus")
        return await asyncio.get_running_loop().run_in_executor(self._thread, self.read_now, processes)

    def read_now(self, processes: bool = True) -> GpuReport:
        """Read as `read` does, in the caller's thread. Another one that reads is waited for."""
        with self._reading:
            return self._read(processes)

    def _read(self, processes: bool) -> GpuReport:
        deadline = self._monotonic() + self._patience
        for _ in range(2):  # a worker found dead is replaced within the same reading
            if not self._ready(processes):
                continue
            report = self._answer(deadline)
            if report is not None:
                self._last, self._ended = (self._monotonic(), report), None
                return report
            if self._process is not None:
                break
        if self._asked is not None and self._monotonic() - self._asked >= self._allowed:
            self._allowed = min(2 * self._allowed, MOST)
            self._drop()
        return self._stale()

    def close(self, *, gently: bool = True) -> None:
        """End the worker: its input closes, and it is killed if that does not help, or at once if not gently."""
        self._closed = True
        if self._thread is not None:
            self._thread.shutdown(wait=True)
            self._thread = None
        process, self._process = self._process, None
        self._close_errors()
        if process is None:
            return
        _close_pipes(process)
        if not gently:
            process.kill()
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
        self._listen()
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
            self._drop(ends=True)
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
        self._close_errors()
        try:
            self._process, self._errors = spawn(self._command)
        except OSError as error:
            self._ended = f"cannot be started: {error.strerror or error}"
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
                self._drop(ends=not piece)
                return None
            self._buffer += piece

    def _drop(self, *, ends: bool = False) -> None:
        """Kill the worker without waiting: a process inside a hanging call takes its time to go.

        Args:
            ends: It has closed its end of a pipe, so its exit is a moment away, and tells why.
        """
        process, self._process = self._process, None
        self._asked = None
        self._buffer = b""
        if process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(ENDING if ends else 0)
            code = process.poll()
            self._listen()
            self._ended = None if code is None else _how_it_ended(code, self._said)
            process.kill()
            _close_pipes(process)
            if process.poll() is None:
                self._dead.append(process)

    def _listen(self) -> None:
        """Take what the worker printed beside its answers; the end of it is kept."""
        if self._errors is None:
            return
        try:
            while piece := os.read(self._errors, 65536):
                self._said = (self._said + piece)[-SAID:]
        except OSError:
            pass  # that is all, for now

    def _close_errors(self) -> None:
        self._said = b""
        if self._errors is not None:
            os.close(self._errors)
            self._errors = None

    def _stale(self) -> GpuReport:
        why = f": it {self._ended}" if self._ended else ""
        if self._last is None:
            from vllm_studio_tui.probes.gpu.nvml import simulated  # not before the process has been asked

            return GpuReport(time.time(), error=f"The GPU reader has not answered yet{why}", simulated=simulated())
        at, report = self._last
        age = self._monotonic() - at
        return replace(report, stale=age, error=f"The GPU reader has not answered for {age:.0f} s{why}")


def _how_it_ended(code: int, said: bytes) -> str:
    """Return how a worker ended, with the last line that it printed."""
    how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
    lines = said.decode("utf-8", "replace").strip().splitlines()
    return f"{how} ({lines[-1].strip()[:160]})" if lines else how


def _close_pipes(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            try:
                pipe.close()
            except OSError:
                continue
