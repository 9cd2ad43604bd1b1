"""A month of samples lies behind the simulated home, and tells what its runs, usage and events tell."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from vllm_studio_tui.domain.series import GpuSeries, HostSeries, RunSeries, TotalSeries
from vllm_studio_tui.domain.usage import UsageQuery
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.runs import read
from vllm_studio_tui.services import demo
from vllm_studio_tui.services.simulated_home.month import write_missing
from vllm_studio_tui.services.watching.sample_keeper import MEBIBYTE, recipes_of, samples_file
from vllm_studio_tui.simulation import gpus
from vllm_studio_tui.simulation.recipes import READY
from vllm_studio_tui.studio import Studio

DAY = 86_400.0


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """A simulated home with its month, as who first watches it writes it."""
    home: Path = tmp_path_factory.mktemp("month") / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_STUDIO_HOME", str(home))
        patch.setenv("VLLM_STUDIO_SIMULATE_GPUS", "4")
        patch.setenv("HF_HUB_CACHE", "")
        gpus.HOLDERS.forget()
        places = Places.of()
        with Studio.open_sync(places) as made:
            demo.prepare_simulation(places)
            demo.open_simulation(places, made.settings, made.db, made.recipes)
            gpus.HOLDERS.forget()
            assert write_missing(places, 64, recipes_of(read.all_runs(places)), time.time())
            yield made
            for one in made.downloads.list():
                made.downloads.pause(one.id)
            for run in read.live_runs(places):
                made.launcher.stop(run, force=True)
        gpus.HOLDERS.forget()


def test_every_zoom_of_a_month_has_samples_of_the_host_and_the_gpus(studio: Studio) -> None:
    now = time.time() // 600 * 600  # what is younger is in the memory of who watches
    names = [HostSeries.CPU, TotalSeries.POWER, *(GpuSeries.POWER.of(gpus.uuid(index)) for index in range(4))]
    for span in (60.0, 3600.0, 6 * 3600.0, DAY, 7 * DAY, 29.9 * DAY):
        found = studio.timeline.over([str(one) for one in names], now - span, now, 120)
        for name, values in found.items():
            # The first and the last column may be of a step whose middle lies outside of them.
            assert None not in values[1:-1], (span, name)


def test_each_run_is_on_the_axis_while_it_served_and_at_no_other_time(studio: Studio) -> None:
    now = time.time()
    served = 0
    for run in read.all_runs(studio.places):
        status, name = run.status, RunSeries.OUTPUT.of(run.run_id)
        if status.ready_at is None or status.ready_at > now - 1200:
            continue
        served += 1
        ended = status.ended_at or now - 600
        seconds = ended - status.ready_at
        known = studio.timeline.figures([name], status.ready_at, ended)[name].known
        assert known * seconds > 0.98 * seconds - 600, run.run_id  # but for a step that it was in for a part
        assert studio.timeline.figures([name], status.ready_at - DAY, status.ready_at - 1200)[name].mean is None
        if status.ended_at is not None and status.ended_at < now - 2 * DAY:
            after = studio.timeline.figures([name], status.ended_at + 1200, status.ended_at + DAY)[name]
            assert after.mean is None, run.run_id
            kinds = {one.kind for one in studio.timeline.events(status.ended_at - 5, status.ended_at + 5)}
            assert kinds & {"stopped", "failed"}, run.run_id
    assert served > 12


def test_what_was_made_and_drawn_on_the_axis_is_what_usage_counts(studio: Studio) -> None:
    now = time.time()
    runs = [one for one in read.all_runs(studio.places) if one.recipe_id == READY and one.status.ended_at]
    assert len(runs) == 3
    rows = studio.usage.report(UsageQuery(days=30, by="recipe")).rows
    counted = next(row for row in rows if row.key == READY)
    made = drawn = 0.0
    for run in read.all_runs(studio.places):
        status = run.status
        if run.recipe_id != READY or status.ready_at is None or status.started_at is None:
            continue
        until = status.ended_at or now // 600 * 600
        name = RunSeries.OUTPUT.of(run.run_id)
        mean = studio.timeline.figures([name], status.ready_at, until)[name].mean
        assert mean is not None
        made += mean * (until - status.ready_at)
        for index in (0, 1):
            power = GpuSeries.POWER.of(gpus.uuid(index))
            watts = studio.timeline.figures([power], status.started_at, until)[power].mean
            assert watts is not None
            drawn += watts * (until - status.started_at) / 3600
    assert counted.completion_tokens == pytest.approx(made, rel=0.01)
    assert counted.energy_wh == pytest.approx(drawn, rel=0.02)


def test_a_burst_of_long_prompts_is_the_least_and_the_largest_of_its_step(studio: Studio) -> None:
    run = next(one for one in read.all_runs(studio.places) if one.recipe_id == READY and one.live)
    name = RunSeries.KV_CACHE.of(run.run_id)
    now = time.time()
    since = now - 2 * DAY
    mean, most = (studio.timeline.over([name], since, now, 280, take=take)[name] for take in ("mean", "max"))
    full = [(low, high) for low, high in zip(mean, most, strict=True) if low is not None and high and high > 0.95]
    assert len(full) > 20
    assert all(low < 0.9 for low, _ in full)


def test_it_is_small_and_written_once(studio: Studio) -> None:
    path = samples_file(studio.places)
    assert path.stat().st_size < 4 * MEBIBYTE
    assert not [one.name for one in path.parent.iterdir() if "new" in one.name]
    assert not write_missing(studio.places, 64, {}, time.time())


def test_a_home_that_was_not_made_is_given_no_month(tmp_path: Path) -> None:
    places = Places.under(tmp_path)
    assert not write_missing(places, 64, {}, time.time())
    assert not samples_file(places).exists()
