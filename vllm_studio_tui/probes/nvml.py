"""All GPUs through NVML, in this process: `pynvml` of nvidia-ml-py, or the simulation.

The calls block, for seconds when a GPU is sick, and after a reload of the driver only a new process sees the new
one: whoever reads again and again does it through `probes.gpus.GpuWorker`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Any

from vllm_studio_tui.domain.metrics import GpuReport
from vllm_studio_tui.probes.device import MAX_TEXT, UNINITIALIZED, Device
from vllm_studio_tui.probes.processes import ProcessNames

SIMULATE = "VLLM_STUDIO_SIMULATE_GPUS"
#: Seconds between two attempts to open a library that refused.
RETRY_OPEN = 10.0
MAX_GPUS = 256

#: NVML return code to what it means and what to do.
FAILURES: Mapping[int, tuple[str, str]] = {
    4: (
        "No permission to ask the NVIDIA driver",
        "Look at the rights of /dev/nvidia*, or add this user to the group that owns them.",
    ),
    9: (
        "The NVIDIA driver is installed but not loaded",
        "Load it with `modprobe nvidia` as root, or reboot; `dmesg` says why it did not load.",
    ),
    12: (
        "No NVIDIA driver (libnvidia-ml.so.1 was not found)",
        f"Install the driver, or start the container with its GPUs (`--gpus all`). {SIMULATE}=4 shows simulated ones.",
    ),
    17: (
        "The operating system blocks access to the GPUs",
        "In a container or job: pass the GPU devices through (`--gpus all`, `--gres=gpu:N`).",
    ),
    18: (
        "The NVIDIA driver was updated, but the old one is still loaded",
        "Reboot, or unload and load the nvidia kernel modules.",
    ),
}


class LibraryMissing(Exception):
    """There is nothing to read GPUs with; the text says what and what to do."""

    def __init__(self, text: str, advice: str) -> None:
        super().__init__(text)
        self.advice = advice


def simulated(environ: Mapping[str, str] | None = None) -> bool:
    """Whether the GPUs are a simulation."""
    return bool((os.environ if environ is None else environ).get(SIMULATE, "").strip())


def load() -> ModuleType:
    """The module `pynvml`, or the simulation when it is asked for.

    Raises:
        LibraryMissing: nvidia-ml-py is not installed.
    """
    if simulated():
        from vllm_studio_tui.simulation import nvml

        return nvml
    try:
        import pynvml
    except ImportError as error:
        raise LibraryMissing(
            "The Python package nvidia-ml-py is not installed", "Install it: pip install nvidia-ml-py"
        ) from error
    return pynvml


class NvmlReader:
    """Reads all GPUs. What cannot be read is in the report; `read` does not raise.

    Args:
        library: A module as `pynvml`; None: the one that `load` finds at the first reading.
        clock: Seconds since the epoch. `monotonic` times retries and the age of values.
    """

    def __init__(
        self,
        library: Any = None,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._nvml = library
        self._clock = clock
        self._monotonic = monotonic
        self._devices: list[Device] | None = None
        self._driver: str | None = None
        self._cuda: str | None = None
        self._names = ProcessNames()
        self._failed: tuple[str, str | None] | None = None
        self._retry_at = 0.0

    def read(self, processes: bool = True) -> GpuReport:
        """Read every GPU.

        Args:
            processes: Also who uses them, which is slower; else the processes of the last time are repeated.
        """
        at = self._clock()
        if self._failed is not None and self._monotonic() < self._retry_at:
            return self._failure(at)
        for attempt in (1, 2):
            problem = self._open()
            if problem is not None:
                self._failed = problem
                self._retry_at = self._monotonic() + RETRY_OPEN
                return self._failure(at)
            try:
                names = self._names if processes else None
                gpus = tuple(device.gpu(names) for device in self._devices or ())
            except self._nvml.NVMLError as error:  # the library was shut down, or the driver reloaded
                self._devices = None
                self._failed = explain(error)
                if error.value == UNINITIALIZED and attempt == 1:
                    continue
                return self._failure(at)
            self._failed = None
            if processes:
                self._names.forget()
            return GpuReport(
                at,
                gpus,
                self._driver,
                self._cuda,
                error=None if gpus else "The NVIDIA driver reports no GPU",
                simulated=simulated(),
            )
        return self._failure(at)

    def energies(self, which: Iterable[str] = ()) -> tuple[dict[str, int], str | None]:
        """Millijoules since the driver was loaded by UUID, and why nothing could be read.

        Args:
            which: Indices, or UUIDs or beginnings of them as in CUDA_VISIBLE_DEVICES; empty: all GPUs.
        """
        wanted = list(which)
        for attempt in (1, 2):
            problem = self._open()
            if problem is not None:
                return {}, problem[0]
            try:
                counts = [(device.index, device.energy()) for device in self._devices or ()]
            except self._nvml.NVMLError as error:
                self._devices = None
                if error.value == UNINITIALIZED and attempt == 1:
                    continue
                return {}, explain(error)[0]
            return {
                count[0]: count[1]
                for index, count in counts
                if count is not None and (not wanted or any(_means(text, index, count[0]) for text in wanted))
            }, None
        return {}, None

    def close(self) -> None:
        """Let go of the library."""
        if self._devices is not None:
            self._devices = None
            try:
                self._nvml.nvmlShutdown()
            except self._nvml.NVMLError:
                return

    def _open(self) -> tuple[str, str | None] | None:
        """Open the library and list the GPUs; what went wrong and what to do, if something did."""
        if self._devices is not None:
            return None
        try:
            if self._nvml is None:
                self._nvml = load()
            self._nvml.nvmlInit()
        except LibraryMissing as missing:
            return str(missing), missing.advice
        except ValueError as error:  # the simulation was asked for something that there is not
            return str(error), f"Correct or unset {SIMULATE}."
        except self._nvml.NVMLError as error:
            return explain(error)
        try:
            count = self._nvml.nvmlDeviceGetCount()
        except self._nvml.NVMLError as error:
            if error.value != UNINITIALIZED:
                return explain(error)
            try:  # once more: a driver that was being reloaded
                self._nvml.nvmlInit()
                count = self._nvml.nvmlDeviceGetCount()
            except self._nvml.NVMLError as again:
                return explain(again)
        self._driver = self._system("nvmlSystemGetDriverVersion")
        cuda = self._system("nvmlSystemGetCudaDriverVersion_v2")
        self._cuda = f"{int(cuda) // 1000}.{int(cuda) % 1000 // 10}" if cuda and cuda.isdigit() else None
        self._devices = [Device(self._nvml, index, self._monotonic) for index in range(min(count, MAX_GPUS))]
        return None

    def _system(self, function: str) -> str | None:
        try:
            value = getattr(self._nvml, function)()
        except (self._nvml.NVMLError, AttributeError, ValueError):
            return None
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        return str(value)[:MAX_TEXT]

    def _failure(self, at: float) -> GpuReport:
        error, advice = self._failed or ("The GPUs cannot be read", None)
        return GpuReport(at, error=error, advice=advice, simulated=simulated())


def explain(error: Any) -> tuple[str, str | None]:
    """An NVMLError as what happened and what to do."""
    known = FAILURES.get(error.value)
    return known if known else (f"The NVIDIA driver answered: {str(error)[:MAX_TEXT]}", None)


def _means(text: str, index: int, uuid: str) -> bool:
    return text == str(index) or text == uuid or (text.startswith("GPU-") and uuid.startswith(text))
