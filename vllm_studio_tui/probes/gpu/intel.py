"""Read Intel's own cards (Arc, Flex, Max) through what their drivers, xe and i915, have in /sys.

Of Intel's ways (Level Zero's Sysman, xpu-smi, /sys) this one needs nothing that is installed, and what it means is kept
by the kernel. How busy a card is and its memory are not there, and stay unknown.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from vllm_studio_tui.probes.gpu import as_nvml
from vllm_studio_tui.probes.gpu.as_nvml import ProviderError
from vllm_studio_tui.probes.gpu.sysfs import INTEL, SYS, Card, SysfsLibrary, number

#: The place of the graphics that are part of a processor.
INSIDE = "0000:00:02.0"
NAMES = {
    "0x56a0": "Intel Arc A770", "0x56a1": "Intel Arc A750", "0x56a5": "Intel Arc A380", "0x56c0": "Intel Flex 170",
    "0x56c1": "Intel Flex 140", "0x0bd5": "Intel Max 1550", "0x0bda": "Intel Max 1100", "0xe20b": "Intel Arc B580",
    "0xe20c": "Intel Arc B570", "0xe211": "Intel Arc Pro B60", "0xe212": "Intel Arc Pro B50",
}  # fmt: skip
#: Reasons of slowing down, by the ends of their files' names, and NVML's bits for the same.
_REASONS = (
    (("pl1", "pl2", "pl4", "vr_tdc"), 0x04),
    (("thermal", "vr_thermalert", "ratl"), 0x20),
    (("prochot",), 0x40),
)


class IntelLibrary(SysfsLibrary):
    """Intel's cards, by NVML's names.

    Args:
        monotonic: A clock in seconds: power is what the energy grew by since the reading before.
    """

    vendor, code, named = "intel", INTEL, "Intel"

    def __init__(self, root: Path = SYS, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__(root)
        self._monotonic = monotonic

    def find(self) -> list[Card]:
        return [one for one in super().find() if one.bus != INSIDE]

    def nvmlDeviceGetName(self, handle: Card) -> str:  # noqa: N802, RUF100
        return NAMES.get(handle.product) or super().nvmlDeviceGetName(handle)

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: Card) -> int:  # noqa: N802, RUF100
        return number(self.of(handle, "energy1_input")) // 1000  # microjoules

    def nvmlDeviceGetPowerUsage(self, handle: Card) -> int:  # noqa: N802, RUF100
        counted, now = number(self.of(handle, "energy1_input")), self._monotonic()
        at, before = handle.state.get("energy", (now, counted))
        handle.state["energy"] = (now, counted)
        if now <= at or counted < before:
            raise ProviderError(as_nvml.TIMEOUT, "not known by one reading")
        return round((counted - before) / (now - at) / 1000)

    def nvmlDeviceGetClockInfo(self, handle: Card, kind: int) -> int:  # noqa: N802, RUF100
        if kind != self.NVML_CLOCK_SM:
            raise ProviderError(as_nvml.NOT_SUPPORTED)
        return number(
            handle.device / "tile0" / "gt0" / "freq0" / "act_freq",
            handle.card / "gt" / "gt0" / "rps_act_freq_mhz",
            handle.card / "gt_act_freq_mhz",
        )

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle: Card) -> int:  # noqa: N802, RUF100
        xe, i915 = handle.device / "tile0" / "gt0" / "freq0" / "throttle", handle.card / "gt" / "gt0"
        if not number(xe / "status", i915 / "throttle_reason_status"):
            return 0
        bits = 0
        for names, bit in _REASONS:
            for name in names:
                try:
                    slowed = number(xe / f"reason_{name}", i915 / f"throttle_reason_{name}")
                except ProviderError:
                    continue
                bits |= bit if slowed else 0
        return bits or 0x08
