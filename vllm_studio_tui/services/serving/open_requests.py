"""The requests that have not ended: those that wait, in their order, and how many were sent to whom. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class Job:
    """A request that has not ended. It is in flight once it was sent.

    Attributes:
        run: Where it was sent; None: to a server elsewhere.
    """

    id: str
    key: str
    priority: int
    may_launch: bool
    arrived: float
    seq: int
    sent: bool = False
    run: str | None = None


class OpenRequests:
    """Every request is here from its arrival to its end, exactly once, either waiting or sent."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        #: Those that wait, by model; no empty lists.
        self.waiting: dict[str, list[Job]] = {}
        #: How many were sent, by model and by run; no zeros.
        self.by_key: dict[str, int] = {}
        self.by_run: dict[str, int] = {}
        self._seq = 0

    def get(self, job_id: str) -> Job | None:
        """Return a request that has not ended."""
        return self._jobs.get(job_id)

    @property
    def count(self) -> int:
        """Return how many wait."""
        return sum(map(len, self.waiting.values())) if self.waiting else 0

    def add(self, now: float, job_id: str, key: str, priority: int, may_launch: bool) -> Job:
        """Take a request; it waits."""
        job = self._jobs[job_id] = Job(job_id, key, priority, may_launch, now, self._seq)
        self._seq += 1
        jobs = self.waiting.setdefault(key, [])
        jobs.append(job)
        if len(jobs) > 1:
            jobs.sort(key=lambda other: (-other.priority, other.seq))
        return job

    def send(self, job: Job, run: str | None) -> None:
        """Note that a request that waited was sent."""
        self._unqueue(job)
        job.sent, job.run = True, run
        _more(self.by_key, job.key)
        if run is not None:
            _more(self.by_run, run)

    def end(self, job_id: str) -> Job | None:
        """End a request; None where it has ended."""
        job = self._jobs.pop(job_id, None)
        if job is None:
            return None
        if not job.sent:
            self._unqueue(job)
        else:
            _less(self.by_key, job.key)
            if job.run is not None:
                _less(self.by_run, job.run)
        return job

    def order(self, priority: Callable[[str], int]) -> list[str]:
        """Return the models that are waited for, in the order in which they are served.

        Args:
            priority: Of a model.
        """

        def place(key: str) -> tuple[int, int, int]:
            head = self.waiting[key][0]
            return -priority(key), -head.priority, head.seq

        return sorted(self.waiting, key=place)

    def ahead(self, job: Job) -> int:
        """Return how many requests of other models wait before this one."""
        return sum(
            (-other.priority, other.seq) < (-job.priority, job.seq)
            for key, jobs in self.waiting.items()
            if key != job.key
            for other in jobs
        )

    def _unqueue(self, job: Job) -> None:
        jobs = self.waiting[job.key]
        jobs.remove(job)
        if not jobs:
            del self.waiting[job.key]


def _more(counts: dict[str, int], name: str) -> None:
    counts[name] = counts.get(name, 0) + 1


def _less(counts: dict[str, int], name: str) -> None:
    counts[name] -= 1
    if not counts[name]:
        del counts[name]
