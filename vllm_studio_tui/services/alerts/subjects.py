"""What an alert can look at: each with its unit, and how it is read from a sample."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.run import ANSWERING, State
from vllm_studio_tui.kit import numbers

if TYPE_CHECKING:
    from vllm_studio_tui.domain.engine_metrics import EngineMetrics
    from vllm_studio_tui.domain.gpus import Gpu
    from vllm_studio_tui.runs.read import RunView
    from vllm_studio_tui.services.watching.snapshot import Snapshot

#: Sizes that a limit may be written in.
_SIZES = {"kib": 1024, "mib": 1024**2, "gib": 1024**3, "tib": 1024**4, "kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12}
_TIMES = {"ms": 0.001, "s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0}
_LIMIT = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z%°/ ]*?)\s*")
#: The most that a limit may be.
MOST = 1e18


@dataclass(frozen=True, slots=True)
class Reading:
    """What is seen of one run, GPU or the host.

    Attributes:
        key: By which it is known again at the next sample.
        value: In the unit of what is looked at; of a thing that happens 1 while it does, else 0. None: not known.
        words: More about what happens.
        names: By any of which a rule may mean it.
    """

    key: str
    subject: str
    value: float | None
    run_id: str | None = None
    words: str = ""
    names: tuple[str, ...] = ()

    def meant(self, only: str) -> bool:
        """Return whether a rule for `only` is about this."""
        return not only or any(fnmatchcase(name, only) for name in (*self.names, self.subject))


@dataclass(frozen=True, slots=True)
class Subject:
    """What a rule looks at.

    Attributes:
        unit: `share`, `seconds`, `bytes`, `C`, `W`, `percent`, `tok/s`, `requests`; `happens`: it has no limit.
    """

    title: str
    unit: str
    read: Callable[[Snapshot], Iterator[Reading]]

    @property
    def happens(self) -> bool:
        return self.unit == "happens"


def text_of(value: float | None, unit: str) -> str:
    """Return a value for people."""
    if value is None:
        return "–"
    if unit == "share":
        return numbers.percent(value)
    if unit == "percent":
        return numbers.percent(value / 100)
    if unit == "seconds":
        return numbers.latency(value)
    if unit == "bytes":
        return numbers.size(value)
    if unit == "C":
        return f"{value:.0f} °C"
    if unit == "W":
        return numbers.power(value)
    if unit == "tok/s":
        return f"{numbers.rate(value)} tok/s"
    return numbers.count(value)


def read_limit(given: object, unit: str) -> float:
    """Return a limit as a person writes it: `0.95`, `95%`, `20 GiB`, `500 ms`, `85`.

    Raises:
        ValueError: It is none of this unit; the text says what is.
    """
    forms = {
        "share": "a share such as 0.95 or 95%", "percent": "percent such as 90", "bytes": "a size such as 20 GiB",
        "seconds": "a time such as 500 ms or 2 s",
    }  # fmt: skip
    wanted = forms.get(unit, "a number")
    if isinstance(given, bool) or not isinstance(given, int | float | str):
        raise ValueError(f"must be {wanted}")
    found = _LIMIT.fullmatch(str(given)[:40])
    if found is None:
        raise ValueError(f"must be {wanted}")
    value, word = float(found[1]), found[2].strip().lower()
    if unit == "share":
        value = value / 100 if word == "%" else value
        fine = word in ("", "%") and value <= 1
    elif unit == "bytes":
        fine = word in ("", "b") or word in _SIZES
        value *= _SIZES.get(word, 1)
    elif unit == "seconds":
        fine = word in _TIMES or not word
        value *= _TIMES.get(word, 1.0)
    else:
        fine = word in ("", "%", "c", "°c", "w", "tok/s", "requests")
    if not fine or not value < MOST:
        raise ValueError(f"must be {wanted}")
    return value


# --- readings ---------------------------------------------------------------------------------------------


def _run(run: RunView, value: float | None, words: str = "") -> Reading:
    names = (run.run_id, run.recipe_id, run.model or "", run.name)
    return Reading(f"run {run.run_id}", run.name, value, run.run_id, words, tuple(name for name in names if name))


def _engines(take: Callable[[EngineMetrics], float | None]) -> Callable[[Snapshot], Iterator[Reading]]:
    def read(snapshot: Snapshot) -> Iterator[Reading]:
        for run in snapshot.runs:
            if run.state in ANSWERING:
                engine = snapshot.engine(run.run_id)
                yield _run(run, take(engine) if engine is not None and engine.error is None else None)

    return read


def _gpus(take: Callable[[Gpu], float | None]) -> Callable[[Snapshot], Iterator[Reading]]:
    def read(snapshot: Snapshot) -> Iterator[Reading]:
        for gpu in snapshot.tick.gpus.gpus:
            known = gpu.lost is None and snapshot.tick.gpus.stale is None
            yield _gpu(gpu, take(gpu) if known else None)

    return read


def _gpu(gpu: Gpu, value: float | None, words: str = "") -> Reading:
    name = f"GPU {gpu.index}"
    return Reading(f"gpu {gpu.uuid}", name, value, None, words, (str(gpu.index), gpu.uuid, gpu.name))


def _states(*states: State) -> Callable[[Snapshot], Iterator[Reading]]:
    def read(snapshot: Snapshot) -> Iterator[Reading]:
        for run in snapshot.runs:
            status = run.status
            words = status.title or status.heard or ""
            yield _run(run, 1.0 if run.state in states else 0.0, words if run.state in states else "")

    return read


def _restarting(snapshot: Snapshot) -> Iterator[Reading]:
    for run in snapshot.runs:
        waits = run.state is State.BACKOFF
        words = f"{run.status.restarts} restarts" + (f", {run.status.title}" if run.status.title else "")
        yield _run(run, 1.0 if waits else 0.0, words if waits else "")


def _lost(snapshot: Snapshot) -> Iterator[Reading]:
    for gpu in snapshot.tick.gpus.gpus:
        yield _gpu(gpu, 1.0 if gpu.lost is not None else 0.0, gpu.lost or "")


def _faults(snapshot: Snapshot) -> Iterator[Reading]:
    for gpu in snapshot.tick.gpus.gpus:
        bad = [f"Xid {one.code}: {one.words}" for one in gpu.xids if snapshot.tick.at - one.at < XID_FRESH]
        if gpu.ecc_uncorrected:
            bad.append(f"{gpu.ecc_uncorrected} memory errors that could not be corrected")
        yield _gpu(gpu, 1.0 if bad else 0.0, bad[-1] if bad else "")


#: Seconds for which an error in the kernel's log is news.
XID_FRESH = 3600.0


def _gpu_memory(gpu: Gpu) -> float | None:
    return gpu.memory_used / gpu.memory_total if gpu.memory_used is not None and gpu.memory_total else None


def _host(take: Callable[[Snapshot], float | None]) -> Callable[[Snapshot], Iterator[Reading]]:
    def read(snapshot: Snapshot) -> Iterator[Reading]:
        yield Reading("host", "host", take(snapshot))

    return read


def _host_memory(snapshot: Snapshot) -> float | None:
    host = snapshot.tick.host
    return host.memory_used / host.memory_total if host.memory_used is not None and host.memory_total else None


SUBJECTS: Mapping[str, Subject] = {
    "kv_cache": Subject("KV cache", "share", _engines(lambda engine: engine.kv_cache_usage)),
    "waiting": Subject("waiting requests", "requests", _engines(lambda engine: engine.waiting)),
    "running": Subject("running requests", "requests", _engines(lambda engine: engine.running)),
    "ttft": Subject("TTFT p95", "seconds", _engines(lambda engine: engine.ttft.p95)),
    "itl": Subject("ITL p95", "seconds", _engines(lambda engine: engine.itl.p95)),
    "output": Subject("output", "tok/s", _engines(lambda engine: engine.generation_tokens_per_second)),
    "hits": Subject("prefix cache hits", "share", _engines(lambda engine: engine.prefix_cache_hit_rate)),
    "preemptions": Subject("preemptions in a minute", "requests", _engines(lambda engine: engine.preemptions)),
    "gpu_temperature": Subject("GPU", "C", _gpus(lambda gpu: gpu.temperature)),
    "gpu_utilization": Subject("GPU use", "percent", _gpus(lambda gpu: gpu.utilization)),
    "gpu_memory": Subject("GPU memory", "share", _gpus(_gpu_memory)),
    "gpu_power": Subject("GPU power", "W", _gpus(lambda gpu: gpu.power_draw)),
    "host_cpu": Subject("host CPU", "percent", _host(lambda snapshot: snapshot.tick.host.cpu)),
    "host_memory": Subject("host memory", "share", _host(_host_memory)),
    "disk_free": Subject("free disk", "bytes", _host(lambda snapshot: snapshot.tick.host.disk_free)),
    "engine_died": Subject("engine died", "happens", _states(State.FAILED)),
    "engine_stalled": Subject("engine does not answer", "happens", _states(State.UNHEALTHY)),
    "engine_restarts": Subject("engine restarts", "happens", _restarting),
    "gpu_lost": Subject("GPU lost", "happens", _lost),
    "gpu_error": Subject("GPU error", "happens", _faults),
}
