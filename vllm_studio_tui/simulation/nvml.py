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
from vllm_studio_tui.simulation.nvml_errors import (
    CLASSES,
    NVML_ERROR_DRIVER_NOT_LOADED,
    NVML_ERROR_FUNCTION_NOT_FOUND,
    NVML_ERROR_GPU_IS_LOST,
    NVML_ERROR_INVALID_ARGUMENT,
    NVML_ERROR_LIB_RM_VERSION_MISMATCH,
    NVML_ERROR_LIBRARY_NOT_FOUND,
    NVML_ERROR_NO_PERMISSION,
    NVML_ERROR_NOT_FOUND,
    NVML_ERROR_NOT_SUPPORTED,
    NVML_ERROR_OPERATING_SYSTEM,
    NVML_ERROR_RESET_REQUIRED,
    NVML_ERROR_TIMEOUT,
    NVML_ERROR_UNINITIALIZED,
    NVML_ERROR_UNKNOWN,
    NVMLError,
)

__all__ = ["CLASSES", "NVMLError", "SimulationError", "clock", "energy_mj", "invented_processes", "nvmlInit"]

NVML_TEMPERATURE_GPU = 0
NVML_CLOCK_SM = 1
NVML_CLOCK_MEM = 2
NVML_MEMORY_ERROR_TYPE_CORRECTED = 0
NVML_MEMORY_ERROR_TYPE_UNCORRECTED = 1
NVML_VOLATILE_ECC = 0
NVML_PCIE_UTIL_TX_BYTES = 0
NVML_PCIE_UTIL_RX_BYTES = 1
NVML_FI_DEV_MEMORY_TEMP = 82
NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_TX = 138
NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_RX = 139
NVML_VALUE_TYPE_UNSIGNED_INT = 1
NVML_VALUE_TYPE_UNSIGNED_LONG_LONG = 3
nvmlMemory_v2 = 0x02000028  # noqa: N816, RUF100

#: Where the time comes from; tests put their own here.
clock: Callable[[], float] = time.time


_INIT_FAULTS = {
    "nodriver": NVML_ERROR_LIBRARY_NOT_FOUND,
    "notloaded": NVML_ERROR_DRIVER_NOT_LOADED,
    "mismatch": NVML_ERROR_LIB_RM_VERSION_MISMATCH,
    "nopermission": NVML_ERROR_NO_PERMISSION,
    "blocked": NVML_ERROR_OPERATING_SYSTEM,
}


class Device:
    """A handle; with the number of a part, that of one of the parts that its GPU is divided into."""

    __slots__ = ("calls", "index", "part")

    def __init__(self, index: int, part: int | None = None) -> None:
        self.index = index
        self.calls = 0
        self.part = part


class _Library:
    """What the C library keeps for a process."""

    scenario: Scenario | None = None
    #: Of the file that holds the scenario, when it was read.
    stamp: int | None = None
    #: It was opened before: a driver that was loaded since is not seen by this process.
    opened = False
    uninitialized_once = False


def nvmlInit() -> None:  # noqa: N802, RUF100
    text = os.environ.get(marks.GPUS, "").strip()
    _Library.stamp = gpus.stamp(text)
    scenario = gpus.scenario(text)
    if scenario.has("reloaded") and _Library.opened:
        raise NVMLError(NVML_ERROR_LIB_RM_VERSION_MISMATCH)
    for fault, code in _INIT_FAULTS.items():
        if scenario.has(fault):
            raise NVMLError(code)
    _Library.scenario, _Library.opened = scenario, True


def invented_xids(index: int) -> list[tuple[float, int, str]]:
    """Return what the kernel's log says of a GPU: when, which error, its words."""
    return [] if _Library.scenario is None else gpus.xids(_Library.scenario, index, clock())


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
    name = "NVIDIA \x1b]0;owned\x07[red]H100\x9b2J" if hostile else scenario.kind.name
    return name if handle.part is None else f"{name} MIG {gpus.PARTS[handle.part].profile}"


def nvmlDeviceGetUUID(handle: Device) -> str:  # noqa: N802, RUF100
    _check(handle)
    return gpus.uuid(handle.index) if handle.part is None else gpus.part_uuid(handle.index, handle.part)


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
    if handle.part is not None:
        part = gpus.PARTS[handle.part]
        used, total = min(int(used * part.share), int(total * part.share)), int(total * part.share)
    free = total - used - gpus.MEMORY_RESERVED
    if scenario.has("garbage", handle.index):
        used = 2**64 - 1
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
    if _scenario().has("garbage", handle.index):
        percent = 2**32 - 1
    return SimpleNamespace(gpu=percent, memory=percent * 2 // 3)


def nvmlDeviceGetTemperatureV(handle: Device, sensor: int) -> int:  # noqa: N802, RUF100
    if _check(handle).has("old"):
        raise NVMLError(NVML_ERROR_FUNCTION_NOT_FOUND)
    return nvmlDeviceGetTemperature(handle, sensor)


def nvmlDeviceGetTemperature(handle: Device, sensor: int) -> int:  # noqa: N802, RUF100
    _check(handle)
    if sensor != NVML_TEMPERATURE_GPU:
        raise NVMLError(NVML_ERROR_INVALID_ARGUMENT)
    if _scenario().has("garbage", handle.index):
        return 2**31 - 1
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


def nvmlDeviceGetMaxMigDeviceCount(handle: Device) -> int:  # noqa: N802, RUF100
    _check(handle)
    return gpus.MOST_PARTS


def nvmlDeviceGetMigDeviceHandleByIndex(handle: Device, index: int) -> Device:  # noqa: N802, RUF100
    if not _check(handle).has("mig", handle.index) or not 0 <= index < len(gpus.PARTS):
        raise NVMLError(NVML_ERROR_NOT_FOUND)
    return Device(handle.index, index)


def nvmlDeviceGetPerformanceState(handle: Device) -> int:  # noqa: N802, RUF100
    kind = _check(handle).kind
    return 8 if kind.rests and gpus.utilization(handle.index, clock(), busy=_busy(handle)) == 0 else 0


def nvmlDeviceGetCurrPcieLinkGeneration(handle: Device) -> int:  # noqa: N802, RUF100
    return _check(handle).kind.pcie


def nvmlDeviceGetCurrPcieLinkWidth(handle: Device) -> int:  # noqa: N802, RUF100
    return 4 if _check(handle).has("narrow", handle.index) else 16


def nvmlDeviceGetPcieThroughput(handle: Device, way: int) -> int:  # noqa: N802, RUF100
    _check(handle)
    if way not in (NVML_PCIE_UTIL_TX_BYTES, NVML_PCIE_UTIL_RX_BYTES):
        raise NVMLError(NVML_ERROR_INVALID_ARGUMENT)
    return gpus.pcie_kb(handle.index, clock(), busy=_busy(handle)) // (1 + way)


def nvmlDeviceGetTotalEccErrors(handle: Device, kind: int, counter: int) -> int:  # noqa: N802, RUF100
    scenario = _check(handle)
    if not scenario.kind.ecc:
        raise NVMLError(NVML_ERROR_NOT_SUPPORTED)
    if counter != NVML_VOLATILE_ECC:
        raise NVMLError(NVML_ERROR_INVALID_ARGUMENT)
    return (14, 2)[kind] if scenario.has("ecc", handle.index) else 0


def nvmlDeviceGetFieldValues(handle: Device, fields: list[object]) -> list[SimpleNamespace]:  # noqa: N802, RUF100
    """Answer each field by itself; an old driver has none of them."""
    scenario = _check(handle)
    if scenario.has("old"):
        raise NVMLError(NVML_ERROR_FUNCTION_NOT_FOUND)
    return [_field(handle, scenario, one[0] if isinstance(one, list | tuple) else one) for one in fields]


def _field(handle: Device, scenario: Scenario, field: object) -> SimpleNamespace:
    busy = _busy(handle)
    kind = NVML_VALUE_TYPE_UNSIGNED_LONG_LONG
    if field == NVML_FI_DEV_MEMORY_TEMP and scenario.kind.hbm:
        kind, number = NVML_VALUE_TYPE_UNSIGNED_INT, gpus.temperature(handle.index, clock(), busy=busy) + 7
    elif field == NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_TX and scenario.kind.nvlink:
        number = gpus.nvlink_kib(handle.index, clock(), busy=busy)
    elif field == NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_RX and scenario.kind.nvlink:
        number = gpus.nvlink_kib(handle.index, clock(), busy=busy) * 31 // 32
    else:
        return SimpleNamespace(fieldId=field, nvmlReturn=NVML_ERROR_NOT_SUPPORTED, valueType=0, value=None)
    value = SimpleNamespace(uiVal=number, ullVal=number)
    return SimpleNamespace(fieldId=field, nvmlReturn=0, valueType=kind, value=value)


def nvmlDeviceGetProcessUtilization(handle: Device, since: int) -> list[SimpleNamespace]:  # noqa: N802, RUF100
    """Share what the GPU does among its processes by the memory they hold; the newest sample is of now."""
    _refuse(handle, "mig")
    found = nvmlDeviceGetComputeRunningProcesses(handle)
    percent = gpus.utilization(handle.index, clock(), busy=_busy(handle))
    held = sum(one.usedGpuMemory or 0 for one in found)
    if not percent or not held:
        raise NVMLError(NVML_ERROR_NOT_FOUND)
    return [
        SimpleNamespace(
            pid=one.pid, timeStamp=since + 900_000, smUtil=percent * (one.usedGpuMemory or 0) // held, memUtil=0
        )
        for one in found
    ]


def nvmlDeviceGetComputeRunningProcesses(handle: Device) -> list[SimpleNamespace]:  # noqa: N802, RUF100
    scenario = _check(handle)
    if scenario.has("noprocesses", handle.index):
        raise NVMLError(NVML_ERROR_NO_PERMISSION)
    asked = scenario.processes.get(handle.index)
    found = gpus.processes(handle.index, clock(), busy=_busy(handle)) if asked is None else asked
    if handle.part is not None:  # all work in the first part
        found = found if handle.part == 0 else ()
    return [SimpleNamespace(pid=pid, usedGpuMemory=memory) for pid, memory in found]


def nvmlDeviceGetGraphicsRunningProcesses(handle: Device) -> list[SimpleNamespace]:  # noqa: N802, RUF100
    # The first one again, without memory: the real library lists some in both.
    return [
        SimpleNamespace(pid=process.pid, usedGpuMemory=None)
        for process in nvmlDeviceGetComputeRunningProcesses(handle)[:1]
    ]


def _follow() -> None:
    """Take what has been written into the file of the scenario since it was read."""
    text = os.environ.get(marks.GPUS, "").strip()
    stamp = gpus.stamp(text)
    if stamp is None or stamp == _Library.stamp or _Library.scenario is None:
        return
    try:
        found = gpus.scenario(text)
    except SimulationError:
        return  # it is being written
    _Library.stamp = stamp
    closed = found.has("reloaded") or any(found.has(fault) for fault in _INIT_FAULTS)
    _Library.scenario = None if closed else found


def _scenario() -> Scenario:
    _follow()
    while _Library.scenario is not None and _Library.scenario.has("stuck"):
        time.sleep(0.05)
        _follow()
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
