"""A host at a glance: its GPUs and runs, as a studio tells of them to who watches several hosts.

What comes over the line is read value by value: one that does not fit is unknown, and none makes the reading fail.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from vllm_studio_tui.kit.outside_values import as_count, as_number

#: How many GPUs and runs of a host are taken, and letters of a text.
MOST_GPUS, MOST_RUNS, LONGEST = 128, 500, 300
#: The state of an engine that nobody launched who tells of it: it was seen there.
SEEN = "seen"


@dataclass(frozen=True, slots=True)
class HostGpu:
    """A GPU of a host: percent 0-100, bytes, watts, degrees C.

    Attributes:
        slowed: Why it runs slower than it could.
        trouble: What is wrong with it; empty: nothing.
    """

    index: int
    name: str = ""
    utilization: float | None = None
    memory_used: float | None = None
    memory_total: float | None = None
    power_draw: float | None = None
    temperature: float | None = None
    slowed: tuple[str, ...] = ()
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class HostRun:
    """A run of a host: one that is live, or that failed and that nobody has seen yet.

    Attributes:
        gpus: The indices of the GPUs that it claims or has processes on.
        state: Of a run; `SEEN` for an engine that was only found there.
        stage: How far it is; of one that was found, what it is and whether it answers.
        title: What is wrong with it; empty: nothing.
        since: When it was started, in seconds since the epoch.
    """

    id: str
    name: str
    state: str
    model: str = ""
    stage: str = ""
    progress: float | None = None
    gpus: tuple[str, ...] = ()
    title: str = ""
    since: float | None = None
    running: int | None = None
    waiting: int | None = None
    tokens_per_second: float | None = None


@dataclass(frozen=True, slots=True)
class HostOverview:
    """A host now.

    Attributes:
        uptime: Seconds since the machine was started.
        gpu_error: Why nothing is known of GPUs.
        simulated: Its GPUs are a simulation.
        queue: Requests that wait in its server for a model.
        trouble: What is wrong with the host itself, in a few words; empty: nothing.
        cores, load: Its processors, and the processes that want one, on average over a minute.
        ram_used, ram_total: Bytes of its memory.
    """

    version: str = ""
    uptime: float | None = None
    driver: str = ""
    gpu_error: str = ""
    simulated: bool = False
    gpus: tuple[HostGpu, ...] = ()
    runs: tuple[HostRun, ...] = ()
    queue: int | None = None
    trouble: str = ""
    cores: int | None = None
    load: float | None = None
    ram_used: float | None = None
    ram_total: float | None = None

    @property
    def utilization(self) -> float | None:
        """Return the mean of the GPUs whose use is known, in percent."""
        known = [gpu.utilization for gpu in self.gpus if gpu.utilization is not None]
        return sum(known) / len(known) if known else None

    @property
    def memory(self) -> tuple[float, float] | None:
        """Return used and whole bytes of the GPUs of which both are known."""
        known = [
            (gpu.memory_used, gpu.memory_total)
            for gpu in self.gpus
            if gpu.memory_used is not None and gpu.memory_total is not None
        ]
        return (sum(used for used, _ in known), sum(whole for _, whole in known)) if known else None

    @property
    def power(self) -> float | None:
        return total(gpu.power_draw for gpu in self.gpus)

    @property
    def hottest(self) -> float | None:
        return max((gpu.temperature for gpu in self.gpus if gpu.temperature is not None), default=None)

    @property
    def tokens_per_second(self) -> float | None:
        return total(run.tokens_per_second for run in self.runs)

    @property
    def waiting(self) -> float | None:
        """Return the requests that wait, in engines and in the server."""
        return total((self.queue, *(run.waiting for run in self.runs)))

    def in_state(self, *states: str) -> list[HostRun]:
        return [run for run in self.runs if run.state in states]

    def to_json(self) -> dict[str, Any]:
        """Return what `/overview` answers; unknown is null."""
        return asdict(self)


def total(values: Iterable[float | None]) -> float | None:
    """Return the sum of what is known; None where nothing is."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def read_overview(data: Any) -> HostOverview:
    """Return the overview of a document from another host.

    Raises:
        ValueError: It is none at all.
    """
    if not isinstance(data, dict) or not isinstance(data.get("gpus"), list) or not isinstance(data.get("runs"), list):
        raise ValueError("no overview")
    return HostOverview(
        _text(data.get("version")),
        as_number(data.get("uptime")),
        _text(data.get("driver")),
        _text(data.get("gpu_error")),
        data.get("simulated") is True,
        tuple(_gpu(one, at) for at, one in enumerate(data["gpus"][:MOST_GPUS]) if isinstance(one, dict)),
        tuple(_run(one) for one in data["runs"][:MOST_RUNS] if isinstance(one, dict)),
        as_count(data.get("queue")),
        _text(data.get("trouble")),
        as_count(data.get("cores")),
        as_number(data.get("load")),
        as_number(data.get("ram_used")),
        as_number(data.get("ram_total")),
    )


def _gpu(data: dict[str, Any], at: int) -> HostGpu:
    index = as_count(data.get("index"))
    return HostGpu(
        at if index is None else index,
        _text(data.get("name")),
        as_number(data.get("utilization")),
        as_number(data.get("memory_used")),
        as_number(data.get("memory_total")),
        as_number(data.get("power_draw")),
        as_number(data.get("temperature")),
        _texts(data.get("slowed")),
        _text(data.get("trouble")),
    )


def _run(data: dict[str, Any]) -> HostRun:
    return HostRun(
        _text(data.get("id")),
        _text(data.get("name")),
        _text(data.get("state")),
        _text(data.get("model")),
        _text(data.get("stage")),
        as_number(data.get("progress")),
        _texts(data.get("gpus")),
        _text(data.get("title")),
        as_number(data.get("since")),
        as_count(data.get("running")),
        as_count(data.get("waiting")),
        as_number(data.get("tokens_per_second")),
    )


def _text(value: Any) -> str:
    return value[:LONGEST] if isinstance(value, str) else ""


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(_text(one) for one in value[:MOST_GPUS] if isinstance(one, str)) if isinstance(value, list) else ()
