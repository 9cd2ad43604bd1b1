"""Validate what the driver returns: an impossible value becomes None, unknown.

A function that cannot tell a value often says so by a sentinel, all ones or the smallest number of an integer's
width, and calls that as a success. What no GPU can have is not believed either. Nothing here raises.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from vllm_studio_tui.domain.gpus import Throttle

#: Longest text that is taken from the driver.
MAX_TEXT = 128
#: Bytes above which no GPU's memory is.
MAX_MEMORY = 16 * 1024**4
MAX_CELSIUS = 150
MIN_CELSIUS = -50
MAX_MILLIWATTS = 20_000_000
MAX_MHZ = 50_000
MAX_PID = 2**31 - 2
MAX_PROCESSES = 4096
#: All ones of an integer, signed or not, where a value could come near them by its range.
SENTINELS = frozenset({2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1})

#: Bits of the clock event reasons that are worth a warning; the others are idling and settings.
THROTTLE = (
    (0x04, Throttle.POWER_CAP),
    (0x08, Throttle.HARDWARE),
    (0x20, Throttle.SOFTWARE_THERMAL),
    (0x40, Throttle.HARDWARE_THERMAL),
    (0x80, Throttle.POWER_BRAKE),
)


class Memory(NamedTuple):
    """Bytes; each None if unknown."""

    total: int | None
    used: int | None
    reserved: int | None


def whole(value: Any, low: int, high: int) -> int | None:
    """Return a whole number within bounds (inclusive), else None."""
    if isinstance(value, float) and math.isfinite(value):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return int(value) if low <= value <= high and value not in SENTINELS else None


def percent(value: Any) -> int | None:
    """Return percent, 0-100."""
    return whole(value, 0, 100)


def celsius(value: Any) -> int | None:
    """Return degrees Celsius."""
    return whole(value, MIN_CELSIUS, MAX_CELSIUS)


def watts(value: Any) -> float | None:
    """Return watts from milliwatts."""
    milliwatts = whole(value, 0, MAX_MILLIWATTS)
    return None if milliwatts is None else milliwatts / 1000


def millijoules(value: Any) -> int | None:
    """Return millijoules."""
    return whole(value, 0, 2**62)


def megahertz(value: Any) -> int | None:
    """Return megahertz."""
    return whole(value, 0, MAX_MHZ)


def text(value: Any) -> str | None:
    """Return the driver's text, raw; it is made safe where it is shown."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return value[:MAX_TEXT] if isinstance(value, str) and value else None


def memory(value: Any) -> Memory | None:
    """Return the memory of `nvmlMemory_t`; None if neither total nor used can be true."""
    total = whole(getattr(value, "total", None), 1, MAX_MEMORY)
    used = whole(getattr(value, "used", None), 0, total or MAX_MEMORY)
    reserved = whole(getattr(value, "reserved", None), 0, total or MAX_MEMORY)
    return None if total is None and used is None else Memory(total, used, reserved)


def rates(value: Any) -> tuple[int | None, int | None] | None:
    """Return percent of the time in which the GPU, and its memory, were busy."""
    both = percent(getattr(value, "gpu", None)), percent(getattr(value, "memory", None))
    return None if both == (None, None) else both


def throttle(value: Any) -> tuple[Throttle, ...] | None:
    """Return the reasons for slowing down in a bit mask of clock event reasons."""
    bits = whole(value, 0, 2**62)
    return None if bits is None else tuple(name for bit, name in THROTTLE if bits & bit)


def mig(value: Any) -> bool | None:
    """Return whether MIG is on now, from the pair of modes now and after the next reset."""
    now = whole(value[0], 0, 1) if isinstance(value, list | tuple) and value else None
    return None if now is None else bool(now)


def capability(value: Any) -> str | None:
    """Return the compute capability as text, `9.0`."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        return None
    major, minor = whole(value[0], 1, 99), whole(value[1], 0, 99)
    return None if major is None or minor is None else f"{major}.{minor}"


def bus(value: Any) -> str | None:
    """Return the PCI bus id."""
    return text(getattr(value, "busId", None))


def processes(value: Any) -> tuple[tuple[int, int | None], ...] | None:
    """Return pairs of process id and bytes of GPU memory (None if unknown)."""
    if not isinstance(value, list | tuple):
        return None
    found = []
    for one in value[:MAX_PROCESSES]:
        pid = whole(getattr(one, "pid", None), 1, MAX_PID)
        if pid is not None:
            found.append((pid, whole(getattr(one, "usedGpuMemory", None), 0, MAX_MEMORY)))
    return tuple(found)


def cuda(value: Any) -> str | None:
    """Return CUDA's version as text, from a number such as 12040."""
    number = whole(value, 1000, 999_999)
    return None if number is None else f"{number // 1000}.{number % 1000 // 10}"
