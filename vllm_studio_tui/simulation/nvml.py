"""Stands in for `import pynvml` where there is no GPU: the same function names, constants and error classes.

Only what our reader calls is here, with the signatures, units and errors of nvidia-ml-py. What the GPUs do, and
the grammar of `VLLM_STUDIO_SIMULATE_GPUS` that asks for them, is in `simulation.gpus`. The variable is read at
`nvmlInit`, which raises `SimulationError` when it does not follow the grammar.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from types import SimpleNamespace

from vllm_studio_tui.simulation import gpus, marks
from vllm_studio_tui.simulation.gpus import Scenario, SimulationError, energy_mj, invented_processes

__all__ = ["NVMLError", "SimulationError", "clock", "energy_mj", "invented_processes", "nvmlInit"]

NVML_ERROR_UNINITIALIZED = 1
NVML_ERROR_INVALID_ARGUMENT = 2
NVML_ERROR_NOT_SUPPORTED = 3
NVML_ERROR_NO_PERMISSION = 4
NVML_ERROR_DRIVER_NOT_LOADED = 9
NVML_ERROR_TIMEOUT = 10
NVML_ERROR_LIBRARY_NOT_FOUND = 12
NVML_ERROR_FUNCTION_NOT_FOUND = 13
NVML_ERROR_GPU_IS_LOST = 15
NVML_ERROR_RESET_REQUIRED = 16
NVML_ERROR_OPERATING_SYSTEM = 17
NVML_ERROR_LIB_RM_VERSION_MISMATCH = 18
NVML_ERROR_UNKNOWN = 999

NVML_TEMPERATURE_GPU = 0
NVML_CLOCK_SM = 1
NVML_CLOCK_MEM = 2
nvmlMemory_v2 = 0x02000028  # noqa: N816, RUF100

#: Where the time comes from; tests put their own here.
clock: Callable[[], float] = time.time


class NVMLError(Exception):
    """As in pynvml: made with a code, it becomes the subclass of that code."""

    value: int

    def __new__(cls, value: int | None = None) -> NVMLError:
        kind = _CLASSES.get(value, cls) if cls is NVMLError and value is not None else cls
        error = Exception.__new__(kind)
        error.value = _CODES.get(kind, NVML_ERROR_UNKNOWN) if value is None else value
        return error

    def __str__(self) -> str:
        return _TEXTS.get(self.value, f"NVML Error with code {self.value}")


class NVMLError_Uninitialized(NVMLError):  # noqa: N801, RUF100
    pass


class NVMLError_InvalidArgument(NVMLError):  # noqa: N801, RUF100
    pass


class NVMLError_NotSupported(NVMLError):  # noqa: N801, RUF100
    pass


class NVMLError_NoPermission(NVMLError):  # noqa: N801, RUF100
    pass


class NVMLError_DriverNotLoaded(NVMLError):  # noqa: N801, RUF100
    pass


class NVMLError_Timeout(NVMLError):  # noqa: N801, RUF100
    pass


class NVMLError_LibraryNotFound(NVMLError):  # noqa: N801, RUF100
    pass


class NVMLError_FunctionNotFound(NVMLError):  # noqa: N801, RUF100
    pass


class NVMLError_GpuIsLost(NVMLError):  # noqa: N801, RUF100
    pass


class NVMLError_ResetRequired(NVMLError):  # noqa: N801, RUF100
    pass


class NVMLError_OperatingSystem(NVMLError):  # noqa: N801, RUF100
    pass


class NVMLError_LibRmVersionMismatch(NVMLError):  # noqa: N801, RUF100
    pass


class NVMLError_Unknown(NVMLError):  # noqa: N801, RUF100
    pass


_CLASSES: dict[int, type[NVMLError]] = {
    NVML_ERROR_UNINITIALIZED: NVMLError_Uninitialized,
    NVML_ERROR_INVALID_ARGUMENT: NVMLError_InvalidArgument,
    NVML_ERROR_NOT_SUPPORTED: NVMLError_NotSupported,
    NVML_ERROR_NO_PERMISSION: NVMLError_NoPermission,
    NVML_ERROR_DRIVER_NOT_LOADED: NVMLError_DriverNotLoaded,
    NVML_ERROR_TIMEOUT: NVMLError_Timeout,
    NVML_ERROR_LIBRARY_NOT_FOUND: NVMLError_LibraryNotFound,
    NVML_ERROR_FUNCTION_NOT_FOUND: NVMLError_FunctionNotFound,
    NVML_ERROR_GPU_IS_LOST: NVMLError_GpuIsLost,
    NVML_ERROR_RESET_REQUIRED: NVMLError_ResetRequired,
    NVML_ERROR_OPERATING_SYSTEM: NVMLError_OperatingSystem,
    NVML_ERROR_LIB_RM_VERSION_MISMATCH: NVMLError_LibRmVersionMismatch,
    NVML_ERROR_UNKNOWN: NVMLError_Unknown,
}
_CODES = {kind: code for code, kind in _CLASSES.items()}
_TEXTS = {
    NVML_ERROR_UNINITIALIZED: "Uninitialized",
    NVML_ERROR_INVALID_ARGUMENT: "Invalid Argument",
    NVML_ERROR_NOT_SUPPORTED: "Not Supported",
    NVML_ERROR_NO_PERMISSION: "Insufficient Permissions",
    NVML_ERROR_DRIVER_NOT_LOADED: "Driver Not Loaded",
    NVML_ERROR_TIMEOUT: "Timeout",
    NVML_ERROR_LIBRARY_NOT_FOUND: "NVML Shared Library Not Found",
    NVML_ERROR_FUNCTION_NOT_FOUND: "Function Not Found",
    NVML_ERROR_GPU_IS_LOST: "GPU is lost",
    NVML_ERROR_RESET_REQUIRED: "GPU requires restart",
    NVML_ERROR_OPERATING_SYSTEM: "The operating system has blocked the request.",
    NVML_ERROR_LIB_RM_VERSION_MISMATCH: "RM has detected an NVML/RM version mismatch.",
    NVML_ERROR_UNKNOWN: "Unknown Error",
}

_INIT_FAULTS = {
    "nodriver": NVML_ERROR_LIBRARY_NOT_FOUND,
    "notloaded": NVML_ERROR_DRIVER_NOT_LOADED,
    "mismatch": NVML_ERROR_LIB_RM_VERSION_MISMATCH,
    "nopermission": NVML_ERROR_NO_PERMISSION,
    "blocked": NVML_ERROR_OPERATING_SYSTEM,
}


class Device:
    """A handle."""

    __slots__ = ("calls", "index")

    def __init__(self, index: int) -> None:
        self.index = index
        self.calls = 0


class _Library:
    """What the C library keeps for a process."""

    scenario: Scenario | None = None
    uninitialized_once = False


def nvmlInit() -> None:  # noqa: N802, RUF100
    scenario = gpus.scenario(os.environ.get(marks.GPUS, ""))
    for fault, code in _INIT_FAULTS.items():
        if scenario.has(fault):
            raise NVMLError(code)
    _Library.scenario = scenario


def nvmlShutdown() -> None:  # noqa: N802, RUF100
    _scenario()
    _Library.scenario = None


def nvmlSystemGetDriverVersion() -> str:  # noqa: N802, RUF100
    _scenario()
    return "580.95.05"


def nvmlSystemGetCudaDriverVersion_v2() -> int:  # noqa: N802, RUF100
    _scenario()
    return 13_000


def nvmlDeviceGetCount() -> int:  # noqa: N802, RUF100
    return _scenario().count


def nvmlDeviceGetHandleByIndex(index: int) -> Device:  # noqa: N802, RUF100
    if not 0 <= index < _scenario().count:
        raise NVMLError(NVML_ERROR_INVALID_ARGUMENT)
    device = Device(index)
    _check(device)
    return device


def nvmlDeviceGetName(handle: Device) -> str:  # noqa: N802, RUF100
    scenario = _check(handle)
    hostile = scenario.has("hostile", handle.index)
    return "NVIDIA \x1b]0;owned\x07[red]H100\x9b2J" if hostile else scenario.kind.name


def nvmlDeviceGetUUID(handle: Device) -> str:  # noqa: N802, RUF100
    _check(handle)
    return gpus.uuid(handle.index)


def nvmlDeviceGetPciInfo(handle: Device) -> SimpleNamespace:  # noqa: N802, RUF100
    _check(handle)
    return SimpleNamespace(busId=f"00000000:{0x10 + handle.index:02X}:00.0")


def nvmlDeviceGetCudaComputeCapability(handle: Device) -> tuple[int, int]:  # noqa: N802, RUF100
    return _check(handle).kind.capability


def nvmlDeviceGetMigMode(handle: Device) -> list[int]:  # noqa: N802, RUF100
    on = int(_check(handle).has("mig", handle.index))
    return [on, on]


def nvmlDeviceGetMemoryInfo(handle: Device, version: int | None = None) -> SimpleNamespace:  # noqa: N802, RUF100
    scenario = _check(handle)
    if handle.index in scenario.hang:
        time.sleep(scenario.hang[handle.index])
    if version and scenario.has("old"):
        raise NVMLError(NVML_ERROR_FUNCTION_NOT_FOUND)
    _refuse(handle, "nomemory")
    used = gpus.memory_used(handle.index, clock(), busy=_busy(handle))
    total = scenario.kind.memory
    free = total - used - gpus.MEMORY_RESERVED
    if version:
        return SimpleNamespace(total=total, reserved=gpus.MEMORY_RESERVED, used=used, free=free, version=version)
    # Version 1 counts what the driver keeps for itself as used.
    return SimpleNamespace(total=total, used=used + gpus.MEMORY_RESERVED, free=free)


def nvmlDeviceGetUtilizationRates(handle: Device) -> SimpleNamespace:  # noqa: N802, RUF100
    _refuse(handle, "mig")
    handle.calls += 1
    if _scenario().has("timeout", handle.index) and handle.calls % 2 == 0:
        raise NVMLError(NVML_ERROR_TIMEOUT)
    percent = gpus.utilization(handle.index, clock(), busy=_busy(handle))
    return SimpleNamespace(gpu=percent, memory=percent * 2 // 3)


def nvmlDeviceGetTemperatureV(handle: Device, sensor: int) -> int:  # noqa: N802, RUF100
    if _check(handle).has("old"):
        raise NVMLError(NVML_ERROR_FUNCTION_NOT_FOUND)
    return nvmlDeviceGetTemperature(handle, sensor)


def nvmlDeviceGetTemperature(handle: Device, sensor: int) -> int:  # noqa: N802, RUF100
    _check(handle)
    if sensor != NVML_TEMPERATURE_GPU:
        raise NVMLError(NVML_ERROR_INVALID_ARGUMENT)
    return gpus.temperature(handle.index, clock(), busy=_busy(handle))


def nvmlDeviceGetPowerUsage(handle: Device) -> int:  # noqa: N802, RUF100
    _refuse(handle, "nopower")
    return round(gpus.power_w(handle.index, clock(), busy=_busy(handle)) * 1000 * _scenario().kind.power)


def nvmlDeviceGetEnforcedPowerLimit(handle: Device) -> int:  # noqa: N802, RUF100
    _refuse(handle, "nopower")
    return round(_scenario().kind.watts * 1000)


def nvmlDeviceGetTotalEnergyConsumption(handle: Device) -> int:  # noqa: N802, RUF100
    _refuse(handle, "nopower")
    return int(energy_mj(handle.index, clock(), busy=_busy(handle)) * _scenario().kind.power)


def nvmlDeviceGetClockInfo(handle: Device, kind: int) -> int:  # noqa: N802, RUF100
    _check(handle)
    if kind == NVML_CLOCK_SM:
        return gpus.sm_clock(handle.index, clock(), busy=_busy(handle))
    if kind == NVML_CLOCK_MEM:
        return 2619
    raise NVMLError(NVML_ERROR_INVALID_ARGUMENT)


def nvmlDeviceGetFanSpeed(handle: Device) -> int:  # noqa: N802, RUF100
    _refuse(handle, "nofan")
    return min(100, 20 + gpus.temperature(handle.index, clock(), busy=_busy(handle)) // 2)


def nvmlDeviceGetCurrentClocksEventReasons(handle: Device) -> int:  # noqa: N802, RUF100
    if _check(handle).has("old"):
        raise NVMLError(NVML_ERROR_FUNCTION_NOT_FOUND)
    return nvmlDeviceGetCurrentClocksThrottleReasons(handle)


def nvmlDeviceGetCurrentClocksThrottleReasons(handle: Device) -> int:  # noqa: N802, RUF100
    # Application clocks (0x2) are set and sync boost (0x10) is on: no reason to warn.
    return 0x36 if _check(handle).has("throttle", handle.index) else 0x12


def nvmlDeviceGetComputeRunningProcesses(handle: Device) -> list[SimpleNamespace]:  # noqa: N802, RUF100
    scenario = _check(handle)
    if scenario.has("noprocesses", handle.index):
        raise NVMLError(NVML_ERROR_NO_PERMISSION)
    asked = scenario.processes.get(handle.index)
    found = gpus.processes(handle.index, clock(), busy=_busy(handle)) if asked is None else asked
    return [SimpleNamespace(pid=pid, usedGpuMemory=memory) for pid, memory in found]


def nvmlDeviceGetGraphicsRunningProcesses(handle: Device) -> list[SimpleNamespace]:  # noqa: N802, RUF100
    # The same processes again, without memory: the real library lists some in both.
    return [
        SimpleNamespace(pid=process.pid, usedGpuMemory=None)
        for process in nvmlDeviceGetComputeRunningProcesses(handle)[:1]
    ]


def _scenario() -> Scenario:
    scenario = _Library.scenario
    if scenario is None:
        raise NVMLError(NVML_ERROR_UNINITIALIZED)
    if scenario.has("uninitialized") and not _Library.uninitialized_once:
        _Library.uninitialized_once = True
        _Library.scenario = None
        raise NVMLError(NVML_ERROR_UNINITIALIZED)
    return scenario


def _check(handle: Device) -> Scenario:
    """Return the scenario, or raise what a failing GPU answers."""
    scenario = _scenario()
    for fault, code in (
        ("lost", NVML_ERROR_GPU_IS_LOST),
        ("reset", NVML_ERROR_RESET_REQUIRED),
        ("unknown", NVML_ERROR_UNKNOWN),
    ):
        if scenario.has(fault, handle.index):
            raise NVMLError(code)
    return scenario


def _busy(handle: Device) -> bool:
    return handle.index in _scenario().busy


def _refuse(handle: Device, fault: str) -> None:
    if _check(handle).has(fault, handle.index):
        raise NVMLError(NVML_ERROR_NOT_SUPPORTED)
