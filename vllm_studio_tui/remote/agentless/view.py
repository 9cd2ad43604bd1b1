"""What is known of a host without a studio, from one answer to the next."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.engine_metrics import EngineMetrics
from vllm_studio_tui.domain.host_overview import SEEN, HostOverview, HostRun
from vllm_studio_tui.probes.engine.reader import EngineProbe
from vllm_studio_tui.probes.engine.scrape import HINTS
from vllm_studio_tui.remote.agentless.engines import (
    Seen,
    on_gpus,
    read_answer,
    read_parents,
    read_process,
    without_parts,
)
from vllm_studio_tui.remote.agentless.frames import Frame, Section
from vllm_studio_tui.remote.agentless.gpus import Gpus, number, read_amd, read_apps, read_nvidia, read_pci

if TYPE_CHECKING:
    from vllm_studio_tui.backends.base import Backend

#: Addresses that are asked each time; one that gave no answer is left out for so many times.
ASKED, LEFT_OUT = 16, 5
#: How often what changes rarely is asked for.
RARELY = 5
KIB = 1024


@dataclass(slots=True)
class _Engine:
    """An engine that is measured.

    Attributes:
        status: How it answered last; None: not at all.
        asked: It was asked already.
        rest: How many times it is left out yet.
        no_slots: It does not tell of the requests that it works on.
        since: When it was started, as it was found out first.
    """

    probe: EngineProbe
    metrics: EngineMetrics = field(default_factory=EngineMetrics)
    status: int | None = None
    asked: bool = False
    rest: int = 0
    no_slots: bool = False
    since: float | None = None


class HostView:
    """Makes overviews of answers.

    Args:
        kinds: The engines that can be told.
    """

    def __init__(self, kinds: Sequence[Backend]) -> None:
        self._kinds = kinds
        self._engines: dict[tuple[int, int], _Engine] = {}
        self._seen: list[Seen] = []
        self._gpus = Gpus()
        self._apps: dict[int, set[int]] = {}
        self._parents: dict[int, int] = {}
        self._pci = Gpus()

    def asks(self) -> list[str]:
        """Return what is to be fetched there with the next question."""
        found: list[str] = []
        for one in self._seen:
            engine = self._engines.get(one.key)
            if not one.address or not one.metrics or engine is None or engine.rest > 0 or len(found) >= ASKED:
                continue
            found.append(f"{one.address}/metrics")
            if one.slots and engine.status == 200 and not engine.no_slots and engine.metrics.running != 0:
                found.append(f"{one.address}/{one.slots}")
        return found

    def take(self, frame: Frame) -> HostOverview:
        """Take an answer; return what the host is like now. Raises nothing."""
        facts = _facts(frame)
        uptime = facts.get("uptime")
        self._read_gpus(frame)
        found = [read_process(part.body, self._kinds) for part in frame.named("process")]
        self._seen = without_parts([one for one in found if one is not None])
        keys = {one.key for one in self._seen}
        self._engines = {key: engine for key, engine in self._engines.items() if key in keys}
        for one in self._seen:
            self._engines.setdefault(one.key, _Engine(EngineProbe(one.backend)))
        self._read_answers(frame)
        return HostOverview(
            uptime=uptime,
            driver=self._gpus.driver,
            gpu_error=self._gpus.error,
            gpus=self._gpus.gpus,
            runs=tuple(self._run(one, uptime) for one in self._seen),
            trouble="GPUs cannot be read" if self._gpus.failed else "",
            cores=_whole(facts.get("cores")),
            load=facts.get("load"),
            ram_used=_used(facts),
            ram_total=_bytes(facts.get("MemTotal:")),
        )

    def _read_gpus(self, frame: Frame) -> None:
        for part in frame.named("nvidia"):
            self._gpus = read_nvidia(part.text, (part.words[0] if part.words else "").split(","))
        for part in frame.named("amd"):
            self._gpus = read_amd(part.text)
        for part in frame.named("pci"):
            self._pci = read_pci(part.text)
        if not self._gpus.gpus and not self._gpus.error:
            self._gpus = self._pci
        for part in frame.named("apps"):
            self._apps = read_apps(part.text, self._gpus.indices or {})
        for part in frame.named("parents"):
            self._parents = read_parents(part.text)

    def _read_answers(self, frame: Frame) -> None:
        answers: dict[str, Section] = {part.words[0]: part for part in frame.named("answer") if part.words}
        for one in self._seen:
            engine = self._engines[one.key]
            engine.rest = max(0, engine.rest - 1)
            part = answers.get(f"{one.address}/metrics")
            if part is None:
                continue
            engine.asked = True
            engine.status, body = read_answer(part.body)
            if engine.status is None:
                engine.rest = LEFT_OUT
            if engine.status != 200:
                engine.metrics = EngineMetrics()
                continue
            slots = answers.get(f"{one.address}/{one.slots}") if one.slots else None
            status, told = read_answer(slots.body) if slots is not None else (None, b"")
            engine.no_slots = engine.no_slots or status in (401, 403, 404, 501)
            at = number(part.words[1]) if len(part.words) > 1 else None
            at = at if at is not None else time.monotonic()
            engine.metrics = engine.probe.observe(body, at, told if status == 200 else None)

    def _run(self, one: Seen, uptime: float | None) -> HostRun:
        engine = self._engines[one.key]
        metrics, age = engine.metrics, one.age(uptime)
        if engine.since is None and age is not None:
            engine.since = time.time() - age
        return HostRun(
            f"{one.backend}:{one.port}" if one.port is not None else f"{one.backend} {one.pid}",
            one.name,
            SEEN,
            one.model,
            _words(one, engine),
            gpus=on_gpus(one.pid, self._apps, self._parents),
            since=engine.since,
            running=metrics.running,
            waiting=metrics.waiting,
            tokens_per_second=metrics.generation_tokens_per_second,
        )


def _words(one: Seen, engine: _Engine) -> str:
    """Return what an engine is, and why nothing is measured of it."""
    what = f"{one.title}, port {one.port}" if one.port is not None else one.title
    if not one.metrics:
        return f"{what}, it has no metrics"
    if not one.address:
        return f"{what}, where it listens is not known" if one.port is None else f"{what}, not on loopback"
    if not engine.asked or engine.status == 200:
        return what if engine.metrics.error is None else f"{what}, its metrics are not known"
    if engine.status is None:
        return f"{what}, no answer there"
    if engine.status in (401, 403):
        return f"{what}, wants its key"
    hint = HINTS.get(engine.status, "")
    return f"{what}, {'no /metrics' if hint else f'answers {engine.status}'}"


def _facts(frame: Frame) -> dict[str, float]:
    """Return what the kernel says of the host."""
    found: dict[str, float] = {}
    for part in frame.named("host"):
        for line in part.text.split("\n")[:50]:
            name, _, value = line.strip().partition(" ")
            figure = number(value)
            if figure is not None:
                found[name[:40]] = figure
    return found


def _bytes(kib: float | None) -> float | None:
    return kib * KIB if kib else None


def _used(facts: dict[str, float]) -> float | None:
    whole, free = facts.get("MemTotal:"), facts.get("MemAvailable:")
    return (whole - free) * KIB if whole is not None and free is not None and free <= whole else None


def _whole(value: float | None) -> int | None:
    return int(value) if value is not None and value >= 1 else None
