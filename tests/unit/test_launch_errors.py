"""What a launch says when the system refuses what it needs."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tests.functional.stage import snapshot
from vllm_studio_tui.domain.errors import LaunchRefused
from vllm_studio_tui.domain.spec import RunSpec
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.runs import control


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "Free space"),
        (errno.EDQUOT, "Free space"),
        (errno.EACCES, "who may write"),
        (errno.EROFS, "who may write"),
        (errno.EMFILE, "ulimit"),
        (errno.ENOMEM, "ulimit"),
        (errno.EIO, "Look at that place"),
    ],
)
def test_a_launch_that_cannot_be_written_is_advised_by_what_went_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, advice: str
) -> None:
    places = Places.under(tmp_path)

    def refuse(path: Path, data: bytes) -> None:
        raise OSError(number, os.strerror(number), str(path))

    def build(run_id: str, port: int) -> RunSpec:
        url = f"http://127.0.0.1:{port}/v1"
        return RunSpec(run_id, "r", "r", "custom", "m", ("true",), "127.0.0.1", port, url, 0.0)

    monkeypatch.setattr(control, "write_atomic", refuse)
    with pytest.raises(LaunchRefused) as refused:
        control.launch(places, build, "r", host="127.0.0.1", port=None, first_port=20000, gpus=())
    assert advice in (refused.value.advice or "")
    assert ("Free space" in (refused.value.advice or "")) == (number in (errno.ENOSPC, errno.EDQUOT))
    assert os.strerror(number) in (refused.value.cause or "")
    assert not list(places.runs.iterdir())  # nothing half-made is left


def test_a_launch_on_the_gpus_of_another_run_may_share_them_and_a_second_run_of_a_recipe_may_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = [run for run in snapshot(tmp_path / "shown").runs if run.live and run.spec is not None and run.spec.gpus]
    monkeypatch.setattr(control, "live_runs", lambda places: live)
    assert live[0].spec is not None

    def build(run_id: str, port: int) -> RunSpec:
        raise AssertionError(f"{run_id} was given port {port}")

    def refusal(recipe_id: str, gpus: tuple[str, ...]) -> LaunchRefused:
        places = Places.under(tmp_path / "home")
        with pytest.raises(LaunchRefused) as refused:
            control.launch(places, build, recipe_id, host="127.0.0.1", port=None, first_port=20000, gpus=gpus)
        return refused.value

    assert refusal("another-recipe", live[0].spec.gpus).can_share_gpus
    assert not refusal(live[0].recipe_id, live[0].spec.gpus).can_share_gpus
