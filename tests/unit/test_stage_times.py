"""The stages of a start as a waterfall."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.functional.stage import NOW, run_view
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.runs.estimate import Start
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.services.launching.past_runs import Launch
from vllm_studio_tui.services.launching.stage_times import Mark, stages_of, stages_of_launch

MARKS = {"config": 0.4, "weights": 3.5, "kv_cache": 44.5, "serving": 50.0}


def run(folder: Path, state: State, **facts: Any) -> RunView:
    return run_view(folder, "one", state, started_at=NOW - 100, marks=dict(MARKS), **facts)


def test_the_times_of_a_start_add_up_to_the_time_to_ready(tmp_path: Path) -> None:
    found = stages_of(run(tmp_path, State.READY, ready_at=NOW - 49.8), NOW)
    assert [one.name for one in found] == ["process", "config", "weights", "kv_cache"]  # serving was a line, no work
    assert [one.mark for one in found] == [Mark.DONE] * 4
    assert sum(one.took or 0 for one in found) == pytest.approx(50.2)
    begin = 0.0
    for one in found:
        assert one.begin == begin  # each begins where the one before ended
        begin += one.took or 0


def test_a_start_that_goes_on_shows_what_is_to_come_and_what_that_took_before(tmp_path: Path) -> None:
    loading = run_view(
        tmp_path, "one", State.LOADING, started_at=NOW - 30, marks={"weights": 2.0}, stage="weights", progress=0.5
    )
    earlier = [Start(60.0, {"weights": 2.0, "kv_cache": 42.0, "graphs": 44.0})]
    found = stages_of(loading, NOW, earlier)
    assert [(one.name, one.mark) for one in found] == [
        ("process", Mark.DONE), ("weights", Mark.NOW), ("kv_cache", Mark.PENDING), ("graphs", Mark.PENDING),
    ]  # fmt: skip
    assert found[1].took == 28.0
    assert [one.usual for one in found] == [2.0, 40.0, 2.0, 16.0]
    # Without earlier starts: what its engine goes through, but for what only some starts have.
    names = [one.name for one in stages_of(loading, NOW)]
    assert names == ["process", "weights", "kv_cache", "graphs", "warmup"]


def test_a_failed_start_says_in_which_stage_and_what_never_came(tmp_path: Path) -> None:
    failed = run(tmp_path, State.FAILED, ended_at=NOW - 40)
    found = {one.name: one for one in stages_of(failed, NOW)}
    assert found["serving"].mark is Mark.FAILED
    assert found["serving"].took == 10.0
    short = run_view(tmp_path, "two", State.FAILED, started_at=NOW - 10, ended_at=NOW - 8)
    assert [(one.name, one.mark) for one in stages_of(short, NOW)][:2] == [
        ("process", Mark.FAILED), ("weights", Mark.PENDING),
    ]  # fmt: skip
    assert stages_of(run_view(tmp_path, "three", State.STARTING), NOW) == []


def test_a_run_of_which_only_the_database_knows_has_its_stages_too() -> None:
    launch = Launch("r", "one", "vllm", "exited", ready_after=52.0, stages=MARKS)
    assert [(one.name, one.took) for one in stages_of_launch(launch)][-1] == ("serving", 2.0)
