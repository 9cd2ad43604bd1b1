"""How long a start will still take, learned from earlier starts of the recipe on this host."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from vllm_studio_tui.domain.run import RunState, State
from vllm_studio_tui.runs.elsewhere import is_elsewhere
from vllm_studio_tui.runs.read import RunView

#: So many latest starts are looked at: what was years ago is another engine.
LATEST = 3


@dataclass(frozen=True, slots=True)
class Start:
    """An earlier start that came to its end: seconds to ready, and to each stage that its log showed."""

    total: float
    marks: dict[str, float]


def earlier_starts(run: RunView, runs: Iterable[RunView]) -> list[Start]:
    """Return the latest starts of the same recipe that got ready, the newest last."""
    found = []
    for one in runs:
        status = one.status
        if one.recipe_id != run.recipe_id or one.run_id == run.run_id or one.backend != run.backend:
            continue
        if status.started_at and status.ready_at and status.ready_at > status.started_at:
            found.append(Start(status.ready_at - status.started_at, dict(status.marks)))
    return [without_wait(one) for one in found[-LATEST:] if one.marks] if is_elsewhere(run) else found[-LATEST:]


def without_wait(one: Start) -> Start:
    """Return a start elsewhere as it was from the first line that told of a stage on.

    How long it waited for its turn before tells nothing of the next time.
    """
    first = min(one.marks.values())
    return Start(one.total - first, {name: at - first for name, at in one.marks.items()})


def time_left(status: RunState, earlier: list[Start], now: float) -> float | None:
    """Return seconds until it is ready; None where nothing is known or it does not load.

    From the stage it is in: what earlier starts took from there on, at the present pace, less what it has spent there.
    A stage that takes longer than ever before leaves at least what came after it.
    """
    if status.state not in (State.STARTING, State.LOADING) or status.started_at is None or not earlier:
        return None
    elapsed = max(0.0, now - status.started_at)
    if status.handle is not None or status.job_state is not None:
        if status.state is State.STARTING or not status.marks:
            return None  # its turn has not come
        first = min(status.marks.values())
        elapsed -= first
        status = replace(status, marks={name: at - first for name, at in status.marks.items()})
    left = sorted(_left(status, one, elapsed) for one in earlier)
    return (left[(len(left) - 1) // 2] + left[len(left) // 2]) / 2


def _left(status: RunState, one: Start, elapsed: float) -> float:
    """Return the seconds left as one earlier start predicts them."""
    stage = status.stage or ""
    begin, begun = one.marks.get(stage), status.marks.get(stage)
    if begin is None or begun is None:
        begin, begun = 0.0, 0.0
    spent = max(0.0, elapsed - begun)
    later = [at for at in one.marks.values() if at > begin]
    end = min(later, default=one.total)
    done = 0.0
    if status.progress is not None and 0.0 < status.progress < 1.0 and stage in status.marks:
        done = status.progress * (end - begin)  # the stage tells itself how far it is
    pace = _pace(begun + (spent if done else 0.0), begin + done, one.total)
    if done:
        return (one.total - begin - done) * pace
    after = (one.total - end) * pace if later else 0.0
    return max((one.total - begin) * pace - spent, after, 0.0)


def _pace(took: float, then: float, total: float) -> float:
    """How many seconds one of the earlier start takes now: what is done tells of the rest the more of it there is.

    An earlier start under load, or with nothing in the page cache, was slower in all its stages.
    """
    if took <= 0.0 or then <= 0.0 or total <= 0.0:
        return 1.0
    return float((took / then) ** min(1.0, then / total) ** 0.5)
