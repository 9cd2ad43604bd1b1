"""Validate what the driver returns: an impossible value becomes None, unknown.

A function that cannot tell a value often says so by a sentinel, all ones or the smallest number of an integer's
width, and calls that as a success. What no GPU can have is not believed either. Nothing here raises.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
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
#: Bytes a second above which no link is.
MAX_RATE = 1e14
#: Parts of a GPU.
MAX_MIG = 64
#: What a driver answers for one value of several: it has none. See `device.NEVER`.
REFUSALS = frozenset({3, 4, 13, 25, 26})
#: Where the number of a field value is, by the type that comes with it: nvmlValueType_t.
_MEMBERS = {0: "dVal", 1: "uiVal", 2: "ulVal", 3: "ullVal", 4: "sllVal", 5: "siVal", 6: "usVal"}
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


class Refused(Exception):
    """The driver has none of what it was asked for."""


class Links(NamedTuple):
    """What one call tells of memory and links: degrees C, and the bytes that went over NVLink since it was loaded."""

    memory_temperature: int | None
    rx: int | None
    tx: int | None


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


def state(value: Any) -> int | None:
    """Return the performance state, 0-15; NVML says 32 where it does not know."""
    return whole(value, 0, 15)


def generation(value: Any) -> int | None:
    """Return the generation of a PCIe link."""
    return whole(value, 1, 16)


def lanes(value: Any) -> int | None:
    """Return the lanes of a PCIe link."""
    return whole(value, 1, 64)


def kilobytes(value: Any) -> float | None:
    """Return bytes a second from NVML's kB a second."""
    found = whole(value, 0, int(MAX_RATE))
    return None if found is None else found * 1000.0


def count(value: Any) -> int | None:
    """Return a number of errors."""
    return whole(value, 0, 2**53)


def links(value: Any) -> Links | None:
    """Return what the field values of `device.FIELDS` tell, each of which may be refused by itself.

    Raises:
        Refused: All are.
    """
    told = list(itertools.islice(value, 3)) if hasattr(value, "__getitem__") else []  # an array of ctypes
    codes = [getattr(one, "nvmlReturn", None) for one in told]
    if len(told) < 3:
        return None
    if all(code in REFUSALS for code in codes):
        raise Refused("Not Supported")
    temperature, tx, rx = (_field(one) for one in told)
    kib = [None if one is None else whole(one, 0, 2**52) for one in (rx, tx)]
    found = Links(celsius(temperature) or None, *(None if one is None else one * 1024 for one in kib))
    return None if found == (None, None, None) else found


def _field(value: Any) -> Any:
    """Return the number in a field value; None where there is none."""
    if getattr(value, "nvmlReturn", None) != 0:
        return None
    kind = getattr(value, "valueType", None)
    member = _MEMBERS.get(kind) if isinstance(kind, int) else None
    return None if member is None else getattr(getattr(value, "value", None), member, None)


def uses(value: Any) -> Mapping[int, int] | None:
    """Return percent of the processors by process, each from its latest sample."""
    if not isinstance(value, list | tuple):
        return None
    latest: dict[int, tuple[int, int]] = {}
    for one in value[:MAX_PROCESSES]:
        pid, at = whole(getattr(one, "pid", None), 1, MAX_PID), whole(getattr(one, "timeStamp", None), 0, 2**62)
        share = percent(getattr(one, "smUtil", None))
        if pid is not None and share is not None and (at or 0) >= latest.get(pid, (0, 0))[0]:
            latest[pid] = (at or 0, share)
    return {pid: share for pid, (_, share) in latest.items()}


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
