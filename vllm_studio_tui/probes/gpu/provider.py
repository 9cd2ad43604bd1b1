"""All GPUs of this machine, whoever made them: which there are is seen at run time, and seen again.

A provider is a library with NVML's names (`as_nvml`), and each has a reader of its own, so a driver that hangs holds up
its own GPUs alone. Indices count through: NVIDIA's first, as CUDA counts them, then AMD's, then Intel's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.domain.gpus import GpuReport
from vllm_studio_tui.probes.gpu.nvml import LOG_PATIENCE, PATIENCE, NvmlReader, simulated
from vllm_studio_tui.probes.gpu.values import ON_A_LINE

if TYPE_CHECKING:
    from vllm_studio_tui.probes.gpu.kernel_log import KernelLog

SYS = Path("/sys")
#: Seconds between two looks for GPUs of other vendors.
LOOK_EVERY = 30.0
_VENDORS = {"0x1002": "AMD", "0x8086": "Intel", "0x10de": "NVIDIA"}


class GpuReader:
    """Reads all GPUs of all vendors, as `NvmlReader` reads NVIDIA's.

    Args:
        library: Stands in for NVIDIA's; None: the one that is installed.
        root: Where the kernel's files are.
    """

    def __init__(
        self,
        library: Any = None,
        *,
        root: Path = SYS,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._root = root
        self._clock = clock
        self._monotonic = monotonic
        self._nvidia = NvmlReader(library, clock=clock, monotonic=monotonic)
        self._others: dict[str, NvmlReader] = {}
        self._look_at = 0.0

    @property
    def log(self) -> KernelLog | None:
        """Return where NVIDIA's driver tells its errors; None: nobody looks for them."""
        return self._nvidia.log

    @log.setter
    def log(self, log: KernelLog | None) -> None:
        self._nvidia.log = log

    @property
    def hanging(self) -> float:
        """Return for how many seconds the longest running call into a driver has been running."""
        return max(one.hanging for one in self._all())

    @property
    def refused(self) -> float:
        """Return for how many seconds NVIDIA's library has refused to be opened."""
        return self._nvidia.refused

    @property
    def read_some(self) -> bool:
        """Return whether any GPU of NVIDIA was ever read."""
        return self._nvidia.read_some

    def read(
        self,
        processes: bool = True,
        patience: float = PATIENCE,
        *,
        thorough: bool = False,
        keys: Collection[str] | None = None,
    ) -> GpuReport:
        """Read every GPU: see `NvmlReader.read`."""
        deadline = time.monotonic() + patience
        self._look()
        report = self._nvidia.read(processes, patience, thorough=thorough, keys=keys)
        if simulated() or (not self._others and report.gpus):
            return report
        gpus, driver, errors = list(report.gpus), report.driver, []
        for reader in self._others.values():
            left = max(0.1, deadline - time.monotonic())
            other = reader.read(processes, left, thorough=thorough, keys=keys)
            gpus += [replace(gpu, index=gpu.index + len(gpus)) for gpu in other.gpus]
            driver = driver or other.driver
            if other.error:
                errors.append((other.error, other.advice))
        if gpus:
            return replace(report, gpus=tuple(gpus), driver=driver, error=None, advice=None)
        if errors:  # there is a GPU of this vendor, and none of NVIDIA's
            return replace(report, error=errors[0][0], advice=errors[0][1])
        return replace(report, advice=self._why(report.advice))

    def energies(self, which: Iterable[str] = (), patience: float = PATIENCE) -> tuple[dict[str, int], str | None]:
        """Return millijoules by UUID, and why nothing could be read: see `NvmlReader.energies`."""
        self._look()
        if not self._others:
            return self._nvidia.energies(which, patience)
        wanted = list(which)
        found: dict[str, int] = {}
        problem: str | None = None
        report = self.read(False, patience)
        for gpu in report.gpus:
            if gpu.energy_mj is not None and gpu.uuid and (not wanted or gpu.is_one_of(wanted)):
                found[gpu.uuid] = gpu.energy_mj
        if not found:
            problem = report.error
        return found, problem

    def look_at_log(self) -> None:
        """Take what is new in the kernel's log."""
        self._nvidia.look_at_log()

    def close(self) -> None:
        """Shut the libraries down."""
        for reader in self._all():
            reader.close()

    def _all(self) -> list[NvmlReader]:
        return [self._nvidia, *self._others.values()]

    def _look(self) -> None:
        """See whether there are GPUs of another vendor; one that was there once is asked again for ever."""
        now = self._monotonic()
        if simulated() or now < self._look_at or not (self._root / "class" / "drm").exists():
            return
        self._look_at = now + LOOK_EVERY
        from vllm_studio_tui.probes.gpu import sysfs

        there = {one.vendor for one in sysfs.cards(self._root) if one.bus != "0000:00:02.0"}
        if sysfs.AMD in there and "amd" not in self._others:
            self._others["amd"] = self._reader(self._amd())
        if sysfs.INTEL in there and "intel" not in self._others:
            from vllm_studio_tui.probes.gpu.intel import IntelLibrary

            self._others["intel"] = self._reader(IntelLibrary(self._root))

    def _reader(self, library: Any) -> NvmlReader:
        return NvmlReader(library, clock=self._clock, monotonic=self._monotonic)

    def _amd(self) -> Any:
        """Return AMD's library, where it is installed; else what the kernel tells."""
        from vllm_studio_tui.probes.gpu.amd import AmdLibrary, LibraryNotThere, load
        from vllm_studio_tui.probes.gpu.sysfs import AmdSysfs

        try:
            return AmdLibrary(load())
        except LibraryNotThere:
            return AmdSysfs(self._root)

    def _why(self, advice: str | None) -> str | None:
        """Add to the advice what the machine itself says of GPUs that no driver has."""
        from vllm_studio_tui.probes.gpu.sysfs import unserved

        found = unserved(self._root)
        if not found:
            return advice
        named = ", ".join(f"{_VENDORS[vendor]} at {bus}" for vendor, bus in found[:4])
        return " ".join(part for part in (f"There is a GPU without a driver: {named}.", advice) if part)


def read_once(
    deadline: float = 3.0, *, processes: bool = True, thorough: bool = False, line: bool = False
) -> GpuReport:
    """Read the GPUs once, in this process. What has not answered after `deadline` seconds is unknown.

    Args:
        line: Only what a line of a status bar says of them.
        thorough: Also what takes the driver long to tell, 40 ms for each GPU, and its errors in the kernel's log.
    """
    reader = GpuReader()
    report = reader.read(processes, deadline, thorough=thorough, keys=ON_A_LINE if line else None)
    if not thorough or simulated() or not report.gpus:
        return report
    from vllm_studio_tui.probes.gpu.kernel_log import KernelLog

    log = KernelLog()
    log.look_through(LOG_PATIENCE)
    log.close()
    return replace(report, gpus=tuple(replace(gpu, xids=log.of(gpu.pci_bus)) for gpu in report.gpus))
