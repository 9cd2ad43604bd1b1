"""What becomes of GPUs and their driver while they are on the screen: it is told, and the truth comes back by itself.

The app, its sampler, the process that reads and the reader are the real ones; only the library is simulated, and the
times after which something is tried again are short.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from textual.pilot import Pilot

from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.probes.gpu import client
from vllm_studio_tui.probes.gpu.client import GpuWorker
from vllm_studio_tui.services.watching.sampler import Sampler
from vllm_studio_tui.simulation.marks import GPUS as SIMULATE
from vllm_studio_tui.studio import Studio
from vllm_studio_tui.tui.app import StudioApp

#: The process that reads, with short times.
QUICK = """
from vllm_studio_tui.probes.gpu import device, nvml, worker
device.RETRY_LOST = device.AGAIN = nvml.RETRY_OPEN = 0.1
device.KEEP, device.REPORT_AFTER = 0.3, 0.3
nvml.REOPEN, worker.PATIENCE, worker.RENEW, worker.RENEW_REFUSED = 0.3, 0.2, 3.0, 0.2
worker.main()
"""
HEALTHY = "2,busy=0,busy=1"


class Screen:
    """The monitor, and what its GPUs are made to do."""

    def __init__(self, app: StudioApp, pilot: Pilot[int], worker: GpuWorker, file: Path) -> None:
        self.app, self.pilot, self.worker, self._file = app, pilot, worker, file

    def become(self, text: str) -> None:
        """Have the library do this from now on."""
        new = self._file.with_suffix(".new")
        new.write_text(text)
        new.replace(self._file)

    def gpus(self) -> list[str]:
        """The rows of GPUs, by their first character, or why there are none."""
        lines = ["".join(part.text for part in strip) for strip in self.app.screen._compositor.render_strips()]
        start = next((at for at, line in enumerate(lines) if line.strip().startswith("GPUS")), len(lines))
        end = next((at for at in range(start, len(lines)) if not lines[at].strip()), len(lines))
        return [line.strip() for line in lines[start:end]]

    async def until(self, shown: Callable[[list[str]], bool], what: str) -> None:
        deadline = time.monotonic() + 40
        while time.monotonic() < deadline:
            if shown(self.gpus()):
                return
            await self.pilot.pause(0.03)
        raise AssertionError(f"not in time: {what}\n" + "\n".join(self.gpus()))


@asynccontextmanager
async def on_screen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Screen]:
    file = tmp_path / "gpus"
    file.write_text(HEALTHY)
    monkeypatch.setenv(SIMULATE, f"@{file}")
    monkeypatch.setenv("VLLM_STUDIO_REFRESH_SECONDS", "0.2")
    monkeypatch.setattr(client, "REPLACEMENTS", 1000)
    worker = GpuWorker(patience=1.0, give_up=2.0, command=(sys.executable, "-P", "-c", QUICK))
    studio = Studio(Places.under(tmp_path / "home"))
    studio.__dict__["sampler"] = Sampler(studio.places, studio.bus, every=0.2, gpus=worker)
    app = StudioApp(studio, place="monitor")
    try:
        async with app.run_test(size=(160, 45)) as pilot:
            screen = Screen(app, pilot, worker, file)
            await screen.until(well, "both GPUs at first")
            yield screen
            assert not app.faults.errors, app.faults.errors
    finally:
        studio.close()


def row(lines: list[str], gpu: int) -> str:
    return next((line for line in lines if line.startswith(f"{gpu} ")), "")


def well(lines: list[str], count: int = 2) -> bool:
    """Return whether these GPUs are there with all their values, nothing is wrong, and nothing else is told."""
    rows = [row(lines, gpu) for gpu in range(count)]
    words = " ".join(lines)
    return (
        all("%" in one and "°C" in one and "/ 700 W" in one and "/ 79.6 GiB" in one and "bob" in one for one in rows)
        and not row(lines, count)
        and not any(bad in words for bad in ("not answer", "lost", "~", "stopped", "restart", "errors", "– W"))
    )


def says(gpu: int, words: str) -> Callable[[list[str]], bool]:
    """The row of this GPU says so, and that of the other one has its values."""
    other = 1 - gpu
    return lambda lines: words in row(lines, gpu) and "°C" in row(lines, other) and "%" in row(lines, other)


def told(words: str) -> Callable[[list[str]], bool]:
    return lambda lines: words in " ".join(lines)


#: What happens, what the library does then, and what the screen shows of it.
FAULTS: list[tuple[str, str, Callable[[list[str]], bool]]] = [
    ("a GPU falls off the bus", f"{HEALTHY},fault=lost:1", says(1, "not answering: GPU is lost")),
    ("a GPU wants a reset", f"{HEALTHY},fault=reset:0", says(0, "not answering: GPU requires restart")),
    ("a GPU fails without a reason", f"{HEALTHY},fault=unknown:1", says(1, "not answering: Unknown Error")),
    ("a call does not return", f"{HEALTHY},fault=hang:0:600", says(0, "has not answ")),
    ("no call returns", f"{HEALTHY},fault=stuck", told("not answered for")),
    ("a value is not supported any more", f"{HEALTHY},fault=nopower:1", says(1, "– W")),
    ("the numbers cannot be true", f"{HEALTHY},fault=garbage:0", says(0, "– / ")),
    ("the processes may not be seen", f"{HEALTHY},fault=noprocesses:1", lambda lines: "bob" not in row(lines, 1)),
    ("memory has errors", f"{HEALTHY},fault=ecc:0", says(0, "2 memory errors not corrected")),
    ("a GPU is taken away", "1,busy=0", says(1, "not answering: the driver does not")),
    ("another driver is loaded, and its library another one", f"{HEALTHY},fault=mismatch", told("driver was updated")),
    ("the driver is unloaded", f"{HEALTHY},fault=notloaded", told("installed but not loaded")),
    ("the driver is taken away", f"{HEALTHY},fault=nodriver", told("No NVIDIA driver")),
    ("rights are taken away", f"{HEALTHY},fault=nopermission", told("No permission to ask")),
]  # fmt: skip


async def test_fourteen_faults_are_told_and_each_goes_back_to_the_truth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with on_screen(tmp_path, monkeypatch) as screen:
        for what, does, shown in FAULTS:
            screen.become(does)
            await screen.until(shown, what)
            screen.become(HEALTHY)
            await screen.until(well, f"after: {what}")


async def test_a_gpu_that_is_added_is_there_and_one_that_is_gone_is_not_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with on_screen(tmp_path, monkeypatch) as screen:
        screen.become("3,busy=0,busy=1,busy=2")
        await screen.until(lambda lines: well(lines, 3), "the third one")
        screen.become(HEALTHY)
        await screen.until(
            lambda lines: "does not l" in row(lines, 2) and "°C" in row(lines, 1), "it is said to be gone"
        )
        screen.become("3,busy=0,busy=1,busy=2")
        await screen.until(lambda lines: well(lines, 3), "it is back")


async def test_a_driver_that_was_reloaded_is_read_by_a_new_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with on_screen(tmp_path, monkeypatch) as screen:
        before = screen.worker.pid
        screen.become(f"{HEALTHY},fault=reloaded")
        await screen.until(lambda lines: screen.worker.pid not in (None, before) and well(lines), "a new process")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGSTOP])
async def test_a_reader_that_is_ended_or_stopped_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    async with on_screen(tmp_path, monkeypatch) as screen:
        before = screen.worker.pid
        assert before is not None
        os.kill(before, number)
        await screen.until(lambda lines: screen.worker.pid not in (None, before) and well(lines), "another reader")
