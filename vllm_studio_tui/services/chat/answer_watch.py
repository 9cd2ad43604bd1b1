"""What went on at the engine while an answer came: its share of the GPUs' energy, and the preemptions meanwhile.

Readings are those of the sampler: where none runs, nothing is known. What belongs to an answer can be told when the
first reading after its end is there, and is then kept with it, in `details.during`.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from vllm_studio_tui.domain.answer_share import AnswerShare, GpuReading, RunReading, Span, share_of
from vllm_studio_tui.domain.chat import Ended
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.gpus import Gpu
from vllm_studio_tui.domain.run import WITH_ENGINE
from vllm_studio_tui.kit.event_bus import Bus
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.services.chat.events import AnswerProgressed, AnswerSaved, AnswerStarted, SampleSeen
from vllm_studio_tui.services.watching.snapshot import Snapshot
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.messages import MessageRows

_log = logging.getLogger(__name__)

#: Seconds after its end for which a reading is waited for.
PATIENCE = 15.0
#: Readings of a run that are kept while an answer comes: two hours, one a second.
MOST = 7200


@dataclass(slots=True)
class _Asked:
    """An answer that comes, or has ended and waits for a reading."""

    session_id: str
    began: float
    ended: float = math.inf

    @property
    def span(self) -> Span:
        return self.began, self.ended


@dataclass(slots=True)
class _Run:
    """What is followed of a run, by the ids of the answers. `past` are answers that ended beside those that come."""

    asked: dict[str, _Asked] = field(default_factory=dict)
    past: list[Span] = field(default_factory=list)
    readings: list[RunReading] = field(default_factory=list)


class AnswerWatch:
    """Follows answers by what is published of them.

    Args:
        latest: The last sample that was taken before.
    """

    def __init__(
        self,
        db: Callable[[], Database],
        bus: Bus,
        *,
        latest: Snapshot | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._db = db
        self._bus = bus
        self._clock = clock
        self._lock = threading.Lock()
        self._runs: dict[str, _Run] = {}
        self._latest = latest
        bus.subscribe(Snapshot, self._sampled)
        bus.subscribe(SampleSeen, lambda event: self._sampled(event.snapshot))
        bus.subscribe(AnswerStarted, self._started)
        bus.subscribe(AnswerProgressed, self._progressed)

    def _started(self, event: AnswerStarted) -> None:
        if event.run_id is None or event.message_id is None or event.session_id is None:
            return
        with self._lock:
            run = self._runs.setdefault(event.run_id, _Run())
            if not run.readings and self._latest is not None:
                reading = reading_of(self._latest, event.run_id)
                run.readings += [reading] if reading is not None else []
            run.asked[event.message_id] = _Asked(event.session_id, self._clock())

    def _progressed(self, event: AnswerProgressed) -> None:
        if not isinstance(event.event, Ended) or event.message_id is None:
            return
        now, took = self._clock(), event.event.timings.total
        with self._lock:
            found = next(
                (run.asked[event.message_id] for run in self._runs.values() if event.message_id in run.asked), None
            )
            if found is not None:
                # Before it was sent, tools may have been opened for it.
                found.began = max(found.began, now - took) if took is not None else found.began
                found.ended = now

    def _sampled(self, snapshot: Snapshot) -> None:
        done: list[tuple[str, _Asked, AnswerShare]] = []
        with self._lock:
            self._latest = snapshot
            for run_id, run in list(self._runs.items()):
                reading = reading_of(snapshot, run_id)
                if reading is not None and (not run.readings or reading.at > run.readings[-1].at):
                    run.readings.append(reading)
                    del run.readings[:-MOST]
                at = run.readings[-1].at if run.readings else 0.0
                for message_id, asked in list(run.asked.items()):
                    if asked.ended <= at:
                        others = [other.span for key, other in run.asked.items() if key != message_id]
                        done.append((message_id, asked, share_of(asked.span, [*others, *run.past], run.readings)))
                ended = [
                    key for key, one in run.asked.items() if one.ended <= at or one.ended + PATIENCE < self._clock()
                ]
                run.past += [run.asked.pop(key).span for key in ended]
                _forget(run)
                if not run.asked:
                    del self._runs[run_id]
        told = [one for one in done if one[2].joules is not None or one[2].preemptions]
        if told:  # not in the sampler's time
            threading.Thread(target=self._keep, args=(told,), name="answer-shares", daemon=True).start()

    def _keep(self, told: list[tuple[str, _Asked, AnswerShare]]) -> None:
        for message_id, asked, share in told:
            try:
                db = self._db()
                if db.read_only:
                    return
                rows = MessageRows(db)
                with db.write():
                    details = rows.get(message_id).details
                    whole = share.with_earlier(AnswerShare.from_json(details.get("during")))
                    rows.set_details(message_id, {**details, "during": whole.to_json()})
            except StudioError as error:  # it is gone, or the database is busy: the answer itself is kept
                _log.info("what went on during an answer is not kept: %s", error)
                continue
            self._bus.publish(AnswerSaved(asked.session_id, message_id))


def _forget(run: _Run) -> None:
    """Forget what no answer that comes needs any more."""
    first = min((one.began for one in run.asked.values()), default=math.inf)
    run.past = [span for span in run.past if span[1] > first]
    before = sum(one.at <= first for one in run.readings)
    del run.readings[: max(0, before - 1)]


def reading_of(snapshot: Snapshot, run_id: str) -> RunReading | None:
    """Return what a sample says of a run; None: nothing that is new, because the GPUs do not answer."""
    run = next((one for one in snapshot.every if one.run_id == run_id), None)
    if run is None:
        return None
    report, metrics = snapshot.tick.gpus, snapshot.engine(run_id)
    mine = [gpu for gpu in report.gpus if _has(run, gpu)]
    if mine and (report.stale is not None or any(gpu.stale is not None or gpu.lost for gpu in mine)):
        return None
    # What is measured of a board is not that of one of its instances.
    whole = bool(mine) and not any(gpu.mig for gpu in mine)
    live = [one for one in snapshot.every if one.state in WITH_ENGINE]
    gpus = {gpu.uuid: _reading(gpu, sum(_has(one, gpu) for one in live)) for gpu in mine} if whole else {}
    fresh = metrics if run_id not in snapshot.ages else None
    return RunReading(
        report.at if gpus else snapshot.tick.at,
        gpus,
        fresh.running if fresh is not None else None,
        fresh.preemptions_total if fresh is not None else None,
        fresh.ended_requests_total if fresh is not None else None,
        fresh.ended_preemptions_total if fresh is not None else None,
    )


def _has(run: RunView, gpu: Gpu) -> bool:
    """Return whether a run has a GPU: it was given it, or where it was given none a process of it is there."""
    given = run.spec.gpus if run.spec is not None else ()
    return gpu.is_one_of(given) if given else any(one.run_id == run.run_id for one in gpu.processes)


def _reading(gpu: Gpu, runs: int) -> GpuReading:
    return GpuReading(None if gpu.energy_mj is None else gpu.energy_mj / 1000, gpu.power_draw, max(1, runs))
