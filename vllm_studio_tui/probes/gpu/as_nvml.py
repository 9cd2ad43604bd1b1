"""What another vendor's GPUs are read through: a library with the names, units and errors of NVML.

The reader (`nvml.NvmlReader`) knows one interface, which is NVML's: each function may be missing, refuse, hang or lie,
and costs its own column. A provider of another vendor is an object with those of these functions that it can answer;
what it cannot tell it does not have, or refuses as not supported.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

UNINITIALIZED = 1
INVALID_ARGUMENT = 2
NOT_SUPPORTED = 3
NO_PERMISSION = 4
DRIVER_NOT_LOADED = 9
TIMEOUT = 10
GPU_IS_LOST = 15
UNKNOWN = 999
_WORDS = {
    UNINITIALIZED: "Uninitialized",
    INVALID_ARGUMENT: "Invalid Argument",
    NOT_SUPPORTED: "Not Supported",
    NO_PERMISSION: "Insufficient Permissions",
    DRIVER_NOT_LOADED: "Driver Not Loaded",
    TIMEOUT: "Timeout",
    GPU_IS_LOST: "GPU is lost",
    UNKNOWN: "Unknown Error",
}


class ProviderError(Exception):
    """An error with NVML's number of it, and what the provider itself said."""

    def __init__(self, value: int, said: str = "") -> None:
        super().__init__(said or _WORDS.get(value, f"error {value}"))
        self.value = value


class AsNvml:
    """What every provider has: NVML's constants, its errors, and where it says which GPUs there are.

    Attributes:
        vendor: As in `Gpu.vendor`.
    """

    vendor = ""
    NVMLError = ProviderError
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

    def __init__(self) -> None:
        self._handles: list[Any] = []

    def nvmlInit(self) -> None:  # noqa: N802, RUF100
        """Find the GPUs."""
        self._handles = self.find()

    def find(self) -> list[Any]:
        """Return what each GPU is known by. Its errors are `ProviderError`."""
        raise NotImplementedError

    def explain(self, error: Exception) -> tuple[str, str | None]:
        """Return why nothing can be read, and what to do."""
        raise NotImplementedError

    def memory_temperature(self, handle: Any) -> int | None:
        """Return the degrees Celsius of its memory."""
        del handle
        return None

    def nvmlShutdown(self) -> None:  # noqa: N802, RUF100
        self._handles = []

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802, RUF100
        return len(self._handles)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Any:  # noqa: N802, RUF100
        if not 0 <= index < len(self._handles):
            raise ProviderError(INVALID_ARGUMENT)
        return self._handles[index]

    def nvmlDeviceGetFieldValues(self, handle: Any, fields: list[Any]) -> list[SimpleNamespace]:  # noqa: N802, RUF100
        """Answer the heat of the memory, where it is known; there are no links of NVIDIA's."""
        found = self.memory_temperature(handle)
        return [
            SimpleNamespace(nvmlReturn=0, valueType=1, value=SimpleNamespace(uiVal=found))
            if field == self.NVML_FI_DEV_MEMORY_TEMP and found is not None
            else SimpleNamespace(nvmlReturn=NOT_SUPPORTED, valueType=0, value=None)
            for field in fields
        ]


def told(value: Any) -> Any:
    """Return a value that was told.

    Raises:
        ProviderError: It says that there is none: None, or the words `N/A`.
    """
    if value is None or isinstance(value, str):
        raise ProviderError(NOT_SUPPORTED)
    return value


#: Millions of transfers a second of a lane, by the generation of the link: the nearest below counts.
_SPEEDS = ((64_000, 6), (32_000, 5), (16_000, 4), (8_000, 3), (5_000, 2), (2_500, 1))


def generation_of(megatransfers: float) -> int:
    """Return the generation of a PCIe link by its speed.

    Raises:
        ProviderError: There is none so slow.
    """
    for speed, generation in _SPEEDS:
        if megatransfers >= speed:
            return generation
    raise ProviderError(NOT_SUPPORTED)
