"""A recording behind the screens: a studio that shows another time, and changes nothing."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.domain.errors import NotFound, UsageError
from vllm_studio_tui.domain.timeline import Pin, TimelineEvent
from vllm_studio_tui.kit.event_bus import Bus
from vllm_studio_tui.kit.once import once_property
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.remote.recorded import Recorded
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.services.watching.history import FINE_SECONDS, History
from vllm_studio_tui.services.watching.sample_keeper import recipes_of
from vllm_studio_tui.services.watching.snapshot import Replay, Snapshot
from vllm_studio_tui.services.watching.timeline import Timeline
from vllm_studio_tui.studio import Studio

if TYPE_CHECKING:
    from vllm_studio_tui.domain.gpus import GpuReport
    from vllm_studio_tui.domain.processes import Consequence, ProcessRow, SignalSent
    from vllm_studio_tui.domain.ray_view import RayView
    from vllm_studio_tui.services.watching.why.service import WhyService

#: Pictures a second, however fast it is played.
PICTURES = 5.0
SPEEDS = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
#: GPUs, runs and engines of one sample that are shown: a file may name millions.
MOST_GPUS, MOST_RUNS, MOST_PROCESSES = 64, 200, 200
#: Seconds of samples that are in memory at once.
MOST_SECONDS = 2 * 86_400.0
#: Where no run of a recording has a directory: what it names are places of another machine, or worse.
NOWHERE = Path("/nonexistent/vllm-studio-replay")


class ReplaySampler:
    """Publishes the samples of a recording at their pace; what `services.watching.sampler.Sampler` is for the present.

    Args:
        at: The moment to begin with.
    """

    def __init__(self, recorded: Recorded, bus: Bus, *, speed: float = 1.0, at: float | None = None) -> None:
        self._recorded = recorded
        self._bus = bus
        self._speed = speed
        self._at = recorded.since if at is None else max(recorded.since, min(recorded.until, at))
        self._jumped = True
        self._next = 0
        self._seen = -1  # the number of the last sample that is in the history
        self._playing: Iterator[tuple[int, Snapshot]] = iter(())
        self._ahead: tuple[int, Snapshot] | None = None
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopped = False
        self._thread: threading.Thread | None = None
        self.history = History(_pace(recorded.times), min(MOST_SECONDS, recorded.until - recorded.since + FINE_SECONDS))
        self.latest: Snapshot | None = None

    @property
    def position(self) -> float:
        """Return the moment that is shown."""
        with self._lock:
            return self._at

    @property
    def speed(self) -> float:
        """Return how many times as fast as it was it goes; 0: it stands still."""
        return self._speed

    def start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="replay", daemon=True)
            self._thread.start()

    def set_pace(self, every: float) -> None:
        """Do nothing: a recording has its own."""

    def wake(self) -> None:
        self._wake.set()

    def seek(self, at: float) -> None:
        """Go to a moment of the recording, or its first or last."""
        with self._lock:
            self._at = max(self._recorded.since, min(self._recorded.until, at))
            self._jumped = True
        self._wake.set()

    def set_speed(self, speed: float) -> None:
        """Play so many times as fast as it was; 0: stand still."""
        with self._lock:
            self._speed = speed
            self._jumped = True  # the picture says it at once
        self._wake.set()

    def close(self) -> None:
        self._stopped = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(3.0)

    def first(self) -> Snapshot:
        """Return the sample that it begins with. Blocking."""
        self._show(self.position)
        found = self.latest
        if found is None:
            raise UsageError(f"no sample of {self._recorded.name[:80]} can be read")
        return found

    def _run(self) -> None:
        last = time.monotonic()
        while not self._stopped:
            now = time.monotonic()
            with self._lock:
                jumped, self._jumped = self._jumped, False
                if not jumped:
                    self._at = min(self._recorded.until, self._at + (now - last) * self._speed)
                at = self._at
            last = now
            if self._show(at) or jumped:
                found = self.latest
                if found is not None:
                    self._bus.publish(found)
            self._wake.wait(1 / PICTURES)
            self._wake.clear()

    def _show(self, at: float) -> bool:
        """Make the sample of a moment the latest; return whether it is another one than before."""
        wanted = self._recorded.index(at)
        before = self.latest
        if wanted < self._next - 1 or (self._next == 0 and self._ahead is None):
            # What comes before is shown in charts: it is read too.
            self._playing = self._recorded.play(wanted if wanted <= self._seen else 0)
            self._ahead, self._next = None, 0
        shown: Snapshot | None = None
        while True:
            if self._ahead is None:
                self._ahead = next(self._playing, None)
            if self._ahead is None or self._ahead[0] > wanted:
                break
            number, shown = self._ahead
            self._next, self._ahead = number + 1, None
            shown = _bounded(shown, self._recorded.times[number])
            if number > self._seen:
                self.history.record(shown.tick, silent=shown.ages)
                self._seen = number
            if self._stopped:
                return False
        found = shown or before
        if found is not None:
            place = Replay(self._recorded.name, at, self._recorded.since, self._recorded.until, self._speed)
            self.latest = replace(found, replay=place)
        return shown is not None


class ReplayStudio(Studio):
    """The studio of a recording: everything but its samples and events is empty.

    Args:
        here: The directories of the person: themes and settings are theirs.
    """

    def __init__(self, recorded: Recorded, here: Places, *, speed: float = 1.0, at: float | None = None) -> None:
        self._home = Path(tempfile.mkdtemp(prefix="vllm-studio-replay-"))
        empty = Places.under(self._home)
        super().__init__(Places(here.config, empty.data, empty.state, empty.cache))
        self._recorded = recorded
        self.replay = ReplaySampler(recorded, self.bus, speed=speed, at=at)

    def close(self) -> None:
        self.replay.close()
        super().close()
        self._recorded.close()
        shutil.rmtree(self._home, ignore_errors=True)

    @once_property
    def sampler(self) -> Any:
        return self.replay

    @once_property
    def timeline(self) -> Timeline:
        return Timeline(
            lambda: self.replay.history,
            record=_Events(self._recorded.events),
            recipes=lambda: recipes_of(self.replay.latest.every if self.replay.latest is not None else ()),
            clock=lambda: self.replay.position,
        )

    @once_property
    def why(self) -> WhyService:
        from vllm_studio_tui.services.watching.why.service import WhyService

        def find(name: str) -> RunView:
            every = self.replay.latest.every if self.replay.latest is not None else ()
            found = next((run for run in every if run.run_id == name), None)
            if found is None:
                raise NotFound(f"no run {name} at this moment of the recording")
            return found

        return WhyService(
            self.timeline,
            lambda: self.replay.latest,
            find,
            lambda: self.db,
            clock=lambda: self.replay.position,
        )

    @once_property
    def processes(self) -> Any:
        return _NoProcesses()

    @once_property
    def ray(self) -> Any:
        return _NoRay()

    def first_look(self) -> Snapshot:
        return self.replay.first()

    def gpu_report(self, *, processes: bool = True) -> GpuReport:
        return (self.replay.latest or self.replay.first()).tick.gpus


class _Events:
    """The events of a recording; nothing can be pinned in it."""

    def __init__(self, events: Sequence[TimelineEvent]) -> None:
        self._events = sorted(events, key=lambda one: one.at)

    def events(self, since: float, until: float) -> list[TimelineEvent]:
        return [one for one in self._events if since <= one.at < until]

    def pins(self) -> list[Pin]:
        return [Pin(0, one.at, one.title) for one in reversed(self._events) if one.kind == "pin"]

    def pin(self, at: float, note: str = "") -> Pin:
        raise UsageError("nothing can be pinned in a recording")

    def unpin(self, pin_id: int) -> None:
        raise UsageError("pins of a recording stay")


class _NoProcesses:
    """Processes of another time or machine: their numbers mean others here, so none is looked at or signalled."""

    def tree(self, *, seconds: float = 0.0) -> tuple[ProcessRow, ...]:
        return ()

    def environment(self, pid: int, start: int) -> list[tuple[str, str]]:
        return []

    def consequence(self, pid: int) -> Consequence:
        raise UsageError("a recording has no processes that could be signalled")

    def signal(self, targets: Sequence[tuple[int, int]], name: str) -> tuple[SignalSent, ...]:
        raise UsageError("a recording has no processes that could be signalled")


class _NoRay:
    """A recording holds no Ray, and that of the present is another matter."""

    def look(self, address: str | None = None) -> RayView | None:
        return None


def _pace(times: Sequence[float]) -> float:
    """Return the usual seconds between two samples."""
    gaps = sorted(after - before for before, after in pairwise(times))
    return max(0.1, gaps[len(gaps) // 2]) if gaps else 1.0


def _bounded(snapshot: Snapshot, at: float) -> Snapshot:
    """Return a sample with so much as can be shown, at the moment of its line, whose runs lie nowhere here."""
    every = tuple(_nowhere(run, number) for number, run in enumerate(snapshot.every[:MOST_RUNS]))
    known = {run.run_id: run for run in every}
    report = snapshot.tick.gpus
    gpus = tuple(replace(gpu, processes=gpu.processes[:MOST_PROCESSES]) for gpu in report.gpus[:MOST_GPUS])
    engines = dict(list(snapshot.tick.engines.items())[:MOST_RUNS])
    tick = replace(snapshot.tick, at=at, gpus=replace(report, at=at, gpus=gpus), engines=engines)
    runs = tuple(known[run.run_id] for run in snapshot.runs if run.run_id in known)
    return replace(snapshot, tick=tick, every=every, runs=runs, foreign=snapshot.foreign[:MOST_RUNS])


def _nowhere(run: RunView, number: int) -> RunView:
    """Return a run without what would lead to a file or process of this machine."""
    status = replace(
        run.status, pid=None, pid_start=None, keeper_pid=None, keeper_start=None, server_pid=None, members={}
    )
    return replace(run, folder=NOWHERE / str(number), status=status)
