"""A GPU has an index and a UUID: whichever two recipes call it by, it is one GPU."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vllm_studio_tui.domain.errors import LaunchRefused
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.domain.recipe_reading import parse_recipe
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.runs import control, read
from vllm_studio_tui.services.launching.launcher import Launcher
from vllm_studio_tui.simulation.gpus import uuid
from vllm_studio_tui.simulation.marks import GPUS
from vllm_studio_tui.studio import Studio


def recipe(name: str, gpu: str) -> Recipe:
    command = f"{sys.executable} -m vllm_studio_tui.simulation.engine --port {{port}}"
    return parse_recipe({"id": name, "name": name, "backend": "custom", "command": command, "gpus": [gpu]})[0]


@pytest.fixture
def launcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Launcher]:
    monkeypatch.setenv(GPUS, "2")
    places = Places.under(tmp_path)
    yield Studio(places).launcher
    for run in read.live_runs(places):
        control.stop(run, force=True)


@pytest.mark.parametrize(("first", "second"), [("1", uuid(1)), (uuid(1), "1")])
def test_it_is_refused_to_a_second_run_and_freed_by_force(launcher: Launcher, first: str, second: str) -> None:
    run = launcher.launch(recipe("one", first))
    assert run.spec is not None
    assert run.spec.gpus == ("1",), "as `status` shows it"
    assert [one.message for one in launcher.check(recipe("two", second)) if one.severity == "error"] == [
        "one has GPU 1"
    ]
    with pytest.raises(LaunchRefused, match="GPU 1") as refused:
        launcher.launch(recipe("two", second))
    assert refused.value.can_share_gpus
    beside = launcher.launch(recipe("two", "0"))
    assert read.view(run.folder).live
    control.stop(beside)
    assert launcher.launch(recipe("two", second), force=True).live
    assert not read.view(run.folder).live, "force makes room on the same GPU"
