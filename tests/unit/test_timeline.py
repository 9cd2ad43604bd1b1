"""Series over any time: what is in memory, and before it what is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from vllm_studio_tui.domain.gpus import GpuReport
from vllm_studio_tui.domain.sample import Host, Tick
from vllm_studio_tui.domain.series import HostSeries, RunSeries
from vllm_studio_tui.domain.timeline import RangeFigures, Take
from vllm_studio_tui.services.watching.history import History
from vllm_studio_tui.services.watching.timeline import Timeline

CPU = HostSeries.CPU


def watched(since: float, until: float, value: float = 1.0) -> History:
    history = History()
    at = since
    while at <= until:
        history.record(Tick(at, GpuReport(at), Host(cpu=value if at % 100 else value * 10)))
        at += 1.0
    return history


@dataclass
class Store:
    """Kept samples that say which column was asked for, and count the questions."""

    asked: list[tuple[float, float, int]] = field(default_factory=list)

    def over(
        self, names: Sequence[str], since: float, until: float, columns: int, *, take: Take = "mean"
    ) -> dict[str, list[float | None]]:
        self.asked.append((since, until, columns))
        return {name: [7.0] * columns for name in names}

    def figures(self, names: Sequence[str], since: float, until: float) -> dict[str, RangeFigures]:
        return {name: RangeFigures(7.0, 7.0, 7.0, 1.0) for name in names}

    def names(self) -> list[str]:
        return ["host/cpu", "gpu/x/util"]

    def runs_of(self, recipe_id: str) -> list[str]:
        return []


def test_what_is_in_memory_is_answered_from_it_and_what_is_older_from_what_is_kept() -> None:
    store, now = Store(), 10_000.0
    line = Timeline(lambda: watched(9_400.0, now), store, clock=lambda: now)
    found = line.over([CPU], now - 1200.0, now, 12)[CPU]
    assert found[:6] == [7.0] * 6
    assert found[6:] == pytest.approx([1.09] * 6)
    assert store.asked == [(8_800.0, 9_400.0, 6)]


def test_a_peak_is_found_in_columns_that_are_wider_than_it() -> None:
    line = Timeline(lambda: watched(9_000.0, 10_000.0), clock=lambda: 10_000.0)
    assert line.over([CPU], 9_500.0, 10_000.0, 2, take="max")[CPU] == [10.0, 10.0]
    assert line.over([CPU], 9_500.0, 10_000.0, 2, take="min")[CPU] == [1.0, 1.0]


def test_columns_that_are_over_are_asked_for_once() -> None:
    store, now = Store(), [10_000.0]
    history = watched(9_990.0, 10_000.0)
    line = Timeline(lambda: history, store, clock=lambda: now[0])
    first = line.over([CPU], 0.0, 10_000.0, 100)[CPU]
    asked = len(store.asked)
    now[0] += 1
    assert line.over([CPU], 0.0, 10_000.0, 100)[CPU] == first
    assert len(store.asked) == asked
    now[0] += 60
    line.over([CPU], 0.0, 10_000.0, 100)
    (since, _, _) = store.asked[-1]
    assert since >= 9_000.0, "only the columns that may have changed"


def test_a_column_that_goes_on_is_looked_at_again_and_the_others_stay_where_they_are() -> None:
    history = watched(9_000.0, 10_000.0)
    line = Timeline(lambda: history, clock=lambda: history._last)
    before = line.over([CPU], 9_400.0, 10_000.0, 60)[CPU]
    for at in range(10_001, 10_021):
        history.record(Tick(float(at), GpuReport(at), Host(cpu=3.0)))
    after = line.over([CPU], 9_420.0, 10_020.0, 60)[CPU]
    assert after[:-2] == before[2:]
    assert after[-2:] == [3.0, 3.0]


@pytest.mark.parametrize(("since", "until", "columns"), [(5.0, 5.0, 3), (9.0, 1.0, 3), (0.0, float("inf"), 3)])
def test_a_time_that_is_none_has_no_values(since: float, until: float, columns: int) -> None:
    line = Timeline(lambda: None)
    assert line.over([CPU], since, until, columns) == {CPU: [None] * columns}
    assert line.over([CPU], 0.0, 10.0, 0) == {CPU: []}
    assert line.mean(CPU, since, until) is None


def test_the_mean_of_a_range_is_of_its_samples() -> None:
    line = Timeline(lambda: watched(9_000.0, 10_000.0), clock=lambda: 10_000.0)
    assert line.mean(CPU, 9_499.0, 9_599.0) == pytest.approx(1.09)
    assert line.mean("run/none/out", 9_500.0, 9_600.0) is None


class Runs(Store):
    """Kept samples of two runs of one recipe."""

    def over(
        self, names: Sequence[str], since: float, until: float, columns: int, *, take: Take = "mean"
    ) -> dict[str, list[float | None]]:
        halves = columns // 2
        made: dict[str, list[float | None]] = {}
        for name in names:
            value = 3.0 if "/out" in name else 0.5
            first: list[float | None] = [value] * halves
            made[name] = first + [None] * halves if "/r1/" in name else [None] * (halves - 1) + [value] * (halves + 1)
        return made

    def runs_of(self, recipe_id: str) -> list[str]:
        return ["r1"] if recipe_id == "qwen" else []


def test_the_runs_of_a_recipe_are_one_series() -> None:
    line = Timeline(
        lambda: None, Runs(), recipes=lambda: {"r1": "qwen", "r2": "qwen", "r3": "other"}, clock=lambda: 1e4
    )
    assert line.runs_of("qwen") == ["r1", "r2"]
    name = RunSeries.OUTPUT.of_recipe("qwen")
    assert line.over([name, RunSeries.OUTPUT.of("r1")], 0.0, 60.0, 6) == {
        name: [3.0, 3.0, 6.0, 3.0, 3.0, 3.0],
        RunSeries.OUTPUT.of("r1"): [3.0, 3.0, 3.0, None, None, None],
    }
    latency = RunSeries.TTFT.of_recipe("qwen")
    assert line.over([latency], 0.0, 60.0, 6)[latency] == [0.5] * 6
    assert line.over([RunSeries.TTFT.of_recipe("none")], 0.0, 60.0, 6) == {RunSeries.TTFT.of_recipe("none"): [None] * 6}
    assert line.figures([name], 0.0, 60.0)[name].max == 6.0
