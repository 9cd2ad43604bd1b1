"""What the simulated GPUs do: values as functions of wall-clock time, and the grammar that asks for them.

    VLLM_STUDIO_SIMULATE_GPUS = COUNT [ "," ITEM ]...          COUNT is 1 to 16
    ITEM  = "fault=" FAULT  |  "process=" GPU ":" PID [ ":" MIB ]
    FAULT = nodriver | notloaded | mismatch | nopermission | blocked    no GPU can be read, as with that error
          | uninitialized                the first reading after each start fails, as after a driver reload
          | old                          an old driver: no memory v2, no newer temperature call
          | lost:GPU | reset:GPU | unknown:GPU     the GPU fell off the bus, needs a reset, gives no reason
          | nopower:GPU | nofan:GPU | nomemory:GPU | noprocesses:GPU       the GPU does not tell that
          | mig:GPU                      MIG is on: no utilization
          | timeout:GPU                  every second reading of the utilization times out
          | throttle:GPU                 the GPU is slowed down by heat and its power limit
          | hostile:GPU                  its name holds terminal escapes
          | hang:GPU:SECONDS             reading its memory takes that long

Examples: `4`, or `4,fault=lost:2,fault=hang:0:30,process=1:4242:2048`. Anything else is an error that names it.

Power is a sine around a mean, so its integral, the energy, has a closed form: two processes that look at the same
time see the same joules, however long either has run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

VARIABLE = "VLLM_STUDIO_SIMULATE_GPUS"
MAX_GPUS = 16
#: Energy counts from here: 2026-01-01T00:00:00Z.
EPOCH = 1_767_225_600.0
MIB = 1024 * 1024
MEMORY_TOTAL = 81_559 * MIB
MEMORY_RESERVED = 600 * MIB
POWER_LIMIT = 700.0
POWER_IDLE = 70.0
#: Process numbers of the invented processes: above any that Linux gives (2^22).
FIRST_PID = 5_000_000

DRIVER_FAULTS = frozenset({"nodriver", "notloaded", "mismatch", "nopermission", "blocked", "uninitialized", "old"})
GPU_FAULTS = frozenset(
    {"lost", "reset", "unknown", "nopower", "nofan", "nomemory", "noprocesses", "mig", "timeout", "throttle"}
    | {"hostile"}
)


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

    def has(self, fault: str, index: int | None = None) -> bool:
        faults = self.driver_faults if index is None else self.gpu_faults.get(index, frozenset())
        return fault in faults


def scenario(text: str) -> Scenario:
    """Parse the value of `VLLM_STUDIO_SIMULATE_GPUS`.

    Raises:
        SimulationError: The text does not follow the grammar; the message holds the piece that does not.
    """
    head, *items = (piece.strip() for piece in text.split(","))
    count = _integer(head)
    if count is None or not 1 <= count <= MAX_GPUS:
        raise SimulationError(f"{VARIABLE} begins with the number of GPUs, 1 to {MAX_GPUS}, not {head[:40]!r}")
    driver: set[str] = set()
    gpus: dict[int, frozenset[str]] = {}
    hang: dict[int, float] = {}
    processes: dict[int, tuple[tuple[int, int | None], ...]] = {}
    for item in items:
        kind, _, value = item.partition("=")
        name, *arguments = value.split(":")
        if kind == "process" and len(arguments) in (1, 2):
            index = _index(item, name, count)
            numbers = [_integer(argument) for argument in arguments]
            if numbers[0] is None or None in numbers:
                raise SimulationError(f"{VARIABLE}: {item[:60]!r} is not process=GPU:PID or process=GPU:PID:MIB")
            memory = numbers[1] * MIB if len(numbers) == 2 and numbers[1] is not None else None
            processes[index] = (*processes.get(index, ()), (numbers[0], memory))
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
                f"{VARIABLE}: {item[:60]!r} is unknown; use process=GPU:PID[:MIB] or fault= one of {known}"
            )
    return Scenario(count, frozenset(driver), gpus, hang, processes)


def _integer(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else None


def _index(item: str, text: str, count: int) -> int:
    index = _integer(text)
    if index is None or index >= count:
        raise SimulationError(f"{VARIABLE}: {item[:60]!r} names no GPU of 0 to {count - 1}")
    return index


def _seconds(item: str, text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= 86_400:
        raise SimulationError(f"{VARIABLE}: {item[:60]!r} needs seconds, 0 to 86400")
    return seconds


def _wave(index: int) -> tuple[float, float, float, float]:
    """Return mean power, its swing (watts), period (s) and phase of one GPU."""
    return 330.0 + 12.0 * (index % 4), 210.0 - 9.0 * (index % 5), 90.0 + 17.0 * (index % 7), 0.7 * index


def power_w(index: int, at: float) -> float:
    """Return watts of a GPU at `at` seconds since the epoch; always positive and under the limit."""
    mean, swing, period, phase = _wave(index)
    return mean + swing * math.sin(2 * math.pi * (at - EPOCH) / period + phase)


def energy_mj(index: int, at: float) -> int:
    """Return millijoules of a GPU from `EPOCH` to `at`: the integral of `power_w`, rounded down."""
    mean, swing, period, phase = _wave(index)
    angle = 2 * math.pi * (at - EPOCH) / period + phase
    joules = mean * (at - EPOCH) - swing * period / (2 * math.pi) * (math.cos(angle) - math.cos(phase))
    return max(0, math.floor(joules * 1000))


def utilization(index: int, at: float) -> int:
    """Return percent 0-100, following the power."""
    return max(0, min(100, round((power_w(index, at) - POWER_IDLE) / (600.0 - POWER_IDLE) * 100)))


def temperature(index: int, at: float) -> int:
    """Return degrees Celsius, following the power with some seconds of delay."""
    return round(28 + 0.075 * power_w(index, at - 8.0))


def memory_used(index: int, at: float) -> int:
    """Return bytes in use without the reserved ones; moves slowly by a few percent."""
    share = 0.82 - 0.09 * (index % 3) + 0.03 * math.sin(2 * math.pi * (at - EPOCH) / 300.0 + index)
    return int(MEMORY_TOTAL * share) // MIB * MIB


def uuid(index: int) -> str:
    return f"GPU-51510000-0000-4000-8000-{index:012d}"
