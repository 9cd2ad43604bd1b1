"""The stages of a start as a waterfall: when each began, how long it took, and what it took in earlier starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.run import State
from vllm_studio_tui.runs.elsewhere import is_elsewhere

if TYPE_CHECKING:
    from vllm_studio_tui.runs.estimate import Start
    from vllm_studio_tui.runs.read import RunView
    from vllm_studio_tui.services.launching.past_runs import Launch

#: What comes before the first stage that a log shows: the program starts.
PROCESS = "process"
#: The same of a run that runs elsewhere: it waits for its turn, and its program comes there and starts.
PLACING = "placing"
#: The stages in the order in which engines go through them.
ORDER = ("config", "downloading", "weights", "compiling", "kv_cache", "graphs", "warmup", "serving")
#: A last stage that took less is the end of the one before: "serving" is mostly a line and no work.
SHORTEST_END = 0.5
#: Stages that only some starts have: they are shown where they were seen.
_SELDOM = frozenset({"config", "downloading", "serving"})


class Mark(StrEnum):
    """How far a stage has come."""

    DONE = "done"
    NOW = "now"
    FAILED = "failed"
    PENDING = "pending"


@dataclass(frozen=True, slots=True)
class StageTime:
    """One stage of a start.

    Attributes:
        begin: Seconds after the start at which it began; None: it has not.
        took: Seconds that it took, or has taken so far; None: it has not begun.
        usual: Seconds that it took in earlier starts, on average; None where that is not known.
    """

    name: str
    mark: Mark
    begin: float | None = None
    took: float | None = None
    usual: float | None = None


def stages_of(run: RunView, now: float, earlier: Sequence[Start] = ()) -> list[StageTime]:
    """Return the stages of a run's present attempt, in the order reached, then those that are to come.

    Args:
        earlier: Starts of the recipe that got ready.
    """
    status = run.status
    if status.started_at is None:
        return []
    known = [stage.name for stage in run.spec.stages] if run.spec is not None else []
    first = PLACING if is_elsewhere(run) else PROCESS
    if status.ready_at is not None and status.ready_at >= status.started_at:
        return _times(status.marks, status.ready_at - status.started_at, Mark.DONE, first=first)
    if status.state in (State.STARTING, State.LOADING):
        return _times(status.marks, max(0.0, now - status.started_at), Mark.NOW, known, earlier, first)
    ended = max(0.0, status.ended_at - status.started_at) if status.ended_at is not None else None
    if status.state is State.BACKOFF or (status.state is State.FAILED and ended is not None):
        return _times(status.marks, ended or None, Mark.FAILED, known, first=first)
    return _times(status.marks, None, Mark.DONE, first=first)


def stages_of_launch(launch: Launch) -> list[StageTime]:
    """Return the stages of a run of which only the database knows."""
    end = launch.ready_after
    return _times(launch.stages, end, Mark.DONE if end is not None else Mark.FAILED)


def _times(
    marks: Mapping[str, float],
    end: float | None,
    last: Mark,
    known: Sequence[str] = (),
    earlier: Sequence[Start] = (),
    first: str = PROCESS,
) -> list[StageTime]:
    reached = sorted(((at, name) for name, at in marks.items()), key=lambda one: (one[0], _place(one[1])))
    begins = [(0.0, first), *((max(0.0, at), name) for at, name in reached)]
    if last is Mark.DONE and end is not None and len(begins) > 1 and end - begins[-1][0] < SHORTEST_END:
        begins.pop()
    usual = _usual(earlier)
    found = []
    for index, (at, name) in enumerate(begins):
        until = begins[index + 1][0] if index + 1 < len(begins) else end
        mark = Mark.DONE if index + 1 < len(begins) else last
        took = max(0.0, until - at) if until is not None else None
        found.append(StageTime(name, mark, at, took, usual.get(name)))
    if last is Mark.DONE:
        return found
    seen = {name for _, name in begins}
    furthest = max((_place(name) for name in seen), default=-1)
    expected = {name for one in earlier for name in one.marks} or (set(known) - _SELDOM)
    # One that was passed over does not come any more.
    coming = sorted((name for name in expected - seen - {"serving"} if _place(name) > furthest), key=_place)
    return found + [StageTime(name, Mark.PENDING, usual=usual.get(name)) for name in coming]


def _usual(earlier: Sequence[Start]) -> dict[str, float]:
    """Return the mean seconds of each stage of earlier starts."""
    sums: dict[str, list[float]] = {}
    for start in earlier:
        for one in _times(start.marks, start.total, Mark.DONE):
            if one.took is not None:
                sums.setdefault(one.name, []).append(one.took)
    return {name: sum(took) / len(took) for name, took in sums.items()}


def _place(name: str) -> int:
    return ORDER.index(name) if name in ORDER else -1 if name in (PROCESS, PLACING) else len(ORDER)
