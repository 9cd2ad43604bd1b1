"""The values of a GPU that NVML tells, and how each is asked for: a new one is one more row of `VALUES`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from vllm_studio_tui.probes.gpu import mig, validation

#: Seconds between two readings of what changes slowly, or takes the driver long to tell.
SLOWLY = 5.0
#: Microseconds over which the use of a GPU by each process is told.
SAMPLED = 1_000_000
#: All links of a GPU together, as the scope of a field value.
ALL_LINKS = 2**32 - 1

#: What a function is given: a constant of the library by its name, a list of arguments, a number, or what makes one.
Argument = str | int | tuple["Argument", ...] | Callable[[], int]


class Value(NamedTuple):
    """A value of a GPU, and the NVML calls that return it.

    Attributes:
        key: The field of `Gpu` that it fills; where it fills several, a name for all of them.
        calls: Functions with what they are given; the first that tells the value counts.
        read: Makes the value of what the function returned; None when that cannot be.
        fixed: It does not change: once known it is not asked for again.
        live: A GPU that tells none of these does not answer.
        fields: The fields of `Gpu` that it fills, in the order of what `read` returns; None: the one named by `key`.
        every: Seconds between two readings; 0: it is read each time.
        counters: The places in what `read` returns that count up: they become what was counted in a second.
        walk: Makes many calls for it, with the library and the handle, in place of the function of `calls`.
        needs: The key of a value that must be true for this one to be asked for.
        empty: The value where there are no samples of it.
    """

    key: str
    calls: tuple[tuple[Any, ...], ...]
    read: Callable[[Any], Any]
    fixed: bool = False
    live: bool = False
    fields: tuple[str, ...] | None = None
    every: float = 0.0
    counters: tuple[int, ...] = ()
    walk: Callable[[Any, Any], Any] | None = None
    needs: str | None = None
    empty: Any = None


def _since() -> int:
    return time.time_ns() // 1000 - SAMPLED


def _as_it_is(value: Any) -> Any:
    return value


#: Values of which one call brings many; each link's bytes since the driver was loaded, in KiB.
FIELDS: tuple[Argument, ...] = (
    "NVML_FI_DEV_MEMORY_TEMP",
    ("NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_TX", ALL_LINKS),
    ("NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_RX", ALL_LINKS),
)
HANDLE = "nvmlDeviceGetHandleByIndex"
VALUES = (
    Value("uuid", (("nvmlDeviceGetUUID",),), validation.text, fixed=True),
    Value("name", (("nvmlDeviceGetName",),), validation.text, fixed=True),
    # Only version 2 reports the driver's own share separately.
    Value(
        "memory",
        (("nvmlDeviceGetMemoryInfo", "nvmlMemory_v2"), ("nvmlDeviceGetMemoryInfo",)),
        validation.memory,
        live=True,
        fields=("memory_total", "memory_used", "memory_reserved"),
    ),
    Value(
        "rates",
        (("nvmlDeviceGetUtilizationRates",),),
        validation.rates,
        live=True,
        fields=("utilization", "memory_utilization"),
    ),
    Value("power_draw", (("nvmlDeviceGetPowerUsage",),), validation.watts, live=True),
    Value("power_limit", (("nvmlDeviceGetEnforcedPowerLimit",),), validation.watts, every=SLOWLY),
    Value("energy_mj", (("nvmlDeviceGetTotalEnergyConsumption",),), validation.millijoules, live=True),
    Value(
        "temperature",
        (
            ("nvmlDeviceGetTemperatureV", "NVML_TEMPERATURE_GPU"),
            ("nvmlDeviceGetTemperature", "NVML_TEMPERATURE_GPU"),
        ),
        validation.celsius,
        live=True,
    ),
    Value("sm_clock", (("nvmlDeviceGetClockInfo", "NVML_CLOCK_SM"),), validation.megahertz, live=True),
    Value("memory_clock", (("nvmlDeviceGetClockInfo", "NVML_CLOCK_MEM"),), validation.megahertz, every=SLOWLY),
    Value("fan", (("nvmlDeviceGetFanSpeed",),), validation.percent, every=SLOWLY),
    Value(
        "throttle",
        (("nvmlDeviceGetCurrentClocksEventReasons",), ("nvmlDeviceGetCurrentClocksThrottleReasons",)),
        validation.throttle,
        live=True,
    ),
    Value("mig", (("nvmlDeviceGetMigMode",),), validation.mig, every=SLOWLY),
    Value("performance_state", (("nvmlDeviceGetPerformanceState",),), validation.state, every=SLOWLY),
    Value(
        "links", (("nvmlDeviceGetFieldValues", FIELDS),), validation.links,
        fields=("memory_temperature", "nvlink_rx", "nvlink_tx"), counters=(1, 2),
    ),
    Value("pcie_generation", (("nvmlDeviceGetCurrPcieLinkGeneration",),), validation.generation, every=SLOWLY),
    Value("pcie_width", (("nvmlDeviceGetCurrPcieLinkWidth",),), validation.lanes, every=SLOWLY),
    *(
        Value(
            f"ecc_{kind.lower()}",
            (("nvmlDeviceGetTotalEccErrors", f"NVML_MEMORY_ERROR_TYPE_{kind}", "NVML_VOLATILE_ECC"),),
            validation.count, every=SLOWLY,
        )
        for kind in ("CORRECTED", "UNCORRECTED")
    ),
    # The driver counts for 20 ms before it answers.
    *(
        Value(
            f"pcie_{way.lower()}", (("nvmlDeviceGetPcieThroughput", f"NVML_PCIE_UTIL_{way}_BYTES"),),
            validation.kilobytes, every=SLOWLY,
        )
        for way in ("RX", "TX")
    ),
    Value(
        "mig_devices", (("nvmlDeviceGetMaxMigDeviceCount",),), _as_it_is, every=SLOWLY, walk=mig.read, needs="mig",
    ),
    Value("pci_bus", (("nvmlDeviceGetPciInfo",),), validation.bus, fixed=True),
    Value("compute_capability", (("nvmlDeviceGetCudaComputeCapability",),), validation.capability, fixed=True),
    # The unversioned name asks for version 3, which drivers before 510 do not have.
    *(
        Value(
            kind, ((f"nvmlDeviceGet{kind}RunningProcesses",), (f"nvmlDeviceGet{kind}RunningProcesses_v2",)),
            validation.processes,
            fields=(),  # both lists together are the processes
        )
        for kind in ("Compute", "Graphics")
    ),
    Value("Uses", (("nvmlDeviceGetProcessUtilization", _since),), validation.uses, fields=(), empty={}),
)  # fmt: skip
LISTS = ("Compute", "Graphics")
PROCESSES = frozenset({*LISTS, "Uses"})
#: What the driver takes long for: a single reading leaves it out unless it is asked to be thorough.
LENGTHY = frozenset({"pcie_rx", "pcie_tx"})
FIXED = tuple(value.key for value in VALUES if value.fixed)
LIVE = tuple(value.key for value in VALUES if value.live)
#: What the energy counter needs.
COUNTER = frozenset({"uuid", "energy_mj"})
ALL = frozenset(value.key for value in VALUES)
#: What a line of a status bar says of a GPU. All of these are `live`: one that tells none of them does not answer.
ON_A_LINE = frozenset({"memory", "rates", "power_draw", "temperature"})
EVERY = {value.key: value.every for value in VALUES}
#: What a process in each of the lists does.
KINDS: dict[str, Literal["compute", "graphics"]] = {"Compute": "compute", "Graphics": "graphics"}


def argument(library: Any, given: Argument) -> Any:
    """Return what a function is given, with the library's constants in place of their names.

    Raises:
        AttributeError: The library does not have one.
    """
    if isinstance(given, str):
        return getattr(library, given)
    if isinstance(given, tuple):
        return [argument(library, one) for one in given]
    return given() if callable(given) else given
