"""What the simulated GPUs do: values as functions of wall-clock time, and the grammar that asks for them.

    VLLM_STUDIO_SIMULATE_GPUS = COUNT [ "," ITEM ]...          COUNT is 1 to 16
    ITEM  = "fault=" FAULT  |  "process=" GPU ":" PID [ ":" MIB ]  |  "busy=" GPU  |  "kind=" KIND
    FAULT = nodriver | notloaded | mismatch | nopermission | blocked    no GPU can be read, as with that error
          | reloaded                     another driver was loaded: only a process that starts now can read the GPUs
          | stuck                        no call returns
          | uninitialized                the first reading after each start fails, as after a driver reload
          | old                          an old driver: no memory v2, no newer temperature call
          | lost:GPU | reset:GPU | unknown:GPU     the GPU fell off the bus, needs a reset, gives no reason
          | nopower:GPU | nofan:GPU | nomemory:GPU | noprocesses:GPU       the GPU does not tell that
          | mig:GPU                      MIG is on: no utilization, two parts
          | ecc:GPU | xid:GPU            its memory has had errors; the kernel's log has errors of it
          | narrow:GPU                   its PCIe link has four lanes only
          | timeout:GPU                  every second reading of the utilization times out
          | throttle:GPU                 the GPU is slowed down by heat and its power limit
          | garbage:GPU                  it tells numbers that cannot be
          | hostile:GPU                  its name holds terminal escapes
          | hang:GPU:SECONDS             reading its memory takes that long

busy: somebody else's program keeps the GPU at work. kind: which GPUs they are, one of `simulation.kinds`; an H100.

@FILE: all of this stands in a file, and what is written there while programs run is so from then on.

Examples: `4`, `1,kind=rtx4090`, or `4,fault=lost:2,fault=hang:0:30,process=1:4242:2048`. Anything else
is an error that names it.

A GPU holds and does what the engines on it hold and do (`simulation.holders`); one without an engine idles. Each power
has an integral in closed form, the energy: two processes that look at the same time see the same joules, however long
either has run.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from vllm_studio_tui.simulation import marks
from vllm_studio_tui.simulation.holders import Holders
from vllm_studio_tui.simulation.kinds import EPOCH, IDLE, KINDS, USUAL, Kind, kind_here

MAX_GPUS = 16
MIB = 1024 * 1024
#: Of the usual kind.
MEMORY_TOTAL = KINDS[USUAL].memory
MEMORY_RESERVED = 600 * MIB
POWER_LIMIT = 700.0
POWER_IDLE = IDLE
IDLE_SWING, IDLE_PERIOD = 2.0, 47.0
#: MHz.
CLOCK_BUSY, CLOCK_IDLE = 1980, 345
#: What the driver keeps on a GPU that nobody uses.
DRIVER_BYTES = 4 * MIB
#: Process numbers of the invented processes: above any that Linux gives (2^22).
FIRST_PID = 5_000_000
#: The process of somebody else on one GPU, where there are so many.
STRANGER, STRANGER_GPU, STRANGER_BYTES = 5_060_412, 3, 614 * MIB
#: The engines on the GPUs.
HOLDERS = Holders()

DRIVER_FAULTS = frozenset(
    {"nodriver", "notloaded", "mismatch", "nopermission", "blocked", "uninitialized", "old"} | {"reloaded", "stuck"}
)
GPU_FAULTS = frozenset(
    {"lost", "reset", "unknown", "nopower", "nofan", "nomemory", "noprocesses", "mig", "timeout", "throttle"}
    | {"hostile", "ecc", "xid", "narrow", "garbage"}
)


class Part(NamedTuple):
    """A part of a GPU that is divided: what NVIDIA calls it, and its share of the memory."""

    profile: str
    share: float


#: How a GPU on which MIG is on is divided, and how many parts there could be.
PARTS = (Part("3g.40gb", 0.5), Part("1g.10gb", 0.125))
MOST_PARTS = 7


class SimulationError(ValueError):
    """`VLLM_STUDIO_SIMULATE_GPUS` has a value that means nothing."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """What was asked for. Faults are by GPU index, `hang` in seconds, processes as (pid, bytes or None)."""

    count: int
    driver_faults: frozenset[str] = frozenset()
    gpu_faults: dict[int, frozenset[str]] = field(default_factory=dict)
    hang: dict[int, float] = field(default_factory=dict)
    processes: dict[int, tuple[tuple[int, int | None], ...]] = field(default_factory=dict)
    busy: frozenset[int] = frozenset()
    kind: Kind = KINDS[USUAL]

    def has(self, fault: str, index: int | None = None) -> bool:
        faults = self.driver_faults if index is None else self.gpu_faults.get(index, frozenset())
        return fault in faults


def scenario(text: str) -> Scenario:
    """Parse the value of `VLLM_STUDIO_SIMULATE_GPUS`.

    Raises:
        SimulationError: The text does not follow the grammar; the message holds the piece that does not.
    """
    text = _written(text)
    head, *items = (piece.strip() for piece in text.split(","))
    count = _integer(head)
    if count is None or not 1 <= count <= MAX_GPUS:
        raise SimulationError(f"{marks.GPUS} begins with the number of GPUs, 1 to {MAX_GPUS}, not {head[:40]!r}")
    driver: set[str] = set()
    gpus: dict[int, frozenset[str]] = {}
    hang: dict[int, float] = {}
    processes: dict[int, tuple[tuple[int, int | None], ...]] = {}
    busy: set[int] = set()
    made = KINDS[USUAL]
    for item in items:
        kind, _, value = item.partition("=")
        name, *arguments = value.split(":")
        if kind == "process" and len(arguments) in (1, 2):
            index = _index(item, name, count)
            numbers = [_integer(argument) for argument in arguments]
            if numbers[0] is None or None in numbers:
                raise SimulationError(f"{marks.GPUS}: {item[:60]!r} is not process=GPU:PID or process=GPU:PID:MIB")
            memory = numbers[1] * MIB if len(numbers) == 2 and numbers[1] is not None else None
            processes[index] = (*processes.get(index, ()), (numbers[0], memory))
        elif kind == "busy" and not arguments:
            busy.add(_index(item, name, count))
        elif kind == "kind" and value in KINDS:
            made = KINDS[value]
        elif kind == "fault" and name in DRIVER_FAULTS and not arguments:
            driver.add(name)
        elif kind == "fault" and name in GPU_FAULTS and len(arguments) == 1:
            index = _index(item, arguments[0], count)
            gpus[index] = gpus.get(index, frozenset()) | {name}
        elif kind == "fault" and name == "hang" and len(arguments) == 2:
            hang[_index(item, arguments[0], count)] = _seconds(item, arguments[1])
        else:
            known = ", ".join(sorted(DRIVER_FAULTS | {f"{f}:GPU" for f in GPU_FAULTS} | {"hang:GPU:SECONDS"}))
            raise SimulationError(
                f"{marks.GPUS}: {item[:60]!r} is unknown; use process=GPU:PID[:MIB], busy=GPU, "
                f"kind= one of {', '.join(KINDS)} or fault= one of {known}"
            )
    return Scenario(count, frozenset(driver), gpus, hang, processes, frozenset(busy), made)


def count_here() -> int:
    """Return how many GPUs the environment asks for; none where it asks for none that can be."""
    try:
        return scenario(os.environ.get(marks.GPUS, "").strip()).count
    except SimulationError:
        return 0


def stamp(text: str) -> int | None:
    """Return what changes when the file that holds the scenario does; None where none does, or it cannot be read."""
    try:
        return Path(text[1:]).stat().st_mtime_ns if text.startswith("@") else None
    except OSError:
        return None


def _written(text: str) -> str:
    if not text.startswith("@"):
        return text
    try:
        with Path(text[1:]).open(encoding="utf-8", errors="replace") as file:
            return file.read(4096).strip()
    except (OSError, ValueError) as error:
        raise SimulationError(f"{marks.GPUS}: {text[:60]!r} cannot be read: {error}") from error


def _integer(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else None


def _index(item: str, text: str, count: int) -> int:
    index = _integer(text)
    if index is None or index >= count:
        raise SimulationError(f"{marks.GPUS}: {item[:60]!r} names no GPU of 0 to {count - 1}")
    return index


def _seconds(item: str, text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= 86_400:
        raise SimulationError(f"{marks.GPUS}: {item[:60]!r} needs seconds, 0 to 86400")
    return seconds


def _wave(index: int) -> tuple[float, float, float, float]:
    """Return mean power, its swing (watts), period (s) and phase of a GPU that somebody else keeps busy."""
    return 330.0 + 12.0 * (index % 4), 210.0 - 9.0 * (index % 5), 90.0 + 17.0 * (index % 7), 0.7 * index


def power_w(index: int, at: float, *, busy: bool = False) -> float:
    """Return watts of a GPU at `at` seconds since the epoch; always positive and under the limit."""
    if busy:
        mean, swing, period, phase = _wave(index)
        return mean + swing * math.sin(2 * math.pi * (at - EPOCH) / period + phase)
    power = POWER_IDLE + IDLE_SWING * math.sin(2 * math.pi * (at - EPOCH) / IDLE_PERIOD + index)
    return min(POWER_LIMIT, power + sum(one.power(at, rank) for one, rank in HOLDERS.on(index)))


def energy_mj(index: int, at: float, *, busy: bool = False) -> int:
    """Return millijoules of a GPU from `EPOCH` to `at`: the integral of `power_w`, rounded down."""
    mean, swing, period, phase = _wave(index) if busy else (POWER_IDLE, IDLE_SWING, IDLE_PERIOD, float(index))
    angle = 2 * math.pi * (at - EPOCH) / period + phase
    joules = mean * (at - EPOCH) - swing * period / (2 * math.pi) * (math.cos(angle) - math.cos(phase))
    if not busy:
        joules += sum(one.energy(at, rank) for one, rank in HOLDERS.on(index))
    return max(0, math.floor(joules * 1000))


def utilization(index: int, at: float, *, busy: bool = False) -> int:
    """Return percent 0-100."""
    if busy:
        return max(0, min(100, round((power_w(index, at, busy=True) - POWER_IDLE) / (600.0 - POWER_IDLE) * 100)))
    load = 0.0
    for one, rank in HOLDERS.on(index):
        here = one.load(at)
        load = max(load, here * 100 - (2 * rank if here > 0.1 else 0))
    return max(0, min(100, round(load)))


def temperature(index: int, at: float, *, busy: bool = False) -> int:
    """Return degrees Celsius, following the power with some seconds of delay."""
    return round(warmth(power_w(index, at - 8.0, busy=busy)))


def warmth(power: float) -> float:
    """Return the degrees Celsius of a GPU that draws so many watts."""
    return 28.5 + 0.086 * power


def sm_clock(index: int, at: float, *, busy: bool = False) -> int:
    """Return MHz: a GPU with a program on it keeps its clocks up."""
    return CLOCK_BUSY if busy or any(one.here(at) for one, _ in HOLDERS.on(index)) else CLOCK_IDLE


def nvlink_kib(index: int, at: float, *, busy: bool = False) -> int:
    """Return KiB that a GPU has sent to others from `EPOCH` to `at`: it does where a model lies on several GPUs."""
    if busy:
        return energy_mj(index, at, busy=True) // 25
    return math.floor(sum(one.energy(at, rank) * 40 for one, rank in HOLDERS.on(index) if len(one.gpus) > 1))


def pcie_kb(index: int, at: float, *, busy: bool = False) -> int:
    """Return kB a second over PCIe."""
    return int(traffic_kb(utilization(index, at, busy=busy)))


def traffic_kb(percent: float) -> float:
    """Return kB a second over PCIe of a GPU that is so busy."""
    return 400 + 9_700 * percent


def processes(index: int, at: float, *, busy: bool = False) -> list[tuple[int, int]]:
    """Return the processes on a GPU, each with the bytes that it holds there."""
    found = [(one.pid, memory) for one, _ in HOLDERS.on(index) if (memory := one.memory(at)) and one.pid]
    if busy:
        found.append((FIRST_PID + index, _busy_memory(index, at)))
    if index == STRANGER_GPU:
        found.append((STRANGER, STRANGER_BYTES))
    return found


def memory_used(index: int, at: float, *, busy: bool = False) -> int:
    """Return bytes in use without the reserved ones: what the processes on it hold, and the driver's few."""
    return DRIVER_BYTES + sum(held for _, held in processes(index, at, busy=busy))


def _busy_memory(index: int, at: float) -> int:
    share = 0.82 - 0.09 * (index % 3) + 0.03 * math.sin(2 * math.pi * (at - EPOCH) / 300.0 + index)
    return int(kind_here().memory * share) // MIB * MIB


def invented_processes() -> dict[int, tuple[str, str]]:
    """Return user and command of the processes that there are not, by their numbers."""
    busy = {FIRST_PID + index: ("bob", "python3 train.py") for index in range(MAX_GPUS)}
    return {STRANGER: ("alice", "jupyter, python3"), **busy}


def part_uuid(index: int, part: int) -> str:
    return f"MIG-51510000-0000-4000-8{part:03d}-{index:012d}"


def xids(asked: Scenario, index: int, at: float) -> list[tuple[float, int, str]]:
    """Return when a GPU had which error in this hour, and its words in the kernel's log."""
    hour = at // 3600 * 3600
    if "xid" in asked.gpu_faults.get(index, ()):
        return [(hour, 31, "pid=4242, name=python3, Ch 00000008, MMU Fault"), (hour + 60, 94, "Contained error")]
    if "lost" in asked.gpu_faults.get(index, ()):
        return [(hour, 79, "GPU has fallen off the bus.")]
    return []


def uuid(index: int) -> str:
    return f"GPU-51510000-0000-4000-8000-{index:012d}"
