"""What is done to kept runs now and then, by whoever uses them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.disks import read_only
from tests.ports import free_port
from vllm_studio_tui.domain.errors import StoreError
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.domain.recipe_reading import parse_recipe
from vllm_studio_tui.domain.usage import UsageQuery
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.runs import control, read
from vllm_studio_tui.store.runs import RunRows
from vllm_studio_tui.studio import Studio


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    monkeypatch.setenv("VLLM_STUDIO_INFERENCE_PORT", str(free_port()))
    made = Places.under(tmp_path / "home")
    made.config.mkdir(parents=True)
    made.settings_file.write_text("runs_keep: 1\n")
    return made


def simulated() -> Recipe:
    command = (
        "{python} -m vllm_studio_tui.simulation.engine --host {host} --port {port} --model {name} --load-seconds 3"
    )
    return parse_recipe({"id": "sim", "backend": "custom", "command": command, "metrics_style": "vllm"})[0]


def test_a_launch_from_the_core_keeps_the_books_and_lets_go_of_the_oldest_runs(places: Places) -> None:
    with Studio.open_sync(places) as studio:
        ran = []
        for _ in range(3):
            run = studio.launcher.launch(simulated(), unchecked=True)
            ran.append(run.run_id)
            assert studio.launcher.upkeep_error is None
            studio.launcher.stop(run, force=True)
        here = [one.run_id for one in read.all_runs(places)]
        assert (ran[0] in here, ran[-1] in here) == (False, True), here
        rows = RunRows(studio.db)
        assert all((row := rows.get(one)) is not None and row["state"] == "exited" for one in ran)


def test_upkeep_that_fails_fails_no_launch(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(control, "prune", full)
    with Studio.open_sync(places) as studio:
        run = studio.launcher.launch(simulated(), unchecked=True)
        error = studio.launcher.upkeep_error
        assert isinstance(error, StoreError)
        assert "Permission denied" in error.cause
        studio.launcher.stop(run, force=True)


def test_reports_of_a_home_that_cannot_be_written_say_what_they_lack(places: Places) -> None:
    with Studio.open_sync(places) as studio:
        run = studio.launcher.launch(simulated(), unchecked=True)
        studio.launcher.stop(run, force=True)
        assert studio.usage.report(UsageQuery()).missing == ""
    with read_only(places.data.parent), Studio.open_sync(places) as studio:
        assert studio.usage.report(UsageQuery()).missing == "what running engines used since is not included"
        assert [one.run_id for one in studio.run_history.launches()] == [run.run_id]
