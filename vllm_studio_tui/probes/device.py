"""One GPU through NVML: which of its values it can tell, and how it fails.

A value that a GPU does not support is asked for once and then never again. A GPU that has fallen off the bus says
so instead of taking the others with it. Units of the library: bytes, percent, degrees C, milliwatts, millijoules,
MHz (NVML API reference, and the docstrings of nvidia-ml-py).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from vllm_studio_tui.domain.metrics import Gpu, GpuProcess

UNINITIALIZED = 1
INVALID_ARGUMENT = 2
NOT_SUPPORTED = 3
NO_PERMISSION = 4
TIMEOUT = 10
FUNCTION_NOT_FOUND = 13
GPU_IS_LOST = 15
RESET_REQUIRED = 16
ARGUMENT_VERSION_MISMATCH = 25
DEPRECATED = 26
UNKNOWN = 999

#: Answers that will not change while the driver stays loaded.
NEVER = frozenset(
    {INVALID_ARGUMENT, NOT_SUPPORTED, NO_PERMISSION, FUNCTION_NOT_FOUND, ARGUMENT_VERSION_MISMATCH, DEPRECATED}
)
#: Seconds for which a value stands in for one that timed out.
KEEP = 10.0
#: Seconds between two attempts at a lost GPU: its calls may be slow.
RETRY_LOST = 30.0
#: Longest text that is taken from the driver.
MAX_TEXT = 128

#: Bits of the clock event reasons that are worth a warning; the others are idling and settings.
THROTTLE = (
    (0x04, "power cap"),
    (0x08, "hardware slowdown"),
    (0x20, "software thermal"),
    (0x40, "hardware thermal"),
    (0x80, "power brake"),
)

Processes = Callable[[list[tuple[int, int | None]]], tuple[GpuProcess, ...]]


class Lost(Exception):
    """The GPU does not answer any more."""


class Device:
    """A GPU by its index. `gpu()` never raises for what only this GPU cannot do.

    Args:
        library: The module `pynvml`, or what stands in for it.
        index: NVML's index, which is not CUDA's unless CUDA_DEVICE_ORDER=PCI_BUS_ID.
        monotonic: A clock in seconds.
    """

    def __init__(self, library: Any, index: int, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._nvml = library
        self._monotonic = monotonic
        self._index = index
        self._handle: Any = None
        self._never: set[str] = set()
        self._last: dict[str, tuple[float, Any]] = {}
        self._uuid: str | None = None
        self._name: str | None = None
        self._lost: str | None = None
        self._retry_at = 0.0
        self._processes: tuple[GpuProcess, ...] = ()

    @property
    def index(self) -> int:
        return self._index

    @property
    def uuid(self) -> str:
        """The GPU's id; empty until it was read once."""
        return self._uuid or ""

    def gpu(self, processes: Processes | None) -> Gpu:
        """Read all values; with `processes` also who uses the GPU, else the processes of the last time.

        Raises:
            The library's NVMLError only with the code Uninitialized.
        """
        if self._lost is not None and self._monotonic() < self._retry_at:
            return self._gone()
        try:
            return self._read(processes)
        except Lost as lost:
            self._lost = str(lost)
            self._handle = None
            self._processes = ()
            self._retry_at = self._monotonic() + RETRY_LOST
            return self._gone()

    def energy(self) -> tuple[str, int] | None:
        """UUID and millijoules since the driver was loaded; None where the GPU does not count or answer."""
        try:
            self._open()
            count = self._integer("energy", "nvmlDeviceGetTotalEnergyConsumption")
        except Lost:
            return None
        return None if count is None or not self._uuid else (self._uuid, count)

    def _gone(self) -> Gpu:
        return Gpu(self._index, self.uuid, self._name or f"GPU {self._index}", lost=self._lost)

    def _open(self) -> None:
        if self._handle is None:
            try:
                self._handle = self._nvml.nvmlDeviceGetHandleByIndex(self._index)
            except self._nvml.NVMLError as error:
                if error.value == UNINITIALIZED:
                    raise
                raise Lost(_text(error)) from error
        if self._uuid is None:
            self._uuid = self._once("uuid", "nvmlDeviceGetUUID")

    def _read(self, processes: Processes | None) -> Gpu:
        self._open()
        if self._name is None:
            self._name = self._once("name", "nvmlDeviceGetName")
        memory = self._memory()
        self._lost = None
        rates = self._ask("utilization", "nvmlDeviceGetUtilizationRates")
        power = self._integer("power", "nvmlDeviceGetPowerUsage")
        limit = self._integer("limit", "nvmlDeviceGetEnforcedPowerLimit")
        mig = self._ask("mig", "nvmlDeviceGetMigMode")
        if processes is not None:
            self._processes = processes(self._using())
        return Gpu(
            self._index,
            self.uuid,
            self._name or f"GPU {self._index}",
            memory_total=_field(memory, "total"),
            memory_used=_field(memory, "used"),
            memory_reserved=_field(memory, "reserved"),
            utilization=_field(rates, "gpu"),
            memory_utilization=_field(rates, "memory"),
            temperature=self._temperature(),
            power_draw=None if power is None else power / 1000,
            power_limit=None if limit is None else limit / 1000,
            energy_mj=self._integer("energy", "nvmlDeviceGetTotalEnergyConsumption"),
            sm_clock=self._integer("sm", "nvmlDeviceGetClockInfo", self._nvml.NVML_CLOCK_SM),
            memory_clock=self._integer("mem", "nvmlDeviceGetClockInfo", self._nvml.NVML_CLOCK_MEM),
            fan=self._integer("fan", "nvmlDeviceGetFanSpeed"),
            throttle=self._throttle(),
            pci_bus=self._pci(),
            compute_capability=self._capability(),
            mig=None if mig is None else bool(mig[0]),
            processes=self._processes,
        )

    def _memory(self) -> Any:
        """Memory, newer call first: only there the driver's own share is apart from what is used."""
        version = getattr(self._nvml, "nvmlMemory_v2", None)
        if version is not None:
            memory = self._ask("memory2", "nvmlDeviceGetMemoryInfo", version, vital=True)
            if memory is not None:
                return memory
        return self._ask("memory", "nvmlDeviceGetMemoryInfo", vital=True)

    def _temperature(self) -> int | None:
        sensor = self._nvml.NVML_TEMPERATURE_GPU
        value = self._integer("temperature2", "nvmlDeviceGetTemperatureV", sensor)
        return self._integer("temperature", "nvmlDeviceGetTemperature", sensor) if value is None else value

    def _throttle(self) -> tuple[str, ...]:
        bits = self._integer("events", "nvmlDeviceGetCurrentClocksEventReasons")
        if bits is None:
            bits = self._integer("throttle", "nvmlDeviceGetCurrentClocksThrottleReasons")
        return tuple(name for bit, name in THROTTLE if bits is not None and bits & bit)

    def _pci(self) -> str | None:
        info = self._fixed("pci", "nvmlDeviceGetPciInfo")
        bus = getattr(info, "busId", None)
        if isinstance(bus, bytes):
            bus = bus.decode("ascii", "replace")
        return str(bus)[:MAX_TEXT] if bus else None

    def _capability(self) -> str | None:
        pair = self._fixed("capability", "nvmlDeviceGetCudaComputeCapability")
        return f"{pair[0]}.{pair[1]}" if pair else None

    def _using(self) -> list[tuple[int, int | None]]:
        """Process number and bytes, once each: a process may be in both lists, with memory in one only."""
        found: dict[int, int | None] = {}
        for key in ("Compute", "Graphics"):
            for process in self._ask(key, f"nvmlDeviceGet{key}RunningProcesses") or ():
                pid, memory = int(process.pid), process.usedGpuMemory
                known = found.get(pid)
                found[pid] = known if memory is None else max(int(memory), known or 0)
        return sorted(found.items())

    def _once(self, key: str, function: str) -> str | None:
        value = self._ask(key, function)
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        return None if value is None else str(value)[:MAX_TEXT]

    def _fixed(self, key: str, function: str) -> Any:
        """A value that does not change while the driver is loaded."""
        return self._last[key][1] if key in self._last else self._ask(key, function)

    def _integer(self, key: str, function: str, *arguments: Any) -> int | None:
        value = self._ask(key, function, *arguments)
        return None if value is None else int(value)

    def _ask(self, key: str, function: str, *arguments: Any, vital: bool = False) -> Any:
        """Call the library for one value; None when it is unknown now or for ever.

        `vital`: a GPU that fails here without a reason is taken as lost; elsewhere only the value is unknown.
        """
        if key in self._never:
            return None
        call = getattr(self._nvml, function, None)
        if call is None:  # an older package
            self._never.add(key)
            return None
        try:
            value = call(self._handle, *arguments)
        except self._nvml.NVMLError as error:
            code = error.value
            if code == UNINITIALIZED:
                raise
            if code in (GPU_IS_LOST, RESET_REQUIRED) or (code == UNKNOWN and vital):
                raise Lost(_text(error)) from error
            if code in NEVER:
                self._never.add(key)
            at, last = self._last.get(key, (-KEEP, None))
            return last if code == TIMEOUT and self._monotonic() - at < KEEP else None
        except ValueError:  # text that is not UTF-8
            self._never.add(key)
            return None
        self._last[key] = (self._monotonic(), value)
        return value


def _text(error: Exception) -> str:
    return str(error)[:MAX_TEXT]


def _field(record: Any, name: str) -> int | None:
    value = getattr(record, name, None)
    return None if value is None else int(value)
