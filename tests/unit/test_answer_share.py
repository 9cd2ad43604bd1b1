"""What of the GPUs' energy, and of an engine's preemptions, belongs to one answer."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_studio_tui.domain.answer_share import AnswerShare, GpuReading, RunReading, Span, share_of


def even(watts: float, *, runs: int = 1, running: int | None = None, last: int = 20) -> list[RunReading]:
    """Readings of one GPU, one a second, that always draws so many watts."""
    return [RunReading(float(at), {"g": GpuReading(watts * at, watts, runs)}, running) for at in range(last)]


def test_an_answer_alone_has_all_that_was_used_over_its_time() -> None:
    share = share_of((2.5, 6.25), (), even(300.0))
    assert share.joules == pytest.approx(300.0 * 3.75)
    assert (share.gpus, share.metered, share.requests) == (1, True, 1.0)
    assert share.watt_hours == pytest.approx(300.0 * 3.75 / 3600)


def test_answers_at_once_share_each_moment_equally() -> None:
    first, second = (2.0, 6.0), (4.0, 8.0)
    readings = even(100.0)
    assert share_of(first, [second], readings).joules == pytest.approx(200.0 + 100.0)
    assert share_of(second, [first], readings).joules == pytest.approx(100.0 + 200.0)


def test_requests_of_others_are_counted_by_what_the_engine_says() -> None:
    share = share_of((2.0, 6.0), (), even(100.0, running=4))
    assert share.joules == pytest.approx(100.0)
    assert share.requests == 4.0
    # The own answers are among those that the engine has.
    assert share_of((2.0, 6.0), [(0.0, 9.0)], even(100.0, running=4)).joules == pytest.approx(100.0)


def test_a_gpu_of_several_runs_is_divided_among_them() -> None:
    assert share_of((2.0, 6.0), (), even(100.0, runs=2)).joules == pytest.approx(200.0)


def test_a_gpu_without_a_counter_is_measured_by_its_power_and_the_two_are_never_mixed() -> None:
    power = [RunReading(float(at), {"g": GpuReading(None, 100.0 + at)}) for at in range(9)]
    share = share_of((2.0, 4.0), (), power)
    assert share.joules == pytest.approx(102.5 + 103.5)
    assert share.metered is False
    lost = [*even(100.0)[:4], *[RunReading(one.at + 4, {"g": GpuReading(None, 100.0)}) for one in power[:5]]]
    assert share_of((2.0, 6.0), (), lost).joules is None


@pytest.mark.parametrize(
    "readings",
    [
        [],
        even(100.0)[:3],  # it was not read after the end
        even(100.0)[4:],  # nor before the beginning
        [RunReading(float(at)) for at in range(9)],  # no GPU
        [RunReading(float(at), {"g": GpuReading()}) for at in range(9)],
        [RunReading(float(at), {f"g{at}": GpuReading(1.0 * at)}) for at in range(9)],
        # The driver was loaded anew, so the counter began at zero; a counter that jumps.
        [RunReading(float(at), {"g": GpuReading(100.0 * (at % 4))}) for at in range(9)],
        [RunReading(float(at), {"g": GpuReading(1e9 * at)}) for at in range(9)],
        # A clock that stands still or was set back.
        [RunReading(3.0, {"g": GpuReading(100.0)})] * 3,
    ],
)
def test_what_no_reading_encloses_is_unknown(readings: list[RunReading]) -> None:
    assert share_of((2.0, 6.0), (), readings).joules is None


def counted(*values: int | None, running: int = 1) -> list[RunReading]:
    return [RunReading(float(at), running=running, preemptions=value) for at, value in enumerate(values)]


def test_preemptions_of_the_engine_are_those_of_an_answer_only_where_nobody_else_was_there() -> None:
    share = share_of((1.5, 3.5), (), counted(7, 7, 8, 9, 9))
    assert (share.preemptions, share.alone) == (2, True)
    assert share_of((1.5, 3.5), [(0.0, 1.2)], counted(7, 7, 8, 9, 9)).alone is False
    assert share_of((1.5, 3.5), (), counted(7, 7, 8, 9, 9, running=2)).alone is False
    assert share_of((1.5, 3.5), (), counted(7, 7, 1, 1, 1)).preemptions is None  # another engine meanwhile
    assert share_of((1.5, 3.5), (), counted(7, None, 8, 9, 9)).preemptions is None


def test_an_engine_that_counts_what_ended_requests_had_tells_those_of_one_answer_among_others() -> None:
    def readings(*ended: tuple[int, int]) -> list[RunReading]:
        return [RunReading(float(at), {}, 4, 10 * at, *one) for at, one in enumerate(ended)]

    own = share_of((0.5, 2.5), [(0.0, 9.0)], readings((7, 3), (7, 3), (9, 5), (10, 7)))
    assert (own.preemptions, own.alone) == (2, True)
    # Two ended between the same readings: whose they were is not known, only how often the engine preempted any.
    both = share_of((0.5, 2.5), [(0.0, 9.0)], readings((7, 3), (7, 3), (7, 3), (9, 6)))
    assert (both.preemptions, both.alone) == (30, False)


SPANS = st.lists(
    st.tuples(st.floats(1.0, 18.0), st.floats(0.01, 10.0)).map(lambda one: (one[0], min(18.9, one[0] + one[1]))),
    min_size=1,
    max_size=6,
)
STEPS = st.lists(st.tuples(st.floats(0.0, 900.0), st.integers(0, 5), st.integers(1, 3)), min_size=20, max_size=20)


@given(SPANS, STEPS)
def test_shares_of_answers_that_come_at_once_are_never_more_than_the_whole(
    spans: list[Span], steps: list[tuple[float, int, int]]
) -> None:
    spans = [one for one in spans if one[1] > one[0]]
    readings, used = [], 0.0
    for at, (watts, running, runs) in enumerate(steps):
        readings.append(RunReading(float(at), {"g": GpuReading(used, watts, runs)}, running))
        used += watts
    found = [share_of(one, spans[:at] + spans[at + 1 :], readings) for at, one in enumerate(spans)]
    joules = [one.joules for one in found]
    assert all(one is not None and one >= 0 for one in joules)
    whole = sum(watts for watts, _, _ in steps)
    assert sum(one for one in joules if one is not None) <= whole * (1 + 1e-9) + 1e-6
    # Each has at most what was used over its own time.
    for span, one in zip(spans, joules, strict=True):
        alone = share_of(span, (), [RunReading(r.at, r.gpus) for r in readings]).joules
        assert one is not None
        assert alone is not None
        assert one <= alone * (1 + 1e-9) + 1e-6


NAMES = st.sampled_from(["energy_joules", "gpus", "preemptions", "requests", "alone"])
PLAIN = st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5)


@given(st.dictionaries(NAMES, PLAIN) | PLAIN | st.lists(PLAIN))
def test_what_somebody_else_wrote_there_is_read_or_left(kept: Any) -> None:
    found = AnswerShare.from_json(kept)
    if found is not None:
        assert AnswerShare.from_json(found.to_json()) is not None


def test_it_is_kept_and_read_again_and_a_part_that_was_continued_is_added() -> None:
    share = AnswerShare(1234.5, 2, False, 2.5, 3, False)
    assert AnswerShare.from_json(share.to_json()) == share
    both = share.with_earlier(AnswerShare(100.0, 2, True, 1.0, 1, True))
    assert (both.joules, both.metered, both.preemptions, both.alone) == (1334.5, False, 4, False)
    assert share.with_earlier(AnswerShare()).joules is None  # a part of it was not measured
    assert share.with_earlier(None) == share
