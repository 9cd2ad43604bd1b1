"""Measured values of GPUs at one moment. None is unknown, which is not zero."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any, Literal

from vllm_studio_tui.kit.iso_time import iso_time

GIB = 1024**3
#: A GPU with no more memory used than this counts as free: the driver itself keeps a little, and older drivers do
#: not report that part separately. A share of the whole, and bytes.
FREE_SHARE = 0.05
FREE_BYTES = GIB
#: How a UUID begins.
UUID = "GPU-"
#: So many errors of a GPU are kept, the latest.
MOST_XIDS = 16


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
    """A process on a GPU. `gpu_memory` in bytes, `sm` in percent of the GPU's processors over the last second.

    Attributes:
        kind: Which of the driver's lists it is in.
    """

    pid: int
    user: str | None = None
    command: str | None = None
    gpu_memory: int | None = None
    run_id: str | None = None
    sm: int | None = None
    kind: Literal["compute", "graphics", "both"] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return what `gpus --json` prints of it."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Xid:
    """An error of a GPU that its driver told the kernel's log: NVIDIA's number of it, and its words (raw).

    Attributes:
        at: Seconds since the epoch.
        pid: The process that it hit, as far as the log says.
    """

    code: int
    at: float
    words: str = ""
    pid: int | None = None


@dataclass(frozen=True, slots=True)
class MigDevice:
    """A part of a GPU that works as one of its own. Bytes.

    Attributes:
        name: Its profile, such as `3g.40gb`; where the driver does not tell it, its whole name.
        processes: The numbers of the processes on it.
    """

    uuid: str
    name: str
    memory_used: int | None = None
    memory_total: int | None = None
    processes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU now: bytes, percent 0-100, degrees C, watts, millijoules since the driver was loaded, MHz.

    Attributes:
        vendor: Who made it: `nvidia`, `amd` or `intel`.
        performance_state: 0 is the fastest; NVIDIA's P0 to P15.
        pcie_rx: Bytes a second that it receives; `pcie_tx` that it sends. So with NVLink, over all its links.
        pcie_generation: Of the link as it is now: a GPU at rest goes back to the first. `pcie_width` its lanes.
        ecc_corrected: Errors of its memory since the driver was loaded; `ecc_uncorrected` those that cost data.
        xids: Its errors in the kernel's log since the machine was started, the latest last; at most `MOST_XIDS`.
        mig_devices: The parts that it is divided into.
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
    vendor: str = "nvidia"
    memory_temperature: int | None = None
    performance_state: int | None = None
    pcie_rx: float | None = None
    pcie_tx: float | None = None
    pcie_generation: int | None = None
    pcie_width: int | None = None
    nvlink_rx: float | None = None
    nvlink_tx: float | None = None
    ecc_corrected: int | None = None
    ecc_uncorrected: int | None = None
    xids: tuple[Xid, ...] = ()
    mig_devices: tuple[MigDevice, ...] = ()

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
            "xids": [{**asdict(one), "at": iso_time(one.at)} for one in self.xids],
            "mig_devices": [asdict(one) for one in self.mig_devices],
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
