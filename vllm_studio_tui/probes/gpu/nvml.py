"""Read all GPUs through NVML, in this process, by `pynvml` of nvidia-ml-py or by the simulation.

The calls block, for seconds when a GPU is sick, and after a reload of the driver only a new process sees the new
one: whoever reads again and again does it through `probes.gpu.client.GpuWorker`.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import ModuleType
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.domain.gpus import Gpu, GpuReport, Xid, is_named
from vllm_studio_tui.probes.gpu import validation
from vllm_studio_tui.probes.gpu.device import UNINITIALIZED, Device, code_of
from vllm_studio_tui.probes.gpu.processes import ProcessNames
from vllm_studio_tui.probes.gpu.timed_calls import Step, run_steps
from vllm_studio_tui.probes.gpu.values import ALL, COUNTER, HANDLE, PROCESSES
from vllm_studio_tui.simulation import marks

if TYPE_CHECKING:
    from vllm_studio_tui.probes.gpu.kernel_log import KernelLog

#: Seconds one reading waits for the driver.
PATIENCE = 10.0
#: Seconds between two attempts to open a library that refused.
RETRY_OPEN = 10.0
#: Seconds after which the library is opened anew while a GPU is lost.
REOPEN = 300.0
MAX_GPUS = 128
#: Seconds that a single reading waits for the kernel's log.
LOG_PATIENCE = 1.0

HUNG = "The {} driver has not answered"
HUNG_ADVICE = (
    "Where nothing keeps the driver loaded (nvidia-persistenced does), a first call takes seconds: try again. "
    "If it lasts, `dmesg` says whether a GPU has fallen off the bus."
)

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
        "Install the driver, or start the container with its GPUs (`--gpus all`). "
        f"{marks.GPUS}=4 shows simulated ones.",
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
    """There is no library to read GPUs with; the text says what is missing and what to do."""

    def __init__(self, text: str, advice: str) -> None:
        super().__init__(text)
        self.advice = advice


def simulated(environ: Mapping[str, str] | None = None) -> bool:
    """Return whether the GPUs are simulated."""
    return bool((os.environ if environ is None else environ).get(marks.GPUS, "").strip())


def load() -> ModuleType:
    """Return the module `pynvml`, or the simulation if it is asked for.

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


@dataclass(slots=True)
class _Asked:
    """What one reading asks for: values, of which GPUs, and whether their calls have begun."""

    keys: Collection[str]
    numbers: Collection[int]
    thorough: bool
    begun: bool = False


class NvmlReader:
    """Reads all GPUs. Failures are in the report: `read` neither raises nor waits without end.

    Args:
        library: A module as `pynvml`; None: the one that `load` finds at the first reading.
        log: Where the driver's errors are; None: nobody looks for them.
        clock: Seconds since the epoch. `monotonic` times retries and the age of values.
    """

    def __init__(
        self,
        library: Any = None,
        *,
        log: KernelLog | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._nvml = library
        self.log = log
        self._clock = clock
        self._monotonic = monotonic
        self._devices: list[Device] | None = None
        self._driver: str | None = None
        self._cuda: str | None = None
        self._names = ProcessNames()
        self._failed: tuple[str, str | None] | None = None
        self._retry_at = 0.0
        self._opening: float | None = None
        self._opened_at = 0.0
        self._refused_at: float | None = None
        #: Every GPU that was there, by UUID: one that disappears is reported as lost.
        self._seen: dict[str, Gpu] = {}

    @property
    def hanging(self) -> float:
        """Return for how many seconds the longest running call into the driver has been running; 0 if there is none."""
        opening = 0.0 if self._opening is None else self._monotonic() - self._opening
        return max((device.hanging for device in self._devices or ()), default=opening)

    @property
    def _maker(self) -> str:
        return str(getattr(self._nvml, "named", "NVIDIA"))

    @property
    def refused(self) -> float:
        """Return for how many seconds the library has refused to be opened; 0 if it has not."""
        return 0.0 if self._refused_at is None else self._monotonic() - self._refused_at

    @property
    def read_some(self) -> bool:
        """Return whether any GPU was ever read."""
        return bool(self._seen)

    def read(
        self,
        processes: bool = True,
        patience: float = PATIENCE,
        *,
        thorough: bool = False,
        keys: Collection[str] | None = None,
    ) -> GpuReport:
        """Read every GPU.

        Args:
            processes: Also who uses them, which is slower; else the processes of the last time are repeated.
            patience: Seconds after which what is known by then is the report; the next one goes on from there.
            thorough: Also what takes the driver long to tell, which else is read in turns.
            keys: Only these of `values.VALUES`; None: all.
        """
        at = self._clock()
        wanted = keys if keys is not None else ALL if processes else ALL - PROCESSES
        problem = self._ask(wanted, patience, thorough=thorough)
        if problem is not None:
            error, advice = problem
            return GpuReport(at, error=error, advice=advice, simulated=simulated())
        gpus = self._with_vanished([device.gpu(self._names, self._xids(device)) for device in self._devices or ()])
        self._names.forget()
        return GpuReport(
            at,
            gpus,
            self._driver,
            self._cuda,
            error=None if gpus else f"The {self._maker} driver reports no GPU",
            simulated=simulated(),
        )

    def energies(self, which: Iterable[str] = (), patience: float = PATIENCE) -> tuple[dict[str, int], str | None]:
        """Return millijoules since the driver was loaded, by UUID, and why nothing could be read (None: it could).

        Args:
            which: Indices, or UUIDs or beginnings of them as in CUDA_VISIBLE_DEVICES; empty: all GPUs.
        """
        wanted = list(which)
        numbers = {int(one) for one in wanted} if all(one.isdecimal() for one in wanted) else set()
        problem = self._ask(COUNTER, patience, numbers)
        if problem is not None:
            return {}, problem[0]
        counts = [(device.index, device.energy()) for device in self._devices or ()]
        return {
            count[0]: count[1]
            for index, count in counts
            if count is not None and (not wanted or any(is_named(index, count[0], name) for name in wanted))
        }, f"{HUNG.format(self._maker)} for {self.hanging:.1f} s" if self.hanging else None

    def look_at_log(self) -> None:
        """Take what is new in the kernel's log: the next reading tells it. Where there is no GPU nothing is done."""
        if self.log is not None and self._devices and not simulated():
            self.log.look()

    def close(self) -> None:
        """Shut the library down."""
        if self._devices is not None:
            self._devices = None
            self._call("nvmlShutdown")

    def _ask(
        self, keys: Collection[str], patience: float, numbers: Collection[int] = (), *, thorough: bool = False
    ) -> tuple[str, str | None] | None:
        """Ask GPUs for these values. Returns what went wrong and what to do, if none can be asked.

        Args:
            numbers: The GPUs' indices; empty: all. Another one that hangs holds up nobody then.
        """
        deadline = time.monotonic() + patience
        if self._failed is not None and self._monotonic() < self._retry_at:
            return self._failed
        asked = _Asked(keys, numbers, thorough)
        begun = self._opening is None
        if begun:
            self._failed = None
            # Once the GPUs are known, the look whether they still are is the first of the calls: one thread for all.
            run_steps(self._steps(asked) if self._devices is not None else iter([self._open]), patience)
            begun = self._devices is not None and asked.begun
        if self._opening is not None:
            hanging = self._monotonic() - self._opening
            return f"{HUNG.format(self._maker)} for {max(hanging, patience):.1f} s", HUNG_ADVICE
        if self._failed is not None:
            return self._failed
        if not begun:
            run_steps(self._calls(asked), max(0.0, deadline - time.monotonic()))
        return None

    def _steps(self, asked: _Asked) -> Iterator[Step]:
        yield self._open
        if self._opening is None and self._failed is None:
            asked.begun = True
            yield from self._calls(asked)

    def _calls(self, asked: _Asked) -> Iterator[Step]:
        for device in self._devices or ():
            if not asked.numbers or device.index in asked.numbers:
                yield from device.steps(asked.keys, thorough=asked.thorough)

    def _open(self) -> None:
        """Open the library and list the GPUs, or check that the list is still right."""
        self._opening = self._monotonic()
        try:
            problem = self._list()
        finally:
            self._opening = None
        if problem is None:
            self._refused_at = None
            return
        self._devices = None
        self._failed = problem
        self._retry_at = self._monotonic() + RETRY_OPEN
        if self._refused_at is None:
            self._refused_at = self._monotonic()

    def _list(self) -> tuple[str, str | None] | None:
        if self._devices is not None and any(one.lost for one in self._seen.values()) and self._due():
            self.close()  # the library lists the GPUs when it is opened
        if self._devices is not None:
            count, error = self._count()
            if error is None or code_of(self._nvml, error) != UNINITIALIZED:
                if count is not None and count != len(self._devices):
                    self._devices = self._listed(count)
                return None
            self._devices = None  # it was shut down, or the driver reloaded
        try:
            if self._nvml is None:
                self._nvml = load()
        except LibraryMissing as missing:
            return str(missing), missing.advice
        invented = getattr(self._nvml, "invented_processes", None)
        if simulated() and invented is not None:
            self._names.invented = invented()
        for attempt in (1, 2):  # once more for a driver that was being reloaded
            error = self._call("nvmlInit")[1]
            if error is not None:
                return self._explain(error)
            count, error = self._count()
            if error is None or code_of(self._nvml, error) != UNINITIALIZED or attempt == 2:
                break
        if count is None:  # it does not tell how many, so they are looked for one by one
            found = (index for index in range(MAX_GPUS) if self._call(HANDLE, index)[1] is not None)
            count = next(found, MAX_GPUS)
            if count == 0:
                return self._explain(error) if error else ("The NVIDIA driver does not tell how many GPUs it has", None)
        self._driver = validation.text(self._call("nvmlSystemGetDriverVersion")[0])
        self._cuda = validation.cuda(self._call("nvmlSystemGetCudaDriverVersion_v2")[0])
        self._devices = self._listed(count)
        self._opened_at = self._monotonic()
        return None

    def _xids(self, device: Device) -> tuple[Xid, ...]:
        """Return the errors of a GPU that the kernel's log has."""
        invented = getattr(self._nvml, "invented_xids", None) if simulated() else None
        if invented is not None:
            return tuple(Xid(code, at, words) for at, code, words in invented(device.index))
        return () if self.log is None else self.log.of(device.bus)

    def _due(self) -> bool:
        return self._monotonic() - self._opened_at >= REOPEN and not self.hanging

    def _listed(self, count: int) -> list[Device]:
        return [Device(self._nvml, index, self._monotonic) for index in range(count)]

    def _count(self) -> tuple[int | None, Exception | None]:
        """Return the number of GPUs, or None and the error."""
        count, error = self._call("nvmlDeviceGetCount")
        return validation.whole(count, 0, MAX_GPUS), error

    def _call(self, function: str, *arguments: Any) -> tuple[Any, Exception | None]:
        try:
            return getattr(self._nvml, function)(*arguments), None
        except Exception as error:  # noqa: BLE001, RUF100
            return None, error

    def _explain(self, error: Exception) -> tuple[str, str | None]:
        own = getattr(self._nvml, "explain", None)
        if own is not None:
            words: tuple[str, str | None] = own(error)
            return words
        if simulated() and isinstance(error, ValueError):  # it was asked for something that there is not
            return str(error), f"Correct or unset {marks.GPUS}."
        return explain(error, code_of(self._nvml, error))

    def _with_vanished(self, gpus: list[Gpu]) -> tuple[Gpu, ...]:
        """Return the GPUs, with those that were there before and are no longer listed."""
        there = {gpu.uuid for gpu in gpus}
        for place, gpu in enumerate(gpus):
            # It does not say which it is: the one that had this index, if that has not turned up elsewhere.
            before = next((one for one in self._seen.values() if one.index == gpu.index), None)
            if not gpu.uuid and before is not None and before.uuid not in there:
                gpus[place] = replace(gpu, uuid=before.uuid, name=before.name)
        seen = {gpu.uuid: Gpu(gpu.index, gpu.uuid, gpu.name, lost=gpu.lost) for gpu in gpus if gpu.uuid}
        free = itertools.count(len(gpus))
        gone = [
            replace(gpu, index=next(free), lost="the driver does not list it any more")
            for uuid, gpu in sorted(self._seen.items())
            if uuid not in seen
        ]
        self._seen = {**seen, **{gpu.uuid: gpu for gpu in gone}}
        return (*gpus, *gone)


def explain(error: Exception, code: int) -> tuple[str, str | None]:
    """Return what happened and what to do."""
    known = FAILURES.get(code)
    if known:
        return known
    return f"The NVIDIA driver answered: {str(error)[: validation.MAX_TEXT] or type(error).__name__}", None
