"""Print what nvitop's own API reads of each GPU, as JSON: run by the Python of the environment that nvitop is in."""

from __future__ import annotations

import json

import nvitop  # type: ignore[import-not-found, unused-ignore]
from nvitop import Device  # type: ignore[import-not-found, unused-ignore]

#: What it calls each value.
NAMES = (
    "name", "uuid", "bus_id", "memory_total", "memory_used", "gpu_utilization", "memory_utilization", "temperature",
    "power_usage", "power_limit", "fan_speed", "sm_clock", "memory_clock", "performance_state", "mig_mode",
    "total_volatile_uncorrected_ecc_errors", "pcie_tx_throughput", "pcie_rx_throughput", "cuda_compute_capability",
)  # fmt: skip


def plain(value: object) -> object:
    """What JSON can hold; None where nvitop says that there is none."""
    if value is nvitop.NA:
        return None
    return list(value) if isinstance(value, tuple) else value


def read(device: Device) -> dict[str, object]:
    told = {name: plain(getattr(device, name)()) for name in NAMES}
    told["processes"] = [
        {"gpu_memory": plain(one.gpu_memory()), "sm": plain(one.gpu_sm_utilization()), "kind": plain(one.type)}
        for one in device.processes().values()
    ]
    return told


print(
    json.dumps(
        {
            "version": nvitop.__version__,
            "driver": Device.driver_version(),
            "gpus": [read(one) for one in Device.all()],
        }
    )
)
