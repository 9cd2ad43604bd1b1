"""Time left of a start, from earlier ones."""

from __future__ import annotations

import pytest

from vllm_studio_tui.domain.run import RunState, State
from vllm_studio_tui.runs.estimate import Start, time_left

#: A start of 90 s: config at 10, weights at 20, graphs at 60.
EARLIER = [Start(90.0, {"config": 10.0, "weights": 20.0, "graphs": 60.0})]


def loading(stage: str | None, **marks: float) -> RunState:
    return RunState("r", State.LOADING if stage else State.STARTING, stage=stage, started_at=1000.0, marks=marks)


@pytest.mark.parametrize(
    ("status", "after", "left"),
    [
        (loading(None), 0.0, 90.0),
        (loading(None), 5.0, 85.0),
        (loading("weights", config=10, weights=20), 30.0, 60.0),
        # It was slow so far: what is left is counted from the stage it is in.
        (loading("weights", config=30, weights=50), 60.0, 60.0),
        (loading("graphs", config=30, weights=50, graphs=80), 80.0, 30.0),
        # Longer in this stage than ever: what came after it is still to come.
        (loading("weights", config=10, weights=20), 300.0, 30.0),
        (loading("graphs", graphs=60), 300.0, 0.0),
        # A stage that no earlier start had.
        (loading("downloading", downloading=5), 10.0, 80.0),
    ],
)
def test_time_left_is_counted_from_the_stage(status: RunState, after: float, left: float) -> None:
    assert time_left(status, EARLIER, 1000.0 + after) == pytest.approx(left)


def test_the_middle_of_several_starts_counts() -> None:
    starts = [Start(total, {}) for total in (10.0, 500.0, 12.0)]
    assert time_left(loading(None), starts, 1000.0) == 12.0
    assert time_left(loading(None), starts[:2], 1000.0) == 255.0


def test_nothing_is_guessed() -> None:
    assert time_left(loading(None), [], 1000.0) is None
    assert time_left(RunState("r", State.READY, started_at=1.0), EARLIER, 2.0) is None
    assert time_left(RunState("r", State.LOADING), EARLIER, 2.0) is None
