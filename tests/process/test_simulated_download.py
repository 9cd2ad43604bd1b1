"""The download of the simulation: a process as every download has one, and a model at its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vllm_studio_tui.domain.download import Download, DownloadState
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.models.pulling.simulated import begin_simulated
from vllm_studio_tui.services.downloads import Downloads
from vllm_studio_tui.simulation import model_files


@pytest.fixture
def downloads(tmp_path: Path) -> Iterator[Downloads]:
    made = Downloads(Places.under(tmp_path / "home"))
    yield made
    for one in made.list():
        made.pause(one.id)


def until(downloads: Downloads, right: Callable[[Download], bool]) -> Download:
    deadline = time.monotonic() + 40
    while not right(one := downloads.list()[0]):
        assert time.monotonic() < deadline, one
        time.sleep(0.05)
    return one


def test_it_comes_is_paused_and_goes_on_where_it_was(downloads: Downloads, tmp_path: Path) -> None:
    begin_simulated(Places.under(tmp_path / "home").downloads, tmp_path / "hub")
    begun = until(downloads, lambda one: one.state is DownloadState.RUNNING and one.speed is not None)
    assert begun.files_total == len(model_files.files_of(model_files.SHAPES[-1])) and (begun.files_done or 0) > 3
    later = until(downloads, lambda one: one.bytes_done > begun.bytes_done)
    paused = downloads.pause(later.id)
    assert paused.state is DownloadState.PAUSED and not paused.error
    time.sleep(1.0)
    assert downloads.get(paused.id).bytes_done == paused.bytes_done >= later.bytes_done
    downloads.resume(paused.id)
    until(downloads, lambda one: one.bytes_done > paused.bytes_done)
    assert downloads.cancel(paused.id).freed == 0
    assert downloads.list() == [] and not (tmp_path / "hub").exists()


def test_at_its_end_the_model_is_there(downloads: Downloads, tmp_path: Path) -> None:
    begin_simulated(Places.under(tmp_path / "home").downloads, tmp_path / "hub", begun=0.99)
    done = until(downloads, lambda one: one.state is DownloadState.DONE)
    assert done.share == 1.0
    weights = sum(path.stat().st_size for path in Path(done.path).glob("*.safetensors"))
    assert weights == sum(size for name, size in model_files.files_of(model_files.SHAPES[-1]) if name.endswith("rs"))
