"""Measured values of GPUs at one moment. None is unknown, which is not zero."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any

from vllm_studio_tui.kit.iso_time import iso_time

GIB = 1024**3
#: A GPU with no more memory used than this counts as free: the driver itself keeps a little, and older drivers do
#: not report that part separately. A share of the whole, and bytes.
FREE_SHARE = 0.05
FREE_BYTES = GIB
#: How a UUID begins.
UUID = "GPU-"


class Throttle(StrEnum):
    """Why a GPU runs slower than it could. The words are those of `gpus --json`."""

    POWER_CAP = "power cap"
    HARDWARE = "hardware slowdown"
    SOFTWARE_THERMAL = "software thermal"
    HARDWARE_THERMAL = "hardware thermal"
    POWER_BRAKE = "power brake"


def is_named(index: int, uuid: str, name: str) -> bool:
    """Return whether a name means this GPU: its index, or its UUID or the beginning of it, as CUDA takes them."""
    return name == str(index) or (name.startswith(UUID) and name != UUID and uuid.startswith(name))


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process on a GPU. `gpu_memory` in bytes."""

    pid: int
    user: str | None = None
    command: str | None = None
    gpu_memory: int | None = None
    run_id: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return what `gpus --json` prints of it."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU now: bytes, percent 0-100, degrees C, watts, millijoules since the driver was loaded, MHz.

    Attributes:
        lost: It does not answer: why, in the driver's words. Its values are unknown then.
        trouble: It answers, and something of it does not: what.
        stale: Seconds since it last answered, if that is long ago; None while its values are fresh.
    """

    index: int
    uuid: str
    name: str
    memory_total: int | None = None
    memory_used: int | None = None
    memory_reserved: int | None = None
    utilization: int | None = None
    memory_utilization: int | None = None
    temperature: int | None = None
    power_draw: float | None = None
    power_limit: float | None = None
    energy_mj: int | None = None
    sm_clock: int | None = None
    memory_clock: int | None = None
    fan: int | None = None
    throttle: tuple[Throttle, ...] = ()
    pci_bus: str | None = None
    compute_capability: str | None = None
    mig: bool | None = None
    lost: str | None = None
    trouble: str | None = None
    stale: float | None = None
    processes: tuple[GpuProcess, ...] = ()

    @property
    def free(self) -> bool | None:
        """Return whether no process holds memory of it, as far as the driver says; None if unknown."""
        if self.lost is not None or self.memory_used is None:
            return False if self.processes else None
        apart = self.memory_reserved is not None  # then what the driver keeps is not in `memory_used`
        share = FREE_SHARE * self.memory_total if self.memory_total else FREE_BYTES
        return not self.processes and self.memory_used <= (min(share, FREE_BYTES) if apart else share)

    def is_one_of(self, names: Iterable[str]) -> bool:
        """Return whether it is named: see `is_named`."""
        return any(is_named(self.index, self.uuid, one) for one in names)

    def to_json(self) -> dict[str, Any]:
        """Return what `gpus --json` prints of it: every field, in their order; unknown is null."""
        return {
            **{one.name: getattr(self, one.name) for one in fields(self)},
            "throttle": list(self.throttle),
            "processes": [process.to_json() for process in self.processes],
        }


@dataclass(frozen=True, slots=True)
class GpuReport:
    """All GPUs at one moment, or why there are none.

    Attributes:
        at: Seconds since the epoch.
        error: Why nothing could be read; None when it could.
        simulated: The GPUs are a simulation and must be labelled so.
        stale: Seconds since these values were read, when nothing newer could be; None while they are fresh.
    """

    at: float
    gpus: tuple[Gpu, ...] = ()
    driver: str | None = None
    cuda: str | None = None
    error: str | None = None
    advice: str | None = None
    simulated: bool = False
    stale: float | None = None

    def by_index(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return the GPUs that these names mean by their indices, each once; what names none here stays as it is."""
        found = ([str(gpu.index) for gpu in self.gpus if gpu.is_one_of((one,))] or [one] for one in names)
        return tuple(dict.fromkeys(index for indices in found for index in indices[:1]))

    def to_json(self) -> dict[str, Any]:
        """Return what `gpus --json` prints: bytes, percent, degrees C, watts; unknown is null."""
        return {
            "at": iso_time(self.at),
            "driver": self.driver,
            "cuda": self.cuda,
            "error": self.error,
            "advice": self.advice,
            "simulated": self.simulated,
            "stale": self.stale,
            "gpus": [gpu.to_json() for gpu in self.gpus],
        }
