"""A run: its states and the moves between them, and what is known of it.

Standard library only: the keeper, which lives for weeks, imports this at its start.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.domain.field_checks import number, valid_fields
from vllm_studio_tui.domain.job import read_parts

if TYPE_CHECKING:
    from vllm_studio_tui.domain.spec import Fix


class State(StrEnum):
    """Where a run is in its life."""

    STARTING = "starting"
    LOADING = "loading"
    READY = "ready"
    UNHEALTHY = "unhealthy"
    STOPPING = "stopping"
    EXITED = "exited"
    BACKOFF = "backoff"
    FAILED = "failed"


#: The one table of allowed moves. `exited` and `failed` are final: a new launch is a new run.
MOVES: Mapping[State, frozenset[State]] = {
    State.STARTING: frozenset({State.LOADING, State.READY, State.STOPPING, State.BACKOFF, State.FAILED, State.EXITED}),
    State.LOADING: frozenset({State.READY, State.STOPPING, State.BACKOFF, State.FAILED, State.EXITED}),
    State.READY: frozenset({State.UNHEALTHY, State.STOPPING, State.BACKOFF, State.FAILED, State.EXITED}),
    State.UNHEALTHY: frozenset({State.READY, State.STOPPING, State.BACKOFF, State.FAILED, State.EXITED}),
    State.BACKOFF: frozenset({State.STARTING, State.STOPPING, State.EXITED, State.FAILED}),
    State.STOPPING: frozenset({State.EXITED, State.FAILED}),
    State.EXITED: frozenset(),
    State.FAILED: frozenset(),
}

FINAL = frozenset({State.EXITED, State.FAILED})
#: States in which a run can be asked: it serves, or it did and may again.
ANSWERING = frozenset({State.READY, State.UNHEALTHY})
#: States in which an engine process may exist.
WITH_ENGINE = frozenset({State.STARTING, State.LOADING, State.READY, State.UNHEALTHY, State.STOPPING})


@dataclass(slots=True)
class RunState:
    """What `state.json` holds. Only the run's keeper writes it.

    Times are seconds since the epoch; `pid_start` and `keeper_start` are the kernel's start times of the
    processes in clock ticks since boot, which with `boot_id` tell a process from a later one of its number.
    `marks` are the seconds after `started_at` at which this attempt first reached each stage.
    `groups` are what the groups of the pattern matched by which its log told why it ended, and `fixes` what answers
    that, with these filled in; None: written by an earlier version, which knew only the first, `fix`.
    `retry` is whether another try could have helped, None where that was not asked.
    `heard` is why the engine does not count as ready, as its prober heard it last, and `heard_at` since when it is the
    same; `server_pid` is the process of the run that listens, with its start; `stranger` is somebody else's server
    that has its port: pid, name, user and model, None where not known. `members` are the processes of the run when
    they were last looked at, by number, with their start: what re-parents and erases its environment is known by it.
    `handle` is what the system that runs it elsewhere calls it, `job_state` how that says it is, `trouble` what is
    wrong there although it goes on, and `parts` are its ranks, pods or replicas (`domain.job.Part`).
    `faults` are those of the keeper itself, in words. `seq` is the number of the last ledger line when this was
    written. `place` is
    the directory that it was written to: in a copy of it, processes of the run are not the copy's.
    """

    run_id: str
    state: State = State.STARTING
    stage: str | None = None
    progress: float | None = None
    marks: dict[str, float] = field(default_factory=dict)
    pid: int | None = None
    pid_start: int | None = None
    keeper_pid: int | None = None
    keeper_start: int | None = None
    boot_id: str = ""
    attempt: int = 1
    restarts: int = 0
    started_at: float | None = None
    ready_at: float | None = None
    ended_at: float | None = None
    next_start_at: float | None = None
    exit_code: int | None = None
    exit_signal: int | None = None
    reason: str | None = None
    title: str | None = None
    advice: str | None = None
    evidence: list[str] = field(default_factory=list)
    fix: dict[str, Any] = field(default_factory=dict)
    fixes: list[Fix] | None = None
    groups: list[str] = field(default_factory=list)
    retry: bool | None = None
    heard: str | None = None
    heard_at: float | None = None
    server_pid: int | None = None
    server_start: int | None = None
    stranger: dict[str, Any] = field(default_factory=dict)
    place: dict[str, Any] = field(default_factory=dict)
    adopted: bool = False
    members: dict[str, int] = field(default_factory=dict)
    handle: str | None = None
    job_state: str | None = None
    trouble: str | None = None
    parts: list[dict[str, Any]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    seq: int = 0
    version: int = 1

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RunState:
        """Read what this or another version wrote: unknown keys are ignored, missing ones have defaults.

        Raises:
            ValueError, TypeError: There is no run id, or the state is not one of ours.
        """
        values = valid_fields(cls, data)
        if not isinstance(values.get("run_id"), str):
            raise ValueError("a run state without a run id")
        values["state"] = State(values.get("state", State.STARTING))
        for name in ("marks", "members"):
            given = values.get(name)
            kept = given.items() if isinstance(given, Mapping) else ()
            values[name] = {str(key): value for key, value in kept if number(value)}
        values["parts"] = [asdict(one) for one in read_parts(values.get("parts"))]
        return cls(**values)

    @property
    def known_fixes(self) -> list[Fix]:
        """What answers its failure, the best first, as far as its keeper wrote it down."""
        if self.fixes is not None:
            return self.fixes
        return [self.fix] if self.fix else []

    @property
    def final(self) -> bool:
        return self.state in FINAL
