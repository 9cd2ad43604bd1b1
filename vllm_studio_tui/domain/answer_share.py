"""What of the energy of a run's GPUs, and of its engine's preemptions, belongs to one answer. An estimate, marked so.

How it is shared. From one reading to the next, a second apart, a GPU used the difference of its counter
(NVML `nvmlDeviceGetTotalEnergyConsumption`: millijoules since the driver was loaded, Volta and later); one without a
counter the mean of its power at both readings (`nvmlDeviceGetPowerUsage`) times the seconds between them. The two are
never mixed for one GPU of an answer. A GPU that several runs have is divided equally among them, as in `usage`. Each
moment between the readings is divided equally among the requests that the engine had then: as many as it said at
either reading, or as many as this program had asked, whichever is more. With d the length of such a moment, D the
time between the readings, r the runs on a GPU and n the requests:

    energy of an answer = sum over its moments of  d / D * (sum over GPUs of  used / r) / n

By time and not by tokens: of other clients' requests no tokens are known before they end, and in a batch a step costs
all of its requests the same time. What a GPU draws while it does little is part of it. The shares of answers that come
at once are never more than what was used; what no reading encloses is unknown, and so is the share then.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vllm_studio_tui.kit.outside_values import as_number

#: Watts of one GPU beyond which a reading is none.
MOST_WATTS = 20_000.0
#: Joules and numbers beyond which what is kept with an answer is none of ours.
MOST = 1e12
#: Joules of a watt hour.
WATT_HOUR = 3600.0

#: When something began and ended, in seconds since the epoch.
Span = tuple[float, float]


@dataclass(frozen=True, slots=True)
class GpuReading:
    """One GPU of a run: joules since the driver was loaded, watts, and how many runs have it."""

    joules: float | None = None
    watts: float | None = None
    runs: int = 1


@dataclass(frozen=True, slots=True)
class RunReading:
    """One reading of a run.

    Attributes:
        gpus: Its GPUs by UUID.
        running: Requests that its engine has, as it says.
        preemptions: How often it preempted one since it was started.
        ended, of_ended: Requests that ended since, and how often these had been preempted.
    """

    at: float
    gpus: Mapping[str, GpuReading] = field(default_factory=dict)
    running: int | None = None
    preemptions: int | None = None
    ended: int | None = None
    of_ended: int | None = None


@dataclass(frozen=True, slots=True)
class AnswerShare:
    """What belongs to an answer.

    Attributes:
        joules: Its share of the energy; None: not measured.
        gpus: Of how many GPUs.
        metered: By their counters; else by their power, where at least one has no counter.
        requests: How many requests shared them, on average over its time.
        preemptions: Of the engine while it came; None: unknown.
        alone: The preemptions are its own: no other request was there, or none ended with it.
    """

    joules: float | None = None
    gpus: int = 0
    metered: bool = True
    requests: float = 1.0
    preemptions: int | None = None
    alone: bool = True

    @property
    def watt_hours(self) -> float | None:
        return None if self.joules is None else self.joules / WATT_HOUR

    def with_earlier(self, earlier: AnswerShare | None) -> AnswerShare:
        """Return the sum with an earlier part of the same answer, which was continued."""
        if earlier is None:
            return self
        joules = None if self.joules is None or earlier.joules is None else self.joules + earlier.joules
        known = self.preemptions is not None and earlier.preemptions is not None
        return AnswerShare(
            joules,
            max(self.gpus, earlier.gpus),
            self.metered and earlier.metered,
            max(self.requests, earlier.requests),
            (self.preemptions or 0) + (earlier.preemptions or 0) if known else None,
            self.alone and earlier.alone,
        )

    def to_json(self) -> dict[str, Any]:
        """Return it as it is kept with the answer, in `details.during`."""
        return {
            "energy_joules": None if self.joules is None else round(self.joules, 3),
            "energy_by": None if self.joules is None else "counter" if self.metered else "power",
            "gpus": self.gpus,
            "requests": round(self.requests, 2),
            "preemptions": self.preemptions,
            "alone": self.alone,
        }

    @classmethod
    def from_json(cls, given: object) -> AnswerShare | None:
        """Return what `to_json` made; None for anything else. It may be of a file of somebody else."""
        if not isinstance(given, Mapping):
            return None
        preemptions, gpus = as_number(given.get("preemptions"), below=MOST), as_number(given.get("gpus"), below=MOST)
        return cls(
            as_number(given.get("energy_joules"), below=MOST),
            int(gpus or 0),
            given.get("energy_by") != "power",
            as_number(given.get("requests"), below=MOST) or 1.0,
            None if preemptions is None else int(preemptions),
            given.get("alone") is not False,
        )


def share_of(span: Span, others: Sequence[Span], readings: Sequence[RunReading]) -> AnswerShare:
    """Return what belongs to an answer.

    Args:
        span: From when its request was sent to when it ended.
        others: The same of the other answers that this program asked of the run; one that goes on has no end.
        readings: Of its run, the oldest first.
    """
    begin, end = span
    first = max((place for place, one in enumerate(readings) if one.at <= begin), default=None)
    last = next((place for place, one in enumerate(readings) if one.at >= end), None)
    if first is None or last is None or end <= begin:
        return AnswerShare()
    enclosing = readings[first : last + 1]
    joules: float | None = 0.0 if enclosing[0].gpus else None
    metered, weighted = True, 0.0
    for before, after in itertools.pairwise(enclosing):
        took = after.at - before.at
        if took <= 0:
            continue
        used = _used(before, after, took)
        metered = metered and all(one.joules is not None for one in before.gpus.values())
        moments = _moments(max(begin, before.at), min(end, after.at), others)
        told = max(before.running or 0, after.running or 0)
        for seconds, beside in moments:
            requests = max(1 + beside, told)
            weighted += seconds * requests
            if joules is not None:
                joules = None if used is None else joules + seconds / took * used / requests
    preemptions, alone = _preemptions(enclosing, others)
    return AnswerShare(joules, len(enclosing[0].gpus), metered, weighted / (end - begin), preemptions, alone)


def _used(before: RunReading, after: RunReading, took: float) -> float | None:
    """Return the joules of the run's GPUs between two readings, its part of those that others have too."""
    if before.gpus.keys() != after.gpus.keys():
        return None
    joules = 0.0
    for uuid, first in before.gpus.items():
        second = after.gpus[uuid]
        if first.joules is not None and second.joules is not None:
            used = second.joules - first.joules
        elif first.joules is None and second.joules is None and first.watts is not None and second.watts is not None:
            used = (first.watts + second.watts) / 2 * took
        else:
            return None
        if not 0 <= used <= MOST_WATTS * took:
            return None  # the driver was loaded anew, or it is no measurement
        joules += used / max(1, first.runs, second.runs)
    return joules


def _moments(begin: float, end: float, others: Sequence[Span]) -> list[tuple[float, int]]:
    """Return stretches of seconds in which the number of other answers stays the same, and that number."""
    edges = sorted({begin, end, *(at for span in others for at in span if begin < at < end)})
    return [
        (till - at, sum(one[0] < till and one[1] > at for one in others))
        for at, till in itertools.pairwise(edges)
        if till > at
    ]


def _preemptions(enclosing: Sequence[RunReading], others: Sequence[Span]) -> tuple[int | None, bool]:
    """Return how often an answer was preempted, and that these are its own; else how often the engine preempted any.

    An engine that counts what the requests had that ended tells it, where only this one ended between two readings.
    """
    first, last = enclosing[0], enclosing[-1]
    before = enclosing[-2] if len(enclosing) > 1 else first
    if None not in (before.ended, last.ended, before.of_ended, last.of_ended):
        ended, own = (last.ended or 0) - (before.ended or 0), (last.of_ended or 0) - (before.of_ended or 0)
        if ended == 1 and own >= 0:
            return own, True
    beside = any(one[0] < last.at and one[1] > first.at for one in others)
    alone = not beside and all((one.running or 0) <= 1 for one in enclosing)
    if first.preemptions is None or last.preemptions is None or last.preemptions < first.preemptions:
        return None, alone
    return last.preemptions - first.preemptions, alone
