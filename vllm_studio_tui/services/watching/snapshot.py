"""Everything as it is at one moment. Light: the first picture needs it before anything is sampled."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from vllm_studio_tui.domain.alerts import Alert
from vllm_studio_tui.domain.engine_metrics import EngineMetrics
from vllm_studio_tui.domain.gpus import GpuReport
from vllm_studio_tui.domain.sample import FOREIGN, EngineHere, Host, Tick
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.runs.read import RunView, shown_runs
from vllm_studio_tui.runs.run_cache import RunWatch


@dataclass(frozen=True, slots=True)
class Replay:
    """A recording that is played, and the moment at which it is; all in seconds since the epoch.

    Attributes:
        speed: So many times as fast as it was; 0: it stands still.
    """

    name: str
    at: float
    since: float
    until: float
    speed: float = 1.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything now.

    Attributes:
        runs: Live runs and failed ones that wait for a person, oldest first.
        every: All runs that are kept, oldest first.
        ages: Seconds since an engine's metrics were read, of those that have missed some.
        alerts: What is wrong now by the rules of alerts, trouble first.
        stale: Seconds since the studio of another machine was last heard of; None while it is, and for this machine.
        replay: Where in a recording this is; None: it is the present.
        foreign: Engines that no run started; what they report is in the tick under their key.
    """

    tick: Tick
    runs: tuple[RunView, ...] = ()
    every: tuple[RunView, ...] = ()
    ages: Mapping[str, float] = field(default_factory=dict)
    stale: float | None = None
    foreign: tuple[EngineHere, ...] = ()
    alerts: tuple[Alert, ...] = ()
    replay: Replay | None = None

    @property
    def now(self) -> float:
        """Return the present of those who look at it: in a recording its moment."""
        return time.time() if self.replay is None else self.replay.at

    @property
    def of_runs(self) -> tuple[EngineMetrics, ...]:
        """Return what the engines of runs report, without those of others."""
        return tuple(one for key, one in self.tick.engines.items() if not key.startswith(FOREIGN))

    def engine(self, run_id: str) -> EngineMetrics | None:
        return self.tick.engines.get(run_id)


def first_look(places: Places) -> Snapshot:
    """The runs, before the first sample of anything else."""
    every = RunWatch(places).look()
    now = time.time()
    return Snapshot(Tick(now, GpuReport(now), Host()), shown_runs(every), every)
