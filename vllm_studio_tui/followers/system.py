"""What a follower asks of the system that runs an engine elsewhere. Each system is one file.

Standard library only, as the keeper: a follower lives for weeks while its installation is replaced.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vllm_studio_tui.domain.job import Cause, Part, Phase


@dataclass(frozen=True, slots=True)
class Look:
    """A job as its system tells of it.

    Attributes:
        state: In the system's own words, as `PENDING`.
        stage: What a person reads while it is not ready, as `waiting in SLURM: Resources`; empty: its log tells.
        trouble: What is wrong although it goes on, as `no answer from host b for 12 s`; empty: nothing.
        address: Host and port that its server is reached at from here; None: not yet.
        cause: Why it ended; None: it has not, or its log alone tells.
        stopped: It ended because it was told to.
    """

    phase: Phase
    state: str = ""
    stage: str = ""
    trouble: str = ""
    address: tuple[str, int] | None = None
    parts: Sequence[Part] = ()
    cause: Cause | None = None
    stopped: bool = False


class SystemTrouble(Exception):
    """The system refuses, or cannot be asked.

    Attributes:
        cause: What a person is told.
        passing: It may go by: the next look is waited for. False: the run has failed.
    """

    def __init__(self, cause: Cause, *, passing: bool = False) -> None:
        super().__init__(cause.title)
        self.cause = cause
        self.passing = passing


@dataclass(slots=True)
class Job:
    """A run that somebody else runs.

    Attributes:
        folder: The run's directory here. A system keeps what it needs there in files of its own, mode 0600.
        run_id: The id of the run, unique for ever: a name for what is made elsewhere.
        plan: `RunSpec.follow`: what the launch resolved for this kind.
        handle: What the system calls it, as `slurm:123`; empty until it was submitted.
        left: What could not be ended and ends by itself, in words; empty: nothing.
        memory: What a system wants to have back after its follower was replaced, as JSON; kept with the handle.
    """

    folder: Path
    run_id: str
    plan: Mapping[str, Any]
    handle: str = ""
    memory: dict[str, Any] = field(default_factory=dict)
    left: str = ""


class System(ABC):
    """One system that runs jobs. Its methods may block for `patience` seconds and are called in one thread.

    Attributes:
        every: Seconds between two looks.
        log_every: Seconds between two readings of its log, where that costs little: the times of its stages are told
            as well as that; None: as often as it is looked at.
    """

    every: float = 2.0
    log_every: float | None = None

    def __init__(self, job: Job) -> None:
        self.job = job

    @abstractmethod
    def submit(self) -> str:
        """Have it started, and return its handle. It is written down at once, before anything else is done.

        Submitting must be safe to repeat: a follower may die between the submission and the note of the handle, so
        a job is named by its run id and is found again by that name.

        Raises:
            SystemTrouble: It is refused, or nobody answers.
        """

    @abstractmethod
    def look(self) -> Look:
        """Return what the system tells of the job of the handle.

        Raises:
            SystemTrouble: Nobody answers; the run stays as it is and is looked at again.
        """

    @abstractmethod
    def stop(self, *, force: bool) -> bool:
        """Tell the system to end it; True once it is known to be gone. Called again until then.

        Without a handle a submission may have arrived all the same: what has the run's name is ended.

        Args:
            force: A person does not want to wait for an end in order.
        """

    def log(self) -> bytes:
        """Return what was written to its logs since the last call; at most 256 KiB of it at once."""
        return b""

    def close(self) -> None:  # noqa: B027 - most have nothing to let go of
        """Let go of connections and processes: the follower ends, the job may go on."""
