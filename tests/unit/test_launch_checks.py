"""What a check says of the GPUs and the port that a recipe wants."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from tests.functional.stage import recipe, snapshot
from tests.ports import free_port
from vllm_studio_tui.backends.base import Problem
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.services.watching.snapshot import Snapshot
from vllm_studio_tui.studio import Studio


@pytest.fixture
def seen(tmp_path: Path) -> Snapshot:
    """Two runs on GPUs 0 to 3, whose memory they hold."""
    return snapshot(tmp_path / "runs")


def said(home: Path, wanted: Recipe, seen: Snapshot, field: str) -> list[Problem]:
    launcher = Studio(Places.under(home)).launcher
    return [one for one in launcher.check(wanted, seen.tick.gpus, seen.runs) if one.field == field]


def test_memory_of_a_gpu_that_no_run_claims_is_said_with_its_holder(tmp_path: Path, seen: Snapshot) -> None:
    nobodys = replace(seen, runs=())
    found = said(tmp_path, recipe("new", gpus=["2"]), nobodys, "gpus")
    assert [one.severity for one in found] == ["warning"]
    assert "GPU 2 is in use: 31.4 GiB by VLLM::Worker (pid 48814, root)" in found[0].message


def test_what_a_live_run_holds_is_not_said_twice(tmp_path: Path, seen: Snapshot) -> None:
    (found,) = said(tmp_path, recipe("new", gpus=["2"]), seen, "gpus")
    assert found.message == "deepseek-r1-70b has GPU 2"


def test_a_gpu_that_is_not_there_is_an_error(tmp_path: Path, seen: Snapshot) -> None:
    (found,) = said(tmp_path, recipe("new", gpus=["7"]), seen, "gpus")
    assert found.severity == "error"
    assert "GPU 7 is not there: this machine has 0, 1, 2, 3" in found.message


def test_the_port_of_a_live_run_is_taken_and_that_of_an_ended_one_is_not(tmp_path: Path, seen: Snapshot) -> None:
    by_state = {one.state: one for one in seen.runs}
    loading, failed = by_state[State.LOADING], by_state[State.FAILED]
    assert loading.port is not None and failed.spec is not None
    assert said(tmp_path, recipe("new", port=loading.port), seen, "port")
    free = free_port()
    ended = replace(failed, spec=replace(failed.spec, port=free))
    assert not said(tmp_path, recipe("new", port=free), replace(seen, runs=(ended, loading)), "port")


def test_a_port_that_a_foreign_program_has_is_an_error_that_names_it(tmp_path: Path, seen: Snapshot) -> None:
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        port = stranger.getsockname()[1]
        (found,) = said(tmp_path, recipe("new", port=port), seen, "port")
        assert found.severity == "error"
        assert found.message.startswith(f"port {port} is taken by another program: Process {os.getpid()} (")
        assert "port: null" in found.advice
    assert not said(tmp_path, recipe("new", port=port), seen, "port")


def test_a_live_run_whose_port_is_not_known_takes_none(tmp_path: Path, seen: Snapshot) -> None:
    torn = replace(seen, runs=tuple(replace(one, spec=None) for one in seen.runs))
    assert torn.runs[0].port is None
    assert not said(tmp_path, recipe("new", port=None), torn, "port")


def test_a_port_is_not_said_of_the_run_that_gives_it_up(tmp_path: Path, seen: Snapshot) -> None:
    loading = next(one for one in seen.runs if one.state is State.LOADING)
    assert not said(tmp_path, recipe(loading.recipe_id, port=loading.port), seen, "port")


@pytest.mark.parametrize("host", ["192.0.2.77", "no such host", "x" * 300, "a..b"])
@pytest.mark.parametrize("port", [None, 8123])
def test_a_host_that_is_not_of_this_machine_is_said_at_its_field(
    tmp_path: Path, seen: Snapshot, host: str, port: int | None
) -> None:
    found = said(tmp_path, recipe("new", host=host, port=port), seen, "host")
    (error,) = [one for one in found if one.severity == "error"]
    assert error.advice
