"""Everything that is on record of a run: how its start compares, what changed before it, what was asked of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.domain.run import FINAL, RunState, State
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.services.launching.past_runs import Change, Launch, RunHistory, changes

if TYPE_CHECKING:
    from vllm_studio_tui.domain.memory_report import MemoryReport
    from vllm_studio_tui.domain.usage import CompletedRequest

#: Runs of a recipe of which a story tells; more are only counted.
TOLD = 12
#: Runs of a recipe that are counted.
MOST = 1000


@dataclass(frozen=True, slots=True)
class EarlierRun:
    """One run of the recipe.

    Attributes:
        number: Its number among the runs of the recipe that are on record, from 1.
        speed: Generated tokens per second while it wrote, on average.
        peak: The most tokens per second that it reached.
        changed: What differs in recipe and engine from the run before it; None: none is known, or not its recipe.
    """

    launch: Launch
    number: int
    speed: float | None = None
    peak: float | None = None
    changed: tuple[Change, ...] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return what `runs show --json` prints of it, secrets masked."""
        return {
            **self.launch.to_json(),
            "number": self.number,
            "tokens_per_second": self.speed,
            "peak_tokens_per_second": self.peak,
            "changed": None if self.changed is None else [change.to_json() for change in self.changed],
        }


@dataclass(frozen=True, slots=True)
class RunStory:
    """What is on record of one run and of the runs of its recipe.

    Attributes:
        worked, of: So many runs of the recipe got ready, of so many.
        usual: Seconds to ready of the other runs that got ready, on average, and how many these were.
        runs: Runs of the recipe, the latest first; the run itself among them where it is one of the latest.
        since: Of a run that did not get ready: the last one before it that did, and what has changed since then.
        requests: Completions that the studio asked of it, the latest first.
        memory: What its engine said of its memory when it started; None: nothing.
    """

    launch: Launch
    number: int
    worked: int
    of: int
    usual: tuple[float, int] | None = None
    runs: tuple[EarlierRun, ...] = ()
    since: tuple[Launch, tuple[Change, ...]] | None = None
    requests: tuple[CompletedRequest, ...] = ()
    memory: MemoryReport | None = None

    def to_json(self) -> dict[str, Any]:
        """Return what `runs show --json` prints of the runs of the recipe."""
        return {
            "number": self.number,
            "worked": self.worked,
            "of": self.of,
            "usual_ready_after": None if self.usual is None else round(self.usual[0], 2),
            "runs": [one.to_json() for one in self.runs],
            "memory": None if self.memory is None else self.memory.to_json(),
        }


def tell_story(history: RunHistory, run_id: str) -> RunStory:
    """Return all that is on record of a run and of the runs of its recipe. Blocking.

    Raises:
        NotFound: There is no such run.
    """
    launch = history.get(run_id)
    launches = history.alike(launch, MOST)
    count = len(launches)
    took = [one.ready_after for one in launches if one.ready_after is not None and one.run_id != launch.run_id]
    since = None if launch.worked else history.since_it_worked(launch)
    return RunStory(
        launch,
        next((count - at for at, one in enumerate(launches) if one.run_id == launch.run_id), count),
        sum(1 for one in launches if one.worked),
        count,
        (sum(took) / len(took), len(took)) if took else None,
        tuple(
            EarlierRun(
                one,
                count - index,
                history.mean_speed(one.run_id),
                history.peak_speed(one.run_id),
                _changed(launches[index + 1] if index + 1 < count else None, one),
            )
            for index, one in enumerate(launches[:TOLD])
        ),
        None if since is None else (since[0], tuple(since[1])),
        tuple(history.requests(launch.run_id)),
        history.memory(launch.run_id),
    )


def view_of(launch: Launch) -> RunView:
    """Return a run whose directory is gone as far as the database knows it."""
    state = State(launch.state) if launch.state in tuple(State) else State.EXITED
    status = RunState(
        launch.run_id,
        state if state in FINAL else State.EXITED,
        marks=dict(launch.stages),
        restarts=launch.restarts or 0,
        started_at=launch.created_at,
        ready_at=(launch.created_at or 0.0) + launch.ready_after if launch.ready_after is not None else None,
        ended_at=launch.ended_at,
        exit_code=launch.exit_code,
        exit_signal=launch.exit_signal,
        reason=launch.reason,
        title=launch.title,
    )
    return RunView(Path(launch.run_id), launch.run_id, None, status, False, False, dismissed=True)


def _changed(before: Launch | None, after: Launch) -> tuple[Change, ...] | None:
    if before is None or not before.recipe or not after.recipe:
        return None
    return tuple(change for change in changes(before, after) if change.kind in ("recipe", "engine"))
