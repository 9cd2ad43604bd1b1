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
        # What is left is counted from the stage it is in.
        (loading("graphs", config=12, weights=25, graphs=60), 70.0, 20.0),
        # Longer in this stage than ever: what came after it is still to come.
        (loading("weights", config=10, weights=20), 300.0, 30.0),
        (loading("graphs", graphs=60), 300.0, 0.0),
        # A stage that no earlier start had.
        (loading("downloading", downloading=5), 10.0, 80.0),
    ],
)
def test_time_left_is_counted_from_the_stage(status: RunState, after: float, left: float) -> None:
    assert time_left(status, EARLIER, 1000.0 + after) == pytest.approx(left)


@pytest.mark.parametrize("times", [0.3, 3.0])
def test_the_present_pace_corrects_an_earlier_start_that_was_slower_or_faster(times: float) -> None:
    """The earlier start was under load, or had the page cache: all its stages took so many times as long."""
    earlier = [Start(90.0 * times, {"config": 10.0 * times, "weights": 20.0 * times, "graphs": 60.0 * times})]
    rest = time_left(loading("graphs", config=10, weights=20, graphs=60), earlier, 1063.0)
    assert rest is not None
    assert rest == pytest.approx(27.0, abs=9.0)  # without: 102, or 9
    early = time_left(loading("weights", config=10, weights=20), earlier, 1020.0)
    assert early is not None
    assert abs(early - 70.0) < abs(70.0 * times - 70.0)


def test_a_stage_that_tells_how_far_it_is_is_believed() -> None:
    status = loading("weights", config=10, weights=20)
    status.progress = 0.5
    slow = time_left(status, EARLIER, 1000.0 + 80)  # a half of it took 60 s rather than 20
    assert slow is not None
    assert 60.0 < slow < 140.0
    status.progress = 0.999
    assert time_left(status, EARLIER, 1000.0 + 60) == pytest.approx(30.0, abs=0.1)


def test_the_middle_of_several_starts_counts() -> None:
    starts = [Start(total, {}) for total in (10.0, 500.0, 12.0)]
    assert time_left(loading(None), starts, 1000.0) == 12.0
    assert time_left(loading(None), starts[:2], 1000.0) == 255.0


def test_nothing_is_guessed() -> None:
    assert time_left(loading(None), [], 1000.0) is None
    assert time_left(RunState("r", State.READY, started_at=1.0), EARLIER, 2.0) is None
    assert time_left(RunState("r", State.LOADING), EARLIER, 2.0) is None
