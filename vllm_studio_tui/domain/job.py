"""A job: an engine that runs elsewhere, as its follower tells of it. Standard library only.

The follower writes a `Report` into the run's directory; the keeper and the faces read it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

#: The file of a run's directory that its follower writes.
REPORT = "report.json"
#: How many parts of a job are told of, and letters of a text.
MOST_PARTS, LONGEST = 4096, 2000


class Phase(StrEnum):
    """Where a job is, in words that all systems share."""

    WAITING = "waiting"
    RUNNING = "running"
    ENDED = "ended"
    #: The system does not answer: nothing is known, and the run stays as it is.
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Part:
    """A part of what runs elsewhere: a rank, a pod, a replica.

    Attributes:
        name: As `rank 0`, `pod x-7f`, `replica 2`.
        where: The host or node that it is on; empty: not placed.
        state: In the system's words, as `ready`, `PENDING`, `CrashLoopBackOff`.
        words: What else a person should know, such as why it waits.
        run_id: Its own run in the studio of that host, where it has one.
    """

    name: str
    where: str = ""
    state: str = ""
    words: str = ""
    run_id: str = ""


@dataclass(frozen=True, slots=True)
class Cause:
    """Why something ended.

    Attributes:
        reason: A slug, as in `domain.spec.Failure`.
        retry: Another try may help.
        weak: It says only how it ended, as an exit code does: what its log says of the cause goes before it.
    """

    reason: str
    title: str
    advice: str = ""
    evidence: tuple[str, ...] = ()
    retry: bool = True
    weak: bool = False


@dataclass(slots=True)
class Report:
    """What a follower knows of its job.

    Attributes:
        handle: What the system calls it, as `slurm:123`; empty: not submitted yet.
        submitting: A submission has begun: whether it arrived is not known before there is a handle.
        state: In the system's own words.
        stage: What a person reads while it is not ready; empty: its log tells.
        trouble: What is wrong although it goes on; empty: nothing.
        ended: It is over, and nothing of it is left.
        stopped: It ended because it was told to.
        memory: What the system's reader wants to have back.
    """

    handle: str = ""
    submitting: bool = False
    phase: Phase = Phase.UNKNOWN
    state: str = ""
    stage: str = ""
    trouble: str = ""
    parts: list[Part] = field(default_factory=list)
    cause: Cause | None = None
    ended: bool = False
    stopped: bool = False
    memory: dict[str, Any] = field(default_factory=dict)

    @property
    def going_on(self) -> bool:
        """Return whether something of it may run elsewhere."""
        return not self.ended and (bool(self.handle) or self.submitting)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Report:
        """Read what this or another version wrote; what does not fit is as if it was not there."""
        phase = data.get("phase")
        memory = data.get("memory")
        return cls(
            _text(data.get("handle")),
            data.get("submitting") is True,
            Phase(phase) if phase in list(Phase) else Phase.UNKNOWN,
            _text(data.get("state")),
            _text(data.get("stage")),
            _text(data.get("trouble")),
            read_parts(data.get("parts")),
            _cause(data.get("cause")),
            data.get("ended") is True,
            data.get("stopped") is True,
            dict(memory) if isinstance(memory, Mapping) else {},
        )


def read_parts(data: Any) -> list[Part]:
    """Return the parts of a list from a file or a line; what is none is left out."""
    if not isinstance(data, Sequence) or isinstance(data, str | bytes):
        return []
    rows = [one for one in data[:MOST_PARTS] if isinstance(one, Mapping)]
    return [
        Part(*(_text(one.get(name)) for name in ("name", "where", "state", "words", "run_id")))
        for one in rows
        if one.get("name")
    ]


def _cause(data: Any) -> Cause | None:
    if not isinstance(data, Mapping) or not _text(data.get("reason")):
        return None
    evidence = data.get("evidence")
    lines = evidence if isinstance(evidence, list | tuple) else ()
    return Cause(
        _text(data.get("reason")),
        _text(data.get("title")),
        _text(data.get("advice")),
        tuple(_text(line) for line in lines[:20]),
        data.get("retry") is not False,
        data.get("weak") is True,
    )


def _text(value: Any) -> str:
    return value[:LONGEST] if isinstance(value, str) else ""
