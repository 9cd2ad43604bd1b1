"""The errors of NVML, for its stand-in: codes, classes and words as in nvidia-ml-py."""

from __future__ import annotations

NVML_ERROR_UNINITIALIZED = 1
NVML_ERROR_INVALID_ARGUMENT = 2
NVML_ERROR_NOT_SUPPORTED = 3
NVML_ERROR_NO_PERMISSION = 4
NVML_ERROR_NOT_FOUND = 6
NVML_ERROR_DRIVER_NOT_LOADED = 9
NVML_ERROR_TIMEOUT = 10
NVML_ERROR_LIBRARY_NOT_FOUND = 12
NVML_ERROR_FUNCTION_NOT_FOUND = 13
NVML_ERROR_GPU_IS_LOST = 15
NVML_ERROR_RESET_REQUIRED = 16
NVML_ERROR_OPERATING_SYSTEM = 17
NVML_ERROR_LIB_RM_VERSION_MISMATCH = 18
NVML_ERROR_UNKNOWN = 999


class NVMLError(Exception):
    """As in pynvml: made with a code, it becomes the subclass of that code."""

    value: int

    def __new__(cls, value: int | None = None) -> NVMLError:
        kind = CLASSES.get(value, cls) if cls is NVMLError and value is not None else cls
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


class NVMLError_NotFound(NVMLError):  # noqa: N801, RUF100
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


CLASSES: dict[int, type[NVMLError]] = {
    NVML_ERROR_UNINITIALIZED: NVMLError_Uninitialized,
    NVML_ERROR_INVALID_ARGUMENT: NVMLError_InvalidArgument,
    NVML_ERROR_NOT_SUPPORTED: NVMLError_NotSupported,
    NVML_ERROR_NO_PERMISSION: NVMLError_NoPermission,
    NVML_ERROR_NOT_FOUND: NVMLError_NotFound,
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
_CODES = {kind: code for code, kind in CLASSES.items()}
_TEXTS = {
    NVML_ERROR_UNINITIALIZED: "Uninitialized",
    NVML_ERROR_INVALID_ARGUMENT: "Invalid Argument",
    NVML_ERROR_NOT_SUPPORTED: "Not Supported",
    NVML_ERROR_NO_PERMISSION: "Insufficient Permissions",
    NVML_ERROR_NOT_FOUND: "Not Found",
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
