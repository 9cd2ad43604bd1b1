"""One sample of everything, again and again, in a thread of its own.

Faces subscribe to `Snapshot` on the bus. Nothing here waits for an engine or a driver longer than a tick: what has
not answered keeps its last values, which carry their age.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Protocol

from vllm_studio_tui.domain.alerts import Alert
from vllm_studio_tui.domain.engine_metrics import EngineMetrics
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.gpus import GpuReport
from vllm_studio_tui.domain.run import ANSWERING
from vllm_studio_tui.domain.sample import EngineHere, Tick
from vllm_studio_tui.kit import secrets
from vllm_studio_tui.kit.event_bus import Bus
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.probes.engine.reader import EngineProbe
from vllm_studio_tui.probes.gpu import early
from vllm_studio_tui.probes.gpu.client import GpuWorker
from vllm_studio_tui.probes.gpu.nvml import simulated
from vllm_studio_tui.probes.host import HostReader
from vllm_studio_tui.runs.elsewhere import part_ids
from vllm_studio_tui.runs.read import RunView, shown_runs
from vllm_studio_tui.runs.run_cache import RunWatch
from vllm_studio_tui.services.watching.foreign import ForeignEngines
from vllm_studio_tui.services.watching.history import FINE_SECONDS, History
from vllm_studio_tui.services.watching.peaks import PeakWatch
from vllm_studio_tui.services.watching.process_load import ProcessLoad
from vllm_studio_tui.services.watching.sample_keeper import SampleKeeper, recipes_of
from vllm_studio_tui.services.watching.snapshot import Snapshot

__all__ = ["Sampler", "Snapshot"]

_log = logging.getLogger(__name__)
#: Seconds over which percentiles and shares of an engine are taken.
WINDOW = 60.0
#: Where there is no GPU, the driver is asked only so often.
NO_GPU_EVERY = 30.0
#: After so many seconds without an answer an engine's values are unknown.
FORGET = 60.0


@dataclass(slots=True)
class _Engine:
    probe: EngineProbe
    base_url: str
    key: str | None
    attempt: int
    asked: Future[EngineMetrics] | None = None
    last: EngineMetrics | None = None
    last_at: float = 0.0


class Alarm(Protocol):
    """What says what of a sample is wrong."""

    def look(self, snapshot: Snapshot) -> tuple[Alert, ...]: ...
    def close(self) -> None: ...


class Sampler:
    """Samples runs, engines, GPUs and the host.

    Args:
        gpus: Reads the GPUs; for tests.
        alerts: Says what of a sample is wrong.
        peaks: Keeps the highest speeds.
    """

    def __init__(
        self,
        places: Places,
        bus: Bus,
        *,
        every: float = 1.0,
        gpus: GpuWorker | None = None,
        alerts: Alarm | None = None,
        peaks: PeakWatch | None = None,
    ) -> None:
        self._places = places
        self._bus = bus
        self._every = every
        self._alerts = alerts
        self._peaks = None if simulated() else peaks  # what is made up is no peak
        self._watch = RunWatch(places)
        self._gpus = gpus or early.take() or GpuWorker(patience=max(0.5, every))
        self._host = HostReader(places.data)
        self._load = ProcessLoad()
        self._engines: dict[str, _Engine] = {}
        self._pool = ThreadPoolExecutor(8, "engines")
        # A simulated machine has none but its own.
        self._foreign = None if simulated() else ForeignEngines(self._pool)
        self._wake = threading.Event()
        self._stopped = False
        self._thread: threading.Thread | None = None
        self._gpu_report: GpuReport | None = None
        self._gpu_at = 0.0
        self._gpus_seen = False
        self.history = History(every)
        self.latest: Snapshot | None = None
        self.keeper = SampleKeeper(places, self.history, lambda: recipes_of(self.latest.every if self.latest else ()))
        #: Whether what the simulation did before is still to be put into the history.
        self._behind = simulated()

    def start(self) -> None:
        """Begin; the first sample comes at once."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
            self._thread.start()
            self.keeper.start()

    def set_pace(self, every: float) -> None:
        """Sample every so many seconds from now on: the settings are read after the first picture."""
        if every != self._every:
            self._every = every
            self.history.set_pace(every)
            self._behind = simulated()
            self.wake()

    def wake(self) -> None:
        """Sample now rather than at the next tick."""
        self._wake.set()

    def close(self) -> None:
        """End; returns when the GPU worker has been told."""
        self._stopped = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(3.0)
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._gpus.close()
        self.keeper.close()
        if self._alerts is not None:
            self._alerts.close()
        if self._peaks is not None:
            self._peaks.close()

    def _run(self) -> None:
        while not self._stopped:
            began = time.monotonic()
            snapshot = self.sample()
            if self._alerts is not None and self.latest is not None:  # the first picture does not wait for the rules
                snapshot = replace(snapshot, alerts=self._alerts.look(snapshot))
            if self._peaks is not None:
                self._peaks.look(snapshot)
            behind, self._behind = self._behind, False
            if not behind:
                self.history.record(snapshot.tick, silent=snapshot.ages)
            self.latest = snapshot
            self._bus.publish(snapshot)
            if behind:  # it takes a moment, which the first picture does not wait for
                self._catch_up(snapshot)
            # Where nothing runs and no GPU is there, half as often is enough; `wake` cuts the wait short.
            idle = not snapshot.tick.gpus.gpus and not any(run.live for run in snapshot.runs)
            self._wake.wait(max(0.05, self._every * (2 if idle else 1) - (time.monotonic() - began)))
            self._wake.clear()

    def _catch_up(self, snapshot: Snapshot) -> None:
        """Put what the simulation did before into the history, and a month of it into what is kept."""
        from vllm_studio_tui.services.simulated_home.month import write_missing
        from vllm_studio_tui.services.watching.simulated_past import A_DAY, fill

        kept = False
        try:
            kept = write_missing(self._places, self.keeper.size(), recipes_of(snapshot.every), snapshot.tick.at)
        except (StudioError, OSError):
            _log.exception("no month of the simulation")
        fill(self.history, snapshot.tick, FINE_SECONDS if kept else A_DAY)

    def sample(self) -> Snapshot:
        """One sample of everything."""
        every = self._watch.look()
        runs = shown_runs(every)
        now = time.monotonic()
        self._ask(runs)
        gpus = self._read_gpus(now)
        host = self._host.read()
        engines, ages = self._answers()
        foreign: tuple[EngineHere, ...] = ()
        if self._foreign is not None:
            self._foreign.work({run.base_url for run in runs if run.live and run.base_url})
            foreign, theirs = self._foreign.engines()
            engines |= theirs
        tick = Tick(time.time(), gpus, host, engines, self._load.read(runs))
        return Snapshot(tick, runs, every, ages, foreign=foreign)

    # --- GPUs -------------------------------------------------------------------------------------------

    def _read_gpus(self, now: float) -> GpuReport:
        report = self._gpu_report
        # Where there were some a moment ago, the driver is being loaded anew, and they are back soon.
        none_there = (
            report is not None
            and not report.gpus
            and report.error is not None
            and not self._gpus.waiting
            and not self._gpus_seen
        )
        if report is None or not none_there or now - self._gpu_at >= NO_GPU_EVERY:
            report = self._gpus.read_now()
            self._gpu_report, self._gpu_at = report, now
            self._gpus_seen = self._gpus_seen or bool(report.gpus)
        return report

    # --- engines ----------------------------------------------------------------------------------------

    def _ask(self, runs: tuple[RunView, ...]) -> None:
        twice = part_ids(runs)  # a rank on this machine is asked through the run that it is a part of
        answering = {
            one.run_id: one
            for one in runs
            if one.spec is not None and one.state in ANSWERING and not one.status.stranger and one.run_id not in twice
        }
        for gone in self._engines.keys() - answering.keys():
            del self._engines[gone]
        for run_id, run in answering.items():
            engine = self._engines.get(run_id)
            if engine is None or engine.attempt != run.status.attempt:
                engine = self._engines[run_id] = _engine(run, self._places)
            if engine.asked is None:
                engine.asked = self._pool.submit(engine.probe.read, engine.base_url, engine.key, timeout=2.0)

    def _answers(self) -> tuple[dict[str, EngineMetrics], dict[str, float]]:
        deadline = time.monotonic() + 0.3
        found: dict[str, EngineMetrics] = {}
        ages: dict[str, float] = {}
        for run_id, engine in self._engines.items():
            if engine.asked is not None:
                try:
                    answer = engine.asked.result(max(0.0, deadline - time.monotonic()))
                except TimeoutError:
                    pass
                except Exception as error:  # noqa: BLE001, RUF100
                    engine.asked, engine.last = None, engine.last or EngineMetrics(error=str(error)[:200])
                else:
                    engine.asked = None
                    if answer.error is None or engine.last is None:
                        engine.last = answer
                        if answer.error is None:
                            engine.last_at = time.monotonic()
            if engine.last is None:
                continue
            age = time.monotonic() - engine.last_at if engine.last_at else 0.0
            if age > FORGET:
                found[run_id] = EngineMetrics(error="no answer")
            else:
                found[run_id] = engine.last
            if engine.last_at and age > 3 * self._every:
                ages[run_id] = age
        return found, ages


def _engine(run: RunView, places: Places) -> _Engine:
    from vllm_studio_tui.config.custom_metrics import custom_metrics  # not before there is an engine to ask

    assert run.spec is not None
    key: str | None = None
    if run.spec.api_key_ref is not None:
        try:
            key = secrets.resolve(run.spec.api_key_ref, os.environ)
        except ValueError:
            key = None
    style = run.spec.recipe.get("metrics_style")  # custom engines say whose metrics they speak
    backend = style if isinstance(style, str) and style else run.spec.backend
    probe = EngineProbe(backend, window=WINDOW, custom=custom_metrics(places)[0])
    return _Engine(probe, run.spec.base_url, key, run.status.attempt)
