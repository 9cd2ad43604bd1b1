"""`python -m vllm_studio_tui.services.bench.worker`: measures one benchmark, in a process of its own.

What it is to do comes as a line of JSON on its standard input. It stops when that is closed, as it is when its face is
killed, at a line `stop`, and at SIGTERM and SIGINT: the requests end on the engine, and what was measured is written.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from vllm_studio_tui.domain.bench import BenchProgress, BenchResult, BenchStep
from vllm_studio_tui.domain.chat import Target
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.inference.load.client import LoadClient
from vllm_studio_tui.kit.sanitize import clean_line
from vllm_studio_tui.probes.gpu.power_guard import PowerGuard, PowerRefused
from vllm_studio_tui.services.bench.asking import Asking, EngineSaidNo
from vllm_studio_tui.services.bench.beside import Beside
from vllm_studio_tui.services.bench.figures import Measured, Sent, step_of
from vllm_studio_tui.services.bench.folder import REQUESTS, BenchFolder, request_line, result_of
from vllm_studio_tui.services.bench.load import Step
from vllm_studio_tui.services.bench.prompts import Maker, calibrate
from vllm_studio_tui.services.bench.search import Loads

#: Seconds between two looks at how far it is.
TELL = 0.5


class Runner:
    """Measures one benchmark.

    Args:
        task: What came on standard input: `target`, `prompts`, `watch` (what is looked at beside).
        result: What it is called, and the plan.
    """

    def __init__(self, folder: BenchFolder, task: dict[str, Any], result: BenchResult, target: Target) -> None:
        self._folder, self._result = folder, result
        self._plan = replace(result.plan, prompts=tuple(task.get("prompts") or ()))
        self._client = LoadClient(target)
        self._asking = Asking(target, self._plan)
        self._beside = Beside(target, task.get("gpus") or (), watched=bool(task.get("watched")))
        self._loads = Loads(self._plan)
        self._file = (folder.path / REQUESTS).open("ab")
        self._origin = asyncio.get_running_loop().time() - max(0.0, time.time() - result.at)
        self._number = 0
        self._place = 0
        self._step: Step | None = None
        self._repeats: list[Measured] = []
        self._done: list[BenchStep] = []
        self._words = "makes prompts"
        self._spent: list[float] = []

    async def run(self) -> None:
        """Measure until it is done or stopped; each end is written."""
        telling = asyncio.create_task(self._tell(asyncio.current_task()))
        state, error = "done", None
        try:
            maker = await calibrate(self._plan, lambda prompt: self._asking.count(self._client, prompt))
            self._result = replace(self._result, notes=(*self._result.notes, *maker.notes))
            await self._steps(maker)
        except asyncio.CancelledError:
            state = "stopped"
        except EngineSaidNo as said:
            state, error = "failed", str(said)
        except StudioError as told:
            state, error = "failed", clean_line(str(told))
        except BaseExceptionGroup as group:
            state, error = "failed", clean_line(repr(group.exceptions[0]))[:500]
        finally:
            telling.cancel()
            self._client.close()
            self._beside.close()
        self._end(state, error)

    def _end(self, state: str, error: str | None) -> None:
        steps = list(self._done)
        if self._repeats:
            steps.append(step_of(self._plan, self._repeats))
        self._file.close()
        self._result = replace(self._result, steps=tuple(steps), state=state, error=error, ended_at=time.time())
        self._folder.write_result(self._result)
        self._folder.write_progress(replace(self._progress(), state=state, words=error or "", share=1.0))

    async def _steps(self, maker: Maker) -> None:
        if not self._plan.power_caps:
            await self._all_loads(maker, None)
            return
        gpus = self._result.gpu_uuids
        if not gpus:
            raise EngineSaidNo("no GPU of this engine is known whose power could be limited")
        try:
            guard = await asyncio.to_thread(PowerGuard, gpus)
        except PowerRefused as refused:
            raise EngineSaidNo(str(refused)) from None
        try:
            for cap in self._plan.power_caps:
                try:
                    await asyncio.to_thread(guard.set, cap)
                except PowerRefused as refused:
                    raise EngineSaidNo(str(refused)) from None
                self._loads = Loads(self._plan)
                await self._all_loads(maker, cap)
        finally:
            guard.close()

    async def _all_loads(self, maker: Maker, cap: int | None) -> None:
        last: BenchStep | None = None
        while (load := self._loads.next(last)) is not None:
            self._repeats = []
            for repeat in range(self._plan.repeats):
                hopeless = await self._repeat(maker, load, repeat, cap)
                if hopeless is not None:
                    raise EngineSaidNo(hopeless)
            last = step_of(self._plan, self._repeats)
            self._done.append(last)
            self._repeats = []
            self._place += 1
            self._folder.write_result(replace(self._result, steps=tuple(self._done)))

    async def _repeat(self, maker: Maker, load: float, repeat: int, cap: int | None) -> str | None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        measured = Measured(
            self._place, repeat, load, began, began + self._plan.warmup, power_cap=cap, origin=self._origin
        )
        self._repeats.append(measured)
        step = Step(self._plan, measured, self._client, self._asking, maker, self._number, self._ended)
        self._step = step
        watching = asyncio.create_task(self._beside.watch(measured, lambda: step.running))
        try:
            await step.run()
        finally:
            self._number = step.number
            self._spent.append(loop.time() - began)
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching
            await self._beside.finish(measured)
            self._file.flush()
        return step.hopeless

    def _ended(self, measured: Measured, sent: Sent) -> None:
        self._file.write(request_line(measured.request(sent)))

    @property
    def _of(self) -> int:
        return self._loads.of * max(1, len(self._plan.power_caps))

    # --- telling ----------------------------------------------------------------------------------------

    async def _tell(self, running: asyncio.Task[None] | None) -> None:
        while True:
            if self._folder.to_stop and running is not None:
                running.cancel()
            with contextlib.suppress(OSError):  # the disk is full: what is measured is more than where it is
                self._file.flush()
                self._folder.write_progress(self._progress())
            await asyncio.sleep(TELL)

    def _progress(self) -> BenchProgress:
        if self._step is None:
            return BenchProgress(self._folder.id, of=self._of, words=self._words)
        now = asyncio.get_running_loop().time()
        measured = self._step.measured
        warm = now < measured.begin
        share = self._step.share(now)
        so_far = step_of(self._plan, self._repeats, now) if self._repeats else (self._done or [BenchStep()])[-1]
        return BenchProgress(
            self._folder.id,
            measured.step + 1,
            self._of,
            measured.load,
            (measured.repeat + share) / self._plan.repeats,
            self._left(now, share),
            so_far,
            "warms up" if warm else "",
            self._step.running,
        )

    def _left(self, now: float, share: float) -> float | None:
        assert self._step is not None
        plan, measured = self._plan, self._step.measured
        whole = plan.warmup + plan.duration if plan.duration is not None else None
        if whole is None:
            whole = max(self._spent[-3:], default=(now - measured.began) / share if share > 0.05 else None)
        if whole is None or not self._of:
            return None
        to_come = plan.repeats - measured.repeat - 1 + (self._of - measured.step - 1) * plan.repeats
        return max(0.0, whole * (1 - share) + to_come * whole)


async def _measure(folder: BenchFolder, task: dict[str, Any], result: BenchResult) -> None:
    loop = asyncio.get_running_loop()
    target = Target(**task["target"])
    running = asyncio.create_task(Runner(folder, task, result, target).run())
    for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(one, running.cancel)
    reader = asyncio.StreamReader()
    pipe = sys.stdin.buffer
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)

    async def listen() -> None:
        while (line := await reader.readline()) and line.strip() != b"stop":
            pass
        running.cancel()

    listening = asyncio.create_task(listen())
    await asyncio.wait([running])
    listening.cancel()
    if not running.cancelled():
        running.result()


def _given() -> bytes:
    """Return what is to be done: its length on a line, then so many bytes; nothing that comes behind is taken."""
    head = b""
    while not head.endswith(b"\n") and (one := os.read(0, 1)):
        head += one
    data = b""
    while len(data) < int(head) and (piece := os.read(0, int(head) - len(data))):
        data += piece
    return data


def main() -> int:
    """Read what is to be done, and measure it."""
    task = json.loads(_given())
    folder = BenchFolder(Path(task["folder"]))
    result = result_of(task["result"])
    if result is None or not folder.take():
        return 1
    folder.write_result(result)
    folder.write_progress(BenchProgress(folder.id, words="begins"))
    with contextlib.suppress(OSError, ValueError):  # a connection for each user
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    try:
        asyncio.run(_measure(folder, task, result))
    except StudioError as error:
        folder.write_result(replace(result, state="failed", error=clean_line(str(error)), ended_at=time.time()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
