"""How long a start will still take, learned from earlier starts of the recipe on this host."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from vllm_studio_tui.domain.run import RunState, State
from vllm_studio_tui.runs.read import RunView

#: So many latest starts are looked at: what was years ago is another engine.
LATEST = 3


@dataclass(frozen=True, slots=True)
class Start:
    """An earlier start that came to its end: seconds to ready, and to each stage that its log showed."""

    total: float
    marks: dict[str, float]


def earlier_starts(run: RunView, runs: Iterable[RunView]) -> list[Start]:
    """The latest starts of the same recipe that got ready, the newest last."""
    found = []
    for one in runs:
        status = one.status
        if one.recipe_id != run.recipe_id or one.run_id == run.run_id or one.backend != run.backend:
            continue
        if status.started_at and status.ready_at and status.ready_at > status.started_at:
            found.append(Start(status.ready_at - status.started_at, dict(status.marks)))
    return found[-LATEST:]


def time_left(status: RunState, earlier: list[Start], now: float) -> float | None:
    """Seconds until it is ready; None where nothing is known or it does not load.

    From the stage it is in: what earlier starts took from there on, less what it has spent there. A stage that takes
    longer than ever before leaves at least what came after it.
    """
    if status.state not in (State.STARTING, State.LOADING) or status.started_at is None or not earlier:
        return None
    elapsed = max(0.0, now - status.started_at)
    stage = status.stage or ""
    begun = status.marks.get(stage, 0.0)
    left = []
    for one in earlier:
        begin = one.marks.get(stage)
        if begin is None or stage not in status.marks:
            begin, spent = 0.0, elapsed
        else:
            spent = elapsed - begun
        later = [at for at in one.marks.values() if at > begin]
        after = one.total - min(later) if later else 0.0
        left.append(max(one.total - begin - spent, after, 0.0))
    middle = sorted(left)
    return (middle[(len(middle) - 1) // 2] + middle[len(middle) // 2]) / 2
