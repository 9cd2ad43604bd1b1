"""Read AMD's GPUs through its library `amdsmi`, which comes with ROCm (and from PyPI, for a ROCm that is there)."""

from __future__ import annotations

import contextlib
import io
from types import ModuleType, SimpleNamespace
from typing import Any

from vllm_studio_tui.probes.gpu import as_nvml
from vllm_studio_tui.probes.gpu.as_nvml import AsNvml, ProviderError, generation_of, told

#: The library's own numbers of errors (amdsmi_status_t) that say the same as one of NVML's.
CODES = {
    1: as_nvml.INVALID_ARGUMENT,
    2: as_nvml.NOT_SUPPORTED,
    3: as_nvml.NOT_SUPPORTED,  # not yet implemented
    8: as_nvml.TIMEOUT,
    10: as_nvml.NO_PERMISSION,
    31: as_nvml.GPU_IS_LOST,  # the device was not found
    32: as_nvml.UNINITIALIZED,
    34: as_nvml.DRIVER_NOT_LOADED,
    40: as_nvml.NOT_SUPPORTED,  # no data
    52: as_nvml.NOT_SUPPORTED,  # its file is not there
}
#: Share of the power limit from which a GPU that is slowed down is taken to be so by it: the library does not say why.
AT_LIMIT = 0.97
ADVICE = (
    "Install AMD's management library (the package amd-smi-lib of ROCm) and its Python package of the same version: "
    "pip install amdsmi"
)


class LibraryNotThere(Exception):
    """`amdsmi` cannot be imported; the text says why."""


def load() -> ModuleType:
    """Return the module.

    Raises:
        LibraryNotThere: It is not installed, or its library is not.
    """
    try:
        # Where its library is not there it prints so, and fails in one of several ways.
        with contextlib.redirect_stdout(io.StringIO()):
            import amdsmi  # type: ignore[import-not-found, unused-ignore]
    except ImportError as error:
        raise LibraryNotThere("The Python package amdsmi is not installed") from error
    except Exception as error:  # noqa: BLE001, RUF100
        raise LibraryNotThere("AMD's library libamd_smi.so was not found, or is another version than amdsmi") from error
    found: ModuleType = amdsmi
    return found


class AmdLibrary(AsNvml):
    """AMD's GPUs, by NVML's names.

    Args:
        library: The module `amdsmi`, or what stands in for it; None: the one that is installed.
    """

    vendor, named = "amd", "AMD"

    def __init__(self, library: Any = None) -> None:
        super().__init__()
        self._amd = library

    def find(self) -> list[Any]:
        if self._amd is None:
            self._amd = load()
        self._ask("amdsmi_init")
        return list(self._ask("amdsmi_get_processor_handles"))

    def explain(self, error: Exception) -> tuple[str, str | None]:
        if isinstance(error, LibraryNotThere):
            return f"{error}: AMD's GPUs cannot be read", ADVICE
        if getattr(error, "value", None) == as_nvml.DRIVER_NOT_LOADED:
            return "AMD's driver is not loaded", "Load it with `modprobe amdgpu` as root; `dmesg` says why it did not."
        if getattr(error, "value", None) == as_nvml.NO_PERMISSION:
            return "No permission to ask AMD's driver", "Add this user to the groups render and video."
        return f"AMD's driver answered: {str(error)[:128]}", None

    def nvmlShutdown(self) -> None:  # noqa: N802, RUF100
        super().nvmlShutdown()
        self._ask("amdsmi_shut_down")

    def nvmlSystemGetDriverVersion(self) -> Any:  # noqa: N802, RUF100
        return self._ask("amdsmi_get_gpu_driver_info", self._handles[0])["driver_version"]

    def nvmlDeviceGetUUID(self, handle: Any) -> Any:  # noqa: N802, RUF100
        return self._ask("amdsmi_get_gpu_device_uuid", handle)

    def nvmlDeviceGetName(self, handle: Any) -> str:  # noqa: N802, RUF100
        name = self._ask("amdsmi_get_gpu_asic_info", handle).get("market_name")
        return name if isinstance(name, str) and name != "N/A" else "AMD GPU"

    def nvmlDeviceGetPciInfo(self, handle: Any) -> SimpleNamespace:  # noqa: N802, RUF100
        return SimpleNamespace(busId=self._ask("amdsmi_get_gpu_device_bdf", handle))

    def nvmlDeviceGetMemoryInfo(self, handle: Any) -> SimpleNamespace:  # noqa: N802, RUF100
        found = self._ask("amdsmi_get_gpu_vram_usage", handle)  # MiB
        return SimpleNamespace(total=told(found["vram_total"]) << 20, used=told(found["vram_used"]) << 20)

    def nvmlDeviceGetUtilizationRates(self, handle: Any) -> SimpleNamespace:  # noqa: N802, RUF100
        found = self._ask("amdsmi_get_gpu_activity", handle)
        return SimpleNamespace(gpu=found["gfx_activity"], memory=found["umc_activity"])

    def nvmlDeviceGetTemperature(self, handle: Any, sensor: int) -> int:  # noqa: N802, RUF100
        """Return the heat at the edge; where there is no such sensor, that of the hottest place."""
        del sensor
        try:
            return self._heat(handle, "EDGE")
        except ProviderError as error:
            if error.value != as_nvml.NOT_SUPPORTED:
                raise
        return self._heat(handle, "HOTSPOT")

    def memory_temperature(self, handle: Any) -> int | None:
        return self._heat(handle, "VRAM")

    def _heat(self, handle: Any, sensor: str) -> int:
        kind, metric = self._amd.AmdSmiTemperatureType[sensor], self._amd.AmdSmiTemperatureMetric["CURRENT"]
        return int(told(self._ask("amdsmi_get_temp_metric", handle, kind, metric)))

    def nvmlDeviceGetPowerUsage(self, handle: Any) -> int:  # noqa: N802, RUF100
        found = self._ask("amdsmi_get_power_info", handle)
        names = ("current_socket_power", "average_socket_power", "socket_power")
        watts = next((one for name in names if isinstance(one := found.get(name), int | float) and one), None)
        return int(told(watts) * 1000)

    def nvmlDeviceGetEnforcedPowerLimit(self, handle: Any) -> int:  # noqa: N802, RUF100
        return int(told(self._ask("amdsmi_get_power_cap_info", handle)["power_cap"])) // 1000  # microwatts

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: Any) -> int:  # noqa: N802, RUF100
        found = self._ask("amdsmi_get_energy_count", handle)
        microjoules = told(found["energy_accumulator"]) * told(found["counter_resolution"])
        return int(microjoules / 1000)

    def nvmlDeviceGetClockInfo(self, handle: Any, kind: int) -> int:  # noqa: N802, RUF100
        which = self._amd.AmdSmiClkType["GFX" if kind == self.NVML_CLOCK_SM else "MEM"]
        return int(told(self._ask("amdsmi_get_clock_info", handle, which)["clk"]))

    def nvmlDeviceGetFanSpeed(self, handle: Any) -> int:  # noqa: N802, RUF100
        most = told(self._ask("amdsmi_get_gpu_fan_speed_max", handle, 0))
        if not most:
            raise ProviderError(as_nvml.NOT_SUPPORTED)
        return int(100 * told(self._ask("amdsmi_get_gpu_fan_speed", handle, 0)) / most + 0.5)

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle: Any) -> int:  # noqa: N802, RUF100
        slowed = told(self._ask("amdsmi_get_gpu_metrics_info", handle).get("indep_throttle_status"))
        if not slowed:
            return 0
        with contextlib.suppress(ProviderError, KeyError, TypeError):
            if self.nvmlDeviceGetPowerUsage(handle) >= AT_LIMIT * self.nvmlDeviceGetEnforcedPowerLimit(handle):
                return 0x04
        return 0x08

    def nvmlDeviceGetCurrPcieLinkGeneration(self, handle: Any) -> int:  # noqa: N802, RUF100
        return generation_of(told(self._link(handle)["pcie_speed"]))

    def nvmlDeviceGetCurrPcieLinkWidth(self, handle: Any) -> int:  # noqa: N802, RUF100
        return int(told(self._link(handle)["pcie_width"]))

    def nvmlDeviceGetPcieThroughput(self, handle: Any, way: int) -> int:  # noqa: N802, RUF100
        """Return kB a second of both ways together, as what is received: the library does not tell them apart."""
        if way != self.NVML_PCIE_UTIL_RX_BYTES:
            raise ProviderError(as_nvml.NOT_SUPPORTED)
        return int(told(self._link(handle)["pcie_bandwidth"])) * 125  # megabits a second

    def _link(self, handle: Any) -> Any:
        return self._ask("amdsmi_get_pcie_info", handle)["pcie_metric"]

    def nvmlDeviceGetTotalEccErrors(self, handle: Any, kind: int, counter: int) -> int:  # noqa: N802, RUF100
        del counter
        found = self._ask("amdsmi_get_gpu_total_ecc_count", handle)
        name = "correctable_count" if kind == self.NVML_MEMORY_ERROR_TYPE_CORRECTED else "uncorrectable_count"
        return int(told(found[name]))

    def nvmlDeviceGetComputeRunningProcesses(self, handle: Any) -> list[SimpleNamespace]:  # noqa: N802, RUF100
        listed = self._ask("amdsmi_get_gpu_process_list", handle)
        return [
            SimpleNamespace(pid=one["pid"], usedGpuMemory=one["memory_usage"]["vram_mem"] or one["mem"])
            for one in listed
        ]

    def _ask(self, function: str, *arguments: Any) -> Any:
        """Call the library; its errors become those of NVML."""
        try:
            return getattr(self._amd, function)(*arguments)
        except self._amd.AmdSmiLibraryException as error:
            code = getattr(error, "err_code", None)
            said = str(getattr(error, "err_info", "") or error)[:128]
            raise ProviderError(CODES.get(code, as_nvml.UNKNOWN) if isinstance(code, int) else 999, said) from error
